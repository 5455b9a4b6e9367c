//! The answer to a range read as a whole.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        ApplyError, Range, RangeResponse, Refused, View, meta,
        meta::Store,
        mvcc::{count::keys_at, list::list_at, read::At},
        schema::cur,
    },
    types::{Fault, Revision},
};

/// Reads a range by itself: a revision of 0 or less means the newest one.
///
/// Compaction may drop old versions from under a view. Whoever reads a stored state at an older
/// revision must look afterwards whether that revision is compacted by now.
pub fn range(view: &dyn View, range: &Range) -> Result<RangeResponse, ApplyError> {
    let (_, at) = moment(view, range)?;
    Ok(range_at(view, at, range)?)
}

/// How many keys of the range live at the revision asked for, whatever its limit and filter: a few
/// reads, and never a walk over them. [`range`] says what holds for it.
pub fn count(view: &dyn View, range: &Range) -> Result<i64, ApplyError> {
    let (_, at) = moment(view, range)?;
    Ok(count_at(view, at, range)?)
}

/// The store's revision, and as of when a read by itself reads.
pub(super) fn moment(view: &dyn View, range: &Range) -> Result<(Revision, At), ApplyError> {
    let store = meta::store(view)?;
    let asked = Revision(range.revision);
    if asked.0 > 0 {
        check_revision(&store, asked)?;
    }
    Ok((store.revision, at(store.revision, asked)))
}

fn at(newest: Revision, asked: Revision) -> At {
    if asked.0 <= 0 || asked >= newest { At::Newest } else { At::Past(asked) }
}

/// Whether a revision can be read in a store with these numbers. In a transaction negative ones
/// take part in this test, too; 0 is always the newest one.
pub(in crate::state) fn check_revision(store: &Store, asked: Revision) -> Result<(), Refused> {
    if asked.0 == 0 {
        Ok(())
    } else if asked > store.revision {
        Err(Refused::FutureRevision(asked))
    } else if asked < store.compacted {
        Err(Refused::Compacted(asked))
    } else {
        Ok(())
    }
}

/// Reads a range whose revision has been checked, where `newest` is the revision of `view`.
pub(in crate::state) fn range_within(
    view: &dyn View,
    newest: Revision,
    range: &Range,
) -> Result<RangeResponse, Fault> {
    range_at(view, at(newest, Revision(range.revision)), range)
}

fn range_at(view: &dyn View, at: At, range: &Range) -> Result<RangeResponse, Fault> {
    let mut kvs = Vec::new();
    let passed = list_at(view, at, range, &mut |record| {
        kvs.push(cur::decode(&Bytes::copy_from_slice(record))?);
        Ok(ControlFlow::Continue(()))
    })?;
    let count = passed.count.map_or_else(|| count_at(view, at, range), Ok)?;
    Ok(RangeResponse { kvs, more: passed.more, count })
}

fn count_at(view: &dyn View, at: At, range: &Range) -> Result<i64, Fault> {
    keys_at(view, at, &range.range).map(to_signed)
}

/// A number of keys as clients are told it.
pub(super) fn to_signed(keys: u64) -> i64 {
    i64::try_from(keys).expect("there are less than 2^63 keys")
}
