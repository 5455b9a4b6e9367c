//! Why a call of another member is refused.

use crate::types::{ClusterId, MemberId};

/// Why a handshake is refused. Nothing else of the call was looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call does not begin with a handshake.
    #[error("the first message has no handshake")]
    NoHandshake,
    /// The sender speaks another version of this protocol.
    #[error("peer protocol {0} is not known, this member speaks {1}")]
    Protocol(u32, u32),
    /// The sender belongs to another cluster.
    #[error("sender's cluster {0} is not this member's cluster {1}")]
    OtherCluster(ClusterId, ClusterId),
    /// The sender looked for another member at this address.
    #[error("call is for member {0}, but this is member {1}")]
    OtherMember(MemberId, MemberId),
    /// The sender has this member's id: it called itself, or the id is in use twice.
    #[error("sender has this member's own id {0}")]
    Own(MemberId),
    /// The sender is not a member, as far as this member knows, and many others are not either.
    #[error("sender {0} is not a member of cluster {1}")]
    NotMember(MemberId, ClusterId),
    /// The sender was a member once.
    #[error("sender {0} was removed from cluster {1}")]
    Removed(MemberId, ClusterId),
}

/// What is wrong with a chunk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not a plain file name.
    #[error("{0:?} is not a plain file name")]
    FileName(String),
    /// A file came again.
    #[error("file {0:?} was complete already")]
    Repeated(String),
    /// A file began before the one before it was complete.
    #[error("file {found:?} begins before {open:?} is complete")]
    Unfinished {
        /// The file that is not complete.
        open: String,
        /// The file that came.
        found: String,
    },
    /// Bytes are missing or came twice.
    #[error("file {file:?} has {expected} bytes so far, chunk begins at {found}")]
    Offset {
        /// The file.
        file: String,
        /// Where the chunk had to begin.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// The bytes changed on the way.
    #[error("checksum of file {file:?} at {offset} differs")]
    Checksum {
        /// The file.
        file: String,
        /// Where the chunk begins.
        offset: u64,
    },
    /// A file is not what its sender has, although each of its chunks is.
    #[error("checksum of the whole file {0:?} differs")]
    FileChecksum(String),
    /// A chunk that brings nothing.
    #[error("chunk of file {0:?} is empty and not its last one")]
    Empty(String),
    /// A chunk above the limit.
    #[error("chunk of {0} bytes is too large")]
    ChunkTooLarge(usize),
    /// A snapshot above the limit.
    #[error("snapshot is larger than {0} bytes")]
    TooLarge(u64),
    /// More files than the limit.
    #[error("snapshot has more than {0} files")]
    TooManyFiles(usize),
    /// The announcement came before the last file was complete.
    #[error("the announcing message came before file {0:?} was complete")]
    Early(String),
    /// The announcement came with data, or without any file before it.
    #[error("the announcing message came with data or without any file")]
    Announcement,
    /// The announcement came before everything that was promised.
    #[error("snapshot has {files} files of {bytes} bytes instead of {of_files} of {of_bytes}")]
    Incomplete {
        /// Files that came.
        files: usize,
        /// Their bytes.
        bytes: u64,
        /// Files that were promised.
        of_files: usize,
        /// Their bytes.
        of_bytes: u64,
    },
}

impl ChunkError {
    /// Whether what came before the chunk is worth nothing any more. A byte that changed on the way
    /// says nothing about those before it; whoever breaks another rule does not know what it sends.
    pub(super) fn spoils(&self) -> bool {
        !matches!(self, Self::Checksum { .. })
    }
}
