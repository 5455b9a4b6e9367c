//! The log: events of the crate, and warnings of the libraries, as lines for people or as etcd's
//! JSON, on standard error, standard output or at the end of files.

mod console;
mod json;
mod output;
mod record;
mod rotation;

use std::{io, path::PathBuf, time::Duration};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use self::{console::Console, json::Json, output::Outputs};

/// What is logged, how, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// One of `trace`, `debug`, `info`, `warn` and `error`; any other word means `info`.
    pub level: String,
    /// What a line looks like.
    pub format: LogFormat,
    /// Where lines go to, each of them to all.
    pub outputs: Vec<LogOutput>,
    /// When files are begun anew; `None`: never.
    pub rotation: Option<LogRotation>,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For people, as etcd writes it: columns with tabs between them, fields as JSON behind them.
    Console,
    /// A JSON object with `level`, `ts`, `caller`, `msg`, and the fields of the event.
    Json,
}

/// Where lines of the log go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file, which is made where there is none.
    File(PathBuf),
}

/// When a file of the log is put aside and begun anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRotation {
    /// Before it grows beyond so many bytes.
    pub bytes_max: u64,
    /// How many older ones are kept; 0: all.
    pub backups_max: usize,
    /// How long older ones are kept; zero: for ever.
    pub kept: Duration,
}

/// Starts the log. The first call wins: the log of a process is set once.
///
/// Libraries are heard from `warn` on, because their finer levels tell of every frame.
///
/// # Errors
///
/// When a file cannot be opened; then there is no log.
pub fn init(options: &LogOptions) -> io::Result<()> {
    let outputs = Outputs::open(options)?;
    // When standard error is gone, saying so on standard error would panic.
    let lines = fmt::layer().with_ansi(false).log_internal_errors(false).with_writer(outputs);
    let layer: Box<dyn Layer<_> + Send + Sync> = match options.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Console => lines.event_format(Console).boxed(),
        LogFormat::Json => lines.event_format(Json).boxed(),
    };
    let started = Registry::default().with(filter(&options.level)).with(layer).try_init();
    // Another start in this process came first, and its log stands.
    drop(started);
    Ok(())
}

/// The last directive that fits an event decides.
fn filter(level: &str) -> EnvFilter {
    let level = match level {
        "trace" | "debug" | "info" | "warn" | "error" => level,
        _ => "info",
    };
    let libraries = if level == "error" { "error" } else { "warn" };
    EnvFilter::new(format!("{libraries},quorate={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starting twice is allowed, as tests and embedders do.
    #[test]
    fn a_second_start_does_nothing() {
        let options = |level: &str| LogOptions {
            level: level.to_owned(),
            format: LogFormat::Text,
            outputs: vec![LogOutput::Stderr],
            rotation: None,
        };
        init(&options("error")).unwrap();
        init(&options("no such level")).unwrap();
    }

    /// A log that cannot be written from the start is noticed.
    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let options = LogOptions {
            level: "info".to_owned(),
            format: LogFormat::Json,
            outputs: vec![LogOutput::File(PathBuf::from("/nowhere/at/all/log"))],
            rotation: None,
        };
        let refused = init(&options).unwrap_err().to_string();
        assert!(refused.contains("/nowhere/at/all/log"), "{refused}");
    }
}
