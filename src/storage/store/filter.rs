//! Drops garbage from the history while RocksDB compacts its files.
//!
//! An old version of a pair, and a former count, is garbage once the revision that ended it is
//! compacted; it says so itself, so no index of garbage is kept. The filter works behind the back of snapshots, so the mark it
//! reads trails two others: the one readers check, and the one in the flushed state. The second,
//! because files that were compacted stay so after a crash, while commits that were not flushed are
//! applied again and may read what an unflushed compaction gave up after them.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rocksdb::{Options, compaction_filter::Decision};

use crate::{
    state::{
        Family,
        schema::{cnt, versioned},
    },
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

/// Makes the families of history drop what `mark` allows.
pub(super) fn install(family: Family, options: &mut Options, mark: &Arc<CompactedMark>) {
    let mark = Arc::clone(mark);
    match family {
        Family::Versions => options.set_compaction_filter("quorate.ver.garbage", {
            move |_level, _key, value| decision(versioned::is_garbage(value, mark.get()))
        }),
        Family::Counts => options.set_compaction_filter("quorate.cnt.garbage", {
            move |_level, key, value| decision(cnt::is_garbage(key, value, mark.get()))
        }),
        Family::Current | Family::Events | Family::Meta | Family::Leases | Family::Auth => (),
    }
}

fn decision(is_garbage: bool) -> Decision {
    if is_garbage { Decision::Remove } else { Decision::Keep }
}
