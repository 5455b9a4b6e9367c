//! What happened to single keys, read back without a look at what happened to others.
//!
//! The versions of a key lie side by side, and each says when it came and when it ended. What
//! happened to the key follows: a put where a version begins, a delete where one ends and no other
//! takes its place. So it costs what the key itself has, however much happened to others meanwhile.
//!
//! Two things do not follow from versions and are looked up by revision: why a key was deleted, and
//! what happened at the compacted revision, for what ended there is garbage.

use std::{collections::BTreeMap, ops::RangeInclusive};

use bytes::Bytes;

use crate::{
    state::{
        ApplyError, Cursor, Direction, Family, View, meta,
        mvcc::{ensure_kept, history},
        schema::{
            cur::{self, PairRef},
            evt::{self, ChangeKind},
            ver, versioned,
        },
    },
    types::{DeleteReason, Event, EventId, EventKind, Fault, Key, KeyValue, Revision},
};

/// What happened to some keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHistory {
    /// What happened to each of the first of the keys, in their order. `None` where it is more than
    /// the limits allow.
    pub keys: Vec<Option<Vec<Event>>>,
    /// The last revision that was read.
    pub read_to: Revision,
}

/// What happened to each of these keys from its revision on and up to `to`. Keys come in order, each
/// once. Declined when one of their revisions lies below the compacted mark.
///
/// The pairs before the changes are left out without `prev_kv`.
///
/// A key with more than `limit_versions` versions meanwhile, or more than `limit_bytes` of them, is
/// left out. Once `limit_bytes` were read, no further key is.
///
/// The events are those of [`history::events`], but that the place of one in its revision counts
/// only the changes of its own key. A key is put at most once in a revision, for no request is let
/// in that puts it twice.
///
/// Compaction may drop old versions from under a view: what is said there holds here too.
pub fn events_of_keys(
    view: &dyn View,
    keys: &[(Key, Revision)],
    to: Revision,
    prev_kv: bool,
    limit_versions: usize,
    limit_bytes: usize,
) -> Result<KeyHistory, ApplyError> {
    if let Some(oldest) = keys.iter().map(|(_, from)| *from).min() {
        ensure_kept(view, oldest)?;
    }
    let store = meta::store(view)?;
    let mut reader = Reader {
        current: Walk::new(view, Family::Current)?,
        versions: Walk::new(view, Family::Versions)?,
        to: to.min(store.revision),
        limit_versions,
        limit_bytes,
        bytes: 0,
    };
    let mut at_compacted = None;
    let mut read = Vec::new();
    for (key, from) in keys {
        if reader.bytes >= limit_bytes {
            break;
        }
        let mut events = Vec::new();
        let mut first = *from;
        if first == store.compacted {
            let all = match at_compacted.take() {
                Some(all) => all,
                None => history::events(view, first, first, 1, 0)?.events,
            };
            events.extend(all.iter().filter(|event| event.key() == key).cloned());
            at_compacted = Some(all);
            first = first.next();
        }
        let versions = reader.versions(key, first)?;
        if let Some(versions) = &versions {
            changes(key, versions, first..=reader.to, prev_kv, &mut events);
            number(&mut events);
        }
        read.push(versions.map(|_| events));
    }
    explain_deletes(view, store.compacted, &mut read)?;
    Ok(KeyHistory { keys: read, read_to: reader.to })
}

/// What a key held.
struct Version {
    pair: KeyValue,
    /// None when it holds it now.
    end: Option<Revision>,
}

/// Reads the versions of keys that come in order.
struct Reader<'a> {
    current: Walk<'a>,
    versions: Walk<'a>,
    to: Revision,
    limit_versions: usize,
    limit_bytes: usize,
    /// Of all versions that were read.
    bytes: usize,
}

impl Reader<'_> {
    /// The versions of a key that came or ended between `from` and `to`, the newest first. None when
    /// they are more than the limits allow.
    fn versions(&mut self, key: &Key, from: Revision) -> Result<Option<Vec<Version>>, Fault> {
        let mut versions = Vec::new();
        self.current.go_to(key.as_bytes())?;
        if let Some((_, record)) = self.current.item().filter(|(at, _)| *at == key.as_bytes())
            && PairRef::parse(record)?.mod_revision <= self.to
        {
            self.bytes += record.len();
            versions.push(Version { pair: pair(record)?, end: None });
        }
        let (start, before) = (ver::key(key.as_bytes(), self.to), self.bytes);
        let stem = start.get(..start.len() - size_of::<Revision>()).unwrap_or_default();
        self.versions.go_to(&start)?;
        while let Some((at, value)) = self.versions.item() {
            if versioned::split(at).is_none_or(|(found, _)| found != stem) {
                break;
            }
            let (end, record) = ver::split(value)?;
            if end < from {
                break;
            }
            self.bytes += record.len();
            if versions.len() >= self.limit_versions || self.bytes - before > self.limit_bytes {
                return Ok(None);
            }
            versions.push(Version { pair: pair(record)?, end: Some(end) });
            self.versions.step()?;
        }
        Ok(Some(versions))
    }
}

