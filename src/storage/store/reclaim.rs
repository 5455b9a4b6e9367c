//! Ridding the files of what was given up.
//!
//! The engine visits a file only when writes touch it. What is given up by records of old age stays
//! in files that no write touches any more, so all of them are rewritten here, a step at a time: the
//! bottom level is cut into ranges of about [`STEP_BYTES`], and the engine compacts one after the
//! other through all its levels. Within a step it works at a pace that leaves the processors to
//! others. Every step leaves a whole database, so a crash in between loses
//! nothing. What is known to be gone is noted when the last step is done; a crash before that makes
//! the work due again.

#[cfg(test)]
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rocksdb::{BottommostLevelCompaction, CompactOptions, ReadOptions, properties};

use crate::{
    node::{
        fail_points,
        ports::{Between, Reclaim},
    },
    state::{
        AlarmKind, Family, meta,
        schema::{evt, versioned},
    },
    storage::{
        files,
        store::{
            database::{Database, below},
            pace::Steps,
            view::handle,
        },
    },
    types::{Fault, Revision},
};

/// About how much of the bottom level one step rewrites.
const STEP_BYTES: usize = 16 * 1024 * 1024;

/// So many files of a family that flushes wrote and no compaction merged yet: the engine is behind,
/// and a rewrite must not be in its way for long.
const UNMERGED_FILES_MAX: u64 = 8;

/// A range of keys of a family: from and with the first, up to and without the second.
type Range = (Option<Bytes>, Option<Bytes>);

/// What a run has rid the files of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    /// History below this revision.
    pub(super) below: Revision,
    /// So many bytes since the store began; `None` when a compaction was just being applied, whose
    /// garbage may be among what is counted and still be there.
    pub(super) retired_bytes: Option<u64>,
}

impl Database {
    /// Rids the files of what was given up when this was called. `None` when `between` ended it.
    pub(super) fn reclaim(
        &self,
        what: Reclaim,
        between: &mut Between<'_>,
    ) -> Result<Option<Gone>, Fault> {
        // Garbage is what the flushed state has given up.
        self.flush()?;
        let stored = meta::store(&self.persisted())?;
        let gone = self.mark.get().min(stored.compacted);
        // Writes are refused meanwhile, and wait for room.
        let awaited = stored.alarms.iter().any(|alarm| alarm.kind == AlarmKind::NoSpace);
        for family in Family::ALL {
            for range in self.steps(family, what, gone)? {
                self.pace.begin(awaited || self.is_behind()?);
                if family == Family::Versions && !self.has_garbage(&range, gone)? {
                    continue;
                }
                self.compact(family, &range)?;
                fail_points::pass("reclaim-step")?;
                if between().is_break() {
                    return Ok(None);
                }
            }
        }
        let whole = gone == stored.compacted;
        let retired_bytes = whole.then_some(stored.compacted_retired_bytes);
        Ok(Some(Gone { below: gone, retired_bytes }))
    }

    /// Bytes of all files with records.
    pub(super) fn bytes_on_disk(&self) -> Result<u64, Fault> {
        Family::ALL.into_iter().try_fold(0_u64, |sum, family| {
            let bytes = self
                .db()
                .property_int_value_cf(handle(self.db(), family), properties::TOTAL_SST_FILES_SIZE)
                .map_err(|error| self.fault("measure", &error))?;
            Ok(sum.saturating_add(bytes.unwrap_or(0)))
        })
    }

    /// Bytes of the files of live pairs that hold anything but live pairs: pairs that were replaced
    /// or deleted, and what the files need for themselves.
    pub(super) fn dead_pair_bytes(&self, stored: &meta::Store) -> Result<u64, Fault> {
        let pairs = handle(self.db(), Family::Current);
        let files = self
            .db()
            .property_int_value_cf(pairs, properties::LIVE_SST_FILES_SIZE)
            .map_err(|error| self.fault("measure", &error))?;
        let history = stored.retired_bytes.saturating_sub(stored.compacted_retired_bytes);
        let live = stored.logical_size.saturating_sub(history);
        Ok(files.unwrap_or(0).saturating_sub(live))
    }

