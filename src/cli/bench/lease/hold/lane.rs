//! One stream that keeps its share of the leases alive.

use std::{
    collections::VecDeque,
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
use crate::cli::{Error, bench::report::Tally};

/// How often it is looked which renewals are due.
const TICK: Duration = Duration::from_millis(50);

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
        self.due.add(id, Instant::now());
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
                Ok(id) => self.due.add(id, now),
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

/// The leases in the order in which they are to be renewed. One that has run out is renewed on, and
/// counted each time.
struct Due {
    every: Duration,
    queue: VecDeque<(Instant, i64)>,
}

impl Due {
    fn new(every: Duration) -> Self {
        Self { every, queue: VecDeque::new() }
    }

    /// A lease that was granted or renewed now.
    fn add(&mut self, id: i64, now: Instant) {
        self.queue.push_back((now + self.every, id));
    }

    /// The next lease that is due, which is renewed now.
    fn next(&mut self, now: Instant, shared: &Shared) -> Option<Lease> {
        let (due, id) = self.queue.pop_front_if(|(due, _)| *due <= now)?;
        shared.sent_late(now - due);
        self.add(id, now);
        Some(Lease { number: 0, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each lease has its turn once in the time between two renewals, and lateness is kept.
    #[test]
    fn leases_are_due_in_turn() {
        let (shared, mut due) = (Shared::default(), Due::new(Duration::from_secs(20)));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        due.add(7, at(0));
        due.add(8, at(5));

        let mut next = |seconds| due.next(at(seconds), &shared).map(|lease| lease.id);

        assert_eq!(
            [19, 20, 20, 27, 39, 40].map(&mut next),
            [None, Some(7), None, Some(8), None, Some(7)]
        );
        assert_eq!(shared.latest(), Duration::from_secs(2));
    }
}
