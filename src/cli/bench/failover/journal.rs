//! When puts were due and when they were acknowledged.

use std::time::Duration;

use tokio::time::Instant;

/// Puts that were acknowledged, in that order.
#[derive(Debug, Default)]
pub(super) struct Journal {
    puts: Vec<Put>,
}

#[derive(Clone, Copy, Debug)]
struct Put {
    due: Instant,
    acknowledged: Instant,
}

impl Journal {
    pub(super) fn acknowledged(&mut self, due: Instant, acknowledged: Instant) {
        self.puts.push(Put { due, acknowledged });
    }

    /// The newest acknowledgement.
    pub(super) fn newest(&self) -> Option<Instant> {
        self.puts.iter().map(|put| put.acknowledged).max()
    }

    /// Forgets all but the newest: a gap begins with it.
    pub(super) fn forget(&mut self) {
        let newest = self.puts.iter().copied().max_by_key(|put| put.acknowledged);
        self.puts = Vec::from_iter(newest);
    }

    /// The longest time between two acknowledgements of which the later one came in this time, or
    /// was still awaited at its end; and the longest wait of a put that was due in it.
    pub(super) fn longest(&self, from: Instant, until: Instant) -> (Duration, Duration) {
        let mut times: Vec<Instant> = self.puts.iter().map(|put| put.acknowledged).collect();
        times.sort_unstable();
        times.retain(|time| *time <= until);
        times.push(until);
        let pairs = times.iter().zip(times.iter().skip(1));
        let gaps = pairs.filter(|(_, later)| **later >= from).map(|(a, b)| b.duration_since(*a));
        let due = self.puts.iter().filter(|put| (from..=until).contains(&put.due));
        let waits = due.map(|put| put.acknowledged.saturating_duration_since(put.due));
        (gaps.max().unwrap_or_default(), waits.max().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// A gap counts when its end lies in the time that is looked at, and from its own beginning on.
    #[test]
    fn gaps_are_whole() {
        let start = Instant::now();
        let mut journal = Journal::default();
        // One is told late: the order is that of the times.
        for (due, acknowledged) in [(0, 10), (1, 500), (20, 40), (499, 501)] {
            journal.acknowledged(start + millis(due), start + millis(acknowledged));
        }

        let longest = |from, until| journal.longest(start + millis(from), start + millis(until));

        assert_eq!(longest(15, 600), (millis(460), millis(20)));
        assert_eq!(longest(0, 600), (millis(460), millis(499)));
        assert_eq!(longest(501, 510), (millis(9), millis(0)));
        assert_eq!(longest(0, 300).0, millis(260), "nothing came since 40");
        assert_eq!(journal.newest(), Some(start + millis(501)));
    }

    /// The newest is kept, for the next gap may begin with it.
    #[test]
    fn a_gap_begins_before_the_strike() {
        let start = Instant::now();
        let mut journal = Journal::default();
        journal.acknowledged(start, start + millis(5));
        journal.acknowledged(start, start + millis(3));
        journal.forget();
        journal.acknowledged(start, start + millis(105));
        assert_eq!(journal.longest(start + millis(50), start + millis(106)).0, millis(100));
    }
}