    /// Whether writes have left more behind than the engine has come to.
    fn is_behind(&self) -> Result<bool, Fault> {
        let unmerged = properties::num_files_at_level(0);
        for family in Family::ALL {
            let files = self
                .db()
                .property_int_value_cf(handle(self.db(), family), &unmerged)
                .map_err(|error| self.fault("measure", &error))?;
            if files.unwrap_or(0) >= UNMERGED_FILES_MAX {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The ranges in which a family is compacted.
    fn steps(&self, family: Family, what: Reclaim, gone: Revision) -> Result<Vec<Range>, Fault> {
        match (family, what) {
            // Old versions are garbage by themselves; elsewhere records are replaced and deleted.
            (Family::Versions, _) | (Family::Current | Family::Leases, Reclaim::Everything) => {
                self.ranges(family)
            }
            // Dropped from the start on.
            (Family::Events, _) => Ok(vec![(None, Some(evt::first_of(gone)))]),
            (Family::Counts, _) | (Family::Meta | Family::Auth, Reclaim::Everything) => {
                Ok(vec![(None, None)])
            }
            (Family::Current | Family::Leases | Family::Meta | Family::Auth, Reclaim::History) => {
                Ok(Vec::new())
            }
        }
    }

    /// All keys of a family, cut where files of its lowest level begin.
    fn ranges(&self, family: Family) -> Result<Vec<Range>, Fault> {
        let files = self.db().live_files().map_err(|error| self.fault("list", &error))?;
        let mut files: Vec<_> =
            files.into_iter().filter(|file| file.column_family_name == family.name()).collect();
        let bottom = files.iter().map(|file| file.level).max();
        files.retain(|file| Some(file.level) == bottom && file.level > 0);
        files.sort_by(|a, b| a.start_key.cmp(&b.start_key));
        let mut ranges = Vec::new();
        let (mut start, mut bytes) = (None, 0_usize);
        for file in files {
            if bytes >= STEP_BYTES {
                let cut = file.start_key.map(Bytes::from);
                ranges.push((start, cut.clone()));
                (start, bytes) = (cut, 0);
            }
            bytes = bytes.saturating_add(file.size);
        }
        ranges.push((start, None));
        Ok(ranges)
    }

    /// Whether a range of old versions holds garbage. Reading costs less than rewriting for nothing.
    fn has_garbage(&self, (start, end): &Range, gone: Revision) -> Result<bool, Fault> {
        let mut options = ReadOptions::default();
        // What is read once need not push out what clients read.
        options.fill_cache(false);
        if let Some(start) = start {
            options.set_iterate_lower_bound(start.clone());
        }
        if let Some(end) = end {
            options.set_iterate_upper_bound(end.clone());
        }
        let versions = handle(self.db(), Family::Versions);
        let mut records = self.db().raw_iterator_cf_opt(versions, options);
        records.seek_to_first();
        let mut steps = Steps::default();
        while let Some((key, value)) = records.item() {
            if versioned::is_garbage(value, gone) {
                return Ok(true);
            }
            steps.passed(key.len().saturating_add(value.len()), &self.pace);
            records.next();
        }
        records.status().map_err(|error| self.fault("look for garbage", &error))?;
        Ok(false)
    }

    fn compact(&self, family: Family, (start, end): &Range) -> Result<(), Fault> {
        let mut options = CompactOptions::default();
        // The engine's own compactions go on beside it.
        options.set_exclusive_manual_compaction(false);
        // The lowest level is where old garbage lies; what this call has written there is clean.
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        // The engine takes both ends as inclusive; the file that begins at the end is the next one's.
        let last = end.as_deref().and_then(below);
        let family = handle(self.db(), family);
        self.db().compact_range_cf_opt(family, start.as_deref(), last.as_deref(), &options);
        // It does not say how that went, but counts what went wrong.
        self.check()
    }
}

/// How much of what was given up is known to be gone from a state's files, in a small file beside
/// them. Whatever it cannot say is taken as not gone yet.
#[derive(Debug)]
pub(super) struct Reclaimed {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What is known of one state: its number, and the bytes that had been given up when its files were
/// rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    state: u64,
    /// When those of all families were.
    pub(super) everything: u64,
    /// When those of history were; no less than that.
    pub(super) history: u64,
}

impl Reclaimed {
    pub(super) fn read(root: &Path) -> Self {
        let path = root.join("reclaimed");
        let known = fs::read_to_string(&path).ok().and_then(|text| parse(&text));
        Self { path, known: Mutex::new(known.unwrap_or_default()) }
    }

    /// What is gone from the files of state `number`.
    pub(super) fn known(&self, number: u64) -> Known {
        let known = *self.lock();
        if known.state == number { known } else { Known { state: number, ..Known::default() } }
    }

    /// Notes that of state `number` so many bytes are gone from the files of `what`.
    pub(super) fn note(&self, number: u64, what: Reclaim, bytes: u64) -> Result<(), Fault> {
        let mut next = self.known(number);
        next.history = next.history.max(bytes);
        if what == Reclaim::Everything {
            next.everything = next.everything.max(bytes);
        }
        let Known { state, everything, history } = next;
        files::replace(&self.path, format!("{state} {everything} {history}\n").as_bytes())
            .map_err(|error| Fault::new(format!("{}: write: {error}", self.path.display())))?;
        *self.lock() = next;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(text: &str) -> Option<Known> {
    let mut numbers = text.strip_suffix('\n')?.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let (state, everything, history) = (next()?, next()?, next()?);
    (everything <= history).then_some(Known { state, everything, history })
}
