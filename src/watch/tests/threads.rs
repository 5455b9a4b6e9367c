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

use super::store::{Client, What, put, watch, watch_from};
use crate::{
    types::{Event, Revision},
    watch::{Create, History, Hub, Limits, Polled, Read, WatchId, Watchers, board::Bounds},
};

const REVISIONS: i64 = 20_000;
const STREAMS: i64 = 4;
/// A stream that is not woken for so long was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// The key of each revision: there are sixteen, in turn.
fn event(revision: i64) -> Event {
    put(&format!("k{:02}", revision % 16), revision)
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
    let one = format!("k{number:02}");
    watchers.create(Create { id: Some(WatchId(1)), ..watch_from(&one, "", from) });
    watchers.create(Create { id: Some(WatchId(2)), ..watch_from("k04", "k08", from) });
    let mut seen = [from - 1, from - 1];
    let mut turns: usize = 0;
    loop {
        turns += 1;
        if turns.is_multiple_of(7) {
            watchers.cancel(WatchId(3));
            watchers.create(Create { id: Some(WatchId(3)), ..watch("k00", "k99") });
        }
        let mut client = Client::with_room(turns % 5);
        let polled = watchers.poll(&waker, &mut client);
        for told in client.told {
            let What::Events { events, .. } = told.what else { panic!("{told:?}") };
            let Some(seen) = usize::try_from(told.id.0 - 1).ok().and_then(|at| seen.get_mut(at))
            else {
                continue;
            };
            for event in events {
                let wants = |revision: &i64| match told.id {
                    WatchId(1) => revision % 16 == number,
                    _ => (4..8).contains(&(revision % 16)),
                };
                let next = (*seen + 1..).find(|revision| *revision > 1 && wants(revision));
                assert_eq!(Some(event.id.revision.0), next);
                *seen = event.id.revision.0;
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
#[expect(clippy::disallowed_methods, reason = "it is about threads")]
fn threads_lose_nothing() {
    let bounds = Bounds { revisions: 64, bytes: usize::MAX, matches: usize::MAX };
    let hub = Arc::new(Hub::bounded(Revision(1), Revision::NEVER_COMPACTED, bounds));
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
