//! What RocksDB shows the records to that it rewrites: drops garbage from the history, and rests.
//!
//! An old version of a pair, and a former count, is garbage once the revision that ended it is
//! compacted; it says so itself, so no index of garbage is kept. The filter works behind the back of snapshots, so the mark it
//! reads trails two others: the one readers check, and the one in the flushed state. The second,
//! because files that were compacted stay so after a crash, while commits that were not flushed are
//! applied again and may read what an unflushed compaction gave up after them.
//!
//! The other families have a filter that drops nothing, because from within is the only way to have
//! a rewrite rest. A filter knows whether its compaction was asked for; the engine's own never rest.

use std::{
    ffi::{CStr, CString},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use rocksdb::{
    Options,
    compaction_filter::{CompactionFilter, Decision},
    compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory},
};

use crate::{
    state::{
        Family,
        schema::{cnt, versioned},
    },
    storage::store::pace::{Pace, Steps},
    types::Revision,
};

/// Up to which revision history may be dropped from the files of one database.
#[derive(Debug)]
pub(super) struct CompactedMark(AtomicI64);

impl CompactedMark {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(Revision::NEVER_COMPACTED.0))
    }

    /// Raises it; it never falls.
    pub(super) fn raise(&self, to: Revision) {
        self.0.fetch_max(to.0, Ordering::AcqRel);
    }

    pub(super) fn get(&self) -> Revision {
        Revision(self.0.load(Ordering::Acquire))
    }
}

/// Has every compaction of a family drop what `mark` allows, and those that were asked for rest.
pub(super) fn install(
    family: Family,
    options: &mut Options,
    mark: &Arc<CompactedMark>,
    pace: &Arc<Pace>,
) {
    let name = CString::new(format!("quorate.{}", family.name())).expect("names hold no zero");
    let (mark, pace) = (Arc::clone(mark), Arc::clone(pace));
    options.set_compaction_filter_factory(Filters { name, family, mark, pace });
}

/// Makes a filter for each compaction.
struct Filters {
    name: CString,
    family: Family,
    mark: Arc<CompactedMark>,
    pace: Arc<Pace>,
}

impl CompactionFilterFactory for Filters {
    type Filter = Filter;

    fn create(&mut self, context: CompactionFilterContext) -> Filter {
        let paced = context.is_manual_compaction;
        Filter {
            name: self.name.clone(),
            family: self.family,
            mark: Arc::clone(&self.mark),
            pace: paced.then(|| (Arc::clone(&self.pace), Steps::default())),
        }
    }

    fn name(&self) -> &CStr {
        &self.name
    }
}

/// What one compaction shows its records to.
struct Filter {
    name: CString,
    family: Family,
    mark: Arc<CompactedMark>,
    /// Of a compaction that rests.
    pace: Option<(Arc<Pace>, Steps)>,
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, key: &[u8], value: &[u8]) -> Decision {
        if let Some((pace, steps)) = &mut self.pace {
            steps.passed(key.len().saturating_add(value.len()), pace);
        }
        let is_garbage = match self.family {
            Family::Versions => versioned::is_garbage(value, self.mark.get()),
            Family::Counts => cnt::is_garbage(key, value, self.mark.get()),
            Family::Current | Family::Events | Family::Meta | Family::Leases | Family::Auth => {
                false
            }
        };
        if is_garbage { Decision::Remove } else { Decision::Keep }
    }

    fn name(&self) -> &CStr {
        &self.name
    }
}
