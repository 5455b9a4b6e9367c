//! The same under the name `etcdutl`: its commands, flags, texts and exit codes, for our files.
//!
//! `quorate etcdutl` is this, too. What has no meaning here says so: there is nothing to defragment
//! while a member does not run, no format to migrate to, and no script of completions.

use std::{
    io::{self, Write},
    iter,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use super::{
    API_VERSION, Error, Output,
    error::Exit,
    finish,
    snapshot::{Form, RestoreArgs, hash_kv, restore, status, to_restore},
};
use crate::server::ETCD_VERSION;

#[derive(Parser)]
#[command(name = "etcdutl", about = "An administrative command line tool for etcd3.")]
#[command(infer_subcommands = true, max_term_width = 100)]
struct CommandLine {
    /// Set the output format (fields, json, simple, table)
    #[arg(short = 'w', long, global = true, value_name = "FORM", default_value = "simple")]
    write_out: String,
    /// Not used: nobody else has a snapshot open
    #[arg(long, global = true, hide = true)]
    timeout: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Defragments the storage of the etcd
    Defrag {
        /// Required. A data directory that is not in use
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
    /// Manages etcd node snapshots
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Prints the KV history hash of a given file
    Hashkv {
        /// A snapshot
        file: PathBuf,
        /// Maximum revision to hash (default: latest revision)
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        rev: i64,
    },
    /// Prints the version of etcdutl
    Version,
    /// Generate completion script
    Completion {
        /// bash, zsh, fish or powershell
        shell: String,
    },
    /// Migrates schema of etcd data dir files to make them compatible with different etcd version
    Migrate {
        /// Path to the data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// Target version, as in 3.6
        #[arg(long, value_name = "X.Y")]
        target_version: String,
        /// Ignored
        #[arg(long)]
        force: bool,
    },
}

#[derive(Subcommand)]
enum Snapshot {
    /// Restores an etcd member snapshot to an etcd directory
    Restore(RestoreArgs),
    /// Gets backend snapshot status of a given file
    Status {
        /// The snapshot
        file: PathBuf,
    },
}

/// Runs a command line of etcdutl: the words behind the program's name.
pub(super) fn main(words: &[String], environment: &[(String, String)]) -> ExitCode {
    let words = words.iter().map(String::as_str);
    match CommandLine::try_parse_from(iter::once("etcdutl").chain(words)) {
        Ok(command_line) => {
            finish(run(command_line, environment, &mut Output).map(|()| ExitCode::SUCCESS))
        }
        Err(usage) if usage.use_stderr() => {
            let text = usage.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let _ = write!(io::stderr(), "Error: {text}");
            ExitCode::from(Exit::Failed.code())
        }
        Err(help) => {
            // Nothing is left to be done about a failure to print.
            let _ = help.print();
            ExitCode::SUCCESS
        }
    }
}

fn run(
    command_line: CommandLine,
    environment: &[(String, String)],
    output: &mut Output,
) -> Result<(), Error> {
    let form = || Form::parse(&command_line.write_out);
    match command_line.command {
        Command::Defrag { data_dir } => defragment(&data_dir),
        Command::Snapshot(Snapshot::Status { file }) => status(&file, form()?, output),
        Command::Snapshot(Snapshot::Restore(args)) => {
            let restoration = to_restore(&args, Some(format!("{}.etcd", args.name)))?;
            let restored = restore(&restoration, environment)?;
            note(&format!(
                "info\trestored snapshot\t{{\"path\": {:?}, \"data-dir\": {:?}, \"revision\": {}}}",
                restoration.snapshot.display().to_string(),
                restoration.config.data_dir.display().to_string(),
                restored.revision
            ))
        }
        Command::Hashkv { file, rev } => hash_kv(&file, rev, form()?, output),
        Command::Version => {
            output.line(format!("etcdutl version: {ETCD_VERSION}"))?;
            output.line(format!("API version: {API_VERSION}"))
        }
        Command::Completion { shell } => match shell.as_str() {
            "bash" | "zsh" | "fish" | "powershell" => note("there are no scripts of completions"),
            other => {
                Err(Error::failed(format!("invalid argument {other:?} for \"etcdutl completion\"")))
            }
        },
        Command::Migrate { data_dir, target_version, .. } => migrate(&data_dir, &target_version),
    }
}

/// A member rids its files of garbage while it runs; one that does not run has nothing to do.
fn defragment(data_dir: &Path) -> Result<(), Error> {
    let dir = data_dir.display();
    require_member(data_dir)
        .map_err(|why| Error::failed(format!("Failed to defragment etcd data[{dir}] ({why})")))?;
    note(&format!(
        "nothing to defragment in {dir}: a member rids its files of garbage while it runs, and at \
         once when asked by etcdctl defrag"
    ))
}

fn migrate(data_dir: &Path, target: &str) -> Result<(), Error> {
    let parts: Vec<&str> = target.split('.').collect();
    let [major, minor] = parts.as_slice() else {
        let what = format!("wrong target version format, expected \"X.Y\", got {target:?}");
        return Err(Error::new(Exit::Usage, what));
    };
    let number = |text: &str| {
        let failed = |error| {
            Error::new(Exit::Usage, format!("failed to parse target version: {error} ({target:?})"))
        };
        text.parse::<u64>().map_err(failed)
    };
    if (number(major)?, number(minor)?) < (3, 5) {
        let what = format!("target version {target:?} not supported. Minimal \"3.5\"");
        return Err(Error::new(Exit::Usage, what));
    }
    require_member(data_dir).map_err(Error::failed)?;
    Err(Error::failed(format!(
        "{} is a data directory of quorate: its format is that of the program which wrote it, and no \
         version of etcd reads it",
        data_dir.display()
    )))
}

/// Whether a member's data are there.
fn require_member(data_dir: &Path) -> Result<(), String> {
    let identity = data_dir.join("identity");
    match identity.metadata() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("stat {}: {error}", identity.display())),
    }
}

/// What is not an answer goes where etcdutl has its log.
fn note(text: &str) -> Result<(), Error> {
    Ok(writeln!(io::stderr(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// clap's own check of the definition.
    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    /// etcdutl's forms are taken.
    #[test]
    fn etcdutls_forms_parse() {
        for line in [
            "etcdutl snapshot status s.db -w json",
            "etcdutl --write-out=table snapshot status s.db",
            "etcdutl snapshot restore s.db --data-dir d --initial-memory-map-size 1",
            "etcdutl snapshot restore s.db --skip-hash-check=true --mark-compacted=false",
            "etcdutl hashkv s.db --rev 7",
            "etcdutl defrag --data-dir d --timeout 3s",
            "etcdutl migrate --data-dir d --target-version 3.6 --force",
            "etcdutl completion bash",
            "etcdutl version",
        ] {
            if let Err(error) = CommandLine::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
    }

    /// What has no meaning here is refused with a reason, after etcdutl's own checks.
    #[test]
    fn migrations_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |target| migrate(dir.path(), target).unwrap_err().to_string();
        assert_eq!(refused("3"), "wrong target version format, expected \"X.Y\", got \"3\"");
        assert_eq!(refused("3.4"), "target version \"3.4\" not supported. Minimal \"3.5\"");
        assert!(refused("3.6").contains("identity: No such file"), "{}", refused("3.6"));
        std::fs::write(dir.path().join("identity"), "").unwrap();
        assert!(refused("3.6").contains("no version of etcd reads it"));
        assert!(defragment(dir.path()).is_ok());
        let missing = defragment(&dir.path().join("x")).unwrap_err().to_string();
        assert!(missing.starts_with("Failed to defragment etcd data["), "{missing}");
    }
}
