//! A hub on several threads at once, as in a member: one publishes, one fans out, one reads history,
//! and each stream has its own.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
    thread,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    types::{Event, EventId, EventKind, Key, KeyRange, KeyValue, Revision},
    watch::{
        Create, Delivery, Filter, History, Hub, Limits, Polled, Read, ReadKeys, Response, Sink,
        WatchId, Watchers,
    },
};

const REVISIONS: i64 = 20_000;
const STREAMS: i64 = 4;
/// A stream that is not woken for so long was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// The key of each revision: there are sixteen, in turn.
fn event(revision: i64) -> Event {
    let revision = Revision(revision);
    let kv = KeyValue {
        key: key(&format!("k{:02}", revision.0 % 16)),
        value: Bytes::new(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: None,
    };
    Event { id: EventId { revision, sub: 0 }, kind: EventKind::Put(kv), prev: None }
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

/// A watcher of this id that starts at a revision, 0 for now.
fn watch(id: i64, range: KeyRange, start: i64) -> Create {
    Create {
        range,
        start: Revision(start),
        filter: Filter::default(),
        prev_kv: false,
        fragment: false,
        progress_notify: false,
        id: Some(WatchId(id)),
    }
}

/// A client with room for so many responses, and what it was shown.
struct Client {
    room: usize,
    shown: Vec<(WatchId, Vec<i64>)>,
}

impl Sink for Client {
    fn has_room(&self) -> bool {
        self.shown.len() < self.room
    }

    fn say(&mut self, response: Response) {
        panic!("a watcher was told {response:?}");
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let revisions = delivery.events.iter().map(|shown| shown.event().id.revision.0);
        self.shown.push((delivery.id, revisions.collect()));
    }
}

/// Everything that was published.
struct Past;

impl History for Past {
    type Error = std::convert::Infallible;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Self::Error> {
        let read_to = to.0.min(from.0 + i64::try_from(limits.revisions).unwrap() - 1);
        let events = (from.0.max(2)..=read_to).map(event).collect();
        Ok(Read::Piece { events, read_to: Revision(read_to) })
    }

    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        _: bool,
        _: Limits,
    ) -> Result<ReadKeys, Self::Error> {
        // Nothing is read apart: every key has too much.
        Ok(ReadKeys::Keys { keys: vec![None; keys.len()], read_to: to })
    }
}

/// Wakes a thread.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn wait(&self) {
        let rung = self.rung.lock().unwrap();
        let wait = self.changed.wait_timeout_while(rung, FORGOTTEN, |rung| !*rung);
        let (mut rung, timeout) = wait.unwrap();
        assert!(!timeout.timed_out(), "a stream was forgotten");
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// One stream: a watcher of one key, one of a range that starts in the past, and one that is
/// cancelled and made anew all the time. Returns when both have seen everything.
fn stream(hub: &Arc<Hub>, number: i64) {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut watchers = Watchers::new(hub);
    let from = hub.current().0 / 2 + 1;
    let range = |from: &str, to: &str| KeyRange::HalfOpen(key(from), key(to));
    watchers.create(watch(1, KeyRange::One(key(&format!("k{number:02}"))), from));
    watchers.create(watch(2, range("k04", "k08"), from));
    let mut seen = [from - 1, from - 1];
    let mut turns: usize = 0;
    loop {
        turns += 1;
        if turns.is_multiple_of(7) {
            watchers.cancel(WatchId(3));
            watchers.create(watch(3, range("k00", "k99"), 0));
        }
        let mut client = Client { room: turns % 5, shown: Vec::new() };
        let polled = watchers.poll(&waker, &mut client);
        for (id, revisions) in client.shown {
            let seen = usize::try_from(id.0 - 1).ok().and_then(|at| seen.get_mut(at));
            let Some(seen) = seen else { continue };
            for revision in revisions {
                let wants = |revision: &i64| match id {
                    WatchId(1) => revision % 16 == number,
                    _ => (4..8).contains(&(revision % 16)),
                };
                let next = (*seen + 1..).find(|revision| *revision > 1 && wants(revision));
                assert_eq!(Some(revision), next);
                *seen = revision;
            }
        }
        if seen.iter().all(|seen| REVISIONS - seen < 16) {
            return;
        }
        if polled == Polled::Idle {
            bell.wait();
        }
    }
}

/// Whatever the threads do to each other, each watcher sees every revision that it wants once and in
/// order, and no stream is left asleep.
#[test]
fn threads_lose_nothing() {
    let hub = Arc::new(Hub::keeping(64));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if !hub.fan_out() {
                    thread::yield_now();
                }
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Ok(false) = hub.fetch(&Past) {
                    thread::yield_now();
                }
            }
        });
        let hub = &hub;
        let streams: Vec<_> =
            (0..STREAMS).map(|number| scope.spawn(move || stream(hub, number))).collect();
        for revision in 2..=REVISIONS {
            hub.publish([(Revision(revision), vec![event(revision)])]);
            if revision % 100 == 0 {
                thread::yield_now();
            }
        }
        let ended: Vec<_> = streams.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
}
