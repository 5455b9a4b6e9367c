//! The state on RocksDB: a [`StateStore`].
//!
//! One database holds all families; which one is current, the pointer file says. Views keep the
//! database they were taken from, so a newly installed one never changes what they show.

mod checkpoint;
mod database;
mod filter;
mod frozen;
mod options;
mod pace;
mod pointer;
mod reclaim;
mod starved;
#[cfg(test)]
mod tests;
mod view;

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use rocksdb::ReadTier;

pub use self::options::StoreOptions;
use crate::{
    node::{
        fail_points,
        ports::{
            Between, Checkpoint, CheckpointFile, CheckpointId, DiskSpace, OwnedView, Reclaim,
            StageId, StateStore,
        },
    },
    raft::Position,
    state::{ConfState, FORMAT_VERSION, Writes, meta},
    storage::{
        DataDir, files,
        store::{
            checkpoint::{Checkpoints, Staging},
            database::Database,
            frozen::FrozenView,
            options::Shared,
            reclaim::Reclaimed,
            view::{Caching, Direct, StoredView},
        },
    },
    types::{Fault, Revision},
};

/// The replicated state on disk.
pub struct Store {
    shared: Shared,
    root: PathBuf,
    current: RwLock<Arc<Database>>,
    /// The number of the newest state directory; held while another is installed.
    number: Mutex<u64>,
    checkpoints: Checkpoints,
    staging: Staging,
    reclaimed: Reclaimed,
    /// Keeps other processes out until the database is closed.
    dir: Arc<DataDir>,
}

impl Store {
    /// Opens the state of a data directory, empty when there is none. Removes what earlier
    /// processes left behind: copies that were being sent or received, and replaced states.
    pub fn open(dir: &Arc<DataDir>, options: StoreOptions) -> Result<Self, Fault> {
        dir.assert_begun();
        let root = dir.path().to_path_buf();
        let number = pointer::read_or_begin(&root)?;
        pointer::remove_others(&root, number)?;
        let checkpoints = Checkpoints::open(root.join("checkpoints"))?;
        let staging = Staging::open(root.join("staging"))?;
        let shared = Shared::new(options);
        let database = Database::open(pointer::state_dir(&root, number), &shared)?;
        Ok(Self {
            shared,
            current: RwLock::new(Arc::new(database)),
            number: Mutex::new(number),
            checkpoints,
            staging,
            reclaimed: Reclaimed::read(&root),
            root,
            dir: Arc::clone(dir),
        })
    }

    fn current(&self) -> Arc<Database> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The number of the state directory: one more with each checkpoint that is installed.
    #[must_use]
    pub fn number(&self) -> u64 {
        *self.number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current database with its number.
    fn numbered(&self) -> (u64, Arc<Database>) {
        // Held meanwhile, so that none is installed.
        let number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        (*number, self.current())
    }
}

impl StateStore for Store {
    fn view(&self) -> Result<OwnedView, Fault> {
        Ok(Box::new(StoredView::new(self.current(), Caching::On)))
    }

    fn bulk_view(&self) -> Result<OwnedView, Fault> {
        Ok(Box::new(StoredView::new(self.current(), Caching::Off)))
    }

    fn open_views(&self) -> u64 {
        self.current().snapshots()
    }

    fn frozen_view(&self) -> Result<OwnedView, Fault> {
        let view = FrozenView::take(&self.checkpoints, &self.current(), &self.shared, &self.dir);
        Ok(Box::new(view?))
    }

    fn commit(&self, writes: Writes) -> Result<(), Fault> {
        self.current().commit(writes)
    }

    fn flushed(&self) -> Result<Position, Fault> {
        self.current().flushed()
    }

    fn flush(&self) -> Result<(), Fault> {
        self.current().flush()
    }

    fn set_compacted(&self, compacted: Revision) {
        // A mark that cannot be raised now is raised by the next flush or check, which can say why.
        let _ = self.current().allow(compacted);
    }

    fn check(&self) -> Result<(), Fault> {
        self.current().check()
    }

