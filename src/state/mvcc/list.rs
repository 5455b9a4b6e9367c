//! The records a range read answers with, handed out one by one.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        ApplyError, Direction, Range, RevisionFilter, SortOrder, SortTarget, View,
        mvcc::{
            count::keys_at,
            range::{moment, to_signed},
            read::{At, VisitRecord, visit_at},
        },
        schema::cur::{self, PairRef},
    },
    types::{Fault, Revision},
};

/// Keys passed that did not live at the revision before it is asked how many did.
const IDLE_MAX: u64 = 128;

/// What [`list`] says beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The store's revision.
    pub revision: Revision,
    /// Keys of the range lie behind the limit. Not looked for once `take` has ended it.
    pub more: bool,
    /// `take` ended it.
    pub stopped: bool,
    /// Keys of the range that live at the revision asked for, filtered or not, if that is known by
    /// now; else [`super::count()`] tells.
    pub count: Option<i64>,
}

/// Hands the records of a range, in the answer's order and wire form (etcd's `KeyValue`), to `take`,
/// until there are no more, the limit is reached, or `take` breaks.
///
/// In key order each is handed on as it is read, so that memory does not grow with the answer; any
/// other order needs all records first. A read that only counts has no records.
///
/// What [`super::range()`] says about compaction holds here, too.
pub fn list(
    view: &dyn View,
    range: &Range,
    take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<Listed, ApplyError> {
    let (revision, at) = moment(view, range)?;
    let mut stopped = false;
    let passed = list_at(view, at, range, &mut |record| {
        let flow = take(record);
        stopped = flow.is_break();
        Ok(flow)
    })?;
    Ok(Listed { revision, more: passed.more, stopped, count: passed.count })
}

/// How far a list went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    /// Keys of the range lie behind the limit.
    pub(super) more: bool,
    /// Keys of the range that live then, if that is known.
    pub(super) count: Option<i64>,
}

/// The same as of a moment, for a taker that may fail.
pub(super) fn list_at(
    view: &dyn View,
    at: At,
    range: &Range,
    take: &mut VisitRecord<'_>,
) -> Result<Passed, Fault> {
    let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    if range.count_only {
        return Ok(Passed::default());
    }
    if range.sort.target != SortTarget::Key {
        return list_sorted(view, at, range, limit, take);
    }
    visit_passing(view, at, range, limit, &mut |record| {
        take(if range.keys_only { cur::without_value(record)? } else { record })
    })
}

/// Visits the first records that pass the filter, in key order.
fn visit_passing(
    view: &dyn View,
    at: At,
    range: &Range,
    limit: usize,
    visit: &mut VisitRecord<'_>,
) -> Result<Passed, Fault> {
    let backward = range.sort.target == SortTarget::Key && range.sort.order == SortOrder::Descend;
    let direction = if backward { Direction::Backward } else { Direction::Forward };
    let unfiltered = range.filter == RevisionFilter::default();
    let (mut seen, mut visited, mut more, mut ended) = (0, 0, false, false);
    let (mut idle, mut all) = (0, None);
    visit_at(view, at, &range.range, direction, &mut |found| {
        if let Some(record) = found {
            seen += 1;
            if unfiltered || passes(PairRef::parse(record)?, range.filter) {
                more = visited == limit;
                ended = more || visit(record)?.is_break();
                visited += 1;
            }
        } else {
            // Where many keys are now, or were between, few may have lived then: once all of
            // those have been seen, the walk is over.
            idle += 1;
            if idle == IDLE_MAX {
                all = Some(keys_at(view, at, &range.range)?);
            }
        }
        let over = ended || all == Some(seen);
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let count = all.or_else(|| (!ended).then_some(seen)).map(to_signed);
    Ok(Passed { more, count })
}

/// A record that is to be sorted.
struct Row {
    by: By,
    record: Bytes,
}

/// What it is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum By {
    Number(i64),
    Bytes(Bytes),
}

fn list_sorted(
    view: &dyn View,
    at: At,
    range: &Range,
    limit: usize,
    take: &mut VisitRecord<'_>,
) -> Result<Passed, Fault> {
    // etcd sorts everything only when an order or a filter is given. With neither it takes the
    // first pairs in key order, one more than the limit, and sorts those, whatever the target.
    let first_suffice =
        range.sort.order == SortOrder::None && range.filter == RevisionFilter::default();
    let wanted = if first_suffice { limit.saturating_add(1) } else { usize::MAX };
    let mut rows = Vec::new();
    let passed = visit_passing(view, at, range, wanted, &mut |record| {
        rows.push(row(record, range)?);
        Ok(if rows.len() < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    match range.sort.order {
        SortOrder::None | SortOrder::Ascend => rows.sort_by(|a, b| a.by.cmp(&b.by)),
        SortOrder::Descend => rows.sort_by(|a, b| b.by.cmp(&a.by)),
    }
    let more = rows.len() > limit;
    for row in rows.into_iter().take(limit) {
        if take(&row.record)?.is_break() {
            return Ok(Passed { more: false, count: passed.count });
        }
    }
    Ok(Passed { more, count: passed.count })
}

fn row(record: &[u8], range: &Range) -> Result<Row, Fault> {
    let pair = PairRef::parse(record)?;
    let by = match range.sort.target {
        SortTarget::Key | SortTarget::Version => By::Number(pair.version),
        SortTarget::Create => By::Number(pair.create_revision.0),
        SortTarget::Mod => By::Number(pair.mod_revision.0),
        SortTarget::Value => By::Bytes(Bytes::copy_from_slice(pair.value)),
    };
    // As etcd 3.7: keys alone come without leases, but where values were read to sort by them.
    let record = match range.sort.target {
        _ if !range.keys_only => Bytes::copy_from_slice(record),
        SortTarget::Value => cur::encode(&PairRef { value: &[], ..pair }.to_pair()?),
        SortTarget::Key | SortTarget::Version | SortTarget::Create | SortTarget::Mod => {
            Bytes::copy_from_slice(cur::without_value(record)?)
        }
    };
    Ok(Row { by, record })
}

fn passes(pair: PairRef<'_>, filter: RevisionFilter) -> bool {
    let within = |revision: Revision, min: i64, max: i64| {
        (min == 0 || revision.0 >= min) && (max == 0 || revision.0 <= max)
    };
    within(pair.mod_revision, filter.min_mod, filter.max_mod)
        && within(pair.create_revision, filter.min_create, filter.max_create)
}
