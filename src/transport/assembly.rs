//! The rules for the chunks of a snapshot, in the order they must come.
//!
//! Files come one after the other, each from its first byte to its last, and the raft message that
//! announces the snapshot comes after all of them. Whatever breaks a rule ends the stream. A stream
//! that broke can be gone on with where it ended, by another one: the place says where.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, mem};

use bytes::Bytes;

use super::ChunkError;
use crate::{proto::internal::SnapshotChunk, types::limits};

/// How much a snapshot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Files that are complete, in the sender's order.
    pub(super) files: usize,
    /// Bytes of the next one.
    pub(super) open_bytes: u64,
}

/// A snapshot that comes in.
#[derive(Debug)]
pub(super) struct Assembly {
    totals: Totals,
    complete: BTreeSet<String>,
    /// The file that is coming in.
    open: Option<Open>,
    bytes: u64,
}

/// A file of which more is to come.
#[derive(Debug)]
struct Open {
    name: String,
    len: u64,
    /// Of all its bytes so far.
    hasher: crc32fast::Hasher,
}

/// What to do with a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Append to a file.
    Write {
        /// The file.
        file: String,
        /// Its length so far.
        offset: u64,
        /// What to append; empty for an empty file.
        data: Bytes,
    },
    /// All files are complete: step this message.
    Announce(Bytes),
}

impl Assembly {
    /// Nothing yet of so much.
    pub(super) fn new(totals: Totals) -> Result<Self, ChunkError> {
        if totals.files > limits::SNAPSHOT_FILES_MAX {
            return Err(ChunkError::TooManyFiles(limits::SNAPSHOT_FILES_MAX));
        }
        if totals.bytes > limits::SNAPSHOT_BYTES_MAX {
            return Err(ChunkError::TooLarge(limits::SNAPSHOT_BYTES_MAX));
        }
        Ok(Self { totals, complete: BTreeSet::new(), open: None, bytes: 0 })
    }

    /// What has come so far, all of it proved by checksums.
    pub(super) fn place(&self) -> Place {
        Place {
            files: self.complete.len(),
            open_bytes: self.open.as_ref().map_or(0, |open| open.len),
        }
    }

    /// Bytes of all files so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much it will be.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// Takes the next chunk. After an error that does not spoil what is there, nothing has changed.
    pub(super) fn take(&mut self, chunk: SnapshotChunk) -> Result<Step, ChunkError> {
        if !chunk.raft.is_empty() {
            return self.announce(chunk);
        }
        let SnapshotChunk { file, offset, data, crc32, last_of_file, file_crc32, .. } = chunk;
        let expected = self.expect(&file)?;
        if offset != expected {
            return Err(ChunkError::Offset { file, expected, found: offset });
        }
        if data.len() > limits::SNAPSHOT_CHUNK_BYTES {
            return Err(ChunkError::ChunkTooLarge(data.len()));
        }
        if data.is_empty() && !last_of_file {
            return Err(ChunkError::Empty(file));
        }
        if crc32fast::hash(&data) != crc32 {
            return Err(ChunkError::Checksum { file, offset });
        }
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let bytes = self.bytes.saturating_add(len);
        if bytes > self.totals.bytes {
            return Err(ChunkError::TooLarge(self.totals.bytes));
        }
        self.bytes = bytes;
        let mut hasher = self.open.take().map(|open| open.hasher).unwrap_or_default();
        hasher.update(&data);
        if last_of_file {
            if file_checksum(hasher, &file) != file_crc32 {
                return Err(ChunkError::FileChecksum(file));
            }
            self.complete.insert(file.clone());
        } else {
            let len = offset.saturating_add(len);
            self.open = Some(Open { name: file.clone(), len, hasher });
        }
        Ok(Step::Write { file, offset, data })
    }

    /// Where a chunk of `file` must begin.
    fn expect(&self, file: &str) -> Result<u64, ChunkError> {
        match &self.open {
            Some(open) if open.name == file => Ok(open.len),
            Some(open) => {
                Err(ChunkError::Unfinished { open: open.name.clone(), found: file.to_owned() })
            }
            None if !is_plain(file) => Err(ChunkError::FileName(file.to_owned())),
            None if self.complete.contains(file) => Err(ChunkError::Repeated(file.to_owned())),
            None if self.complete.len() >= self.totals.files => {
                Err(ChunkError::TooManyFiles(self.totals.files))
            }
            None => Ok(0),
        }
    }

    fn announce(&mut self, chunk: SnapshotChunk) -> Result<Step, ChunkError> {
        if let Some(open) = mem::take(&mut self.open) {
            return Err(ChunkError::Early(open.name));
        }
        if self.complete.is_empty() || !chunk.data.is_empty() || !chunk.file.is_empty() {
            return Err(ChunkError::Announcement);
        }
        let found = Totals { files: self.complete.len(), bytes: self.bytes };
        if found != self.totals {
            return Err(ChunkError::Incomplete {
                files: found.files,
                bytes: found.bytes,
                of_files: self.totals.files,
                of_bytes: self.totals.bytes,
            });
        }
        Ok(Step::Announce(chunk.raft))
    }
}

/// The checksum of a whole file: of its bytes, and of its name behind them.
pub(super) fn file_checksum(mut bytes: crc32fast::Hasher, name: &str) -> u32 {
    bytes.update(name.as_bytes());
    bytes.finalize()
}

/// Whether a name stays within the folder it is put into.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\\', '\0'])
}
