//! How much of the log is kept, counted in bytes.

use std::collections::VecDeque;

use crate::types::Index;

/// A mark is set each time this many bytes were appended, so the answers are as exact as that.
const MARK_BYTES: u64 = 64 * 1024;

/// Bytes appended to the log, with marks to find where a number of them begins.
#[derive(Debug, Default)]
pub(super) struct Retention {
    appended: u64,
    /// Index and bytes appended up to it, ascending in both.
    marks: VecDeque<(Index, u64)>,
}

impl Retention {
    /// Takes over a log of the last run. Its bytes are taken to be spread evenly.
    pub(super) fn of_log(after: Index, last: Index, bytes: u64) -> Self {
        let marks = bytes / MARK_BYTES;
        let entries = last.0.saturating_sub(after.0);
        let mut retention = Self { appended: bytes, marks: VecDeque::new() };
        for mark in 1..=marks {
            let share = u128::from(entries) * u128::from(mark) / u128::from(marks);
            let index = Index(after.0 + u64::try_from(share).unwrap_or(entries));
            retention.marks.push_back((index, mark * MARK_BYTES));
        }
        retention
    }

    /// Counts entries that were appended, the last of them at `last`.
    pub(super) fn appended(&mut self, last: Index, bytes: u64) {
        // A replaced suffix is counted twice, which only makes the estimate careful.
        while self.marks.back().is_some_and(|(index, _)| *index >= last) {
            self.marks.pop_back();
        }
        self.appended += bytes;
        let marked = self.marks.back().map_or(0, |(_, bytes)| *bytes);
        if self.appended - marked >= MARK_BYTES {
            self.marks.push_back((last, self.appended));
        }
    }

    /// Forgets the marks up to and with `to`.
    pub(super) fn truncated(&mut self, to: Index) {
        while self.marks.front().is_some_and(|(index, _)| *index < to) {
            self.marks.pop_front();
        }
    }

    /// Bytes appended after `index`, as known from the marks.
    pub(super) fn bytes_after(&self, index: Index) -> u64 {
        let after = self.marks.partition_point(|(mark, _)| *mark <= index);
        let up_to = match after.checked_sub(1).and_then(|at| self.marks.get(at)) {
            Some((_, bytes)) => *bytes,
            None => self
                .marks
                .front()
                .map_or(self.appended, |(_, bytes)| bytes - MARK_BYTES.min(*bytes)),
        };
        self.appended - up_to
    }

    /// The largest known index after which at least `bytes` were appended.
    pub(super) fn cut_keeping(&self, bytes: u64) -> Option<Index> {
        let limit = self.appended.checked_sub(bytes)?;
        let after = self.marks.partition_point(|(_, appended)| *appended <= limit);
        after.checked_sub(1).and_then(|at| self.marks.get(at)).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of the last run counts: it is flushed and cut as if it had been written in this one.
    #[test]
    fn the_log_of_the_last_run_counts() {
        let mut retention = Retention::of_log(Index(1), Index(101), 100 * MARK_BYTES);
        assert_eq!(retention.bytes_after(Index(51)), 50 * MARK_BYTES);
        retention.appended(Index(102), MARK_BYTES);
        assert_eq!(retention.cut_keeping(11 * MARK_BYTES), Some(Index(91)));
    }

    /// A cut leaves at least the bytes asked for, and not a mark more.
    #[test]
    fn a_cut_keeps_what_was_asked_for() {
        let mut retention = Retention::default();
        for index in 1..=100 {
            retention.appended(Index(index), MARK_BYTES);
        }
        assert_eq!(retention.cut_keeping(10 * MARK_BYTES), Some(Index(90)));
        assert_eq!(retention.bytes_after(Index(90)), 10 * MARK_BYTES);
        assert_eq!(retention.cut_keeping(1_000 * MARK_BYTES), None);
    }
}
