//! Hub and watchers against a plain model, through random histories.

use std::{collections::BTreeMap, sync::Arc, task::Waker};

use proptest::prelude::*;

use super::hub::UNBOUNDED;
use super::store::{Change, Client, Store, Told, What, Woken, key};
use crate::{
    types::{Event, EventKind, KeyRange, Revision},
    watch::{Create, Filter, Kind, Polled, WatchId, Watchers, board::Bounds},
};

/// What can happen. What it happens to is a stream.
#[derive(Clone, Debug)]
enum Step {
    /// One request: true puts a key, false deletes it. The hub is told, but does nothing yet.
    Request(Vec<(usize, bool)>),
    /// The same without the hub; later it starts over, as after a checkpoint was installed.
    Install(Vec<(usize, bool)>),
    /// Compact up to this many revisions before the current one.
    Compact(i64),
    FanOut,
    Fetch,
    Create(Asked),
    /// Cancel the watcher created as the nth, if it is there.
    Cancel(usize),
    /// Has an effect if the stream is awake or has asked for something, as with real streams.
    Poll(usize),
    Progress,
    Tick,
    /// The client goes away, and comes back with a new stream.
    Reopen,
}

/// A watcher to be created.
#[derive(Clone, Debug)]
struct Asked {
    range: usize,
    /// Start this far before (or after) the current revision, or now.
    back: Option<i64>,
    filter: Filter,
    flags: [bool; 3],
    id: Option<i64>,
}

const STREAMS: usize = 3;
/// How many revisions memory keeps.
const KEPT: usize = 6;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];

fn range(number: usize) -> KeyRange {
    match number {
        0 => KeyRange::One(key("a")),
        1 => KeyRange::One(key("b")),
        2 => KeyRange::HalfOpen(key("b"), key("d")),
        _ => KeyRange::From(key("a")),
    }
}

fn asked() -> impl Strategy<Value = Asked> {
    let filter = (prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(no_put, no_delete)| Filter { no_put, no_delete });
    // Not -1: on the wire it also stands for no watcher at all.
    let id = prop::option::weighted(0.3, prop_oneof![Just(-2), 0..4_i64]);
    (0..4_usize, prop::option::of(-3..15_i64), filter, any::<[bool; 3]>(), id)
        .prop_map(|(range, back, filter, flags, id)| Asked { range, back, filter, flags, id })
}

fn step() -> impl Strategy<Value = Step> {
    let request = || prop::collection::vec((0..KEYS.len(), prop::bool::weighted(0.7)), 1..4);
    prop_oneof![
        12 => request().prop_map(Step::Request),
        1 => request().prop_map(Step::Install),
        1 => (0..10_i64).prop_map(Step::Compact),
        6 => Just(Step::FanOut),
        3 => Just(Step::Fetch),
        4 => asked().prop_map(Step::Create),
        1 => (0..20_usize).prop_map(Step::Cancel),
        6 => (0..4_usize).prop_map(Step::Poll),
        1 => Just(Step::Progress),
        1 => Just(Step::Tick),
        1 => Just(Step::Reopen),
    ]
}

/// What the model knows of a watcher.
struct Watched {
    create: Create,
    from: Revision,
    /// Where the store stood when it was created.
    created: Revision,
    /// It starts after what was matched when it was created, so that it is woken for nothing at times.
    ahead: bool,
    /// Revisions delivered, each with its events.
    seen: Vec<(Revision, Vec<Event>)>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Canceled,
    Lost,
}

/// The hub started over at a revision, and had matched everything up to another.
struct Gap {
    from: Revision,
    to: Revision,
}

struct Model {
    store: Store,
    gaps: Vec<Gap>,
    streams: Vec<Stream>,
}

/// One stream, and the model of it.
struct Stream {
    watchers: Watchers,
    watched: Vec<Watched>,
    /// Who has an id now.
    ids: BTreeMap<WatchId, usize>,
    /// Whether it may be polled: it was woken, has more to say, or its client said something.
    awake: bool,
    woken: Arc<Woken>,
    /// Asked for progress, the last time at this revision, and not answered.
    asked: Option<Revision>,
}

