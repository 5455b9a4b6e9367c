//! Reading pairs, the newest ones or those of an older revision.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Direction, Family, RevisionFilter, View,
        schema::{
            cur::{self, PairRef},
            ver,
        },
    },
    types::{Fault, Key, KeyRange, KeyValue, Revision},
};

/// As of when to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// What lives now.
    Newest,
    /// What lived at a revision, which must not lie below the compacted mark.
    Past(Revision),
}

/// Which pairs to read, and how much of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) range: &'a KeyRange,
    pub(super) filter: RevisionFilter,
    pub(super) direction: Direction,
    /// Pairs to collect at most; the first ones in the direction.
    pub(super) take: usize,
    /// Whether their values and leases are wanted.
    pub(super) values: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The pairs that pass the filter, at most as many as wanted.
    pub(super) pairs: Vec<KeyValue>,
    /// Keys of the range that live at the revision, if the reading came to its end.
    pub(super) total: Option<u64>,
}

/// What a visit of pairs does with the record of each; `Break` ends it.
pub(in crate::state) type VisitRecord<'a> = dyn FnMut(&[u8]) -> Result<ControlFlow<()>, Fault> + 'a;

/// Visits the records of the pairs that live now.
pub(in crate::state) fn visit_live(
    view: &dyn View,
    range: &KeyRange,
    direction: Direction,
    visit: &mut VisitRecord<'_>,
) -> Result<(), Fault> {
    if let KeyRange::One(key) = range {
        if let Some(record) = view.get(Family::Current, key.as_bytes())? {
            let _ends_anyway = visit(&record)?;
        }
        return Ok(());
    }
    if range.is_empty() {
        return Ok(());
    }
    let end = range.end();
    let end = end.as_ref().map(Key::as_bytes);
    view.scan(Family::Current, range.start().as_bytes(), end, direction, &mut |_, record| {
        visit(record)
    })
}

/// Collects the wanted pairs.
pub(super) fn collect(view: &dyn View, at: At, wanted: Wanted<'_>) -> Result<Found, Fault> {
    match (at, wanted.range) {
        (At::Newest, _) => collect_live(view, wanted, None),
        (At::Past(revision), KeyRange::One(key)) => {
            let mut found = Collector::new(wanted);
            if let Some(record) = record_at(view, key, revision)? {
                let _ends_anyway = found.add(PairRef::parse(&record)?)?;
            }
            Ok(found.finish())
        }
        (At::Past(revision), KeyRange::HalfOpen(..) | KeyRange::From(_)) => {
            // The key of a pair that lived then is in exactly one of the two, so the first pairs
            // of both together are among the first pairs of each, and those of the second cannot
            // lie behind the last of the first when that has enough.
            let live = collect_live(view, wanted, Some(revision))?;
            let rest = match (live.total, live.pairs.last()) {
                (None, Some(last)) => up_to(wanted, &last.key),
                (Some(_), _) | (None, None) => wanted.range.clone(),
            };
            let old = collect_old(view, Wanted { range: &rest, ..wanted }, revision)?;
            Ok(merge(live, old, wanted))
        }
    }
}

/// The part of the range that a reader has passed when it is at `key`.
fn up_to(wanted: Wanted<'_>, key: &Key) -> KeyRange {
    let end = match wanted.direction {
        Direction::Forward => KeyRange::One(key.clone()).end(),
        Direction::Backward => wanted.range.end(),
    };
    let start = match wanted.direction {
        Direction::Forward => wanted.range.start().clone(),
        Direction::Backward => key.clone(),
    };
    match end {
        Some(end) => KeyRange::HalfOpen(start, end),
        None => KeyRange::From(start),
    }
}

/// The pair that lived under `key` at `revision`, which must not lie below the compacted mark.
pub(super) fn pair_at(
    view: &dyn View,
    key: &Key,
    revision: Revision,
) -> Result<Option<KeyValue>, Fault> {
    record_at(view, key, revision)?.map(|record| cur::decode(&record)).transpose()
}

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

