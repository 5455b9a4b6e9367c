//! Watchers over the real state: what history tells is what was published.

use std::sync::Arc;

use crate::{
    state::testing::{Machine, TERM, compact, delete, expire, grant, put, revoke, txn},
    types::{Event, Fault, Key, Revision},
    watch::{
        Create, Filter, History, Hub, Limits, Read, ReadKeys, WatchId, Watchers, board::Bounds,
        read_keys_of_view, read_view,
    },
};

use super::hub::UNBOUNDED;
use super::store::{Seen, What, poll_with, texts, watch, watch_from};

/// A state machine whose events are published to a hub that remembers next to nothing.
struct Stored {
    machine: Machine,
    hub: Arc<Hub>,
}

impl Stored {
    fn new() -> Self {
        let machine = Machine::new();
        let bounds = Bounds { revisions: 1, far: 1, ..UNBOUNDED };
        let hub = Hub::bounded(Revision(machine.revision()), Revision::NEVER_COMPACTED, bounds);
        Self { machine, hub: Arc::new(hub) }
    }

    fn apply(&mut self, command: impl Into<crate::state::Command>) {
        let applied = self.machine.apply(command);
        applied.outcome.unwrap();
        if let Some(first) = applied.events.first() {
            self.hub.publish([(first.id.revision, applied.events)]);
        }
    }

    fn compact(&mut self, revision: i64) {
        self.apply(compact(revision));
        self.hub.compacted(Revision(revision));
        self.machine.collect_garbage();
    }
}

impl History for Stored {
    type Error = Fault;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Fault> {
        read_view(self.machine.view(), from, to, limits)
    }

    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        prev_kv: bool,
        limits: Limits,
    ) -> Result<ReadKeys, Fault> {
        read_keys_of_view(self.machine.view(), keys, to, prev_kv, limits)
    }
}

/// Everything of interest that can happen to keys.
fn lively() -> Stored {
    let mut stored = Stored::new();
    stored.apply(put("a").value("1"));
    stored.apply(put("b"));
    stored.apply(put("a").value("2"));
    stored.apply(txn().then(delete("a").to("c")).then(put("c")).then(put("a")));
    stored.apply(grant(7));
    stored.apply(put("lk3").attached_to(7));
    stored.apply(put("lk1").attached_to(7));
    stored.apply(put("lk2").attached_to(7));
    stored.apply(revoke(7));
    stored.apply(grant(8));
    stored.apply(put("lk4").attached_to(8));
    stored.apply(expire(8, TERM));
    stored.apply(delete("a"));
    stored
}

/// The events a watcher of everything gets, and how often it was served.
fn events_of(watchers: &mut Watchers, stored: &Stored) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let Seen { responses, more } = poll_with(watchers, &stored.hub, stored, 8).unwrap();
        for response in responses {
            let What::Events { events: some, .. } = response.what else {
                panic!("expected events, got {response:?}")
            };
            events.extend(some);
        }
        if !more {
            return events;
        }
    }
}

/// A watcher that reads history sees what one saw that was there: the same events, with the same
/// pairs before.
#[test]
fn history_tells_what_was_published() {
    let mut live = Vec::new();
    let mut stored = Stored::new();
    let mut watchers = Watchers::new(&stored.hub);
    let everything = || Create { prev_kv: true, ..watch("\0", "\0") };
    watchers.create(everything());
    let commands: Vec<crate::state::Command> = vec![
        put("a").value("1").into(),
        put("b").into(),
        put("a").value("2").into(),
        txn().then(delete("a").to("c")).then(put("c")).into(),
        grant(7),
        put("k2").attached_to(7).into(),
        put("k1").attached_to(7).into(),
        revoke(7),
        put("a").into(),
    ];
    for command in commands {
        stored.apply(command);
        live.extend(events_of(&mut watchers, &stored));
    }

    let mut late = Watchers::new(&stored.hub);
    late.create(Create { start: Revision(1), ..everything() });

    assert_eq!(events_of(&mut late, &stored), live);
    assert_eq!(live.len(), 11);
}

/// The keys of a lease go in one response, in key order; an expiry looks like any other delete.
#[test]
fn case_58_the_keys_of_a_lease_go_in_one_response() {
    let stored = lively();
    let mut watchers = Watchers::new(&stored.hub);
    let filter = Filter { no_put: true, no_delete: false };

    watchers.create(Create { filter, prev_kv: true, ..watch_from("lk", "ll", 6) });

    let polled = poll_with(&mut watchers, &stored.hub, &stored, 8).unwrap();
    assert_eq!(
        texts(&polled.responses),
        ["0@12 delete lk1 9.0 (was 7), delete lk2 9.1 (was 8), delete lk3 9.2 (was 6), \
          delete lk4 11.0 (was 10)"]
    );
}

/// What happened at the compacted revision is still told, a delete too, but not what was before.
#[test]
fn case_16_the_compacted_revision_is_still_told() {
    let mut stored = lively();
    stored.compact(9);
    let mut watchers = Watchers::new(&stored.hub);

    watchers.create(Create { prev_kv: true, ..watch_from("\0", "\0", 9) });
    watchers.create(watch_from("\0", "\0", 8));

    let polled = poll_with(&mut watchers, &stored.hub, &stored, 8).unwrap();
    assert_eq!(
        texts(&polled.responses),
        [
            "1@0 compacted 9",
            "0@12 delete lk1 9.0, delete lk2 9.1, delete lk3 9.2, put lk4 10.0, \
             delete lk4 11.0 (was 10), delete a 12.0 (was 5)",
        ]
    );
    assert!(watchers.cancel(WatchId(1)).is_some());
}
