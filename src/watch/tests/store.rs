//! A store for tests: it remembers every event, publishes to a hub, and serves history.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::{
    types::{DeleteReason, Event, EventId, EventKind, Key, KeyRange, KeyValue, Revision},
    watch::{
        Create, Filter, History, Hub, Kind, Limits, Polled, Read, Response, WatchId, Watchers,
        hub::event_bytes,
    },
};

/// A key of these letters.
pub(crate) fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

/// The put that created a key at a revision.
pub(crate) fn put(text: &str, revision: i64) -> Event {
    let kv = KeyValue {
        key: key(text),
        value: Bytes::from_static(b"value"),
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        version: 1,
        lease: None,
    };
    let id = EventId { revision: Revision(revision), sub: 0 };
    Event { id, kind: EventKind::Put(kv), prev: None }
}

/// One change of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    Put(&'a str),
    Delete(&'a str),
}

/// A store that forgets nothing, whatever it says about compaction.
pub(super) struct Store {
    pub(super) hub: Hub,
    pub(super) batches: BTreeMap<Revision, Arc<[Event]>>,
    live: BTreeMap<Key, KeyValue>,
    revision: Revision,
    pub(super) compacted: Revision,
    /// How often history was read.
    pub(super) reads: Cell<usize>,
    pub(super) value: Bytes,
}

impl Store {
    /// An empty store whose hub keeps this many revisions.
    pub(super) fn keeping(revisions: usize) -> Self {
        Self {
            hub: Hub::bounded(Revision::FIRST, Revision::NEVER_COMPACTED, revisions, usize::MAX),
            batches: BTreeMap::new(),
            live: BTreeMap::new(),
            revision: Revision::FIRST,
            compacted: Revision::NEVER_COMPACTED,
            reads: Cell::new(0),
            value: Bytes::from_static(b"value"),
        }
    }

    /// Applies the changes of one request at one revision; deletes of missing keys are nothing.
    pub(super) fn apply(&mut self, changes: &[Change<'_>]) -> Revision {
        if let Some((revision, events)) = self.apply_unpublished(changes) {
            self.hub.publish(revision, events);
        }
        self.revision
    }

    /// The same, for the hub to learn later.
    pub(super) fn apply_unpublished(
        &mut self,
        changes: &[Change<'_>],
    ) -> Option<(Revision, Arc<[Event]>)> {
        let revision = self.revision.next();
        let before = self.live.clone();
        let mut events = Vec::new();
        for change in changes {
            let sub = u32::try_from(events.len()).unwrap();
            let id = EventId { revision, sub };
            let (name, kind) = match *change {
                Change::Put(name) => (name, EventKind::Put(self.changed(name, revision))),
                Change::Delete(name) if self.live.remove(&key(name)).is_some() => {
                    (name, EventKind::Delete(key(name), DeleteReason::Client))
                }
                Change::Delete(_) => continue,
            };
            events.push(Event { id, kind, prev: before.get(&key(name)).cloned() });
        }
        if events.is_empty() {
            return None;
        }
        self.revision = revision;
        let events: Arc<[Event]> = events.into();
        self.batches.insert(revision, events.clone());
        Some((revision, events))
    }

    fn changed(&mut self, name: &str, revision: Revision) -> KeyValue {
        let value = self.value.clone();
        let before = self.live.get(&key(name));
        let kv = KeyValue {
            key: key(name),
            value,
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            lease: None,
        };
        self.live.insert(key(name), kv.clone());
        kv
    }

    pub(super) fn put(&mut self, name: &str) -> Revision {
        self.apply(&[Change::Put(name)])
    }

    pub(super) fn delete(&mut self, name: &str) -> Revision {
        self.apply(&[Change::Delete(name)])
    }

    pub(super) fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(Revision(revision));
        self.hub.compacted(Revision(revision));
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }
}

impl History for Store {
    type Error = std::convert::Infallible;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Self::Error> {
        self.reads.set(self.reads.get() + 1);
        if from < self.compacted {
            return Ok(Read::Compacted(self.compacted));
        }
        let (mut events, mut bytes, mut read_to) = (Vec::new(), 0, from);
        for (count, (revision, batch)) in self.batches.range(from..=to).enumerate() {
            bytes += batch.iter().map(event_bytes).sum::<usize>();
            if count > 0 && (count >= limits.revisions || bytes > limits.bytes) {
                return Ok(Read::Piece { events, read_to });
            }
            events.extend(batch.iter().cloned());
            read_to = *revision;
        }
        Ok(Read::Piece { events, read_to: to })
    }
}

/// A watcher of a range in wire form, from "now" and with nothing special.
pub(super) fn watch(start: &str, end: &str) -> Create {
    Create {
        range: KeyRange::from_wire(key(start), Bytes::copy_from_slice(end.as_bytes())),
        start: Revision(0),
        filter: Filter::default(),
        prev_kv: false,
        fragment: false,
        progress_notify: false,
        id: None,
    }
}

/// The same from a revision on.
pub(super) fn watch_from(start: &str, end: &str, revision: i64) -> Create {
    Create { start: Revision(revision), ..watch(start, end) }
}

/// Polls until nothing is left to do, with room for everything.
pub(super) fn drain(watchers: &mut Watchers, store: &Store) -> Vec<Response> {
    let mut responses = Vec::new();
    for _ in 0..100_000 {
        let Polled { responses: some, more } = watchers.poll(&store.hub, store, 64).unwrap();
        responses.extend(some);
        if !more {
            return responses;
        }
    }
    panic!("the stream never comes to rest");
}

/// A response in a line: `id@revision what`.
pub(super) fn text(response: &Response) -> String {
    let what = match &response.kind {
        Kind::Created => "created".to_owned(),
        Kind::Refused(refusal) => format!("refused {refusal:?}"),
        Kind::Canceled => "canceled".to_owned(),
        Kind::Compacted(revision) => format!("compacted {revision}"),
        Kind::Progress => "progress".to_owned(),
        Kind::Events { events, .. } => events.iter().map(event_text).collect::<Vec<_>>().join(", "),
    };
    format!("{}@{} {what}", response.id, response.revision)
}

/// All of them.
pub(super) fn texts(responses: &[Response]) -> Vec<String> {
    responses.iter().map(text).collect()
}

fn event_text(event: &Event) -> String {
    let name = String::from_utf8_lossy(event.key().as_bytes()).into_owned();
    let verb = match event.kind {
        EventKind::Put(_) => "put",
        EventKind::Delete(..) => "delete",
    };
    let prev = event.prev.as_ref().map(|kv| format!(" (was {})", kv.mod_revision));
    format!("{verb} {name} {}{}", event.id, prev.unwrap_or_default())
}

/// Creates a watcher and expects it to be taken.
pub(super) fn created(watchers: &mut Watchers, store: &Store, create: Create) -> WatchId {
    let response = watchers.create(&store.hub, create);
    assert_eq!(response.kind, Kind::Created);
    response.id
}
