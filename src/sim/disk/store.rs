//! [`SimStore`]: the replicated state in memory, which falls back to its last flush at a crash.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;

use crate::{
    node::ports::{
        Between, Checkpoint, CheckpointFile, CheckpointId, DiskSpace, OwnedView, Reclaim, StageId,
        StateStore,
    },
    raft::Position,
    sim::disk::image::Image,
    state::{ConfState, Writes, meta},
    types::{Fault, Revision},
};

/// A checkpoint is one file here.
const FILE: &str = "image";
/// A disk that no run of the simulator fills.
const DISK: DiskSpace = DiskSpace { used: 0, free: 1 << 40, total: 1 << 40 };

/// The replicated state of one member in memory.
#[derive(Debug, Default)]
pub struct SimStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What reads show.
    visible: Image,
    /// What a crash leaves.
    durable: Image,
    checkpoints: BTreeMap<u64, Image>,
    staged: BTreeMap<u64, Vec<u8>>,
    last_id: u64,
    /// Counts the checkpoints that became the state.
    number: u64,
}

impl SimStore {
    /// The process or the machine dies: the state is as last flushed; half-received and pinned
    /// checkpoints are gone.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.visible = inner.durable.clone();
        inner.checkpoints.clear();
        inner.staged.clear();
    }

    /// Another one with each checkpoint that became the state.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.lock().number
    }

    /// Lets go of all checkpoints.
    pub fn release_all(&self) {
        self.lock().checkpoints.clear();
    }

    /// A hash of every record as last committed, to compare members that applied the same entries.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.lock().visible.hash()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("one thread simulates, and it does not go on after a panic")
    }
}

impl Inner {
    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl StateStore for SimStore {
    fn view(&self) -> Result<OwnedView, Fault> {
        Ok(Box::new(self.lock().visible.clone()))
    }

    fn commit(&self, writes: Writes) -> Result<(), Fault> {
        self.lock().visible.commit(writes);
        Ok(())
    }

    fn flushed(&self) -> Result<Position, Fault> {
        applied(&self.lock().durable)
    }

    fn flush(&self) -> Result<(), Fault> {
        let mut inner = self.lock();
        inner.durable = inner.visible.clone();
        Ok(())
    }

    fn set_compacted(&self, _compacted: Revision) {
        // Garbage stays, so that the state of members can be compared byte for byte.
    }

    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn disk_space(&self) -> Result<DiskSpace, Fault> {
        Ok(DISK)
    }

    fn garbage(&self) -> Result<u64, Fault> {
        Ok(0)
    }

    fn reclaim(&self, _: Reclaim, _: &mut Between<'_>) -> Result<Option<Revision>, Fault> {
        meta::compacted(&self.lock().visible).map(Some)
    }

    fn interrupt(&self) {}

    fn checkpoint(&self) -> Result<(Checkpoint, ConfState), Fault> {
        let mut inner = self.lock();
        let image = inner.visible.clone();
        let applied = applied(&image)?;
        let id = inner.new_id();
        let conf = meta::conf_state(&image)?;
        inner.checkpoints.insert(id, image);
        Ok((Checkpoint { id: CheckpointId(id), applied }, conf))
    }

    fn checkpoint_files(&self, id: CheckpointId) -> Result<Vec<CheckpointFile>, Fault> {
        let bytes = self.lock().checkpoints.get(&id.0).map(Image::encode);
        let bytes = bytes.ok_or_else(|| Fault::new(format!("there is no checkpoint {}", id.0)))?;
        Ok(vec![CheckpointFile { name: FILE.to_owned(), len: bytes.len() as u64 }])
    }

    fn checkpoint_read(
        &self,
        id: CheckpointId,
        _file: &str,
        offset: u64,
        len_max: usize,
    ) -> Result<Bytes, Fault> {
        let bytes = self.lock().checkpoints.get(&id.0).map(Image::encode);
        let bytes = bytes.ok_or_else(|| Fault::new(format!("there is no checkpoint {}", id.0)))?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(len_max).min(bytes.len());
        Ok(bytes.slice(start..end))
    }

    fn checkpoint_release(&self, id: CheckpointId) {
        self.lock().checkpoints.remove(&id.0);
    }

    fn stage(&self) -> Result<StageId, Fault> {
        let mut inner = self.lock();
        let id = inner.new_id();
        inner.staged.insert(id, Vec::new());
        Ok(StageId(id))
    }

    fn stage_write(&self, id: StageId, _file: &str, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut inner = self.lock();
        let staged = inner.staged.get_mut(&id.0);
        let staged = staged.ok_or_else(|| Fault::new(format!("nothing is staged as {}", id.0)))?;
        if staged.len() as u64 != offset {
            return Err(Fault::new(format!("{offset} is not the end of the staged file")));
        }
        staged.extend_from_slice(data);
        Ok(())
    }

    fn stage_drop(&self, id: StageId) {
        self.lock().staged.remove(&id.0);
    }

    fn install(&self, id: StageId) -> Result<Position, Fault> {
        let mut inner = self.lock();
        let staged = inner.staged.remove(&id.0);
        let staged = staged.ok_or_else(|| Fault::new(format!("nothing is staged as {}", id.0)))?;
        let image = Image::decode(staged.into())?;
        let applied = applied(&image)?;
        inner.visible = image.clone();
        inner.durable = image;
        inner.number += 1;
        Ok(applied)
    }
}

fn applied(image: &Image) -> Result<Position, Fault> {
    let (index, term) = meta::applied(image)?;
    Ok(Position { index, term })
}