    fn disk_space(&self) -> Result<DiskSpace, Fault> {
        let used = self.current().bytes_on_disk()?;
        let (free, total) = files::room(&self.root).map_err(|error| {
            Fault::new(format!("{}: ask for room: {error}", self.root.display()))
        })?;
        self.dir.ballast().grow(free, total);
        Ok(DiskSpace { used, free, total })
    }

    fn garbage(&self) -> Result<u64, Fault> {
        let (number, database) = self.numbered();
        let stored = Direct { db: database.db(), tier: ReadTier::All };
        let stored = meta::store(&stored)?;
        let known = self.reclaimed.known(number);
        let history = stored.compacted_retired_bytes.saturating_sub(known.history);
        // Of what only history was rid of, the files of pairs may still hold what was replaced or
        // deleted there. The engine merges them as writes come by, so often there is little left.
        let pairs = known.history.saturating_sub(known.everything);
        Ok(history.saturating_add(pairs.min(database.dead_pair_bytes(&stored)?)))
    }

    fn reclaim(&self, what: Reclaim, between: &mut Between<'_>) -> Result<Option<Revision>, Fault> {
        let (number, database) = self.numbered();
        let done = database.reclaim(what, &mut || {
            between()?;
            let replaced = !Arc::ptr_eq(&database, &self.current());
            if replaced { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let Some(gone) = done else { return Ok(None) };
        if let Some(bytes) = gone.retired_bytes {
            fail_points::pass("reclaimed")?;
            if let Err(fault) = self.reclaimed.note(number, what, bytes) {
                tracing::warn!("{fault}; files will be rewritten once more");
            }
        }
        Ok(Some(gone.below))
    }

    fn interrupt(&self) {
        self.current().interrupt();
    }

    fn checkpoint(&self) -> Result<(Checkpoint, ConfState), Fault> {
        self.checkpoints.make(&self.current())
    }

    fn checkpoint_files(&self, id: CheckpointId) -> Result<Vec<CheckpointFile>, Fault> {
        self.checkpoints.files(id)
    }

    fn checkpoint_read(
        &self,
        id: CheckpointId,
        file: &str,
        offset: u64,
        len_max: usize,
    ) -> Result<Bytes, Fault> {
        self.checkpoints.read(id, file, offset, len_max)
    }

    fn checkpoint_release(&self, id: CheckpointId) {
        self.checkpoints.release(id);
    }

    fn stage(&self) -> Result<StageId, Fault> {
        self.staging.begin()
    }

    fn stage_write(&self, id: StageId, file: &str, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.staging.write(id, file, offset, data)
    }

    fn stage_drop(&self, id: StageId) {
        self.staging.discard(id);
    }

    fn install(&self, id: StageId) -> Result<Position, Fault> {
        let mut number = self.number.lock().unwrap_or_else(PoisonError::into_inner);
        let next = *number + 1;
        let path = pointer::state_dir(&self.root, next);
        // A failed install before this one may have left it.
        files::remove_dir(&path)
            .map_err(|error| Fault::new(format!("{}: remove: {error}", path.display())))?;
        self.staging.finish(id, &path)?;
        fail_points::pass("stage-moved")?;
        // Opened before it is pointed at: what cannot be opened, or read, never becomes the state.
        let database = Arc::new(Database::open(path, &self.shared)?);
        let view = StoredView::new(Arc::clone(&database), Caching::Off);
        match meta::format_version(&view)? {
            Some(FORMAT_VERSION) | None => {}
            Some(format) => {
                let what = format!(
                    "the checkpoint has format {format}, this version reads format {FORMAT_VERSION}"
                );
                return Err(Fault::new(what));
            }
        }
        drop(view);
        let applied = database.flushed()?;
        fail_points::pass("state-opened")?;
        pointer::write(&self.root, next)?;
        fail_points::pass("state-pointed")?;
        self.dir.joined()?;
        *number = next;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let replaced = std::mem::replace(&mut *current, database);
        drop(current);
        replaced.retire();
        drop(replaced);
        fail_points::pass("state-retired")?;
        Ok(applied)
    }
}
