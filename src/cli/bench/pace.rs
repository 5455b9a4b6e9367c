//! When the next operation is due, and whether there is one.
//!
//! In an open loop operations are due at fixed times, and their latency counts from then on, also
//! when no client was free: otherwise a cluster that stalls would be measured only while it does not.
//! For the same reason what was due before the end is done after it, within as long again; what is
//! left then was missed.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Hands out operations to all clients.
pub(super) struct Pace {
    start: Instant,
    taken: AtomicU64,
    /// Of those, the ones that were done.
    begun: AtomicU64,
    total: Option<u64>,
    /// Measured and warm-up time together.
    duration: Option<Duration>,
    warm_up: Duration,
    /// Operations a second, or 0 for as fast as they go.
    rate: u64,
    /// From here on nothing is due.
    stopped: OnceLock<Instant>,
}

/// One operation to do.
pub(super) struct Ticket {
    /// Its number, from 0 on.
    pub(super) number: u64,
    /// From when on its latency counts.
    pub(super) due: Instant,
    /// Whether it counts at all.
    pub(super) measured: bool,
}

/// How much is to be done, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) total: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) warm_up: Duration,
    pub(super) rate: u64,
}

impl Pace {
    /// Starts the clock.
    pub(super) fn start(extent: Extent) -> Self {
        Self {
            start: Instant::now(),
            taken: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            total: extent.total,
            duration: extent.duration.map(|duration| duration + extent.warm_up),
            warm_up: extent.warm_up,
            rate: extent.rate,
            stopped: OnceLock::new(),
        }
    }

    /// Lets nothing be due from now on; what was due before is still done.
    pub(super) fn stop(&self) {
        self.stopped.get_or_init(Instant::now);
    }

    /// The next operation, at the time when it is due; none once all are done.
    pub(super) async fn next(&self) -> Option<Ticket> {
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if self.total.is_some_and(|total| number >= total) {
            return None;
        }
        let now = Instant::now();
        let due = match self.rate {
            0 => now,
            rate => self.start + intended(number, rate),
        };
        if let Some(duration) = self.duration {
            let end = self.start + duration;
            let last = if self.rate == 0 { end } else { end + duration };
            if due >= end || now >= last {
                return None;
            }
        }
        if self.stopped.get().is_some_and(|stopped| due >= *stopped) {
            return None;
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        if due > now {
            sleep_until(due).await;
        }
        Some(Ticket { number, due, measured: due >= self.start + self.warm_up })
    }

    /// Operations that were due, and never begun because their clients were not free in time.
    pub(super) fn missed(&self) -> u64 {
        let Some(duration) = self.duration else { return 0 };
        let due = (duration.as_nanos() * u128::from(self.rate)).div_ceil(1_000_000_000);
        let due = u64::try_from(due).unwrap_or(u64::MAX).min(self.total.unwrap_or(u64::MAX));
        due.saturating_sub(self.begun.load(Ordering::Relaxed))
    }

    /// The time that counts, up to now.
    pub(super) fn measured_time(&self) -> Duration {
        self.start.elapsed().saturating_sub(self.warm_up)
    }
}

/// When an operation is due, counted from the start.
fn intended(number: u64, rate: u64) -> Duration {
    let nanos = u128::from(number) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: Extent =
        Extent { total: None, duration: None, warm_up: Duration::ZERO, rate: 0 };

    /// No more operations than asked for.
    #[tokio::test]
    async fn a_total_is_kept() {
        let pace = Pace::start(Extent { total: Some(2), ..ENDLESS });

        assert_eq!(pace.next().await.map(|ticket| ticket.number), Some(0));
        assert_eq!(pace.next().await.map(|ticket| ticket.number), Some(1));
        assert!(pace.next().await.is_none());
    }

    /// Operations that were not started in time are still due when they were meant to be.
    #[tokio::test]
    async fn an_open_loop_counts_from_the_intended_time() {
        let pace = Pace::start(Extent { rate: 1_000_000, ..ENDLESS });
        while pace.start.elapsed() < Duration::from_millis(2) {
            tokio::task::yield_now().await;
        }

        let (first, second) = (pace.next().await.unwrap(), pace.next().await.unwrap());

        assert_eq!(first.due, pace.start);
        assert_eq!(second.due, pace.start + Duration::from_micros(1));
    }

    /// What was due before the end is done after it; what was not even begun then is counted.
    #[tokio::test]
    async fn an_open_loop_leaves_nothing_out() {
        let duration = Duration::from_secs(100);
        let extent = Extent { rate: 10, duration: Some(duration), ..ENDLESS };
        let started =
            |ago: u32| Pace { start: Instant::now() - duration * ago / 10, ..Pace::start(extent) };

        let (late, too_late) = (started(15), started(25));

        assert_eq!(late.missed(), 1_000);
        assert_eq!(late.next().await.map(|ticket| ticket.due), Some(late.start));
        assert_eq!(late.missed(), 999);
        assert!(too_late.next().await.is_none());
        assert_eq!(too_late.missed(), 1_000);
    }

    /// What was due when the load was stopped is done, and nothing else.
    #[tokio::test]
    async fn a_stop_leaves_nothing_out() {
        let pace = Pace::start(Extent { rate: 10, ..ENDLESS });
        let pace = Pace { start: pace.start - Duration::from_millis(150), ..pace };

        pace.stop();

        let mut due = Vec::new();
        while let Some(ticket) = pace.next().await {
            due.push(ticket.due - pace.start);
        }
        assert_eq!(due, [Duration::ZERO, Duration::from_millis(100)]);
    }

    /// What happens while warming up does not count.
    #[tokio::test]
    async fn warming_up_does_not_count() {
        let pace = Pace::start(Extent { warm_up: Duration::from_secs(3600), ..ENDLESS });

        assert!(!pace.next().await.unwrap().measured);
        assert_eq!(pace.measured_time(), Duration::ZERO);
    }

    /// Operations are spread evenly, without drifting.
    #[test]
    fn intended_times_do_not_drift() {
        assert_eq!(intended(3_000_000, 3), Duration::from_secs(1_000_000));
        assert_eq!(intended(1, 3), Duration::from_nanos(333_333_333));
    }
}
