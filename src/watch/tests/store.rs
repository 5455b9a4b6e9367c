//! A store for tests: it remembers every event, publishes to a hub, and serves history.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use bytes::Bytes;

use super::hub::UNBOUNDED;
use crate::{
    types::{DeleteReason, Event, EventId, EventKind, Key, KeyRange, KeyValue, Revision},
    watch::{
        Create, Delivery, Filter, History, Hub, Kind, Limits, Polled, Read, ReadKeys, Response,
        Sink, WatchId, Watchers, board::Bounds, recorded::payload_bytes,
    },
};

/// A key of these letters.
pub(super) fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

/// The put that created a key at a revision.
pub(super) fn put(text: &str, revision: i64) -> Event {
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
    pub(super) hub: Arc<Hub>,
    pub(super) batches: BTreeMap<Revision, Vec<Event>>,
    live: BTreeMap<Key, KeyValue>,
    revision: Revision,
    pub(super) compacted: Revision,
    /// How often history was read.
    pub(super) reads: Cell<usize>,
    /// How often the past of single keys was read, and events that one may have in it.
    pub(super) key_reads: Cell<usize>,
    pub(super) key_events_max: usize,
    pub(super) value: Bytes,
}

impl Store {
    /// An empty store whose hub keeps this many revisions.
    pub(super) fn keeping(revisions: usize) -> Self {
        Self::bounded(Bounds { revisions, ..UNBOUNDED })
    }

    /// An empty store whose hub has these bounds.
    pub(super) fn bounded(bounds: Bounds) -> Self {
        Self {
            hub: Arc::new(Hub::bounded(Revision::FIRST, Revision::NEVER_COMPACTED, bounds)),
            batches: BTreeMap::new(),
            live: BTreeMap::new(),
            revision: Revision::FIRST,
            compacted: Revision::NEVER_COMPACTED,
            reads: Cell::new(0),
            key_reads: Cell::new(0),
            key_events_max: usize::MAX,
            value: Bytes::from_static(b"value"),
        }
    }

    /// Applies the changes of one request at one revision; deletes of missing keys are nothing.
    pub(super) fn apply(&mut self, changes: &[Change<'_>]) -> Revision {
        if let Some((revision, events)) = self.apply_unpublished(changes) {
            self.hub.publish([(revision, events)]);
            while self.hub.fan_out() {}
        }
        self.revision
    }

    /// The same, for the hub to learn later.
    pub(super) fn apply_unpublished(
        &mut self,
        changes: &[Change<'_>],
    ) -> Option<(Revision, Vec<Event>)> {
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
            bytes += batch.iter().map(payload_bytes).sum::<usize>();
            if count > 0 && (count >= limits.revisions || bytes > limits.bytes) {
                return Ok(Read::Piece { events, read_to });
            }
            events.extend(batch.iter().cloned());
            read_to = *revision;
        }
        Ok(Read::Piece { events, read_to: to })
    }

    /// Reads one key only, every other time.
    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        prev_kv: bool,
        _: Limits,
    ) -> Result<ReadKeys, Self::Error> {
        let reads = self.key_reads.replace(self.key_reads.get() + 1);
        assert!(keys.is_sorted_by(|(one, _), (other, _)| one < other));
        if keys.iter().any(|(_, from)| *from < self.compacted) {
            return Ok(ReadKeys::Compacted(self.compacted));
        }
        let of_key = |(key, from): &(Key, Revision)| {
            let all = self.batches.range(*from..=to).flat_map(|(_, batch)| batch);
            let events = all.filter(|event| event.key() == key).cloned();
            let bare = |event: Event| Event { prev: event.prev.filter(|_| prev_kv), ..event };
            let events: Vec<_> = events.map(bare).collect();
            (events.len() <= self.key_events_max).then_some(events)
        };
        let some = if reads.is_multiple_of(2) { 1 } else { keys.len() };
        Ok(ReadKeys::Keys { keys: keys.iter().take(some).map(of_key).collect(), read_to: to })
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

/// What a stream was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) id: WatchId,
    pub(super) revision: Revision,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Word(Kind),
    Events { events: Vec<Event>, fragment: bool },
}

impl From<Response> for Told {
    fn from(Response { id, revision, kind }: Response) -> Self {
        Self { id, revision, what: What::Word(kind) }
    }
}

/// A client with room for so many responses.
pub(super) struct Client {
    room: usize,
    pub(super) told: Vec<Told>,
}

impl Client {
    pub(super) fn with_room(room: usize) -> Self {
        Self { room, told: Vec::new() }
    }
}

impl Sink for Client {
    fn has_room(&self) -> bool {
        self.told.len() < self.room
    }