/// A cursor that goes forward only, and looks at what comes next before it jumps.
struct Walk<'a> {
    cursor: Box<dyn Cursor + 'a>,
    has_begun: bool,
}

impl<'a> Walk<'a> {
    fn new(view: &'a dyn View, family: Family) -> Result<Self, Fault> {
        Ok(Self { cursor: view.cursor(family, &[], None)?, has_begun: false })
    }

    /// Goes to the first record not below `key`. No later call may name a smaller one.
    fn go_to(&mut self, key: &[u8]) -> Result<(), Fault> {
        let is_there = |walk: &Self| walk.item().is_none_or(|(at, _)| key <= at);
        if self.has_begun && !is_there(self) {
            self.step()?;
        }
        if self.has_begun && is_there(self) {
            return Ok(());
        }
        self.has_begun = true;
        self.cursor.seek(key, Direction::Forward)
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.cursor.step()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.item()
    }
}

fn pair(record: &[u8]) -> Result<KeyValue, Fault> {
    cur::decode(&Bytes::copy_from_slice(record))
}

/// Adds what happened to a key in a span of revisions above the compacted one. Deletes have no
/// reason of their own yet.
fn changes(
    key: &Key,
    versions: &[Version],
    span: RangeInclusive<Revision>,
    prev_kv: bool,
    events: &mut Vec<Event>,
) {
    let mut add = |revision, kind, prev: Option<&KeyValue>| {
        let id = EventId { revision, sub: 0 };
        events.push(Event { id, kind, prev: prev.filter(|_| prev_kv).cloned() });
    };
    let mut older: Option<&Version> = None;
    let mut oldest_first = versions.iter().rev().peekable();
    while let Some(version) = oldest_first.next() {
        let Version { pair, end } = version;
        let began = pair.mod_revision;
        let before = older.filter(|older| older.end == Some(began)).map(|older| &older.pair);
        if span.contains(&began) {
            // One that was deleted in the same revision was not there before it.
            let prev = before.filter(|_| pair.version > 1);
            add(began, EventKind::Put(pair.clone()), prev);
        }
        let newer = oldest_first.peek().map(|newer| &newer.pair);
        let is_replaced =
            newer.is_some_and(|newer| *end == Some(newer.mod_revision) && newer.version > 1);
        if let Some(end) = end.filter(|end| span.contains(end) && !is_replaced) {
            // What the revision itself had brought was not there before it.
            let prev = if began < end { Some(pair) } else { before };
            add(end, EventKind::Delete(key.clone(), DeleteReason::Client), prev);
        }
        older = Some(version);
    }
}

/// Gives events of a key that come in order their places in their revisions.
fn number(events: &mut [Event]) {
    let mut last: Option<EventId> = None;
    for event in events {
        let same = last.filter(|last| last.revision == event.id.revision);
        event.id.sub = same.map_or(0, |last| last.sub + 1);
        last = Some(event.id);
    }
}

/// Gives deletes above the compacted revision their reasons.
fn explain_deletes(
    view: &dyn View,
    compacted: Revision,
    read: &mut [Option<Vec<Event>>],
) -> Result<(), Fault> {
    let mut deletes: BTreeMap<Revision, BTreeMap<Key, Vec<&mut DeleteReason>>> = BTreeMap::new();
    for Event { id, kind, .. } in read.iter_mut().flatten().flatten() {
        match kind {
            EventKind::Delete(key, reason) if id.revision > compacted => {
                let keys = deletes.entry(id.revision).or_default();
                keys.entry(key.clone()).or_default().push(reason);
            }
            EventKind::Delete(..) | EventKind::Put(_) => {}
        }
    }
    for (revision, mut keys) in deletes {
        let (start, end) = (evt::first_of(revision), evt::first_of(revision.next()));
        let mut records = view.cursor(Family::Events, &start, Some(&end))?;
        records.begin(Direction::Forward)?;
        while let Some((at, record)) = records.item().filter(|_| !keys.is_empty()) {
            let change = evt::decode(at, record)?;
            if let ChangeKind::Delete(reason) = change.kind {
                let unknown = keys.remove(&change.key).unwrap_or_default();
                unknown.into_iter().for_each(|place| *place = reason);
            }
            records.step()?;
        }
        if let Some((key, _)) = keys.first_key_value() {
            return Err(Fault::new(format!("no delete of key {key:?} is recorded at {revision}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
