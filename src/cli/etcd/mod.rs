//! `quorate etcd`, and this program under the name `etcd`: a start line, a unit file or a
//! configuration file made for etcd starts a member of ours.
//!
//! Flags, variables and the file follow etcd's rules: Go's syntax, the same thing never said twice
//! by different means, the file in place of all else, etcd's defaults for the data directory and the
//! log, its words and exit codes for what is wrong. [`table`] says what each flag does here; whatever
//! has no effect is told of in the log, in a line each. Our own settings are flags as well.
//!
//! Absent: `gateway` and `grpc-proxy`, which are no members.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::serve;
use crate::{
    config::{self, Loaded},
    telemetry::{self, LogFormat, LogOptions, LogOutput},
};

mod data_dir;
mod environment;
mod file;
mod gates;
mod help;
mod resolve;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod value;

use resolve::{Resolved, Value, Values};
use syntax::{Line, Unreadable};

/// Why no member was started.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The line cannot be read; Go's words.
    Usage(String),
    /// It can, and says what cannot be.
    Flags(String),
    /// This variable says what a flag says, too.
    Conflict(String),
}

/// What a start line asks for.
enum Asked {
    /// To print a text.
    Text(String),
    /// To start a member.
    Start(Box<Start>),
}

/// A member that may be started, and what is told in its log beforehand.
struct Start {
    loaded: Loaded,
    resolved: Resolved,
    /// The file that stands in place of flags and variables.
    file: Option<String>,
    /// Keys of the file, or variables, that nobody knows.
    unknown: Vec<String>,
    /// Variables that set something.
    used: Vec<(String, String)>,
}

/// Runs a start line of etcd: the words behind the name of the program.
pub(super) fn main(words: &[String], environment: &[(String, String)]) -> ExitCode {
    if let Some(command @ ("gateway" | "grpc-proxy")) = words.first().map(String::as_str) {
        let what = "is not part of this program: clients and proxies of etcd can be pointed at it";
        return end(1, &format!("{command} {what}\n"));
    }
    match read(words, environment) {
        Ok(Asked::Text(text)) => {
            // Nothing is left to be done about a failure to print.
            let _ = io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Asked::Start(start)) => run(words, *start, environment),
        Err(Refusal::Usage(text)) => end(2, &format!("{text}\n{}", help::USAGE)),
        Err(Refusal::Conflict(name)) => {
            let _ = start_default_log();
            tracing::error!(
                { "environment-variable" = name },
                "conflicting environment variable is shadowed by corresponding command-line flag \
                 (either unset environment variable or disable flag))"
            );
            ExitCode::from(1)
        }
        Err(Refusal::Flags(text)) => {
            let _ = start_default_log();
            tracing::warn!(error = text, "failed to verify flags");
            ExitCode::from(1)
        }
    }
}

/// The log of those who never got as far as their settings, as etcd writes it.
fn start_default_log() -> io::Result<()> {
    telemetry::init(&LogOptions {
        level: "info".to_owned(),
        format: LogFormat::Json,
        outputs: vec![LogOutput::Stderr],
        rotation: None,
    })
}

fn end(code: u8, text: &str) -> ExitCode {
    let _ = io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(code)
}

/// Reads a start line, as far as that needs no member.
fn read(words: &[String], environment: &[(String, String)]) -> Result<Asked, Refusal> {
    let line = match syntax::parse(words) {
        Ok(line) => line,
        Err(Unreadable::Help) => {
            return Ok(Asked::Text(format!("{}{}", help::USAGE, help::flags())));
        }
        Err(Unreadable::Usage(text)) => return Err(Refusal::Usage(text)),
    };
    if let Some(word) = &line.word {
        return Err(Refusal::Flags(format!("{word:?} is not a valid flag")));
    }
    let asked = |flag: &str| line.flags.get(flag).is_some_and(|value| value == "true");
    if asked("version") {
        return Ok(Asked::Text(help::versions()));
    }
    let start = layer(&line, environment)?;
    if asked(table::PRINT_CONFIG) {
        return Ok(Asked::Text(printed(&start)));
    }
    Ok(Asked::Start(Box::new(start)))
}

