//! Why a data directory cannot be used.

use std::{io, path::PathBuf};

use crate::types::{ClusterId, Fault, MemberId};

/// Why a data directory cannot be used. Each text names the directory, because it is what the
/// operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Somebody holds its lock.
    #[error("data directory {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing can be written there.
    #[error("data directory {} is not writable: {source}", path.display())]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Reading or writing one of its files failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It was written by a version with another format.
    #[error("data directory {} has format {found}, this version reads format {supported}", path.display())]
    OtherFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The format this version reads.
        supported: u32,
    },
    /// It belongs to another cluster.
    #[error("data directory {} belongs to cluster {found}, not to cluster {expected}", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// It belongs to another member.
    #[error("data directory {} belongs to member {found}, not to member {expected}", path.display())]
    OtherMember {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: MemberId,
        /// Whose it should be.
        expected: MemberId,
    },
    /// There is data, but nothing says whose.
    #[error(
        "data directory {} has a log or a state but no identity file: it is incomplete or not \
         quorate's; move it away, then remove this member from its cluster and add it again",
        path.display()
    )]
    NoIdentity {
        /// The directory.
        path: PathBuf,
    },
    /// The identity file cannot be trusted.
    #[error(
        "identity file {} is damaged ({what}): move the data directory away, then remove this \
         member from its cluster and add it again",
        path.display()
    )]
    BadIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Something is there where a new one is to be made.
    #[error("data-dir {path:?} not empty or could not be read")]
    NotFree {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to somebody already.
    #[error("data directory {} already belongs to member {member}", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        member: MemberId,
    },
    /// The name cannot be kept in the identity file.
    #[error("member name {0:?} contains a control character")]
    BadName(String),
}

impl From<DataDirError> for Fault {
    fn from(error: DataDirError) -> Self {
        Self::new(error.to_string())
    }
}