impl Watched {
    /// What it is to see of the revisions up to `to`, without the pairs before.
    fn expected(&self, store: &Store, to: Revision) -> Vec<(Revision, Vec<Event>)> {
        let batches = store.batches.range(self.from..).take_while(|(revision, _)| **revision <= to);
        let wanted = batches.map(|(revision, batch)| {
            let events = batch.iter().filter(|event| {
                self.create.range.contains(event.key()) && self.create.filter.passes(event)
            });
            (*revision, events.cloned().collect::<Vec<_>>())
        });
        wanted.filter(|(_, events)| !events.is_empty()).collect()
    }

    /// Everything seen is right: in order, each revision whole, from the first on without a gap.
    fn check_prefix(&self, store: &Store) {
        let expected = self.expected(store, store.revision());
        let bare = |events: &[Event]| {
            events.iter().map(|event| (event.id, event.kind.clone())).collect::<Vec<_>>()
        };
        for (at, (revision, events)) in self.seen.iter().enumerate() {
            let (expected_revision, expected_events) = &expected[at];
            assert_eq!(revision, expected_revision);
            assert_eq!(bare(events), bare(expected_events));
        }
    }

    /// It has seen everything up to `to`.
    fn check_complete(&self, store: &Store, to: Revision) {
        let seen = self.seen.iter().filter(|(revision, _)| *revision <= to).count();
        assert_eq!(seen, self.expected(store, to).len());
    }

    /// Whether it may need something that is gone: it started in the past and may not have read that
    /// yet, something was not delivered, or something may have happened while the hub was not told.
    fn misses_below(&self, compacted: Revision, store: &Store, gaps: &[Gap]) -> bool {
        let delivered = self.seen.last().map_or(Revision(0), |(revision, _)| *revision);
        let expected = self.expected(store, Revision(compacted.0 - 1));
        (self.from <= self.created && delivered < compacted)
            || expected.iter().any(|(revision, _)| delivered < *revision)
            || gaps.iter().any(|gap| self.created < gap.to && gap.from.next() < compacted)
            // Woken for nothing and not polled since, it does not know that nothing was for it.
            || (delivered < compacted && (self.ahead || !gaps.is_empty()))
            // Something for it left memory, and it does not know that nothing did before that.
            || (delivered < compacted && self.has_left_memory(delivered, store))
    }

    /// Whether something that was not delivered is not among the recent revisions any more.
    fn has_left_memory(&self, delivered: Revision, store: &Store) -> bool {
        let kept = i64::try_from(KEPT).unwrap();
        let gone = Revision(store.hub.board().matched().0 - kept);
        self.expected(store, gone).iter().any(|(revision, _)| delivered < *revision)
    }

    fn check_prev(&self, event: &Event, store: &Store) {
        let batch = &store.batches[&event.id.revision];
        let before = batch[event.id.sub as usize].prev.clone();
        let created =
            matches!(&event.kind, EventKind::Put(kv) if kv.create_revision == kv.mod_revision);
        if !self.create.prev_kv || created || event.id.revision <= store.compacted {
            assert_eq!(event.prev, None);
        } else {
            assert_eq!(event.prev, before);
        }
    }
}

impl Model {
    /// Watchers of single keys that are `far` behind read the past of their keys, if there is little.
    fn new(far: i64) -> Self {
        let mut store = Store::bounded(Bounds { revisions: KEPT, far, ..UNBOUNDED });
        store.key_events_max = 5;
        let streams = (0..STREAMS).map(|_| Stream::new(&store)).collect();
        Self { store, gaps: Vec::new(), streams }
    }