/// Puts flags and variables together, or takes the file in their place.
fn layer(line: &Line, environment: &[(String, String)]) -> Result<Start, Refusal> {
    let by_flag = line.flags.get("config-file").map(String::as_str).filter(|it| !it.is_empty());
    let path = by_flag.or_else(|| environment::config_file(environment));
    let (values, unknown, used) = match path {
        Some(path) => {
            let read = file::read(path).map_err(Refusal::Flags)?;
            (read.values, read.unknown, Vec::new())
        }
        None => {
            let mut values = of_flags(line);
            let read = environment::read(environment, line, &mut values)?;
            (values, read.unknown, read.used)
        }
    };
    let resolved = resolve::resolve(&values).map_err(Refusal::Flags)?;
    let loaded = config::load_given(&resolved.settings)
        .map_err(|error| Refusal::Flags(error.to_string()))?;
    Ok(Start { loaded, resolved, file: path.map(str::to_owned), unknown, used })
}

fn of_flags(line: &Line) -> Values {
    let value = |(name, text): (&String, &String)| {
        (name.clone(), Value { text: text.clone(), source: format!("flag --{name}") })
    };
    line.flags.iter().map(value).collect()
}

/// The settings, and what is said about the others, as comments.
fn printed(start: &Start) -> String {
    let Resolved { notices, warnings, .. } = &start.resolved;
    let comments = notices.iter().chain(warnings).map(|notice| format!("# {notice}\n"));
    let unknown = start.unknown.iter().map(|name| format!("# {name} is not known\n"));
    start.loaded.printed.clone() + &comments.chain(unknown).collect::<String>()
}

fn run(words: &[String], mut start: Start, environment: &[(String, String)]) -> ExitCode {
    let parent = |(name, value): &(String, String)| {
        name == EXIT_WITH_PARENT && value::boolean(value).unwrap_or_default()
    };
    start.loaded.config.exit_with_parent = environment.iter().any(parent);
    let config = start.loaded.config.clone();
    if let Err(error) = serve::start_log(&config) {
        let _ = start_default_log();
        tracing::warn!(error = %error, "failed to verify flags");
        return ExitCode::from(1);
    }
    tracing::info!(args = without_secrets(words).join(" "), "Running: ");
    tell(&start);
    let result = data_dir::check(&config.data_dir)
        .and_then(|()| serve::run_member(config, environment).map_err(|error| error.to_string()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the member ended");
            ExitCode::from(1)
        }
    }
}

/// A member of a test ends with it; for etcd that is nobody's flag.
const EXIT_WITH_PARENT: &str = "QUORATE_EXIT_WITH_PARENT";

/// What stands in place of a secret.
const MASK: &str = "***";
/// Flags whose values nobody is to read in a log. A user may come with a password.
const SECRET_FLAGS: [&str; 2] = ["discovery-password", "discovery-user"];

/// The words of a command line, with secrets masked in both forms that a flag may have.
fn without_secrets(words: &[String]) -> Vec<String> {
    let mut is_next = false;
    let mask = |word: &String| {
        if std::mem::take(&mut is_next) {
            return MASK.to_owned();
        }
        let flag = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
        match flag.map(|flag| flag.split_once('=').map_or((flag, false), |(flag, _)| (flag, true)))
        {
            Some((flag, true)) if SECRET_FLAGS.contains(&flag) => format!("--{flag}={MASK}"),
            Some((flag, false)) => {
                is_next = SECRET_FLAGS.contains(&flag);
                word.clone()
            }
            Some(_) | None => word.clone(),
        }
    };
    words.iter().map(mask).collect()
}

/// Says in the log what is worth knowing about the settings.
fn tell(start: &Start) {
    if let Some(path) = &start.file {
        tracing::info!(
            path,
            "loaded server configuration, other configuration command line flags and environment \
             variables will be ignored if provided"
        );
        for key in &start.unknown {
            tracing::warn!(key, "unknown key of the configuration file is ignored");
        }
    } else {
        for (name, value) in &start.used {
            let secret =
                ["ETCD_DISCOVERY_PASSWORD", "ETCD_DISCOVERY_USER"].contains(&name.as_str());
            let value = if secret { MASK } else { value };
            tracing::info!(
                { "variable-name" = name, "variable-value" = value },
                "recognized and used environment variable"
            );
        }
        for name in start.unknown.iter().filter(|name| *name != EXIT_WITH_PARENT) {
            tracing::warn!({ "environment-variable" = name }, "unrecognized environment variable");
        }
    }
    for warning in start.resolved.warnings.iter().chain(&start.loaded.warnings) {
        tracing::warn!("{warning}");
    }
    for notice in &start.resolved.notices {
        tracing::warn!("{notice}");
    }
}
