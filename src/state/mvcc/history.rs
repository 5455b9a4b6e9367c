//! What happened, read back for watchers that were not there.
//!
//! The records of what happened lie in the order of revisions, and say nothing of values; those lie
//! in the order of keys. So changes are taken up some hundreds or thousands at a time and their
//! values looked up key by key: the versions of a key lie side by side, each next to the one before
//! it, and one jump finds all that a key needs.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    state::{
        ApplyError, Cursor, Direction, Family, View, meta,
        mvcc::ensure_kept,
        schema::{
            cur::{self, PairRef},
            evt::{self, Change, ChangeKind},
            ver, versioned,
        },
    },
    types::{Event, EventId, EventKind, Fault, Key, KeyValue, Revision},
};

/// Changes whose values are looked up together: few at first, so that little is read in vain where
/// values are large, then more.
const FIRST_STEP: usize = 64;
const STEP_MAX: usize = 8_192;
/// Bytes looked up together; when there are more, fewer changes are taken at a time.
const STEP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A stretch of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The events of whole revisions, in order.
    pub events: Vec<Event>,
    /// The last revision that was read; all its events are here. Before the first one asked for
    /// when there was nothing to read.
    pub read_to: Revision,
}

/// The events of the revisions `from..=to`, as live watchers saw them: whole revisions, at least
/// one if there is one, and no further one once `limit_revisions` or `limit_bytes` (of keys and
/// values) is reached. Declined when `from` lies below the compacted mark.
///
/// The pair before a change is there only if its revision can still be read. That is decided by
/// number, since compaction takes its time and differs between members.
///
/// Compaction may drop old versions from under a view. Whoever reads a stored state must look
/// afterwards, even after a fault, whether the compacted mark has moved: what was read counts only
/// if it has not.
pub fn events(
    view: &dyn View,
    from: Revision,
    to: Revision,
    limit_revisions: usize,
    limit_bytes: usize,
) -> Result<History, ApplyError> {
    ensure_kept(view, from)?;
    let store = meta::store(view)?;
    let to = to.min(store.revision);
    if to < from {
        return Ok(History { events: Vec::new(), read_to: Revision(from.0 - 1) });
    }

    let (start, end) = (evt::first_of(from), evt::first_of(to.next()));
    let mut records = view.cursor(Family::Events, &start, Some(&end))?;
    records.begin(Direction::Forward)?;
    let mut values = Values::new(view, store.compacted)?;
    let mut history = History { events: Vec::new(), read_to: to };
    let (mut revisions, mut bytes, mut step) = (0, 0, FIRST_STEP);
    loop {
        let changes = next_changes(&mut *records, step, limit_revisions - revisions)?;
        if changes.is_empty() {
            return Ok(history);
        }
        for revision in values.events(changes, &mut step, limit_bytes.saturating_sub(bytes))? {
            revisions += 1;
            bytes += revision.iter().map(event_bytes).sum::<usize>();
            let last = revision.last().map(|event| event.id.revision);
            history.events.extend(revision);
            if let Some(last) = last
                && (revisions >= limit_revisions || bytes >= limit_bytes)
                && last < to
            {
                history.read_to = last;
                return Ok(history);
            }
        }
        step = (step * 4).min(STEP_MAX);
    }
}

/// The changes of the next revision, and of further ones as long as there are less than `min`
/// changes and less than `revisions_max` revisions.
fn next_changes(
    records: &mut dyn Cursor,
    min: usize,
    revisions_max: usize,
) -> Result<Vec<(EventId, Change)>, Fault> {
    let mut changes: Vec<(EventId, Change)> = Vec::new();
    let mut revisions = 0;
    while let Some((key, value)) = records.item() {
        let id = evt::id(key)?;
        if changes.last().is_none_or(|(last, _)| last.revision != id.revision) {
            if revisions > 0 && (changes.len() >= min || revisions >= revisions_max) {
                break;
            }
            revisions += 1;
        }
        changes.push((id, evt::decode(key, value)?));
        records.step()?;
    }
    Ok(changes)
}

/// Looks values up, for changes that come in order.
struct Values<'a> {
    view: &'a dyn View,
    versions: Box<dyn Cursor + 'a>,
    compacted: Revision,
}

/// What a key held from a revision on, up to another.
struct Version {
    from: Revision,
    /// None when it holds it now.
    end: Option<Revision>,
    pair: Bytes,
}

impl<'a> Values<'a> {
    fn new(view: &'a dyn View, compacted: Revision) -> Result<Self, Fault> {
        Ok(Self { view, versions: view.cursor(Family::Versions, &[], None)?, compacted })
    }

    /// The events of changes, by revision, until they have `limit_bytes`. `step` is lowered where
    /// values are large.
    fn events(
        &mut self,
        changes: Vec<(EventId, Change)>,
        step: &mut usize,
        limit_bytes: usize,
    ) -> Result<Vec<Vec<Event>>, Fault> {
        let revisions = changes.chunk_by(|(a, _), (b, _)| a.revision == b.revision);
        let mut rest: &[_] = &revisions.collect::<Vec<_>>();
        let (mut events, mut bytes) = (Vec::new(), 0);
        while !rest.is_empty() && (events.is_empty() || bytes < limit_bytes) {
            let mut len = 0;
            let fit = |revision: &&&[_]| {
                let before = len;
                len += revision.len();
                before == 0 || len <= *step
            };
            let take = rest.iter().take_while(fit).count();
            let (now, later) = rest.split_at(take);
            match self.look_up(now)? {
                Some(found) => {
                    bytes += found.iter().flatten().map(event_bytes).sum::<usize>();
                    events.extend(found);
                    rest = later;
                }
                None => *step = (*step / 8).max(1),
            }
        }
        Ok(events)
    }

