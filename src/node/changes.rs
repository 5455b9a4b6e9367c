//! [`Changes`]: what happens to some keys, for those within this process who wait for it.

use std::{future::poll_fn, task::Poll};

use crate::{
    node::Handle,
    types::{Event, Key, KeyRange, Revision},
    watch::{Create, Delivery, Filter, Kind, Polled, Response, Sink, Watchers},
};

/// What happens to the keys of a range, in order, from a revision on: a watcher without a stream.
///
/// It holds a cursor and no queue, so one that nobody asks costs nothing. With this value the
/// watcher is gone.
#[derive(Debug)]
pub struct Changes {
    watchers: Watchers,
    /// What is told of; all of it lies in the range that is watched.
    wanted: Vec<KeyRange>,
    over: bool,
}

/// What happened: one revision or several, each whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// How far the member had come when it was told.
    pub revision: Revision,
    /// In order, without the pairs before. Empty only where [`Changes::ask_progress`] asked: then
    /// everything up to `revision` was told.
    pub events: Vec<Event>,
}

impl Happened {
    /// Up to here everything was told, with this.
    #[must_use]
    pub fn told(&self) -> Revision {
        self.events.last().map_or(self.revision, |event| event.id.revision)
    }
}

impl Handle {
    /// Follows what happens to the keys of a range, from `start` on; that may be to come.
    ///
    /// # Panics
    ///
    /// When no key can be in the range, or `start` is not positive: the caller has chosen both.
    #[must_use]
    pub fn changes(&self, range: KeyRange, start: Revision) -> Changes {
        self.changes_within(vec![range], start)
    }

    /// The same for several ranges. What lies between them is passed over, and neither copied nor kept:
    /// one watcher of all that they span tells what happens to them in one order.
    ///
    /// # Panics
    ///
    /// As [`changes`](Self::changes); and when there is no range.
    #[must_use]
    pub fn changes_within(&self, wanted: Vec<KeyRange>, start: Revision) -> Changes {
        assert!(start > Revision(0), "changes begin at a revision, not at {start}");
        let mut watchers = Watchers::within(self.watch_hub());
        let answer = watchers.create(Create {
            range: span(&wanted),
            start,
            filter: Filter::default(),
            prev_kv: false,
            fragment: false,
            progress_notify: false,
            id: None,
        });
        assert_eq!(answer.kind, Kind::Created, "keys can be in the range that is followed");
        Changes { watchers, wanted, over: false }
    }
}

/// The smallest range that has all of these in it.
fn span(ranges: &[KeyRange]) -> KeyRange {
    if let [one] = ranges {
        return one.clone();
    }
    let start = ranges.iter().map(KeyRange::start).min().expect("there is a range to follow");
    // Without an end when one of them has none.
    let ends: Option<Vec<Key>> = ranges.iter().map(KeyRange::end).collect();
    match ends.and_then(|ends| ends.into_iter().max()) {
        Some(end) => KeyRange::HalfOpen(start.clone(), end),
        None => KeyRange::From(start.clone()),
    }
}

impl Changes {
    /// Asks how far things have come. The answer comes out of [`next`](Self::next) once everything up
    /// to the revision of now, at least, was told: it has no events.
    pub fn ask_progress(&mut self) {
        self.watchers.progress();
    }

    /// Waits for what happens next. `None`, now and from now on: history that was needed is
    /// compacted. What was waited for is not lost when the wait is given up.
    pub async fn next(&mut self) -> Option<Happened> {
        if self.over {
            return None;
        }
        let told = poll_fn(|context| {
            let mut one = One { told: None, wanted: &self.wanted };
            let polled = self.watchers.poll(context.waker(), &mut one);
            match (one.told, polled) {
                (Some(told), _) => Poll::Ready(told),
                (None, Polled::Idle) => Poll::Pending,
                (None, Polled::More) => {
                    // Others have a turn first.
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
        match told {
            Told::Happened(happened) => Some(happened),
            Told::Compacted => {
                self.over = true;
                None
            }
        }
    }
}

enum Told {
    Happened(Happened),
    Compacted,
}

/// Takes one response that has something of what is wanted.
struct One<'a> {
    told: Option<Told>,
    wanted: &'a [KeyRange],
}

impl Sink for One<'_> {
    fn has_room(&self) -> bool {
        self.told.is_none()
    }

    fn say(&mut self, response: Response) {
        match response.kind {
            Kind::Compacted(_) => self.told = Some(Told::Compacted),
            Kind::Progress => {
                let (revision, events) = (response.revision, Vec::new());
                self.told = Some(Told::Happened(Happened { revision, events }));
            }
            // Nobody has asked for these.
            Kind::Created | Kind::Refused(_) | Kind::Canceled => {}
        }
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let is_wanted = |event: &Event| match self.wanted {
            [_] => true,
            several => several.iter().any(|range| range.contains(event.key())),
        };
        let events = delivery.events.iter().filter(|shown| is_wanted(shown.event())).map(|shown| {
            let Event { id, kind, prev: _ } = shown.event();
            Event { id: *id, kind: kind.clone(), prev: None }
        });
        let events: Vec<Event> = events.collect();
        if !events.is_empty() {
            self.told = Some(Told::Happened(Happened { revision: delivery.revision, events }));
        }
    }
}
