//! Reading pairs, the newest ones or those of an older revision.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Direction, Family, View,
        mvcc::versions::{self, Before, Candidate},
        schema::{cur::PairRef, ver},
    },
    types::{Fault, Key, KeyRange, Revision},
};

/// As of when to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::state) enum At {
    /// What lives now.
    Newest,
    /// What lived at a revision, which must not lie below the compacted mark.
    Past(Revision),
}

/// What a visit of pairs does with the record of each; `Break` ends it.
pub(in crate::state) type VisitRecord<'a> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>, Fault> + 'a;

/// The same for a visit as of some time; `None` stands for a key of the range that did not live
/// then, where one was passed.
pub(super) type VisitAt<'a> = dyn FnMut(Option<&[u8]>) -> Result<ControlFlow<()>, Fault> + 'a;

/// Visits the records of the pairs that live now.
pub(in crate::state) fn visit_live(
    view: &dyn View,
    range: &KeyRange,
    direction: Direction,
    visit: &mut VisitRecord<'_>,
) -> Result<(), Fault> {
    visit_at(view, At::Newest, range, direction, &mut |record| {
        record.map_or(Ok(ControlFlow::Continue(())), &mut *visit)
    })
}

/// Visits the records of the pairs of a range as of some time, in key order.
pub(super) fn visit_at(
    view: &dyn View,
    at: At,
    range: &KeyRange,
    direction: Direction,
    visit: &mut VisitAt<'_>,
) -> Result<(), Fault> {
    if let KeyRange::One(key) = range {
        let found = match at {
            At::Newest => view.get(Family::Current, key.as_bytes())?,
            At::Past(revision) => record_at(view, key, revision)?,
        };
        if let Some(record) = found {
            let _ends_anyway = visit(Some(&record))?;
        }
        return Ok(());
    }
    if range.is_empty() {
        return Ok(());
    }
    let end = range.end();
    let end = end.as_ref().map(Key::as_bytes);
    visit_between(view, at, range.start().as_bytes(), end, direction, visit)
}

/// Visits the records of the pairs `start <= key < end` as of some time, in key order.
pub(super) fn visit_between(
    view: &dyn View,
    at: At,
    start: &[u8],
    end: Option<&[u8]>,
    direction: Direction,
    visit: &mut VisitAt<'_>,
) -> Result<(), Fault> {
    match at {
        At::Newest => {
            view.scan(Family::Current, start, end, direction, &mut |_, record| visit(Some(record)))
        }
        At::Past(revision) => {
            let mut now = view.cursor(Family::Current, start, end)?;
            now.begin(direction)?;
            let (start, end) = (ver::first_of(start), end.map(ver::first_of));
            let before = view.cursor(Family::Versions, &start, end.as_deref())?;
            let mut before = Before::begin(before, Family::Versions, revision, direction)?;
            versions::visit(&mut *now, &mut before, 0, &mut |candidate| match candidate {
                Candidate::Now(_, record) => {
                    let old_enough = PairRef::parse(record)?.mod_revision <= revision;
                    if old_enough { visit(Some(record)).map(Some) } else { Ok(None) }
                }
                Candidate::Before(_, value) => visit(Some(ver::split(value)?.1)).map(Some),
                Candidate::Nothing => visit(None).map(Some),
            })
        }
    }
}

/// The record of the pair that lived under `key` at `revision`, which must not lie below the
/// compacted mark.
fn record_at(view: &dyn View, key: &Key, revision: Revision) -> Result<Option<Bytes>, Fault> {
    if let Some(record) = view.get(Family::Current, key.as_bytes())?
        && PairRef::parse(&record)?.mod_revision <= revision
    {
        return Ok(Some(record));
    }
    // Versions of one key never overlap: if one reaches up to the revision, it is the newest of
    // those that are not younger.
    let (start, end) = (ver::key(key.as_bytes(), revision), ver::end_of(key.as_bytes()));
    let mut found = None;
    view.scan(Family::Versions, &start, Some(&end), Direction::Forward, &mut |_, value| {
        let (ended, record) = ver::split(value)?;
        if ended > revision {
            found = Some(Bytes::copy_from_slice(record));
        }
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}
