//! [`FrozenView`]: the state of one moment for somebody who takes long to read it.
//!
//! A snapshot of the engine would not do: history that is compacted goes from under snapshots. So it
//! is a checkpoint, opened for reading. Its files are links, and go when it is dropped; what a crash
//! leaves goes at the next start.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;
use rocksdb::{DB, ReadTier};

use crate::{
    state::{Cursor, Family, View},
    storage::{
        DataDir, files,
        store::{
            checkpoint::Checkpoints,
            database::Database,
            filter::CompactedMark,
            options::Shared,
            pace::Pace,
            view::{Direct, bulk_cursor},
        },
    },
    types::Fault,
};

/// A checkpoint that is read here. It keeps other processes out until it is closed.
pub(super) struct FrozenView {
    /// Before `_folder`, so that it is closed when that is removed.
    db: DB,
    _folder: Folder,
    _dir: Arc<DataDir>,
}

/// The directory of a checkpoint, which goes with this value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it goes at the next start.
        let _ = files::remove_dir(&self.0);
    }
}

impl FrozenView {
    pub(super) fn take(
        checkpoints: &Checkpoints,
        database: &Database,
        shared: &Shared,
        dir: &Arc<DataDir>,
    ) -> Result<Self, Fault> {
        let (checkpoint, _) = checkpoints.make(database)?;
        let folder = Folder(checkpoints.path(checkpoint.id));
        // Nothing is written to it, so nothing is dropped from it either.
        let families = shared.families(&Arc::new(CompactedMark::new()), &Arc::new(Pace::default()));
        let db = DB::open_cf_descriptors_read_only(&shared.database(), &folder.0, families, false)
            .map_err(|error| Fault::new(format!("state {}: open: {error}", folder.0.display())))?;
        Ok(Self { db, _folder: folder, _dir: Arc::clone(dir) })
    }

    fn records(&self) -> Direct<'_> {
        Direct { db: &self.db, tier: ReadTier::All }
    }
}

impl View for FrozenView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.records().get(family, key)
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        Ok(bulk_cursor(&self.db, family, start, end))
    }
}
