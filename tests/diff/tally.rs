//! How often each call was answered, and how: a run of refusals alone would compare nothing.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
};

use crate::{answer::Answer, op::Op};

/// Counts of equal answers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    answered: BTreeMap<&'static str, u64>,
    refused: BTreeMap<String, u64>,
}

impl Tally {
    pub(crate) fn count(&mut self, op: &Op, answer: &Answer) {
        match answer {
            Answer::Refused(code, message) => {
                // Sizes in brackets would make a line of their own for each.
                let message = message.split(" (").next().unwrap_or_default();
                let text = format!("{code:?}: {message}");
                *self.refused.entry(text).or_default() += 1;
            }
            _ => *self.answered.entry(op.name()).or_default() += 1,
        }
    }

    /// All operations.
    pub(crate) fn total(&self) -> u64 {
        self.answered.values().chain(self.refused.values()).sum()
    }

    /// Holds that every call was answered, not only refused, and that most requests were.
    pub(crate) fn assert_eventful(&self, calls: &[&str]) {
        for call in calls {
            assert!(self.answered.contains_key(call), "no {call} was answered:\n{self}");
        }
        let refused: u64 = self.refused.values().sum();
        assert!(refused * 2 < self.total(), "most operations were refused:\n{self}");
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (call, count) in &self.answered {
            writeln!(f, "{count:>8} {call}")?;
        }
        for (refusal, count) in &self.refused {
            writeln!(f, "{count:>8} {refusal}")?;
        }
        Ok(())
    }
}
