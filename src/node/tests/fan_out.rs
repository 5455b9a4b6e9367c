//! Watchers of a running member, whose log and state are in memory.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    node::{
        Stop,
        ports::StateStore,
        tests::{
            disk::{MemoryLog, MemoryStore},
            reads::Running,
        },
    },
    state::{Family, Writes, schema::evt, testing::put},
    types::{EventId, Key, KeyRange, Revision},
    watch::{Create, Delivery, Filter, Kind, Polled, Response, Sink, Watchers},
};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// The revisions that a stream was shown.
#[derive(Default)]
struct Shown(Vec<i64>);

impl Sink for Shown {
    fn has_room(&self) -> bool {
        true
    }

    fn say(&mut self, response: Response) {
        panic!("a watcher was told {response:?}");
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        self.0.extend(delivery.events.iter().map(|shown| shown.event().id.revision.0));
    }
}

/// A member that was restarted, so that what happened before is in its store alone.
async fn restarted(damage: Option<Revision>) -> (Running, JoinHandle<()>) {
    let (log, store) = (Arc::<MemoryLog>::default(), Arc::<MemoryStore>::default());
    let member = Running::start(Arc::clone(&log), Arc::clone(&store));
    for key in ["a", "b", "c"] {
        member.propose(put(key)).await;
    }
    drop(member);
    if let Some(revision) = damage {
        let mut writes = Writes::default();
        let id = EventId { revision, sub: 0 };
        let record = Some(Bytes::from_static(b"\xff"));
        writes.records.insert((Family::Events, evt::key(id)), record);
        store.commit(writes).unwrap();
    }
    let member = Running::start(log, store);
    let fan_out = tokio::spawn(member.handle.clone().fan_out());
    (member, fan_out)
}

/// A stream with a watcher of everything since the second revision.
fn watching_all(member: &Running) -> Watchers {
    let mut watchers = Watchers::new(member.handle.watch_hub());
    let created = watchers.create(Create {
        range: KeyRange::From(Key::MIN),
        start: Revision(2),
        filter: Filter::default(),
        prev_kv: false,
        fragment: false,
        progress_notify: false,
        id: None,
    });
    assert_eq!(created.kind, Kind::Created);
    watchers
}

/// A watcher is shown history, which is read from the store, and then what happens.
#[tokio::test]
async fn watchers_are_shown_history_and_then_what_happens() {
    let (member, fan_out) = restarted(None).await;
    let (mut watchers, mut shown) = (watching_all(&member), Shown::default());
    let mut until = async |last: i64| {
        let seen = poll_fn(|context| {
            while watchers.poll(context.waker(), &mut shown) == Polled::More {}
            if shown.0.last() == Some(&last) { Poll::Ready(shown.0.clone()) } else { Poll::Pending }
        });
        timeout(SOON, seen).await.expect("the watcher is woken")
    };

    assert_eq!(until(4).await, [2, 3, 4]);
    member.propose(put("d")).await;
    assert_eq!(until(5).await, [2, 3, 4, 5]);
    fan_out.abort();
}

/// History that makes no sense stops the member.
#[tokio::test]
async fn damaged_history_stops_the_member() {
    let (member, fan_out) = restarted(Some(Revision(3))).await;
    let (mut watchers, mut shown) = (watching_all(&member), Shown::default());
    poll_fn(|context| Poll::Ready(watchers.poll(context.waker(), &mut shown))).await;

    let stop = timeout(SOON, member.handle.stopped()).await.expect("the member stops");

    assert!(matches!(stop, Stop::Fault(_)), "{stop:?}");
    assert!(shown.0.is_empty());
    assert!(!fan_out.is_finished());
    fan_out.abort();
}

/// Who asks how far things have come is told, after everything that happened until then, and although
/// nothing of it was for him.
#[tokio::test]
async fn progress_is_told_to_who_asks() {
    let (member, fan_out) = restarted(None).await;
    let one = |key: &'static str| KeyRange::One(Key::new(key).unwrap());
    let mut changes = member.handle.changes(one("b"), Revision(2));
    changes.ask_progress();
    let first = timeout(SOON, changes.next()).await.unwrap().unwrap();
    assert_eq!((first.told(), first.events.len()), (Revision(3), 1));
    let progress = timeout(SOON, changes.next()).await.unwrap().unwrap();
    assert_eq!((progress.told(), progress.events.len()), (Revision(4), 0));

    member.propose(put("d")).await;
    changes.ask_progress();
    let progress = timeout(SOON, changes.next()).await.unwrap().unwrap();
    assert_eq!((progress.told(), progress.events.len()), (Revision(5), 0));
    fan_out.abort();
}
