//! The one clock of a member, and what it takes from the calendar.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::types::Millis;

/// A monotonic clock. It may start anywhere and never goes back.
pub trait Clock: Send + Sync {
    /// The time now, in microseconds.
    fn now_micros(&self) -> u64;

    /// The time now.
    fn now(&self) -> Millis {
        Millis(self.now_micros() / 1_000)
    }
}

/// The machine's monotonic clock, from the moment this was made.
#[derive(Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl Default for MonotonicClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the shell owns the clock that others are passed"
    )]
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now_micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Seconds of the calendar, which are part of the id of a member that is added now. Nothing is
/// measured by them.
#[expect(clippy::disallowed_methods, reason = "a new id is drawn from the time, as etcd does")]
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