/// Live pairs, without those that are younger than `not_after`.
fn collect_live(
    view: &dyn View,
    wanted: Wanted<'_>,
    not_after: Option<Revision>,
) -> Result<Found, Fault> {
    let mut found = Collector::new(wanted);
    visit_live(view, wanted.range, wanted.direction, &mut |record| {
        let pair = PairRef::parse(record)?;
        if not_after.is_some_and(|revision| pair.mod_revision > revision) {
            return Ok(ControlFlow::Continue(()));
        }
        found.add(pair)
    })?;
    Ok(found.finish())
}

/// Pairs that lived at `revision` and have been replaced or deleted since.
fn collect_old(view: &dyn View, wanted: Wanted<'_>, revision: Revision) -> Result<Found, Fault> {
    let mut found = Collector::new(wanted);
    visit_old(view, wanted.range, wanted.direction, revision, &mut |record| {
        found.add(PairRef::parse(record)?)
    })?;
    Ok(found.finish())
}

/// Visits the records of the pairs that lived at `revision` and have been replaced or deleted since.
pub(super) fn visit_old(
    view: &dyn View,
    range: &KeyRange,
    direction: Direction,
    revision: Revision,
    visit: &mut VisitRecord<'_>,
) -> Result<(), Fault> {
    if range.is_empty() {
        return Ok(());
    }
    let start = ver::first_of(range.start().as_bytes());
    let end = range.end().map(|end| ver::first_of(end.as_bytes()));
    view.scan(Family::Versions, &start, end.as_deref(), direction, &mut |key, value| {
        if ver::modified(key)? > revision {
            return Ok(ControlFlow::Continue(()));
        }
        let (ended, record) = ver::split(value)?;
        if ended <= revision { Ok(ControlFlow::Continue(())) } else { visit(record) }
    })
}

fn merge(live: Found, old: Found, wanted: Wanted<'_>) -> Found {
    let mut pairs = live.pairs;
    pairs.extend(old.pairs);
    // Two sorted runs, which the standard sort merges in linear time.
    match wanted.direction {
        Direction::Forward => pairs.sort_by(|a, b| a.key.cmp(&b.key)),
        Direction::Backward => pairs.sort_by(|a, b| b.key.cmp(&a.key)),
    }
    pairs.truncate(wanted.take);
    Found { pairs, total: live.total.zip(old.total).map(|(live, old)| live + old) }
}

/// Gathers what passes until there is enough, and counts everything up to there.
struct Collector<'a> {
    wanted: Wanted<'a>,
    pairs: Vec<KeyValue>,
    seen: u64,
    stopped: bool,
}

impl<'a> Collector<'a> {
    fn new(wanted: Wanted<'a>) -> Self {
        Self { wanted, pairs: Vec::new(), seen: 0, stopped: false }
    }

    fn add(&mut self, pair: PairRef<'_>) -> Result<ControlFlow<()>, Fault> {
        self.seen += 1;
        if self.pairs.len() < self.wanted.take && passes(pair, self.wanted.filter) {
            let copied = if self.wanted.values { pair.to_pair() } else { pair.to_key_only() };
            self.pairs.push(copied?);
        }
        if self.pairs.len() >= self.wanted.take {
            self.stopped = true;
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn finish(self) -> Found {
        Found { pairs: self.pairs, total: (!self.stopped).then_some(self.seen) }
    }
}

fn passes(pair: PairRef<'_>, filter: RevisionFilter) -> bool {
    let within = |revision: Revision, min: i64, max: i64| {
        (min == 0 || revision.0 >= min) && (max == 0 || revision.0 <= max)
    };
    within(pair.mod_revision, filter.min_mod, filter.max_mod)
        && within(pair.create_revision, filter.min_create, filter.max_create)
}
