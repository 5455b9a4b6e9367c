//! How fast files are rewritten to rid them of garbage.
//!
//! Nobody is in a hurry for it, and clients are served by the same processors. So a rewrite works
//! for a moment and rests for three times as long, from within: the engine shows each record to a
//! filter, and the filter rests. Rests between the steps of a run would not do, since one step may
//! be all that writes have left in the upper levels.
//!
//! The engine's own compactions never rest. They may have to wait for a rewrite, so one that so many
//! writes have overtaken goes on without rests, and so does one that is waited for: by clients
//! whose writes are refused for lack of space, or by a member that stops.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use crate::node::{Clock, MonotonicClock};

/// Bytes of records between two looks at the clock: a fraction of what is worked at a time.
const BYTES_BETWEEN_LOOKS: usize = 16 * 1024;
/// How long a rewrite works at a time. A client's request has several threads to pass and may have
/// to wait for as long at each, because a scheduler lets a thread that was woken wait until the one
/// that runs has had its slice.
const WORK_MICROS: u64 = 500;
/// How many times as long as it worked it rests.
const REST_TIMES: u64 = 3;
/// The longest rest: what took longer waited for the disk, which is a rest by itself. It bounds how
/// much later a member stops.
const REST_MICROS_MAX: u64 = 10_000;
/// Bytes that are written while a rewrite still rests: a few flushes, far fewer than would make the
/// engine hold writes up.
const OVERTAKEN_BYTES: u64 = 256 * 1024 * 1024;

/// The pace of one database.
#[derive(Debug, Default)]
pub(super) struct Pace {
    hurry: AtomicBool,
    /// No rests any more, whatever the next rewrite says.
    stop: AtomicBool,
    /// Bytes that were written since the rewrite began.
    written: AtomicU64,
    #[cfg(test)]
    pub(super) rests: AtomicU64,
}

impl Pace {
    /// A rewrite begins, with rests or in a hurry.
    pub(super) fn begin(&self, hurry: bool) {
        self.written.store(0, Ordering::Relaxed);
        self.hurry.store(hurry, Ordering::Relaxed);
    }

    /// Ends all rests.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Notes what clients wrote.
    pub(super) fn wrote(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn rests(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
            && !self.hurry.load(Ordering::Relaxed)
            && self.written.load(Ordering::Relaxed) < OVERTAKEN_BYTES
    }
}

/// The steps of one thread that rewrites, or reads to find out whether it must.
#[derive(Debug, Default)]
pub(super) struct Steps {
    clock: MonotonicClock,
    /// Bytes of records since the last look at the clock.
    passed: usize,
    /// When the work began that was not rested from yet.
    since: Option<u64>,
}

impl Steps {
    /// A record of so many bytes is done: rests when it is time to.
    pub(super) fn passed(&mut self, bytes: usize, pace: &Pace) {
        self.passed = self.passed.saturating_add(bytes);
        if self.passed < BYTES_BETWEEN_LOOKS {
            return;
        }
        self.passed = 0;
        if !pace.rests() {
            self.since = None;
            return;
        }
        if let Some(micros) = self.rest(self.clock.now_micros()) {
            #[cfg(test)]
            pace.rests.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_micros(micros));
            self.since = Some(self.clock.now_micros());
        }
    }

    /// How long to rest now.
    fn rest(&mut self, now: u64) -> Option<u64> {
        let worked = now.saturating_sub(*self.since.get_or_insert(now));
        (worked >= WORK_MICROS).then(|| worked.saturating_mul(REST_TIMES).min(REST_MICROS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work is followed by rests in proportion, which have a bound.
    #[test]
    fn rests_follow_work() {
        let mut steps = Steps::default();
        assert_eq!(steps.rest(5_000), None);
        assert_eq!(steps.rest(5_000 + WORK_MICROS - 1), None);
        assert_eq!(steps.rest(5_000 + WORK_MICROS), Some(3 * WORK_MICROS));
        assert_eq!(steps.rest(900_000), Some(REST_MICROS_MAX));
    }

    /// A rewrite rests until it is overtaken; the next one rests again. After a stop none does.
    #[test]
    fn who_is_in_a_hurry_does_not_rest() {
        let pace = Pace::default();
        for _ in 0..2 {
            pace.begin(false);
            pace.wrote(usize::try_from(OVERTAKEN_BYTES - 1).unwrap());
            assert!(pace.rests());
            pace.wrote(1);
            assert!(!pace.rests());
        }
        pace.begin(true);
        assert!(!pace.rests());
        pace.begin(false);
        assert!(pace.rests());
        pace.stop();
        pace.begin(false);
        assert!(!pace.rests());
    }
}
