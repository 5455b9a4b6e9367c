//! The answer to a range read.

use std::cmp::Ordering;

use crate::{
    state::{
        ApplyError, Direction, Range, RangeResponse, Refused, RevisionFilter, SortOrder,
        SortTarget, View, meta,
        meta::Store,
        mvcc::{
            count, count_past,
            read::{At, Wanted, collect},
        },
    },
    types::{Fault, KeyRange, KeyValue, Revision},
};

/// Reads a range by itself: a revision of 0 or less means the newest one.
///
/// Compaction may drop old versions from under a view. Whoever reads a stored state at an older
/// revision must look afterwards whether that revision is compacted by now.
pub fn range(view: &dyn View, range: &Range) -> Result<RangeResponse, ApplyError> {
    let store = meta::store(view)?;
    let asked = Revision(range.revision);
    if asked.0 > 0 {
        check_revision(&store, asked)?;
    }
    Ok(range_within(view, store.revision, range)?)
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
    let asked = Revision(range.revision);
    let at = if asked.0 <= 0 || asked >= newest { At::Newest } else { At::Past(asked) };
    if range.count_only {
        return Ok(RangeResponse {
            kvs: Vec::new(),
            more: false,
            count: to_signed(count_at(view, at, &range.range)?),
        });
    }

    let found = collect(view, at, plan(range))?;
    let count = found.total.map_or_else(|| count_at(view, at, &range.range), Ok)?;
    let mut kvs = found.pairs;
    sort(&mut kvs, range);
    let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let more = kvs.len() > limit;
    kvs.truncate(limit);
    if range.keys_only {
        for pair in &mut kvs {
            pair.value.clear();
        }
    }
    Ok(RangeResponse { kvs, more, count: to_signed(count) })
}

/// What must be read so that the answer is right, one more than the limit so that `more` is.
fn plan(range: &Range) -> Wanted<'_> {
    let limited = usize::try_from(range.limit)
        .ok()
        .filter(|limit| *limit > 0)
        .map(|limit| limit.saturating_add(1));
    let by_key = range.sort.target == SortTarget::Key;
    // etcd sorts everything only when an order or a filter is given. With neither it takes the
    // first pairs in key order and sorts those, whatever the target.
    let first_suffice = by_key
        || (range.sort.order == SortOrder::None && range.filter == RevisionFilter::default());
    Wanted {
        range: &range.range,
        filter: range.filter,
        direction: match range.sort.order {
            SortOrder::Descend if by_key => Direction::Backward,
            SortOrder::None | SortOrder::Ascend | SortOrder::Descend => Direction::Forward,
        },
        take: limited.filter(|_| first_suffice).unwrap_or(usize::MAX),
        // As etcd 3.7: keys alone come without leases, but where values were read to sort by them.
        values: !range.keys_only || range.sort.target == SortTarget::Value,
    }
}

/// Keys of the range that live at a revision.
fn count_at(view: &dyn View, at: At, range: &KeyRange) -> Result<u64, Fault> {
    match at {
        At::Newest => count::live_keys(view, range),
        At::Past(revision) => count_past::keys_at(view, range, revision),
    }
}

fn sort(kvs: &mut [KeyValue], range: &Range) {
    let by: fn(&KeyValue, &KeyValue) -> Ordering = match range.sort.target {
        SortTarget::Key => return, // it was read in that order
        SortTarget::Version => |a, b| a.version.cmp(&b.version),
        SortTarget::Create => |a, b| a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => |a, b| a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => |a, b| a.value.cmp(&b.value),
    };
    match range.sort.order {
        SortOrder::None | SortOrder::Ascend => kvs.sort_by(by),
        SortOrder::Descend => kvs.sort_by(|a, b| by(b, a)),
    }
}

fn to_signed(count: u64) -> i64 {
    i64::try_from(count).expect("there are less than 2^63 keys")
}
