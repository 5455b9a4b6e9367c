//! The command line: `serve` runs a member, `cluster` runs several, the rest talks to a cluster.
//! Under the name of another program, [`PROGRAMS`], this one takes its place.
//!
//! The client commands keep etcdctl's words, flags, plain output and exit codes, and speak only the
//! public API, so they work against any etcd. Output goes through [`Output`], which turns a closed
//! pipe into an error instead of a panic. Everything that a command reads from outside, the
//! environment above all, is taken once in [`main`] and passed down.
//!
//! Absent on purpose: auth.

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

mod bench;
mod client;
mod cluster;
mod elect;
mod endpoint;
mod error;
mod etcd;
mod etcdutl;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod member;
mod print;
mod range;
mod secrets;
mod serve;
mod service;
mod session;
mod snapshot;
mod txn;
mod watch;
mod words;

use client::{Client, ClientArgs};
use error::{Error, Exit};
use print::{PrintArgs, Printer};

use crate::config::duration;

/// The level of the etcd API that we speak.
const API_VERSION: &str = "3.7";

#[derive(Parser)]
#[command(name = "quorate", version, about, max_term_width = 100, infer_subcommands = true)]
#[command(args_override_self = true)]
#[command(about = "A coordination store that speaks the etcd v3 API")]
struct CommandLine {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    print: PrintArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run one member
    Serve(serve::ServeArgs),
    /// Run one member with a start line of etcd: its flags, variables and files
    ///
    /// The words behind it are read as etcd reads them: see `quorate etcd --help`. The same happens
    /// when this program is started under the name `etcd`.
    #[command(disable_help_flag = true)]
    Etcd {
        /// etcd's words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Run a cluster of several members on this machine, in the foreground
    Cluster(cluster::ClusterArgs),
    /// Set a key
    Put(kv::PutArgs),
    /// Show a key, or the keys of a range
    Get(kv::GetArgs),
    /// Delete a key, or the keys of a range
    Del(kv::DelArgs),
    /// Compare, and do one thing or another, at one revision
    Txn(txn::TxnArgs),
    /// Give up old revisions
    #[command(visible_alias = "compact")]
    Compaction(kv::CompactionArgs),
    /// Follow the changes of a key, or of the keys of a range
    Watch(watch::WatchArgs),
    /// Grant, renew and revoke leases
    #[command(subcommand)]
    Lease(lease::LeaseCommand),
    /// Show and change the members of the cluster
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// Ask each endpoint how it is
    #[command(subcommand)]
    Endpoint(endpoint::EndpointCommand),
    /// Hold a lock while a program runs
    Lock(lock::LockArgs),
    /// Stand for election, or follow who is elected
    Elect(elect::ElectArgs),
    /// Show alarms, or take them back
    #[command(subcommand)]
    Alarm(maintenance::AlarmCommand),
    /// Have room on disk made free
    Defrag(endpoint::Scope),
    /// Make another member lead
    MoveLeader(member::IdArgs),
    /// Ask about a downgrade of the cluster
    #[command(subcommand)]
    Downgrade(maintenance::DowngradeCommand),
    /// Save the state of a member, and make new members of it
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Register services, and show who serves what
    Service(service::ServiceArgs),
    /// Put load on a cluster and report rates and latencies
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// What etcdutl does, in its words
    Etcdutl {
        /// Its command and flags
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<String>,
    },
    /// Show the version
    Version,
}

/// A program whose place this one takes: the words behind its name, and the environment.
type Program = fn(&[String], &[(String, String)]) -> ExitCode;

/// What this program is under other names, which are also commands of it.
const PROGRAMS: &[(&str, Program)] = &[("etcd", etcd::main), ("etcdutl", etcdutl::main)];

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let environment = environment();
    let words: Vec<String> = words();
    if let Some((program, words)) = program(&words) {
        return program(words, &environment);
    }
    match CommandLine::try_parse() {
        Ok(command_line) => finish(run(command_line, &environment)),
        Err(usage) => {
            // Nothing is left to be done about a failure to print.
            let _ = usage.print();
            if usage.use_stderr() { ExitCode::from(Exit::Usage.code()) } else { ExitCode::SUCCESS }
        }
    }
}

/// The program that a command line is for, if it is not ours, and the words for it.
fn program(words: &[String]) -> Option<(Program, &[String])> {
    let named = |word: &String| {
        let name = Path::new(word).file_name()?.to_str()?;
        PROGRAMS.iter().find(|(program, _)| *program == name).map(|(_, program)| *program)
    };
    let (name, rest) = words.split_first()?;
    if let Some(program) = named(name) {
        return Some((program, rest));
    }
    let (command, rest) = rest.split_first()?;
    let command = PROGRAMS.iter().find(|(program, _)| program == command);
    command.map(|(_, program)| (*program, rest))
}

fn finish(result: Result<ExitCode, Error>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "Error: {error}");
            error.exit_code()
        }
    }
}

