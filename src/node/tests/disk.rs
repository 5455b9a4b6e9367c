//! A member's disk, in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;

use crate::{
    node::ports::{
        Between, Checkpoint, CheckpointFile, CheckpointId, DiskSpace, LogStore, OwnedView, Reclaim,
        StageId, StateStore,
    },
    raft::{HardState, LogEntry, LogState, LogWrite, Position},
    state::{ConfState, Writes, meta, testing::MapView},
    types::{Fault, Index, Revision, Term},
};

/// A log in memory. Every write is synced.
#[derive(Debug, Default)]
pub(super) struct MemoryLog(Mutex<Records>);

#[derive(Debug, Default)]
struct Records {
    hard_state: HardState,
    truncated: Position,
    entries: BTreeMap<Index, LogEntry>,
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap()
    }
}

fn position(entry: &LogEntry) -> Position {
    Position { index: Index(entry.index), term: Term(entry.term) }
}

impl LogStore for MemoryLog {
    fn load(&self) -> Result<LogState, Fault> {
        let log = self.lock();
        let mut term_runs: Vec<Position> = Vec::new();
        for at in log.entries.values().map(position) {
            if term_runs.last().is_none_or(|run| run.term != at.term) {
                term_runs.push(at);
            }
        }
        let last = log.entries.values().next_back().map_or(log.truncated, position);
        let bytes = log.entries.values().map(|entry| entry.data.len() as u64).sum();
        Ok(LogState {
            hard_state: log.hard_state,
            truncated: log.truncated,
            last,
            term_runs,
            bytes,
        })
    }

    fn entries(&self, low: Index, high: Index, _: u64) -> Result<Vec<LogEntry>, Fault> {
        let found: Vec<_> = self.lock().entries.range(low..high).map(|(_, e)| e.clone()).collect();
        let whole = found.len() as u64 == high.0 - low.0;
        whole
            .then_some(found)
            .ok_or_else(|| Fault::new(format!("{low} to {high} is not in the log")))
    }

    fn write(&self, write: LogWrite) -> Result<(), Fault> {
        let mut log = self.lock();
        if let Some(first) = write.entries.first() {
            log.entries.split_off(&Index(first.index));
        }
        log.entries.extend(write.entries.into_iter().map(|entry| (Index(entry.index), entry)));
        log.hard_state = write.hard_state.unwrap_or(log.hard_state);
        Ok(())
    }

    fn truncate(&self, to: Position) -> Result<(), Fault> {
        let mut log = self.lock();
        log.entries = log.entries.split_off(&to.index.next());
        log.truncated = to;
        Ok(())
    }

    fn reset(&self, to: Position, hard_state: HardState) -> Result<(), Fault> {
        *self.lock() = Records { hard_state, truncated: to, entries: BTreeMap::new() };
        Ok(())
    }
}

/// A state in memory that forgets at a crash what was not flushed.
#[derive(Debug, Default)]
pub(super) struct MemoryStore(Mutex<Disk>);

#[derive(Debug, Default)]
struct Disk {
    current: MapView,
    flushed: MapView,
    checkpoints: BTreeMap<CheckpointId, MapView>,
    stages: BTreeMap<StageId, MapView>,
    named: u64,
    /// How full it is; with plenty of room when nobody has said.
    space: Option<DiskSpace>,
}

impl MemoryStore {
    /// Falls back to what was flushed.
    pub(super) fn crash(&self) {
        let mut disk = self.lock();
        *disk = Disk {
            current: disk.flushed.clone(),
            flushed: disk.flushed.clone(),
            space: disk.space,
            ..Disk::default()
        };
    }

    /// Says how full the disk is.
    pub(super) fn set_space(&self, space: DiskSpace) {
        self.lock().space = Some(space);
    }

    /// What a checkpoint holds.
    pub(super) fn image(&self, id: CheckpointId) -> MapView {
        self.lock().checkpoints.get(&id).cloned().expect("a checkpoint is kept until it was sent")
    }

    /// Receives a checkpoint.
    pub(super) fn put_stage(&self, image: MapView) -> StageId {
        let id = self.stage().unwrap();
        self.lock().stages.insert(id, image);
        id
    }

    /// Checkpoints and stages that are still kept.
    pub(super) fn kept_checkpoints(&self) -> usize {
        let disk = self.lock();
        disk.checkpoints.len() + disk.stages.len()
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

fn applied(view: &MapView) -> Result<Position, Fault> {
    meta::applied(view).map(|(index, term)| Position { index, term })
}

impl StateStore for MemoryStore {
    fn view(&self) -> Result<OwnedView, Fault> {
        Ok(Box::new(self.lock().current.clone()))
    }

    fn commit(&self, writes: Writes) -> Result<(), Fault> {
        self.lock().current.commit(writes);
        Ok(())
    }

    fn flushed(&self) -> Result<Position, Fault> {
        applied(&self.lock().flushed)
    }

    fn flush(&self) -> Result<(), Fault> {
        let mut disk = self.lock();
        disk.flushed = disk.current.clone();
        Ok(())
    }

    fn set_compacted(&self, _: Revision) {}

    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    fn disk_space(&self) -> Result<DiskSpace, Fault> {
        let plenty = DiskSpace { used: 0, free: 1 << 40, total: 1 << 40 };
        Ok(self.lock().space.unwrap_or(plenty))
    }

    fn garbage(&self) -> Result<u64, Fault> {
        let disk = self.lock();
        meta::store(&disk.current).map(|store| store.compacted_retired_bytes)
    }

    fn reclaim(&self, _: Reclaim, _: &mut Between<'_>) -> Result<Option<Revision>, Fault> {
        meta::compacted(&self.lock().current).map(Some)
    }

    fn interrupt(&self) {}

    fn checkpoint(&self) -> Result<(Checkpoint, ConfState), Fault> {
        let mut disk = self.lock();
        disk.named += 1;
        let (id, image) = (CheckpointId(disk.named), disk.current.clone());
        let applied = applied(&image)?;
        let conf = meta::conf_state(&image)?;
        disk.checkpoints.insert(id, image);
        Ok((Checkpoint { id, applied }, conf))
    }

    fn checkpoint_files(&self, _: CheckpointId) -> Result<Vec<CheckpointFile>, Fault> {
        Err(Fault::new("checkpoints have no files here"))
    }

    fn checkpoint_read(&self, _: CheckpointId, _: &str, _: u64, _: usize) -> Result<Bytes, Fault> {
        Err(Fault::new("checkpoints have no files here"))
    }

    fn checkpoint_release(&self, id: CheckpointId) {
        self.lock().checkpoints.remove(&id);
    }

    fn stage(&self) -> Result<StageId, Fault> {
        let mut disk = self.lock();
        disk.named += 1;
        let id = StageId(disk.named);
        disk.stages.insert(id, MapView::default());
        Ok(id)
    }

    fn stage_write(&self, _: StageId, _: &str, _: u64, _: &[u8]) -> Result<(), Fault> {
        Err(Fault::new("checkpoints have no files here"))
    }

    fn stage_drop(&self, id: StageId) {
        self.lock().stages.remove(&id);
    }

    fn install(&self, id: StageId) -> Result<Position, Fault> {
        let mut disk = self.lock();
        let image = disk.stages.remove(&id).ok_or_else(|| Fault::new("no such stage"))?;
        (disk.current, disk.flushed) = (image.clone(), image);
        applied(&disk.current)
    }
}
