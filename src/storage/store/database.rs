//! One RocksDB database in its directory: opened, written, flushed.

use std::{
    collections::VecDeque,
    fmt::Display,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use rocksdb::{DB, FlushOptions, Options, ReadTier, WriteBatch, WriteOptions, properties};

use crate::{
    node::fail_points,
    raft::Position,
    state::{ConfState, Family, Writes, meta, schema::evt},
    storage::{
        files,
        store::{
            filter::CompactedMark,
            options::Shared,
            pace::Pace,
            starved::{Starved, is_no_space},
            view::{Direct, handle},
        },
    },
    types::{Fault, Revision},
};

/// Dropped ranges remembered for the next flush. Forgetting one costs disk space for a while.
const DROPPED_RANGES_MAX: usize = 64;

/// What a compaction may write before it gives room back, also when it fails.
const COMPACTION_BYTES: u64 = 512 * 1024 * 1024;

/// A database. When it was retired, its directory goes with the last user of it.
pub(super) struct Database {
    /// Before `folder`, so that it is closed when that is removed.
    db: DB,
    folder: Folder,
    /// What the compaction filter may drop.
    pub(super) mark: Arc<CompactedMark>,
    /// How fast a rewrite that was asked for goes.
    pub(super) pace: Arc<Pace>,
    /// What the filter may drop as far as readers are concerned.
    allowed: AtomicI64,
    dropped: Mutex<VecDeque<(Family, Bytes, Bytes)>>,
    starved: Starved,
}

struct Folder {
    path: PathBuf,
    retired: AtomicBool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.retired.load(Ordering::Acquire) {
            // What is left of it goes at the next start.
            let _ = files::remove_dir(&self.path);
        }
    }
}

impl Database {
    /// Opens the database in `path`, empty when there is none.
    pub(super) fn open(path: PathBuf, shared: &Shared) -> Result<Self, Fault> {
        let mark = Arc::new(CompactedMark::new());
        let pace = Arc::new(Pace::default());
        let families = shared.families(&mark, &pace);
        let db = DB::open_cf_descriptors(&shared.database(), &path, families)
            .map_err(|error| fault(&path, "open", &error))?;
        let database = Self {
            db,
            folder: Folder { path, retired: AtomicBool::new(false) },
            mark,
            pace,
            allowed: AtomicI64::new(Revision::NEVER_COMPACTED.0),
            dropped: Mutex::default(),
            starved: Starved::default(),
        };
        // Nobody reads yet.
        database.allow(meta::compacted(&database.persisted())?)?;
        Ok(database)
    }

    pub(super) fn db(&self) -> &DB {
        &self.db
    }

    /// Commits the writes as one unit, without bringing it to disk.
    pub(super) fn commit(&self, writes: Writes) -> Result<(), Fault> {
        self.write_in_time(&writes).map_err(|error| self.fault("commit", &error))?;
        self.remember_dropped(writes.dropped_ranges);
        Ok(())
    }

    /// Writes a batch, once there is room if the disk is full.
    fn write_in_time(&self, writes: &Writes) -> Result<(), rocksdb::Error> {
        loop {
            match self.write(self.batch(writes)) {
                Err(error) if self.starved.waits_after(&error) => {}
                written => {
                    self.starved.works();
                    return written;
                }
            }
        }
    }

