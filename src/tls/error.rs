//! Why files of certificates cannot be used.

use std::io;

use super::SettingFile;

/// Why files of certificates cannot be used. Each names the setting and the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} {}: {source}", .file.setting, .file.path.display())]
    Read {
        /// The file.
        file: SettingFile,
        /// What the system said.
        source: io::Error,
    },
    /// A file is too large to be what it is taken for.
    #[error("{} {}: more than {max} bytes", .file.setting, .file.path.display())]
    TooLarge {
        /// The file.
        file: SettingFile,
        /// What it may have.
        max: u64,
    },
    /// A file does not hold what it must.
    #[error("{} {}: {reason}", .file.setting, .file.path.display())]
    Content {
        /// The file.
        file: SettingFile,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate and a key that are not of each other, or of a kind that is not known.
    #[error(
        "{} {} and {} {}: {reason}",
        .cert.setting, .cert.path.display(), .key.setting, .key.path.display()
    )]
    Pair {
        /// The certificate.
        cert: SettingFile,
        /// The key.
        key: SettingFile,
        /// What is wrong with them.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate in {path}: {reason}")]
    SelfSigned {
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
    /// Nothing is left to be spoken.
    #[error("cipher suites and versions of tls: {0}")]
    Protocol(String),
}

impl Error {
    pub(super) fn content(file: &SettingFile, reason: impl ToString) -> Self {
        Self::Content { file: file.clone(), reason: reason.to_string() }
    }
}
