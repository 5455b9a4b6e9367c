//! A checkpoint as the chunks it is sent in, from any place on.

use std::{mem, sync::Arc};

use bytes::Bytes;

use super::assembly::{Place, Totals, file_checksum};
use crate::{
    node::ports::{CheckpointFile, CheckpointId, StateStore},
    proto::internal::SnapshotChunk,
    types::{Fault, limits},
};

/// Reads a checkpoint chunk by chunk. For a thread that may wait for the disk.
pub(super) struct Source {
    store: Arc<dyn StateStore>,
    checkpoint: CheckpointId,
    files: Arc<[CheckpointFile]>,
    place: Place,
    /// Of what the open file has before the place.
    hasher: crc32fast::Hasher,
}

impl Source {
    /// Begins at a place that exists. Of a file that is to be gone on with, what was sent before is
    /// read once more, for the checksum at its end: it proves the parts of all streams together.
    pub(super) fn at(
        store: Arc<dyn StateStore>,
        checkpoint: CheckpointId,
        files: Arc<[CheckpointFile]>,
        place: Place,
    ) -> Result<Self, Fault> {
        let begin = Place { files: place.files, open_bytes: 0 };
        let hasher = crc32fast::Hasher::new();
        let mut source = Self { store, checkpoint, files, place: begin, hasher };
        while source.place.open_bytes < place.open_bytes {
            let left = place.open_bytes - source.place.open_bytes;
            let len_max = usize::try_from(left).unwrap_or(usize::MAX);
            let Some((_, data)) = source.read(len_max.min(limits::SNAPSHOT_CHUNK_BYTES))? else {
                break;
            };
            source.place.open_bytes += len(&data);
            source.hasher.update(&data);
        }
        Ok(source)
    }

    /// The next chunk; `None` after the last one of the last file.
    pub(super) fn next(&mut self) -> Result<Option<SnapshotChunk>, Fault> {
        let Some((file, data)) = self.read(limits::SNAPSHOT_CHUNK_BYTES)? else {
            return Ok(None);
        };
        let offset = self.place.open_bytes;
        let end = offset.saturating_add(len(&data));
        let last_of_file = end >= file.len;
        self.hasher.update(&data);
        let mut chunk = SnapshotChunk {
            file: file.name,
            offset,
            crc32: crc32fast::hash(&data),
            data,
            last_of_file,
            ..SnapshotChunk::default()
        };
        self.place.open_bytes = end;
        if last_of_file {
            chunk.file_crc32 = file_checksum(mem::take(&mut self.hasher), &chunk.file);
            self.place = Place { files: self.place.files + 1, open_bytes: 0 };
        }
        Ok(Some(chunk))
    }

    /// What comes next of the open file, which has more.
    fn read(&self, len_max: usize) -> Result<Option<(CheckpointFile, Bytes)>, Fault> {
        let Some(file) = self.files.get(self.place.files) else { return Ok(None) };
        let offset = self.place.open_bytes;
        let data = self.store.checkpoint_read(self.checkpoint, &file.name, offset, len_max)?;
        if data.is_empty() && offset < file.len {
            return Err(Fault::new(format!(
                "checkpoint file {} ends at {offset} instead of {}",
                file.name, file.len
            )));
        }
        Ok(Some((file.clone(), data)))
    }
}

/// What there is to send.
pub(super) fn totals(files: &[CheckpointFile]) -> Totals {
    let bytes = files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.len));
    Totals { files: files.len(), bytes }
}

/// The bytes before a place; `None` when there is no such place.
pub(super) fn bytes_before(files: &[CheckpointFile], place: Place) -> Option<u64> {
    let complete = files.get(..place.files)?;
    let exists = match files.get(place.files) {
        Some(open) => place.open_bytes < open.len.max(1),
        None => place.open_bytes == 0,
    };
    exists.then(|| totals(complete).bytes.saturating_add(place.open_bytes))
}

fn len(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