    fn batch(&self, writes: &Writes) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for (family, start, end) in &writes.dropped_ranges {
            batch.delete_range_cf(handle(&self.db, *family), start, end);
        }
        for ((family, key), value) in &writes.records {
            let family = handle(&self.db, *family);
            match value {
                Some(value) => batch.put_cf(family, key, value),
                None => batch.delete_cf(family, key),
            }
        }
        batch
    }

    fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.pace.wrote(batch.size_in_bytes());
        self.db.write_opt(batch, &options)
    }

    /// Brings every commit so far to disk, in all families at once; or none, when the disk is full.
    pub(super) fn flush(&self) -> Result<(), Fault> {
        fail_points::pass("flush-begins")?;
        let dropped = self.take_allowed();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = Family::ALL.map(|family| handle(&self.db, family));
        match self.db.flush_cfs_opt(&families.each_ref().map(|family| *family), &options) {
            // What is not flushed is in the log.
            Err(error) if self.starved.waits_after(&error) => {
                self.lock_dropped().extend(dropped);
                return Ok(());
            }
            flushed => flushed.map_err(|error| self.fault("flush", &error))?,
        }
        fail_points::pass("flushed")?;
        for (family, start, end) in dropped {
            self.free_files(family, &start, &end)?;
            fail_points::pass("files-freed")?;
        }
        self.raise_mark()
    }

    /// What would have been applied if the process ended now.
    pub(super) fn flushed(&self) -> Result<Position, Fault> {
        applied(&self.persisted())
    }

    /// Says that readers no longer ask for history that `compacted` gave up.
    pub(super) fn allow(&self, compacted: Revision) -> Result<(), Fault> {
        self.allowed.fetch_max(compacted.0, Ordering::AcqRel);
        self.raise_mark()
    }

    /// How many views there are: each holds one of the engine's snapshots.
    pub(super) fn snapshots(&self) -> u64 {
        self.db.property_int_value(properties::NUM_SNAPSHOTS).ok().flatten().unwrap_or(0)
    }

    /// Whether flushes and compactions work.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let errors = self
            .db
            .property_int_value(properties::BACKGROUND_ERRORS)
            .map_err(|error| self.fault("check", &error))?;
        let short = self.starved.is_or_was_short(self.is_short()?);
        if let Some(errors) = errors.filter(|errors| *errors > self.starved.forgiven()) {
            self.judge(errors, short)?;
        }
        self.raise_mark()
    }

    /// Finds out what flushes or compactions failed of.
    fn judge(&self, errors: u64, short: bool) -> Result<(), Fault> {
        // After an error other than one of space the engine takes no writes, and says why.
        match self.write(WriteBatch::default()) {
            Err(why) if is_no_space(&why) => {
                self.starved.is_or_was_short(true);
                Ok(())
            }
            // It was about space, and is over; or it is about a compaction, which is put off.
            Ok(()) if short => {
                tracing::warn!(errors, "flushes or compactions failed, and work again");
                self.starved.forgive(errors);
                Ok(())
            }
            written => {
                let why = written.err();
                let why = why.map_or_else(|| "its file LOG says why".into(), |why| why.to_string());
                let what = format!("{errors} flushes or compactions failed: {why}");
                Err(self.fault("check", &what))
            }
        }
    }

    /// Whether the disk has so little room that a compaction may have found none.
    fn is_short(&self) -> Result<bool, Fault> {
        let room = files::room(&self.folder.path);
        let (free, total) = room.map_err(|error| self.fault("ask for room", &error))?;
        Ok(free < COMPACTION_BYTES.min(total / 2))
    }

    /// Up to which revision history is dropped from the files.
    #[cfg(test)]
    pub(super) fn dropping_up_to(&self) -> Revision {
        self.mark.get()
    }

    /// Ends all compactions. Only when nothing is going to be written any more.
    pub(super) fn interrupt(&self) {
        self.pace.stop();
        self.db.cancel_all_background_work(false);
    }

    /// Lets the directory go once nobody uses it.
    pub(super) fn retire(&self) {
        self.folder.retired.store(true, Ordering::Release);
    }

    pub(super) fn fault(&self, step: &str, error: &dyn Display) -> Fault {
        fault(&self.folder.path, step, error)
    }

    pub(super) fn persisted(&self) -> Direct<'_> {
        Direct { db: &self.db, tier: ReadTier::Persisted }
    }

    /// Raises the filter's mark as far as readers and the flushed state allow.
    fn raise_mark(&self) -> Result<(), Fault> {
        let allowed = Revision(self.allowed.load(Ordering::Acquire));
        if allowed > self.mark.get() {
            self.mark.raise(allowed.min(meta::compacted(&self.persisted())?));
            fail_points::pass("compacted-mark-raised")?;
        }
        Ok(())
    }

    /// Deletes the files that hold nothing but a dropped range; for what remains of it the deletion
    /// within the commit stands. Only once that is on disk: files do not come back in a crash.
    fn free_files(&self, family: Family, start: &[u8], end: &[u8]) -> Result<(), Fault> {
        // The engine takes both ends as inclusive.
        let Some(last) = below(end).filter(|last| last.as_slice() > start) else { return Ok(()) };
        self.db
            .delete_file_in_range_cf(handle(&self.db, family), start, &last)
            .map_err(|error| self.fault("free files", &error))
    }

    fn remember_dropped(&self, ranges: Vec<(Family, Bytes, Bytes)>) {
        let mut dropped = self.lock_dropped();
        dropped.extend(ranges);
        let excess = dropped.len().saturating_sub(DROPPED_RANGES_MAX);
        dropped.drain(..excess);
    }

    /// The dropped ranges that no reader asks for any more. Files go from under snapshots, so who
    /// may still be reading must have had the chance to hear that what it read no longer counts.
    fn take_allowed(&self) -> Vec<(Family, Bytes, Bytes)> {
        let end_max = evt::first_of(Revision(self.allowed.load(Ordering::Acquire)));
        let mut dropped = self.lock_dropped();
        let allowed = |(family, _, end): &(Family, Bytes, Bytes)| {
            *family == Family::Events && *end <= end_max
        };
        let (free, later): (Vec<_>, Vec<_>) = dropped.drain(..).partition(allowed);
        dropped.extend(later);
        free
    }

    fn lock_dropped(&self) -> std::sync::MutexGuard<'_, VecDeque<(Family, Bytes, Bytes)>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the database in `path`, which nobody has open, has applied, and who decides by it.
pub(super) fn applied_in(path: &Path) -> Result<(Position, ConfState), Fault> {
    let meta = [Family::Meta.name()];
    let db = DB::open_cf_for_read_only(&Options::default(), path, meta, false)
        .map_err(|error| fault(path, "open", &error))?;
    let view = Direct { db: &db, tier: ReadTier::All };
    Ok((applied(&view)?, meta::conf_state(&view)?))
}

fn applied(view: &Direct<'_>) -> Result<Position, Fault> {
    let (index, term) = meta::applied(view)?;
    Ok(Position { index, term })
}

/// A key below `end`, as close to it as is easily said.
pub(super) fn below(end: &[u8]) -> Option<Vec<u8>> {
    let (last, rest) = end.split_last()?;
    let mut key = rest.to_vec();
    if let Some(less) = last.checked_sub(1) {
        key.push(less);
    }
    Some(key)
}

fn fault(path: &Path, step: &str, error: &dyn Display) -> Fault {
    Fault::new(format!("state {}: {step}: {error}", path.display()))
}
