//! Settings of the log.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    print::{list, quote},
    settings::{Group, List, Setting, setting, switch},
};

/// etcd's words for standard error, which is where its log goes by default.
const STDERR: &[&str] = &["default", "stderr"];
/// etcd's word for the journal of systemd. What a service writes to standard error goes there, too.
const JOURNAL: &str = "systemd/journal";
/// etcd's default for what is rotated.
const ROTATION: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;
/// What a rotation takes for the size when it is 0.
const ROTATION_MIB: u64 = 100;
/// A file of the log beyond this is a mistake.
const ROTATION_MIB_MAX: u64 = 1024 * 1024;

/// How is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What a line looks like.
    pub format: LogFormat,
    /// Where lines go to, each of them to all. Never empty.
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
    /// A JSON object with `level`, `ts`, `caller` and `msg`.
    Json,
}

impl LogFormat {
    /// The word that a setting uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Console => "console",
            Self::Json => "json",
        }
    }
}

/// Where lines of the log go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The end of a file.
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

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LogSettings {
    log_format: String,
    log_outputs: List,
    logger: String,
    enable_log_rotation: bool,
    log_rotation_config_json: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            log_format: "text".to_owned(),
            log_outputs: List(vec!["default".to_owned()]),
            logger: "zap".to_owned(),
            enable_log_rotation: false,
            log_rotation_config_json: ROTATION.to_owned(),
        }
    }
}

/// What is rotated, as etcd's JSON says it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Rotation {
    /// MiB.
    maxsize: u64,
    /// Days.
    maxage: u64,
    maxbackups: usize,
}

