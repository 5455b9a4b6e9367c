//! What happened, read back for watchers that were not there.

use std::ops::ControlFlow;

use crate::{
    state::{
        ApplyError, Direction, Family, View, meta,
        mvcc::{ensure_kept, read::pair_at},
        schema::{
            cur::{self, PairRef},
            evt::{self, Change, ChangeKind},
            ver,
        },
    },
    types::{Event, EventId, EventKind, Fault, Key, KeyValue, Revision},
};

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
    let mut reader = Reader {
        view,
        compacted: store.compacted,
        missing: Vec::new(),
        events: Vec::new(),
        bytes: 0,
    };
    if to < from {
        return Ok(History { events: Vec::new(), read_to: Revision(from.0 - 1) });
    }

    let mut read_to = to;
    let (mut revisions, mut current) = (0, None);
    let (start, end) = (evt::first_of(from), evt::first_of(to.next()));
    view.scan(Family::Events, &start, Some(&end), Direction::Forward, &mut |key, value| {
        let id = evt::id(key)?;
        if let Some(last) = current.filter(|last| *last != id.revision)
            && (revisions >= limit_revisions || reader.bytes >= limit_bytes)
        {
            read_to = last;
            return Ok(ControlFlow::Break(()));
        }
        if current != Some(id.revision) {
            current = Some(id.revision);
            revisions += 1;
        }
        reader.read(id, evt::decode(key, value)?)?;
        Ok(ControlFlow::Continue(()))
    })?;
    reader.settle()?;
    Ok(History { events: reader.events, read_to })
}

/// Turns records into events.
struct Reader<'a> {
    view: &'a dyn View,
    compacted: Revision,
    /// Puts of the compacted revision whose value is gone, until the same revision deletes the key.
    missing: Vec<(EventId, Key)>,
    events: Vec<Event>,
    bytes: usize,
}

impl Reader<'_> {
    fn read(&mut self, id: EventId, change: Change) -> Result<(), Fault> {
        if id.revision > self.compacted {
            self.settle()?;
        }
        let (kind, lived) = match change.kind {
            ChangeKind::Put { created } => match self.put_value(id, &change.key)? {
                Some(pair) => (EventKind::Put(pair), !created),
                None => {
                    self.missing.push((id, change.key));
                    return Ok(());
                }
            },
            ChangeKind::Delete(reason) => {
                self.missing.retain(|(_, key)| *key != change.key);
                (EventKind::Delete(change.key.clone(), reason), true)
            }
        };
        let before = Revision(id.revision.0 - 1);
        let prev = if lived && before >= self.compacted {
            pair_at(self.view, &change.key, before)?
        } else {
            None
        };
        let event = Event { id, kind, prev };
        self.bytes += event_bytes(&event);
        self.events.push(event);
        Ok(())
    }

    /// The pair a put stored: the newest one of its key, or one that was replaced since. It may be
    /// missing only at the compacted revision, where a pair that went in the revision that brought
    /// it is garbage.
    fn put_value(&self, id: EventId, key: &Key) -> Result<Option<KeyValue>, Fault> {
        if let Some(record) = self.view.get(Family::Current, key.as_bytes())?
            && PairRef::parse(&record)?.mod_revision == id.revision
        {
            return cur::decode(&record).map(Some);
        }
        match self.view.get(Family::Versions, &ver::key(key.as_bytes(), id.revision))? {
            Some(record) => Ok(Some(cur::decode(&record.slice_ref(ver::split(&record)?.1))?)),
            None if id.revision == self.compacted => Ok(None),
            None => Err(lost(id, key)),
        }
    }

    /// A put without a value and without a delete behind it has lost its value.
    fn settle(&self) -> Result<(), Fault> {
        self.missing.first().map_or(Ok(()), |(id, key)| Err(lost(*id, key)))
    }
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
