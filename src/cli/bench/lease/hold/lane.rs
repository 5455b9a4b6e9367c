//! One stream that keeps its share of the leases alive.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::transport::Channel;

use super::{
    super::stream::{Answer, KeepAlive, Lease, Sending},
    Shared,
};
use crate::cli::{
    Error,
    bench::{keys::scramble, report::Tally},
};

/// How often it is looked which renewals are due.
const TICK: Duration = Duration::from_millis(50);
/// Places in the time between two renewals at which leases may be renewed first.
const PLACES: u32 = 4096;

pub(super) struct Lane {
    due: Due,
    window: usize,
    limit: Duration,
    shared: Arc<Shared>,
}

impl Lane {
    pub(super) fn new(
        every: Duration,
        window: usize,
        limit: Duration,
        shared: Arc<Shared>,
    ) -> Self {
        Self { due: Due::new(every), window, limit, shared }
    }

    /// Renews what it is given, until it is over.
    pub(super) async fn run(mut self, channel: Channel, granted: mpsc::Receiver<i64>) -> Tally {
        let mut tally = Tally::new();
        if let Err(failure) = self.renew(channel, granted, &mut tally).await {
            tally.error(&failure.to_string());
        }
        tally
    }

    async fn renew(
        &mut self,
        channel: Channel,
        mut granted: mpsc::Receiver<i64>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        let Some(id) = granted.recv().await else { return Ok(()) };
        let first = Lease { number: 0, id };
        let mut stream = KeepAlive::open(channel, Sending::together(self.window), first).await?;
        self.due.granted(id, Instant::now());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_answer = Instant::now();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                received = stream.receive(|answer| self.shared.count(answer, tally)),
                    if stream.outstanding() > 0 =>
                {
                    received?;
                    last_answer = Instant::now();
                    continue;
                }
            }
            let now = Instant::now();
            if stream.outstanding() == 0 {
                last_answer = now;
            } else if now.saturating_duration_since(last_answer) > self.limit {
                return Err(Error::failed("no answer in time"));
            }
            self.take(&mut granted, now);
            if !self.shared.over.load(Ordering::Relaxed) {
                let room = stream.room();
                let (due, shared) = (&mut self.due, &self.shared);
                stream.renew(std::iter::from_fn(|| due.next(now, shared)).take(room)).await?;
            } else if stream.outstanding() == 0 {
                return Ok(());
            }
        }
    }

    /// Takes in what has been granted meanwhile.
    fn take(&mut self, granted: &mut mpsc::Receiver<i64>, now: Instant) {
        loop {
            match granted.try_recv() {
                Ok(id) => self.due.granted(id, now),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }
}

impl Shared {
    fn count(&self, answer: Answer, tally: &mut Tally) {
        if !answer.alive {
            tally.error("a lease has run out");
        } else if self.holding.load(Ordering::Relaxed) {
            tally.latencies.record(answer.answered.saturating_duration_since(answer.sent));
        }
    }
}

/// The leases, of which the one that is due first comes first. One that has run out is renewed on,
/// and counted each time.
struct Due {
    every: Duration,
    queue: BinaryHeap<Reverse<(Instant, i64)>>,
    granted: u64,
}

impl Due {
    fn new(every: Duration) -> Self {
        Self { every, queue: BinaryHeap::new(), granted: 0 }
    }

    /// A lease that was granted now. Leases are first renewed anywhere in the time between two
    /// renewals, or they would go on coming in the bursts in which they were granted.
    fn granted(&mut self, id: i64, now: Instant) {
        let place = u32::try_from(scramble(self.granted) % u64::from(PLACES));
        let place = place.expect("a remainder is smaller than the count");
        self.granted += 1;
        self.queue.push(Reverse((now + self.every * place / PLACES, id)));
    }

    /// The next lease that is due, which is renewed now.
    fn next(&mut self, now: Instant, shared: &Shared) -> Option<Lease> {
        let mut first = self.queue.peek_mut()?;
        let Reverse((due, id)) = *first;
        if due > now {
            return None;
        }
        shared.sent_late(now - due);
        *first = Reverse((now + self.every, id));
        Some(Lease { number: 0, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(20);

    /// Each lease has its turn once in the time between two renewals, and lateness is kept.
    #[test]
    fn leases_are_due_in_turn() {
        let (shared, start) = (Shared::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let queue = [Reverse((at(25), 8)), Reverse((at(20), 7))].into();
        let mut due = Due { queue, ..Due::new(EVERY) };

        let mut next = |seconds| due.next(at(seconds), &shared).map(|lease| lease.id);

        let turns = [19, 20, 20, 27, 39, 40].map(&mut next);
        assert_eq!(turns, [None, Some(7), None, Some(8), None, Some(7)]);
        assert_eq!(shared.latest(), Duration::from_secs(2));
    }

    /// However fast leases are granted, as many are due in one part of the time as in another.
    #[test]
    fn first_renewals_are_spread() {
        let (shared, start) = (Shared::default(), Instant::now());
        let mut due = Due::new(EVERY);
        (0..4_000).for_each(|id| due.granted(id, start));

        let parts = [1, 2, 3, 4].map(|part| {
            let now = start + EVERY * part / 4 - Duration::from_nanos(1);
            std::iter::from_fn(|| due.next(now, &shared)).count()
        });

        assert_eq!(parts.iter().sum::<usize>(), 4_000);
        assert!(parts.iter().all(|part| (900..1_100).contains(part)), "{parts:?}");
    }
}