    fn say(&mut self, response: Response) {
        assert!(self.has_room());
        self.told.push(response.into());
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        assert!(self.has_room());
        let Delivery { id, revision, fragment, events } = delivery;
        let shown = events.iter().map(|shown| {
            let Event { id, kind, prev: _ } = shown.event().clone();
            Event { id, kind, prev: shown.prev().cloned() }
        });
        self.told.push(Told {
            id,
            revision,
            what: What::Events { events: shown.collect(), fragment },
        });
    }
}

/// Whether a stream was woken.
#[derive(Default)]
pub(super) struct Woken(AtomicBool);

impl Woken {
    pub(super) fn is_woken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a poll brought, and whether there is more to come.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) responses: Vec<Told>,
    pub(super) more: bool,
}

/// Fans out everything, and gives a stream room for so many responses; history is read once.
pub(super) fn poll_with<H: History>(
    watchers: &mut Watchers,
    hub: &Hub,
    history: &H,
    budget: usize,
) -> Result<Seen, H::Error> {
    while hub.fan_out() {}
    let mut client = Client::with_room(budget);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut polled = watchers.poll(&waker, &mut client);
    let mut more = hub.fetch(history)?;
    if woken.0.swap(false, Ordering::Relaxed) {
        polled = watchers.poll(&waker, &mut client);
        more |= hub.archive().is_wanted();
    }
    more |= polled == Polled::More || woken.0.load(Ordering::Relaxed);
    Ok(Seen { responses: client.told, more })
}

/// The same over the test's store.
pub(super) fn poll(watchers: &mut Watchers, store: &Store, budget: usize) -> Seen {
    let Ok(seen) = poll_with(watchers, &store.hub, store, budget);
    seen
}

/// Polls until nothing is left to do, with room for everything.
pub(super) fn drain(watchers: &mut Watchers, store: &Store) -> Vec<Told> {
    let mut responses = Vec::new();
    for _ in 0..100_000 {
        let Seen { responses: some, more } = poll(watchers, store, 64);
        responses.extend(some);
        if !more {
            return responses;
        }
    }
    panic!("the stream never comes to rest");
}

/// A response in a line: `id@revision what`.
pub(super) fn text(told: &Told) -> String {
    let what = match &told.what {
        What::Word(Kind::Created) => "created".to_owned(),
        What::Word(Kind::Refused(refusal)) => format!("refused {refusal:?}"),
        What::Word(Kind::Canceled) => "canceled".to_owned(),
        What::Word(Kind::Compacted(revision)) => format!("compacted {revision}"),
        What::Word(Kind::Progress) => "progress".to_owned(),
        What::Events { events, .. } => events.iter().map(event_text).collect::<Vec<_>>().join(", "),
    };
    format!("{}@{} {what}", told.id, told.revision)
}

/// All of them.
pub(super) fn texts(responses: &[Told]) -> Vec<String> {
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
pub(super) fn created(watchers: &mut Watchers, create: Create) -> WatchId {
    let response = watchers.create(create);
    assert_eq!(response.kind, Kind::Created);
    response.id
}