fn run(command_line: CommandLine, environment: &[(String, String)]) -> Result<ExitCode, Error> {
    let client = || Client::new(&command_line.client, environment);
    let printer = &mut Printer::new(&command_line.print, environment)?;
    match command_line.command {
        Command::Serve(args) => serve::run(args, environment, &mut printer.output),
        Command::Etcd { words } => return Ok(etcd::main(&words, environment)),
        Command::Cluster(args) => block_on(cluster::run(args, environment)),
        Command::Put(args) => block_on(kv::put(args, &client()?, printer)),
        Command::Get(args) => block_on(kv::get(args, &client()?, printer)),
        Command::Del(args) => block_on(kv::del(args, &client()?, printer)),
        Command::Txn(args) => block_on(txn::run(args, &client()?, printer)),
        Command::Compaction(args) => block_on(kv::compact(args, &client()?, printer)),
        Command::Watch(args) => block_on(watch::run(args, &client()?, printer)),
        Command::Lease(command) => block_on(lease::run(command, &client()?, printer)),
        Command::Member(command) => block_on(member::run(&command, &client()?, printer)),
        Command::Endpoint(command) => block_on(endpoint::run(&command, &client()?, printer)),
        Command::Lock(args) => return block_on(lock::run(args, &client()?, printer)),
        Command::Elect(args) => block_on(elect::run(args, &client()?, printer)),
        Command::Alarm(command) => block_on(maintenance::alarm(command, &client()?, printer)),
        Command::Defrag(scope) => block_on(maintenance::defrag(scope, &client()?, printer)),
        Command::MoveLeader(to) => block_on(maintenance::move_leader(to, &client()?, printer)),
        Command::Downgrade(command) => {
            block_on(maintenance::downgrade(&command, &client()?, printer))
        }
        Command::Service(args) => {
            return block_on(service::run(args, &client()?, environment, printer));
        }
        Command::Snapshot(command) => {
            block_on(snapshot::run(command, client, environment, printer))
        }
        Command::Etcdutl { arguments } => return Ok(etcdutl::main(&arguments, environment)),
        Command::Bench(command) => bench::run(&command, &client()?, &mut printer.output),
        Command::Version => {
            let output = &mut printer.output;
            output.line(format!("quorate version: {}", env!("CARGO_PKG_VERSION")))?;
            output.line(format!("API version: {API_VERSION}"))
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that mostly waits: one thread is plenty.
fn block_on<T>(command: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// The command line, with its first word. What is no text is shown as one.
fn words() -> Vec<String> {
    env::args_os().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The environment as texts. A variable that is not a text is none of ours.
#[expect(clippy::disallowed_methods, reason = "this is where the environment comes in")]
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    env::vars_os().filter_map(text).collect()
}

/// Standard output, flushed with each piece, since a reader may be waiting for it.
struct Output;

impl Output {
    /// Writes a line. Keys and values are bytes, and go out as they are.
    fn line(&mut self, line: impl AsRef<[u8]>) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(line.as_ref())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Writes many lines at once.
    fn text(&mut self, text: &[u8]) -> Result<(), Error> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text)?;
        Ok(stdout.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// clap's own check of the definition: no flag twice, no impossible default.
    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    /// A name other than our own decides, however the program is reached, and the command next.
    #[test]
    fn other_programs_are_known_by_name() {
        let words_for = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            program(&words).map(|(_, words)| words.join(" "))
        };
        assert_eq!(words_for("/usr/bin/etcd --name a").as_deref(), Some("--name a"));
        assert_eq!(words_for("quorate etcd --name a").as_deref(), Some("--name a"));
        assert_eq!(words_for("etcd etcd").as_deref(), Some("etcd"));
        assert_eq!(words_for("quorate serve etcd"), None);
        assert_eq!(words_for("quorate"), None);
    }

    /// The forms that etcdctl takes are taken.
    #[test]
    fn etcdctls_forms_parse() {
        for line in [
            "quorate --endpoints a:1,b:2 put k v",
            "quorate put k -- -v",
            "quorate get k --prefix --rev=3 --limit 2 --consistency=s",
            "quorate get --from-key a",
            "quorate del a b --prev-kv",
            "quorate watch --prefix k --rev 1 --prev-kv",
            "quorate lease grant 60",
            "quorate lease keep-alive 1234 --once",
            "quorate lease timetolive 1234 --keys --command-timeout=2s",
            "quorate member list",
            "quorate member add n2 --peer-urls=http://a:1,http://a:2 --learner",
            "quorate member update 8e9e05c52164694d --peer-urls http://a:1",
            "quorate member promote 8e9e05c52164694d",
            "quorate member remove 8e9e05c52164694d",
            "quorate endpoint status --cluster",
            "quorate snapshot save s.db --endpoints a:1",
            "quorate snapshot status s.db -w json",
            "quorate snapshot restore s.db --name=m1 --data-dir=d --skip-hash-check --wal-dir w",
            "quorate snapshot restore s.db --bump-revision 10 --mark-compacted=true",
            "quorate serve --name n1 --name n2 --initial-cluster=n2=http://a:1",
            "quorate serve --strict-reconfig-check=false --learner-serves-reads --max-learners 2",
            "quorate cluster --nodes 3",
            "quorate service register web --addr [::1]:80 --tag a --tag b --meta k=v --port m=9 -- a -b",
            "quorate service register web --addr h:1 --once --version v1 --session s --takeover",
            "quorate service list -w json --all-pages --prefix w --namespace prod",
            "quorate service resolve web --meta a=b --meta c=d --limit 3 --write-out=table",
            "quorate service watch --rev 7",
            "quorate service weigh web --id a 200",
            "quorate bench mixed --clients 10 --duration 2s",
            "quorate bench load --keys 1000 --rounds 2 --txn-size 1 --shuffled",
            "quorate bench page --page-size 100 --writes 10 --json",
        ] {
            if let Err(error) = CommandLine::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
    }
}
