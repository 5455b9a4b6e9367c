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
            None => self.marks.front().map_or(self.appended, |(_, bytes)| bytes - MARK_BYTES.min(*bytes)),
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
