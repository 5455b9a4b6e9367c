//! Settings of the log.

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    print::quote,
    settings::{Group, Setting, setting},
};

/// How is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What a line looks like.
    pub format: LogFormat,
}

/// What a line of the log looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object with `level`, `ts`, `caller` and `msg`.
    Json,
}

impl LogFormat {
    /// The word that a setting uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LogSettings {
    log_format: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { log_format: "text".to_owned() }
    }
}

impl Group for LogSettings {
    const SETTINGS: &'static [Setting] =
        &[setting("log-format", "FORMAT", "text, or json with etcd's fields [default: text]")];
    type Checked = Log;

    fn check(self, check: &mut Check<'_>) -> Log {
        let format = match self.log_format.as_str() {
            "text" | "console" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                check.problem("log-format", format!("{other:?} must be text or json"));
                LogFormat::Text
            }
        };
        Log { format }
    }

    fn print(log: &Log, setting: &str) -> String {
        match setting {
            "log-format" => quote(log.format.as_str()),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}
