//! The rules for the chunks of a snapshot, in the order they must come.
//!
//! Files come one after the other, each from its first byte to its last, and the raft message that
//! announces the snapshot comes after all of them. Whatever breaks a rule ends the transfer.

use std::{collections::BTreeSet, mem};

use bytes::Bytes;

use super::ChunkError;
use crate::{proto::internal::SnapshotChunk, types::limits};

/// How far a snapshot has come in.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    complete: BTreeSet<String>,
    /// The file that is coming in and its length so far.
    open: Option<(String, u64)>,
    bytes: u64,
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
    /// Takes the next chunk.
    pub(super) fn take(&mut self, chunk: SnapshotChunk) -> Result<Step, ChunkError> {
        if !chunk.raft.is_empty() {
            return self.announce(chunk);
        }
        let SnapshotChunk { file, offset, data, crc32, last_of_file, .. } = chunk;
        let expected = self.expect(&file)?;
        if offset != expected {
            return Err(ChunkError::Offset { file, expected, found: offset });
        }
        if data.len() > limits::SNAPSHOT_CHUNK_BYTES {
            return Err(ChunkError::ChunkTooLarge(data.len()));
        }
        if crc32fast::hash(&data) != crc32 {
            return Err(ChunkError::Checksum { file, offset });
        }
        let len = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > limits::SNAPSHOT_BYTES_MAX {
            return Err(ChunkError::TooLarge(limits::SNAPSHOT_BYTES_MAX));
        }
        if last_of_file {
            self.open = None;
            self.complete.insert(file.clone());
        } else {
            self.open = Some((file.clone(), offset.saturating_add(len)));
        }
        Ok(Step::Write { file, offset, data })
    }

    /// Where a chunk of `file` must begin.
    fn expect(&self, file: &str) -> Result<u64, ChunkError> {
        match &self.open {
            Some((open, len)) if open == file => Ok(*len),
            Some((open, _)) => {
                Err(ChunkError::Unfinished { open: open.clone(), found: file.to_owned() })
            }
            None if !is_plain(file) => Err(ChunkError::FileName(file.to_owned())),
            None if self.complete.contains(file) => Err(ChunkError::Repeated(file.to_owned())),
            None if self.complete.len() >= limits::SNAPSHOT_FILES_MAX => {
                Err(ChunkError::TooManyFiles(limits::SNAPSHOT_FILES_MAX))
            }
            None => Ok(0),
        }
    }

    fn announce(&mut self, chunk: SnapshotChunk) -> Result<Step, ChunkError> {
        if let Some((open, _)) = mem::take(&mut self.open) {
            return Err(ChunkError::Early(open));
        }
        if self.complete.is_empty() || !chunk.data.is_empty() || !chunk.file.is_empty() {
            return Err(ChunkError::Announcement);
        }
        Ok(Step::Announce(chunk.raft))
    }
}

/// Whether a name stays within the folder it is put into.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(file: &str, offset: u64, data: &'static [u8], last_of_file: bool) -> SnapshotChunk {
        SnapshotChunk {
            handshake: None,
            file: file.to_owned(),
            offset,
            data: Bytes::from_static(data),
            crc32: crc32fast::hash(data),
            last_of_file,
            raft: Bytes::new(),
        }
    }

    fn announcement() -> SnapshotChunk {
        SnapshotChunk { raft: Bytes::from_static(b"m"), ..SnapshotChunk::default() }
    }

    /// The error that the last of these chunks meets, the others being in order.
    fn error(chunks: impl IntoIterator<Item = SnapshotChunk>) -> ChunkError {
        let mut assembly = Assembly::default();
        let mut results: Vec<_> = chunks.into_iter().map(|chunk| assembly.take(chunk)).collect();
        let last = results.pop().unwrap().unwrap_err();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        last
    }

    /// Files in pieces, an empty file, and the message at the end.
    #[test]
    fn files_come_in_order_and_the_message_last() {
        let mut assembly = Assembly::default();
        let write = |file: &str, offset, data: &'static [u8]| Step::Write {
            file: file.to_owned(),
            offset,
            data: Bytes::from_static(data),
        };

        assert_eq!(assembly.take(chunk("a", 0, b"12", false)), Ok(write("a", 0, b"12")));
        assert_eq!(assembly.take(chunk("a", 2, b"3", true)), Ok(write("a", 2, b"3")));
        assert_eq!(assembly.take(chunk("b", 0, b"", true)), Ok(write("b", 0, b"")));
        assert_eq!(assembly.take(announcement()), Ok(Step::Announce(Bytes::from_static(b"m"))));
    }

    /// A byte that changed on the way is found.
    #[test]
    fn a_changed_byte_is_refused() {
        let flipped =
            SnapshotChunk { data: Bytes::from_static(b"1x"), ..chunk("a", 0, b"12", false) };

        assert_eq!(error([flipped]), ChunkError::Checksum { file: "a".to_owned(), offset: 0 });
    }

    /// Bytes are neither missing nor repeated, and files do not interleave or come again.
    #[test]
    fn gaps_and_repeats_are_refused() {
        let name = || "a".to_owned();

        assert_eq!(
            error([chunk("a", 0, b"12", false), chunk("a", 3, b"4", true)]),
            ChunkError::Offset { file: name(), expected: 2, found: 3 }
        );
        assert_eq!(
            error([chunk("a", 0, b"12", false), chunk("b", 0, b"1", true)]),
            ChunkError::Unfinished { open: name(), found: "b".to_owned() }
        );
        assert_eq!(
            error([chunk("a", 0, b"12", true), chunk("a", 0, b"12", true)]),
            ChunkError::Repeated(name())
        );
        assert_eq!(error([chunk("a", 0, b"12", false), announcement()]), ChunkError::Early(name()));
        assert_eq!(error([announcement()]), ChunkError::Announcement);
    }

    /// A name cannot lead out of the folder.
    #[test]
    fn only_plain_file_names_are_taken() {
        for name in ["", ".", "..", "a/b", "../a", "/a", "a\\b", "a\0"] {
            assert_eq!(error([chunk(name, 0, b"1", true)]), ChunkError::FileName(name.to_owned()));
        }
    }

    /// A chunk cannot grow beyond what a sender of ours would send.
    #[test]
    fn a_large_chunk_is_refused() {
        let data = Bytes::from(vec![0; limits::SNAPSHOT_CHUNK_BYTES + 1]);
        let large =
            SnapshotChunk { crc32: crc32fast::hash(&data), data, ..chunk("a", 0, b"", true) };

        assert_eq!(error([large]), ChunkError::ChunkTooLarge(limits::SNAPSHOT_CHUNK_BYTES + 1));
    }
}
