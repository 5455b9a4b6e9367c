//! Hub and watchers against a plain model, through random histories.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::store::{Change, Seen, Store, Told, What, drain, key, poll};
use crate::{
    types::{Event, EventKind, KeyRange, Revision},
    watch::{Create, Filter, Kind, WatchId, Watchers},
};

#[derive(Clone, Debug)]
enum Step {
    /// One request: true puts a key, false deletes it.
    Request(Vec<(usize, bool)>),
    /// Compact up to this many revisions before the current one.
    Compact(i64),
    Create(Asked),
    /// Cancel the watcher created as the nth, if it is there.
    Cancel(usize),
    Poll(usize),
    Progress,
    Tick,
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
    let request = prop::collection::vec((0..KEYS.len(), prop::bool::weighted(0.7)), 1..4);
    prop_oneof![
        12 => request.prop_map(Step::Request),
        1 => (0..10_i64).prop_map(Step::Compact),
        4 => asked().prop_map(Step::Create),
        1 => (0..20_usize).prop_map(Step::Cancel),
        6 => (0..4_usize).prop_map(Step::Poll),
        1 => Just(Step::Progress),
        1 => Just(Step::Tick),
    ]
}

/// What the model knows of a watcher.
struct Watched {
    create: Create,
    from: Revision,
    /// Revisions delivered, each with its events.
    seen: Vec<(Revision, Vec<Event>)>,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Canceled,
    Lost,
}

struct Model {
    store: Store,
    watchers: Watchers,
    watched: Vec<Watched>,
    /// Who has an id now.
    ids: BTreeMap<WatchId, usize>,
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
    fn new() -> Self {
        let store = Store::keeping(6);
        let watchers = Watchers::new(&store.hub);
        Self { store, watchers, watched: Vec::new(), ids: BTreeMap::new() }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Request(changes) => {
                let changes: Vec<_> = changes
                    .iter()
                    .map(
                        |(at, put)| {
                            if *put { Change::Put(KEYS[*at]) } else { Change::Delete(KEYS[*at]) }
                        },
                    )
                    .collect();
                self.store.apply(&changes);
            }
            Step::Compact(back) => self.store.compact((self.store.revision().0 - back).max(0)),
            Step::Create(asked) => self.create(&asked),
            Step::Cancel(number) => self.cancel(number),
            Step::Poll(budget) => {
                let seen = poll(&mut self.watchers, &self.store, budget);
                assert!(seen.responses.len() <= budget);
                seen.responses.into_iter().for_each(|response| self.receive(response));
            }
            Step::Progress => self.watchers.progress(),
            Step::Tick => self.watchers.tick(),
        }
    }

    fn create(&mut self, asked: &Asked) {
        let current = self.store.revision();
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
        let watched = Watched { create: create.clone(), from, seen: Vec::new(), end: None };

        let response = self.watchers.create(create);

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
        assert_eq!(answer.is_some(), id.is_some());
        if let Some(id) = id {
            self.ids.remove(&id);
            self.watched[number].end.get_or_insert(End::Canceled);
        }
    }

    fn receive(&mut self, response: Told) {
        if response.id == WatchId::NONE && response.what == What::Word(Kind::Progress) {
            assert!(!self.ids.is_empty());
            for number in self.ids.values() {
                let watched = &self.watched[*number];
                if watched.end.is_some() {
                    continue;
                }
                assert!(watched.create.start <= response.revision);
                watched.check_complete(&self.store, response.revision);
            }
            return;
        }

        let watched = &mut self.watched[self.ids[&response.id]];
        assert!(watched.end.is_none(), "a lost watcher speaks");
        match response.what {
            What::Events { events, fragment } => {
                assert_eq!(fragment, watched.create.fragment);
                assert!(events.last().unwrap().id.revision <= response.revision);
                assert!(response.revision <= self.store.revision());
                events.iter().for_each(|event| watched.check_prev(event, &self.store));
                let revisions = events.chunk_by(|a, b| a.id.revision == b.id.revision);
                watched.seen.extend(revisions.map(|some| (some[0].id.revision, some.to_vec())));
                watched.check_prefix(&self.store);
            }
            What::Word(Kind::Compacted(compacted)) => {
                assert_eq!(response.revision, Revision(0));
                assert_eq!(compacted, self.store.compacted);
                assert!(watched.from < compacted, "nothing it needed was compacted");
                watched.end = Some(End::Lost);
            }
            What::Word(Kind::Progress) => {
                assert!(watched.create.progress_notify);
                assert!(watched.create.start <= response.revision);
                watched.check_complete(&self.store, response.revision);
            }
            What::Word(Kind::Created | Kind::Refused(_) | Kind::Canceled) => {
                panic!("not out of a poll")
            }
        }
    }

    /// Gives the stream room, until it rests: then every watcher has seen all, or was told why not.
    fn finish(mut self) {
        for response in drain(&mut self.watchers, &self.store) {
            self.receive(response);
        }
        assert_eq!(poll(&mut self.watchers, &self.store, 8), Seen::default());
        for watched in &self.watched {
            if watched.end.is_none() {
                watched.check_complete(&self.store, self.store.revision());
            }
        }
        assert_eq!(self.watchers.len(), self.ids.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is written, compacted, created, cancelled and left waiting in between: each watcher
    /// sees the revisions it asked for in order, each once and whole, none left out, with the pairs
    /// before as they are kept; and progress is told only of what was delivered.
    #[test]
    fn watchers_see_what_they_asked_for(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.finish();
    }
}
