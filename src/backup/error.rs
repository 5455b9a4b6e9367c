//! Why a file cannot be read as a saved state.

use std::{io, ops::Range};

use crate::types::Fault;

/// Why a file cannot be read as a saved state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system does not give its bytes.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("it does not begin as a snapshot")]
    NoSnapshot,
    /// It is etcd's.
    #[error(
        "it is a database of etcd (bbolt), as etcd's own snapshots are: only snapshots that a \
         member of quorate has sent can be read"
    )]
    OfEtcd,
    /// Another version made it.
    #[error("the snapshot has format {found}, this version reads format {supported}")]
    OtherFormat {
        /// Its format.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// It holds a state of another version.
    #[error("the saved state has format {found}, this version reads format {supported}")]
    OtherState {
        /// Its format.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// The head is not as it was written.
    #[error("the snapshot is damaged: the checksum of its head does not match")]
    Head,
    /// A part is missing, or there is too much.
    #[error("the snapshot is damaged: it has {found} bytes, but should have {expected}")]
    Length {
        /// How long it is.
        found: u64,
        /// How long it was written.
        expected: u64,
    },
    /// A chunk is not as it was written.
    #[error(
        "the snapshot is damaged: the checksum of chunk {number} (bytes {} to {}) does not match",
        bytes.start,
        bytes.end
    )]
    Chunk {
        /// Which.
        number: u64,
        /// Where it lies.
        bytes: Range<u64>,
    },
    /// All checksums match, but what they cover makes no sense.
    #[error("the snapshot makes no sense after record {records}: {what}")]
    Content {
        /// How many records came before.
        records: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// There is no SHA-256 at its end.
    #[error("snapshot missing hash but --skip-hash-check=false")]
    NoHash,
    /// The SHA-256 is that of something else.
    #[error("expected sha256 {expected}, got {found}")]
    Hash {
        /// What the file says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A record cannot be read.
    #[error("{0}")]
    Record(#[from] Fault),
    /// It cannot be said how the state was at a revision; in etcd's words.
    #[error("{0}")]
    Revision(&'static str),
}