impl Group for LogSettings {
    const SETTINGS: &'static [Setting] = &[
        setting("log-format", "FORMAT", "text, console or json, as etcd's lines [default: text]"),
        setting("log-outputs", "OUTPUTS", "stderr, stdout or paths of files [default: stderr]"),
        setting("logger", "LOGGER", "zap: it sounds as etcd's, whatever the format [default: zap]"),
        switch(
            "enable-log-rotation",
            "Begin the log's file anew when it is large [default: false]",
        ),
        setting(
            "log-rotation-config-json",
            "JSON",
            "maxsize in MiB, maxbackups, maxage in days [default: {\"maxsize\": 100}]",
        ),
    ];
    type Checked = Log;

    fn check(self, check: &mut Check<'_>) -> Log {
        let format = match self.log_format.as_str() {
            "text" => LogFormat::Text,
            "console" => LogFormat::Console,
            "json" => LogFormat::Json,
            other => {
                check.problem("log-format", format!("{other:?} must be text, console or json"));
                LogFormat::Text
            }
        };
        match self.logger.as_str() {
            "zap" => {}
            "capnslog" => check.problem("logger", "\"capnslog\" is removed in v3.5"),
            other => check.problem("logger", format!("unknown logger option {other:?}")),
        }
        let outputs = outputs(&self.log_outputs, check);
        let rotation = self.enable_log_rotation.then(|| self.rotation(&outputs, check));
        Log { format, outputs, rotation }
    }

    fn print(log: &Log, setting: &str) -> String {
        match setting {
            "log-format" => quote(log.format.as_str()),
            "log-outputs" => list(log.outputs.iter().map(name)),
            "logger" => quote("zap"),
            "enable-log-rotation" => log.rotation.is_some().to_string(),
            "log-rotation-config-json" => {
                quote(&log.rotation.as_ref().map_or_else(|| ROTATION.to_owned(), rotation_json))
            }
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}

impl LogSettings {
    fn rotation(&self, outputs: &[LogOutput], check: &mut Check<'_>) -> LogRotation {
        let is_file = |output: &&LogOutput| matches!(output, LogOutput::File(_));
        if outputs.iter().filter(is_file).count() != 1 {
            check.problem(
                "log-outputs",
                "must have a single file path when enable-log-rotation is set",
            );
        }
        let rotation: Rotation = serde_json::from_str(&self.log_rotation_config_json)
            .unwrap_or_else(|error| {
                let reason = format!("improperly formatted log rotation config: {error}");
                check.problem("log-rotation-config-json", reason);
                Rotation::default()
            });
        if rotation.maxsize > ROTATION_MIB_MAX {
            let reason = format!("maxsize {} is more than {ROTATION_MIB_MAX}", rotation.maxsize);
            check.problem("log-rotation-config-json", reason);
        }
        let mib = if rotation.maxsize == 0 { ROTATION_MIB } else { rotation.maxsize };
        LogRotation {
            bytes_max: mib.min(ROTATION_MIB_MAX) * 1024 * 1024,
            backups_max: rotation.maxbackups,
            kept: Duration::from_secs(rotation.maxage.saturating_mul(24 * 60 * 60)),
        }
    }
}

/// Each of them once, in etcd's order; one that discards silences the others.
fn outputs(texts: &List, check: &mut Check<'_>) -> Vec<LogOutput> {
    if texts.0.len() > 1 && texts.0.iter().any(|text| text == "default" || text == JOURNAL) {
        check.problem("log-outputs", "multi logoutput for \"default\" is not supported yet");
    }
    let mut outputs: Vec<LogOutput> = Vec::new();
    for text in &texts.0 {
        let output = match text.as_str() {
            JOURNAL => LogOutput::Stderr,
            text if STDERR.contains(&text) => LogOutput::Stderr,
            "stdout" => LogOutput::Stdout,
            path => LogOutput::File(PathBuf::from(path.strip_prefix("file://").unwrap_or(path))),
        };
        if !outputs.contains(&output) {
            outputs.push(output);
        }
    }
    let discard = LogOutput::File(PathBuf::from("/dev/null"));
    if outputs.contains(&discard) {
        return vec![discard];
    }
    if outputs.is_empty() { vec![LogOutput::Stderr] } else { outputs }
}

fn name(output: &LogOutput) -> String {
    match output {
        LogOutput::Stderr => "stderr".to_owned(),
        LogOutput::Stdout => "stdout".to_owned(),
        LogOutput::File(path) => path.display().to_string(),
    }
}

fn rotation_json(rotation: &LogRotation) -> String {
    let (mib, days) = (rotation.bytes_max / 1024 / 1024, rotation.kept.as_secs() / (24 * 60 * 60));
    let backups = rotation.backups_max;
    format!(r#"{{"maxsize": {mib}, "maxage": {days}, "maxbackups": {backups}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    fn loaded(flags: &[(&str, &str)]) -> Result<Log, String> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let inputs = Inputs { flags: flags.iter().map(pair).collect(), ..Inputs::default() };
        load(&inputs).map(|loaded| loaded.config.log).map_err(|error| error.to_string())
    }

    /// etcd's words for outputs, several of them, and the one that silences all.
    #[test]
    fn outputs_are_etcds() {
        let outputs = |text| loaded(&[("log-outputs", text)]).map(|log| log.outputs);

        assert_eq!(outputs("default"), Ok(vec![LogOutput::Stderr]));
        assert_eq!(outputs("systemd/journal"), Ok(vec![LogOutput::Stderr]));
        let file = LogOutput::File(PathBuf::from("/a/log"));
        assert_eq!(outputs("stdout,/a/log,stdout"), Ok(vec![LogOutput::Stdout, file]));
        let null = LogOutput::File(PathBuf::from("/dev/null"));
        assert_eq!(outputs("stderr,/dev/null"), Ok(vec![null]));
        assert!(outputs("default,/a/log").unwrap_err().contains("multi logoutput"));
    }

    /// A rotation needs one file, and JSON.
    #[test]
    fn rotation_is_checked() {
        let rotated = |outputs, json| {
            let settings = [
                ("enable-log-rotation", "true"),
                ("log-outputs", outputs),
                ("log-rotation-config-json", json),
            ];
            loaded(&settings).map(|log| log.rotation.unwrap())
        };

        let rotation =
            rotated("/a/log", r#"{"maxsize":2,"maxbackups":3,"compress":false}"#).unwrap();
        let two_mib = 2 * 1024 * 1024;
        let expected = LogRotation { bytes_max: two_mib, backups_max: 3, kept: Duration::ZERO };
        assert_eq!(rotation, expected);
        for outputs in ["stderr", "/a/log,/b/log"] {
            assert!(rotated(outputs, "{}").unwrap_err().contains("a single file path"));
        }
        assert!(rotated("/a/log", "{").unwrap_err().contains("improperly formatted"));
    }

    /// Only the logger that etcd still has is taken.
    #[test]
    fn other_loggers_are_refused() {
        assert!(loaded(&[("logger", "capnslog")]).unwrap_err().contains("removed in v3.5"));
        assert!(loaded(&[("logger", "x")]).unwrap_err().contains("unknown logger option \"x\""));
    }
}
