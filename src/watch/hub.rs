//! [`Hub`]: the recent revisions of one member, and a bell.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::types::{
    Event, EventKind, KeyValue, Revision,
    limits::{WATCH_RECENT_BYTES_MAX, WATCH_RECENT_REVISIONS_MAX},
};

/// The recent revisions of one member, kept in memory for its watchers, and a bell that rings with
/// each new one.
///
/// There is one publisher, the applier, which publishes a revision after it became readable and
/// before the request that made it is answered. The lock is held for moments only: publishing
/// waits for no watcher.
#[derive(Debug)]
pub struct Hub {
    ring: Mutex<Ring>,
    current: watch::Sender<Revision>,
    revisions_max: usize,
    bytes_max: usize,
}

/// The newest revisions, without a gap, up to and with `current`.
#[derive(Debug)]
struct Ring {
    batches: VecDeque<Batch>,
    bytes: usize,
    current: Revision,
    compacted: Revision,
}

/// One revision.
#[derive(Debug)]
struct Batch {
    events: Arc<[Event]>,
    bytes: usize,
}

/// What the hub has of a span of revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recent {
    /// The events of the first revisions of the span, in order, each revision whole. Empty when
    /// nothing happened in the span.
    Batches(Vec<(Revision, Arc<[Event]>)>),
    /// The first revision of the span is no longer in memory.
    Evicted,
}

impl Hub {
    /// The hub of a member whose store stands at `current` and is compacted up to `compacted`.
    #[must_use]
    pub fn new(current: Revision, compacted: Revision) -> Self {
        Self::bounded(current, compacted, WATCH_RECENT_REVISIONS_MAX, WATCH_RECENT_BYTES_MAX)
    }

    /// A hub with bounds of its own on how much it keeps.
    pub(super) fn bounded(
        current: Revision,
        compacted: Revision,
        revisions_max: usize,
        bytes_max: usize,
    ) -> Self {
        let ring = Ring { batches: VecDeque::new(), bytes: 0, current, compacted };
        Self {
            ring: Mutex::new(ring),
            current: watch::Sender::new(current),
            revisions_max,
            bytes_max,
        }
    }

    /// Takes in the events of the next revision and wakes every stream.
    pub fn publish(&self, revision: Revision, events: Arc<[Event]>) {
        self.publish_all([(revision, events)]);
    }

    /// Takes in the events of the next revisions, wakes every stream, once.
    pub fn publish_all(&self, batches: impl IntoIterator<Item = (Revision, Arc<[Event]>)>) {
        let mut ring = self.ring();
        for (revision, events) in batches {
            assert_eq!(revision, ring.current.next(), "revisions are published one by one");
            let batch = Batch { bytes: events.iter().map(event_bytes).sum(), events };
            ring.bytes += batch.bytes;
            ring.batches.push_back(batch);
            ring.current = revision;
        }
        self.evict(&mut ring);
        let current = ring.current;
        drop(ring);

        self.current.send_if_modified(|seen| std::mem::replace(seen, current) != current);
    }

    /// Notes that history below `revision` is gone for readers. It must be told before any of that
    /// history is really deleted: whoever reads history asks again afterwards.
    pub fn compacted(&self, revision: Revision) {
        let mut ring = self.ring();
        ring.compacted = ring.compacted.max(revision);
    }

    /// Starts over after the store was replaced by a newer one from another member. Watchers go
    /// on where they were, from history.
    pub fn reset(&self, current: Revision, compacted: Revision) {
        let mut ring = self.ring();
        assert!(ring.current <= current, "revision {} falls back to {current}", ring.current);
        *ring = Ring { batches: VecDeque::new(), bytes: 0, current, compacted };
        drop(ring);

        self.current.send_replace(current);
    }

    /// The last revision published.
    #[must_use]
    pub fn current(&self) -> Revision {
        self.ring().current
    }

    /// The revision below which history is gone.
    #[must_use]
    pub fn compacted_revision(&self) -> Revision {
        self.ring().compacted
    }

