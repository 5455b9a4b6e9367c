//! From a long sequence of operations that shows a difference to a short one.
//!
//! First ever longer ends of the sequence are tried, because most differences need little before them.
//! Then pieces are left out, halves first and single operations last, and in the end single operations
//! are made simpler. Each try starts from empty servers. What remains is minimal in this sense: no
//! operation can be left out alone and none can be simplified, unless the time ran out.

use crate::{op::Op, simplify::simpler};

/// How many operations at the end are made simpler before the others.
const LAST_OPS: usize = 3;

/// Says whether a sequence still shows the difference. Once the time is up, it answers
/// [`Verdict::OutOfTime`] to everything.
pub(crate) trait Oracle {
    async fn judge(&mut self, ops: &[Op]) -> Verdict;
}

/// What comes of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answers to the last of so many operations differ.
    DiffersAfter(usize),
    Agrees,
    OutOfTime,
}

/// A shorter sequence with a difference.
#[derive(Debug)]
pub(crate) struct Shrunk {
    pub(crate) ops: Vec<Op>,
    pub(crate) tries: usize,
    /// The time ran out before nothing more could be left out.
    pub(crate) out_of_time: bool,
}

struct Shrinking<'a, O> {
    oracle: &'a mut O,
    best: Vec<Op>,
    tries: usize,
    out_of_time: bool,
}

/// Shortens a sequence whose last operation shows a difference.
pub(crate) async fn shrink(ops: Vec<Op>, oracle: &mut impl Oracle) -> Shrunk {
    let mut shrinking = Shrinking { oracle, best: ops, tries: 0, out_of_time: false };
    shrinking.take_an_end().await;
    shrinking.leave_out_pieces().await;
    // The last operations say the most; once they are simpler, they may need less before them.
    if shrinking.simplify(LAST_OPS).await {
        shrinking.leave_out_pieces().await;
    }
    while shrinking.simplify(usize::MAX).await {
        shrinking.leave_out_pieces().await;
    }
    let Shrinking { best, tries, out_of_time, .. } = shrinking;
    Shrunk { ops: best, tries, out_of_time }
}

impl<O: Oracle> Shrinking<'_, O> {
    /// Takes the candidate if it still shows a difference.
    async fn take(&mut self, mut candidate: Vec<Op>) -> bool {
        if self.out_of_time {
            return false;
        }
        self.tries += 1;
        match self.oracle.judge(&candidate).await {
            Verdict::DiffersAfter(count) => {
                candidate.truncate(count);
                self.best = candidate;
                true
            }
            Verdict::Agrees => false,
            Verdict::OutOfTime => {
                self.out_of_time = true;
                false
            }
        }
    }

    async fn take_an_end(&mut self) {
        let mut count = 1;
        while count < self.best.len() && !self.out_of_time {
            let end = self.best[self.best.len() - count..].to_vec();
            if self.take(end).await {
                return;
            }
            count *= 4;
        }
    }

    async fn leave_out_pieces(&mut self) {
        let mut piece = self.best.len().div_ceil(2);
        while piece > 0 && !self.out_of_time {
            let mut from = 0;
            while from < self.best.len() && !self.out_of_time {
                let mut candidate = self.best.clone();
                candidate.drain(from..(from + piece).min(self.best.len()));
                // What comes after the piece has moved to its place.
                if candidate.is_empty() || !self.take(candidate).await {
                    from += piece;
                }
            }
            piece /= 2;
        }
    }

    /// Makes the last so many operations simpler, each as often as it works; says whether it did.
    async fn simplify(&mut self, count: usize) -> bool {
        let mut any = false;
        for index in (self.best.len().saturating_sub(count)..self.best.len()).rev() {
            // A simpler operation may show the difference by itself, which shortens the sequence.
            while index < self.best.len() && self.simplify_one(index).await {
                any = true;
            }
            if self.out_of_time {
                break;
            }
        }
        any
    }

    async fn simplify_one(&mut self, index: usize) -> bool {
        for op in simpler(&self.best[index]) {
            if self.out_of_time {
                break;
            }
            let mut candidate = self.best.clone();
            candidate[index] = op;
            if self.take(candidate).await {
                return true;
            }
        }
        false
    }
}
