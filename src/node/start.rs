//! [`Starts`]: what a start of a member makes of the starts before it.
//!
//! Each start has a number, kept in two places: in the log, where it is written first, and in the
//! identity beside it. A log that was put back from a copy, or begun anew, does not know the last one.
//! The log also remembers that the identity had counted it, so that an identity which was put back
//! alone is not taken for one that was never written: a number would be used for two starts.

use crate::types::{BootNumber, Fault};

/// In which start of the member the log was begun to be written, and beside which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogStart {
    /// The number of the start.
    pub boot: BootNumber,
    /// The number of the state: a higher one was installed since.
    pub state: u64,
    /// The identity has counted it.
    pub counted: bool,
}

/// What is kept of a member's starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    /// The last one that the identity knows.
    pub counted: BootNumber,
    /// The one in which the log was last begun to be written.
    pub written: Option<LogStart>,
}

impl Starts {
    /// What shows that log and identity are not both those that were written last, if anything does. A
    /// start is written to the log first, so that the log may be one ahead.
    #[must_use]
    pub fn loss(&self) -> Option<Fault> {
        let (written, counted) = (self.boot_written(), self.counted);
        let was_counted = self.written.is_some_and(|start| start.counted);
        let is_ahead = written.0 == counted.0 + 1 && !was_counted;
        (written != counted && !is_ahead).then(|| {
            Fault::new(format!(
                "the log was last written in start {written} of this member, but its last start was \
                 {counted}: one of them was put back from a copy"
            ))
        })
    }

    /// Whether a checkpoint was installed since the log was last begun, beside a state that has this
    /// number now.
    #[must_use]
    pub fn has_installed(&self, state: u64) -> bool {
        self.written.is_some_and(|start| start.state < state)
    }

    /// The number of the start that begins now. One that ended when it stood in the log alone has done
    /// nothing, and its number is used again: or two of them in a row would look like a loss.
    #[must_use]
    pub fn next(&self) -> BootNumber {
        let known = match self.loss() {
            None => self.counted,
            Some(_) => self.boot_written().max(self.counted),
        };
        BootNumber(known.0 + 1)
    }

    fn boot_written(&self) -> BootNumber {
        self.written.map_or(BootNumber(0), |start| start.boot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(counted: u64, written: Option<u64>) -> Starts {
        let start = |boot| LogStart { boot: BootNumber(boot), state: 3, counted: false };
        Starts { counted: BootNumber(counted), written: written.map(start) }
    }

    /// The log may be one start ahead, and is otherwise of the start that the identity knows.
    #[test]
    fn a_log_of_another_start_is_recognised() {
        for (counted, written) in [(0, None), (0, Some(1)), (4, Some(4)), (4, Some(5))] {
            assert_eq!(starts(counted, written).loss(), None, "{written:?} beside {counted}");
        }
        for (counted, written) in [(1, Some(3)), (4, None), (4, Some(3)), (4, Some(6))] {
            assert!(starts(counted, written).loss().is_some(), "{written:?} beside {counted}");
        }
    }

    /// No two starts that were counted have the same number, whichever of the two places is behind.
    #[test]
    fn the_next_start_has_a_number_of_its_own() {
        for (written, next) in [(Some(4), 5), (Some(5), 5), (None, 5), (Some(2), 5), (Some(9), 10)]
        {
            assert_eq!(starts(4, written).next(), BootNumber(next), "{written:?} beside 4");
        }
    }

    /// Starts that end between log and identity, however many, leave no trace of a loss.
    #[test]
    fn starts_cut_short_look_like_no_loss() {
        let mut found = starts(4, Some(4));
        for _ in 0..3 {
            found.written = Some(LogStart { boot: found.next(), state: 3, counted: false });
            assert_eq!(found.loss(), None);
        }
        assert_eq!(found.next(), BootNumber(5));
    }

    /// An identity that was put back alone is one behind, too, but the log knows that it had counted.
    #[test]
    fn an_identity_that_was_put_back_is_recognised() {
        let start = LogStart { boot: BootNumber(5), state: 3, counted: true };
        let found = |counted| Starts { counted: BootNumber(counted), written: Some(start) };
        assert_eq!(found(5).loss(), None);
        assert!(found(4).loss().is_some());
        assert_eq!((found(4).next(), found(5).next()), (BootNumber(6), BootNumber(6)));
    }

    /// A state that is newer than the log's start was installed since.
    #[test]
    fn an_installed_state_is_recognised() {
        assert!(!starts(4, Some(4)).has_installed(3));
        assert!(starts(4, Some(4)).has_installed(4));
        assert!(!starts(4, None).has_installed(4));
    }
}