    /// Rings with each new revision.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.current.subscribe()
    }

    /// The revisions `from..=to`, at most `max` of them, as far as they exist.
    #[must_use]
    pub fn recent(&self, from: Revision, to: Revision, max: usize) -> Recent {
        let ring = self.ring();
        let first = ring.first();
        // Nothing happened at the first revision, so a ring that begins after it lacks nothing.
        let from = if first <= Revision::FIRST.next() { from.max(first) } else { from };
        let Ok(skip) = usize::try_from(from.0 - first.0) else { return Recent::Evicted };

        let len = usize::try_from(to.0.saturating_sub(from.0).saturating_add(1));
        let len = len.unwrap_or(0).min(max);
        let batches = ring.batches.iter().skip(skip).take(len);
        let batches = batches.zip(from.0..).map(|(batch, at)| (Revision(at), batch.events.clone()));
        Recent::Batches(batches.collect())
    }

    /// Drops the oldest revisions until the bounds hold. The newest stays, whatever its size.
    fn evict(&self, ring: &mut Ring) {
        while ring.batches.len() > 1
            && (ring.batches.len() > self.revisions_max || ring.bytes > self.bytes_max)
        {
            let evicted = ring.batches.pop_front().expect("the ring has more than one batch");
            ring.bytes -= evicted.bytes;
        }
    }

    /// The ring is in order whenever the lock is free, even if a caller's iterator panicked: each
    /// step leaves it whole.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// The oldest revision kept; the one after `current` when there is none.
    fn first(&self) -> Revision {
        let len = i64::try_from(self.batches.len()).expect("the ring is bounded");
        Revision(self.current.0 + 1 - len)
    }
}

/// What an event takes in memory, about: it may share its bytes with others.
pub(super) fn event_bytes(event: &Event) -> usize {
    let of = |kv: &KeyValue| kv.key.as_bytes().len() + kv.value.len();
    let kind = match &event.kind {
        EventKind::Put(kv) => of(kv),
        EventKind::Delete(key, _) => key.as_bytes().len(),
    };
    size_of::<Event>() + kind + event.prev.as_ref().map_or(0, of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::tests::put;

    fn published(hub: &Hub, revisions: std::ops::RangeInclusive<i64>) {
        for revision in revisions {
            hub.publish(Revision(revision), [put("k", revision)].into());
        }
    }

    fn revisions(recent: Recent) -> Option<Vec<i64>> {
        match recent {
            Recent::Batches(batches) => Some(batches.into_iter().map(|(at, _)| at.0).collect()),
            Recent::Evicted => None,
        }
    }

    /// The oldest revisions go when there are too many, and who asks for one is told.
    #[test]
    fn evicts_the_oldest_by_number() {
        let hub = Hub::bounded(Revision(1), Revision::NEVER_COMPACTED, 3, usize::MAX);

        published(&hub, 2..=6);

        assert_eq!(revisions(hub.recent(Revision(3), Revision(6), 10)), None);
        assert_eq!(revisions(hub.recent(Revision(4), Revision(6), 10)), Some(vec![4, 5, 6]));
        assert_eq!(revisions(hub.recent(Revision(5), Revision(6), 1)), Some(vec![5]));
        assert_eq!(revisions(hub.recent(Revision(7), Revision(9), 10)), Some(vec![]));
    }

    /// Bytes are bounded too, but the newest revision is always there for those who keep up.
    #[test]
    fn evicts_by_bytes_down_to_the_newest() {
        let bytes = event_bytes(&put("k", 2));
        let hub = Hub::bounded(Revision(1), Revision::NEVER_COMPACTED, 100, 2 * bytes);
        published(&hub, 2..=4);
        assert_eq!(revisions(hub.recent(Revision(2), Revision(4), 10)), None);
        assert_eq!(revisions(hub.recent(Revision(3), Revision(4), 10)), Some(vec![3, 4]));

        let hub = Hub::bounded(Revision(1), Revision::NEVER_COMPACTED, 100, 1);
        published(&hub, 2..=4);
        assert_eq!(revisions(hub.recent(Revision(4), Revision(4), 10)), Some(vec![4]));
    }

    /// An empty hub has nothing older than what comes next.
    #[test]
    fn a_new_hub_sends_readers_of_the_past_to_history() {
        let hub = Hub::new(Revision(10), Revision(4));

        assert_eq!(revisions(hub.recent(Revision(10), Revision(10), 10)), None);
        assert_eq!(revisions(hub.recent(Revision(11), Revision(11), 10)), Some(vec![]));
        assert_eq!(hub.compacted_revision(), Revision(4));
    }

    /// After a reset nothing from before is served from memory, and subscribers are woken.
    #[test]
    fn a_reset_forgets_and_wakes() {
        let hub = Hub::new(Revision(1), Revision::NEVER_COMPACTED);
        published(&hub, 2..=3);
        let mut woken = hub.subscribe();
        woken.mark_unchanged();

        hub.reset(Revision(50), Revision(20));

        assert!(woken.has_changed().unwrap());
        assert_eq!(hub.current(), Revision(50));
        assert_eq!(revisions(hub.recent(Revision(3), Revision(50), 10)), None);
        published(&hub, 51..=51);
        assert_eq!(revisions(hub.recent(Revision(51), Revision(51), 10)), Some(vec![51]));
    }

    /// Revisions come one after the other; a gap is a mistake of this program.
    #[test]
    #[should_panic(expected = "revisions are published one by one")]
    fn a_gap_is_a_bug() {
        let hub = Hub::new(Revision(1), Revision::NEVER_COMPACTED);
        published(&hub, 3..=3);
    }
}