    fn step(&mut self, at: usize, step: Step) {
        let (store, stream) = (&mut self.store, &mut self.streams[at]);
        let matched = store.hub.board().matched();
        match step {
            Step::Request(changes) => {
                let published = store.apply_unpublished(&named(&changes));
                store.hub.publish(published);
                if matched < store.revision() && store.hub.figures().pending == 0 {
                    self.gaps.push(Gap { from: matched, to: store.revision() });
                }
            }
            Step::Install(changes) => {
                store.apply_unpublished(&named(&changes));
                store.hub.reset(store.revision(), store.compacted);
                self.gaps.push(Gap { from: matched, to: store.revision() });
            }
            Step::Compact(back) => store.compact((store.revision().0 - back).max(0)),
            Step::FanOut => {
                store.hub.fan_out();
            }
            Step::Fetch => {
                let Ok(_) = store.hub.fetch(store);
            }
            Step::Create(asked) => stream.create(store, &asked),
            Step::Cancel(number) => stream.cancel(number),
            Step::Poll(budget) => stream.poll(store, &self.gaps, budget),
            Step::Progress => {
                stream.watchers.progress();
                (stream.awake, stream.asked) = (true, Some(store.revision()));
                stream.forget_idle_question();
            }
            Step::Tick => {
                stream.watchers.tick();
                stream.awake = true;
            }
            Step::Reopen => *stream = Stream::new(store),
        }
    }

    /// Lets everything come to rest, waking nobody but who asked for it: then every watcher has seen
    /// all, or was told why not.
    fn finish(mut self) {
        for _ in 0..10_000 {
            while self.store.hub.fan_out() {}
            while let Ok(true) = self.store.hub.fetch(&self.store) {}
            if !self.streams.iter().any(Stream::is_awake) {
                break;
            }
            for stream in &mut self.streams {
                stream.poll(&self.store, &self.gaps, 8);
            }
        }
        assert!(!self.streams.iter().any(Stream::is_awake), "the streams never come to rest");
        let watchers: usize = self.streams.iter().map(|stream| stream.finish(&self.store)).sum();
        let figures = self.store.hub.figures();
        assert_eq!((figures.watchers, figures.behind, figures.pending), (watchers as u64, 0, 0));
        assert_eq!(figures.streams, STREAMS as u64);
        drop(self.streams);
        let figures = self.store.hub.figures();
        assert_eq!((figures.watchers, figures.streams), (0, 0));
    }
}

impl Stream {
    fn new(store: &Store) -> Self {
        Self {
            watchers: Watchers::new(&store.hub),
            watched: Vec::new(),
            ids: BTreeMap::new(),
            awake: true,
            woken: Arc::default(),
            asked: None,
        }
    }

    fn is_awake(&self) -> bool {
        self.awake || self.woken.is_woken()
    }

    fn poll(&mut self, store: &Store, gaps: &[Gap], budget: usize) {
        if !self.is_awake() {
            return;
        }
        self.woken.forget();
        let mut client = Client::with_room(budget);
        let polled = self.watchers.poll(&Waker::from(Arc::clone(&self.woken)), &mut client);
        self.awake = polled == Polled::More;
        client.told.into_iter().for_each(|told| self.receive(store, gaps, told));
        self.forget_idle_question();
    }

    /// With nobody whom it could be about the question is forgotten.
    fn forget_idle_question(&mut self) {
        if self.going_on().next().is_none() {
            self.asked = None;
        }
    }

    fn going_on(&self) -> impl Iterator<Item = &Watched> {
        let here = self.ids.values().map(|number| &self.watched[*number]);
        here.filter(|watched| watched.end.is_none())
    }

    fn create(&mut self, store: &Store, asked: &Asked) {
        let current = store.revision();
        let start = asked.back.map_or(Revision(0), |back| Revision((current.0 - back).max(0)));
        let create = Create {
            range: range(asked.range),
            start,
            filter: asked.filter,
            prev_kv: asked.flags[0],
            fragment: asked.flags[1],
            progress_notify: asked.flags[2],
            id: asked.id.map(WatchId),
        };
        let from = if start == Revision(0) { current.next() } else { start };
        let matched = store.hub.board().matched();
        let watched = Watched {
            create: create.clone(),
            from,
            created: current,
            ahead: from > matched.next(),
            seen: Vec::new(),
            end: None,
        };

        let response = self.watchers.create(create);

        self.awake = true;
        assert_eq!(response.revision, current);
        let in_use = asked.id.is_some_and(|id| self.ids.contains_key(&WatchId(id)));
        if in_use {
            assert!(matches!(response.kind, Kind::Refused(_)));
        } else {
            assert_eq!(response.kind, Kind::Created);
            let before = self.ids.insert(response.id, self.watched.len());
            assert_eq!(before, None);
            self.watched.push(watched);
        }
    }