    /// The events of some revisions. None when those are several and too large to be looked up
    /// together.
    fn look_up(
        &mut self,
        revisions: &[&[(EventId, Change)]],
    ) -> Result<Option<Vec<Vec<Event>>>, Fault> {
        let mut by_key: BTreeMap<&Key, (Revision, Revision)> = BTreeMap::new();
        for (id, change) in revisions.iter().copied().flatten() {
            let span = by_key.entry(&change.key).or_insert((id.revision, id.revision));
            span.1 = id.revision;
        }
        let (mut bytes, mut found) = (0, BTreeMap::new());
        for (key, (first, last)) in by_key {
            let versions = self.versions_of(key, first, last, &mut bytes)?;
            found.insert(key, versions);
            if bytes > STEP_BYTES_MAX && revisions.len() > 1 {
                return Ok(None);
            }
        }
        let events = revisions.iter().map(|changes| self.revision(changes, &found));
        events.collect::<Result<_, _>>().map(Some)
    }

    /// Everything that the key held when something happened to it between two revisions, and just
    /// before.
    fn versions_of(
        &mut self,
        key: &Key,
        first: Revision,
        last: Revision,
        bytes: &mut usize,
    ) -> Result<Vec<Version>, Fault> {
        let mut versions = Vec::new();
        // The newest come first.
        let start = ver::key(key.as_bytes(), last);
        let stem = start.get(..start.len() - size_of::<u64>()).unwrap_or_default();
        self.versions.seek(&start, Direction::Forward)?;
        while let Some((at, value)) = self.versions.item() {
            let Some((_, from)) = versioned::split(at).filter(|(found, _)| *found == stem) else {
                break;
            };
            let (end, pair) = ver::split(value)?;
            if end < first {
                break;
            }
            *bytes += pair.len();
            versions.push(Version { from, end: Some(end), pair: Bytes::copy_from_slice(pair) });
            self.versions.step()?;
        }
        // What holds now is needed unless it was replaced within what is looked up.
        if versions.first().is_none_or(|newest| newest.end <= Some(last))
            && let Some(pair) = self.view.get(Family::Current, key.as_bytes())?
        {
            let from = PairRef::parse(&pair)?.mod_revision;
            *bytes += pair.len();
            versions.push(Version { from, end: None, pair });
        }
        Ok(versions)
    }

    /// The events of a revision.
    fn revision(
        &self,
        changes: &[(EventId, Change)],
        found: &BTreeMap<&Key, Vec<Version>>,
    ) -> Result<Vec<Event>, Fault> {
        // Puts whose value is gone, until the same revision deletes the key: at the compacted one a
        // pair is garbage that went in the revision that brought it.
        let mut missing: Vec<(EventId, &Key)> = Vec::new();
        let mut events = Vec::with_capacity(changes.len());
        for (id, change) in changes {
            let versions = found.get(&change.key).map_or(&[][..], Vec::as_slice);
            let (kind, lived) = match change.kind {
                ChangeKind::Put { created } => match put_value(versions, id.revision)? {
                    Some(pair) => (EventKind::Put(pair), !created),
                    None if id.revision == self.compacted => {
                        missing.push((*id, &change.key));
                        continue;
                    }
                    None => return Err(lost(*id, &change.key)),
                },
                ChangeKind::Delete(reason) => {
                    missing.retain(|(_, key)| **key != change.key);
                    (EventKind::Delete(change.key.clone(), reason), true)
                }
            };
            let kept = id.revision > self.compacted;
            let prev = if lived && kept { value_before(versions, id.revision)? } else { None };
            events.push(Event { id: *id, kind, prev });
        }
        match missing.first() {
            Some((id, key)) => Err(lost(*id, key)),
            None => Ok(events),
        }
    }
}

/// The pair that a put of this revision stored.
fn put_value(versions: &[Version], revision: Revision) -> Result<Option<KeyValue>, Fault> {
    let stored = versions.iter().find(|version| version.from == revision);
    stored.map(|version| cur::decode(&version.pair)).transpose()
}

/// The pair that held before this revision.
fn value_before(versions: &[Version], revision: Revision) -> Result<Option<KeyValue>, Fault> {
    let held = versions
        .iter()
        .find(|version| version.from < revision && version.end.is_none_or(|end| revision <= end));
    held.map(|version| cur::decode(&version.pair)).transpose()
}

fn lost(id: EventId, key: &Key) -> Fault {
    Fault::new(format!("the value of put {id} of key {key:?} is missing"))
}

/// What an event counts for: the keys and values it carries.
fn event_bytes(event: &Event) -> usize {
    let pair = |pair: &KeyValue| pair.key.as_bytes().len() + pair.value.len();
    let changed = match &event.kind {
        EventKind::Put(new) => pair(new),
        EventKind::Delete(key, _) => key.as_bytes().len(),
    };
    changed + event.prev.as_ref().map_or(0, pair)
}
