//! How fast this member sends checkpoints: one rate for all of them together.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// Who was held up may make up for this much of it, and no more.
const CATCH_UP: Duration = Duration::from_millis(50);

/// Bytes a second, shared by whoever takes some.
#[derive(Debug)]
pub(super) struct Rate {
    /// 0: no limit.
    bytes_per_second: u64,
    /// When the next bytes are due; `None` before the first.
    next: Mutex<Option<Instant>>,
}

impl Rate {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, next: Mutex::new(None) }
    }

    /// Waits until so many bytes may be sent.
    pub(super) async fn take(&self, bytes: usize) {
        if let Some(due) = self.due(Instant::now(), bytes) {
            sleep_until(due).await;
        }
    }

    /// When so many bytes may be sent, and what comes after them later.
    fn due(&self, now: Instant, bytes: usize) -> Option<Instant> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let nanos = bytes.saturating_mul(1_000_000_000).checked_div(self.bytes_per_second)?;
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let due = next.map_or(now, |next| next.max(earliest));
        *next = Some(due + Duration::from_nanos(nanos));
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn rate() -> Rate {
        Rate::new(1024 * 1024)
    }

    /// Who takes more than the rate waits for the difference, however many they are.
    #[test]
    fn all_together_wait_for_their_turn() {
        let (rate, start) = (rate(), Instant::now());
        let waits: Vec<_> = (0..4).map(|_| rate.due(start, 256 * KIB).unwrap() - start).collect();
        assert_eq!(waits, [0, 250, 500, 750].map(Duration::from_millis));
    }

    /// What was not taken does not add up: after a pause only a moment is made up for.
    #[test]
    fn a_pause_is_no_credit() {
        let (rate, start) = (rate(), Instant::now());
        rate.due(start, KIB);
        let later = start + Duration::from_secs(60);
        let total: Vec<_> = (0..1024).map(|_| rate.due(later, KIB).unwrap()).collect();
        // A second's worth of bytes, less the moment.
        let last = *total.last().unwrap() - later;
        assert!((940..=950).contains(&last.as_millis()), "{last:?}");
    }

    /// Without a rate nobody waits.
    #[test]
    fn no_rate_is_no_limit() {
        assert_eq!(Rate::new(0).due(Instant::now(), usize::MAX), None);
    }
}