    fn cancel(&mut self, number: usize) {
        let id = self.ids.iter().find(|(_, watched)| **watched == number).map(|(id, _)| *id);
        let answer = self.watchers.cancel(id.unwrap_or(WatchId(1_000)));
        self.awake = true;
        assert_eq!(answer.is_some(), id.is_some());
        if let Some(id) = id {
            self.ids.remove(&id);
            self.watched[number].end.get_or_insert(End::Canceled);
        }
        self.forget_idle_question();
    }

    fn receive(&mut self, store: &Store, gaps: &[Gap], told: Told) {
        if told.id == WatchId::NONE && told.what == What::Word(Kind::Progress) {
            let asked = self.asked.expect("somebody asked");
            self.asked = (told.revision < asked).then_some(asked);
            self.check_progress(store, told.revision);
            return;
        }

        let watched = &mut self.watched[self.ids[&told.id]];
        assert!(watched.end.is_none(), "a lost watcher speaks");
        match told.what {
            What::Events { events, fragment } => {
                assert_eq!(fragment, watched.create.fragment);
                assert!(events.last().unwrap().id.revision <= told.revision);
                assert!(told.revision <= store.revision());
                events.iter().for_each(|event| watched.check_prev(event, store));
                let revisions = events.chunk_by(|a, b| a.id.revision == b.id.revision);
                watched.seen.extend(revisions.map(|some| (some[0].id.revision, some.to_vec())));
                watched.check_prefix(store);
            }
            What::Word(Kind::Compacted(compacted)) => {
                assert_eq!(told.revision, Revision(0));
                assert_eq!(compacted, store.compacted);
                assert!(watched.misses_below(compacted, store, gaps), "nothing is missing");
                watched.end = Some(End::Lost);
            }
            What::Word(Kind::Progress) => {
                assert!(watched.create.progress_notify);
                assert!(watched.create.start <= told.revision);
                watched.check_complete(store, told.revision);
            }
            What::Word(Kind::Created | Kind::Refused(_) | Kind::Canceled) => {
                panic!("not out of a poll")
            }
        }
    }

    /// Everything up to a revision was delivered, to all who can go on.
    fn check_progress(&self, store: &Store, revision: Revision) {
        assert!(self.going_on().next().is_some());
        for watched in self.going_on() {
            assert!(watched.create.start <= revision);
            watched.check_complete(store, revision);
        }
    }

    /// How many watchers there are, when all have seen everything.
    fn finish(&self, store: &Store) -> usize {
        let complete = |watched: &&Watched| watched.check_complete(store, store.revision());
        let watchers = self.going_on().inspect(complete).count();
        assert_eq!(self.watchers.len(), self.ids.len());
        let all_started = self.going_on().all(|watched| watched.create.start <= store.revision());
        assert!(self.asked.is_none() || !all_started, "a question is not answered");
        watchers
    }
}

fn named(changes: &[(usize, bool)]) -> Vec<Change<'static>> {
    let change = |(at, put): &(usize, bool)| {
        if *put { Change::Put(KEYS[*at]) } else { Change::Delete(KEYS[*at]) }
    };
    changes.iter().map(change).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is written, compacted, installed, created, cancelled and left waiting in between,
    /// and however late things are matched and history is read: each watcher sees the revisions it
    /// asked for in order, each once and whole, none left out, with the pairs before as they are
    /// kept; progress is told only of what was delivered; and no stream has to be polled that was
    /// not woken.
    #[test]
    fn watchers_see_what_they_asked_for(
        steps in prop::collection::vec((0..STREAMS, step()), 1..200),
        far in prop_oneof![Just(1), Just(8), Just(i64::MAX)],
    ) {
        let mut model = Model::new(far);
        for (stream, step) in steps {
            model.step(stream, step);
        }
        model.finish();
    }
}
