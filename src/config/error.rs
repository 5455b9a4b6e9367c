//! Why a set of settings was declined.

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

/// Why no [`Config`](super::Config) could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is missing, unreadable or not TOML.
    #[error("config file {}: {reason}", path.display())]
    File {
        /// The file that was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Some settings are unknown or make no sense, alone or together; all of them are listed.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, by the name of its flag without dashes in front.
    pub setting: String,
    /// Where its value came from, as a phrase: `environment variable ETCD_NAME`.
    pub source: String,
    /// What is wrong, naming the value.
    pub reason: String,
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.setting, self.reason, self.source)
    }
}

fn join(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}
