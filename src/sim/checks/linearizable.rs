//! Whether some order of the operations on one key explains what each saw: the search of Wing and
//! Gong (1993) with Lowe's memory of visited states (2017).
//!
//! Linearizability is local: a history is linearizable exactly when the part of it on every single
//! key is. A transaction on two keys is looked at once for each; that it happens at one point is
//! the business of the check by revisions.

use std::collections::BTreeSet;

use crate::sim::{
    checks::Violation,
    history::{Content, Fate, KeyId, Operation},
};

/// Steps after which a search gives up, which counts as a violation. Searches of sound histories
/// take a few steps for each operation.
const STEPS_MAX: usize = 2_000_000;

/// An operation as seen by one key.
#[derive(Clone, Copy, Debug)]
struct Step {
    called: u64,
    /// `None`: it may take effect at any time after the call, or never.
    returned: Option<u64>,
    saw: Option<Content>,
    wrote: Option<Content>,
}

/// What of a search decides how it can go on: the steps taken, and what the key holds after them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    /// All steps below this one are taken.
    below: usize,
    /// The taken ones above it.
    above: BTreeSet<usize>,
    content: Content,
}

/// Whether the operations on every key are linearizable.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let keys: BTreeSet<KeyId> =
        operations.iter().flat_map(|op| op.saw.keys().chain(op.wrote.keys()).copied()).collect();
    for key in keys {
        let steps = steps_on(key, operations);
        search(&steps).map_err(|found| match found {
            Outcome::TookTooLong => Violation(format!("the search over {key} took too many steps")),
            Outcome::NoOrder(longest) => {
                Violation(format!("no order of the operations on {key} explains what they saw; {longest} of {} can be ordered", steps.len()))
            }
        })?;
    }
    Ok(())
}

/// The operations that touch `key`, in the order of their calls.
fn steps_on(key: KeyId, operations: &[Operation]) -> Vec<Step> {
    let observed: BTreeSet<Content> =
        operations.iter().filter_map(|op| op.saw.get(&key).copied()).collect();
    let mut steps = Vec::new();
    for op in operations {
        let (saw, wrote) = (op.saw.get(&key).copied(), op.wrote.get(&key).copied());
        let returned = match op.fate {
            // A read of the past promises no order in real time.
            Fate::Done { serializable: true, .. } | Fate::No => continue,
            Fate::Done { returned, .. } => Some(returned),
            // A value that nobody saw explains nothing: leaving it out keeps the search small.
            Fate::Unknown if wrote.is_none_or(|content| !observed.contains(&content)) => continue,
            Fate::Unknown => None,
        };
        if saw.is_some() || wrote.is_some() {
            steps.push(Step { called: op.called, returned, saw, wrote });
        }
    }
    steps.sort_by_key(|step| step.called);
    steps
}

enum Outcome {
    TookTooLong,
    /// No order exists; this many steps can be ordered at most.
    NoOrder(usize),
}

/// Depth first over what can be taken next, never twice from the same place.
fn search(steps: &[Step]) -> Result<(), Outcome> {
    let mut seen = BTreeSet::new();
    let mut longest = 0;
    let mut open = vec![Taken { below: 0, above: BTreeSet::new(), content: None }];
    while let Some(taken) = open.pop() {
        if taken.is_all(steps) {
            return Ok(());
        }
        longest = longest.max(taken.below + taken.above.len());
        let mut candidates = taken.candidates(steps);
        // A read that fits is taken at once: it changes nothing, so whatever order there is without
        // it here there is with it, too.
        if let Some(read) = candidates.iter().copied().find(|at| taken.fits_read(*at, steps)) {
            candidates = vec![read];
        }
        for next in candidates {
            if let Some(after) = taken.take(next, steps)
                && seen.insert(after.clone())
            {
                open.push(after);
            }
        }
        if seen.len() > STEPS_MAX {
            return Err(Outcome::TookTooLong);
        }
    }
    Err(Outcome::NoOrder(longest))
}

impl Taken {
    /// Whether everything that returned is taken.
    fn is_all(&self, steps: &[Step]) -> bool {
        self.missing(steps).all(|(_, step)| step.returned.is_none())
    }

    fn missing<'a>(&'a self, steps: &'a [Step]) -> impl Iterator<Item = (usize, &'a Step)> {
        steps.iter().enumerate().skip(self.below).filter(|(at, _)| !self.above.contains(at))
    }

    /// The steps that may come next: those called before any missing one returned. The last found
    /// is tried first, which is the one that was called last.
    fn candidates(&self, steps: &[Step]) -> Vec<usize> {
        let mut first_return = u64::MAX;
        let mut candidates = Vec::new();
        for (at, step) in self.missing(steps) {
            if step.called > first_return {
                break; // in the order of calls, so all that follow are too late as well
            }
            first_return = first_return.min(step.returned.unwrap_or(u64::MAX));
            candidates.push(at);
        }
        candidates.retain(|at| steps.get(*at).is_some_and(|step| step.called <= first_return));
        candidates.reverse();
        candidates
    }

    /// Whether a step only looked, and saw what there is.
    fn fits_read(&self, at: usize, steps: &[Step]) -> bool {
        steps.get(at).is_some_and(|step| step.wrote.is_none() && step.saw == Some(self.content))
    }

    /// Where the search stands after `next`, unless that saw something else than there is.
    fn take(&self, next: usize, steps: &[Step]) -> Option<Self> {
        let step = steps.get(next)?;
        if step.saw.is_some_and(|saw| saw != self.content) {
            return None;
        }
        let mut after = self.clone();
        after.content = step.wrote.unwrap_or(self.content);
        after.above.insert(next);
        while after.above.remove(&after.below) {
            after.below += 1;
        }
        Some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sim::history::ValueId,
        types::{MemberId, Revision},
    };

    const KEY: KeyId = KeyId(1);

    fn operation(
        called: u64,
        fate: Fate,
        saw: Option<Content>,
        wrote: Option<Content>,
    ) -> Operation {
        let contents = |content: Option<Content>| content.map(|c| (KEY, c)).into_iter().collect();
        Operation {
            client: called,
            member: MemberId(1),
            what: "test",
            called,
            saw: contents(saw),
            wrote: contents(wrote),
            fate,
        }
    }

    fn done(returned: u64) -> Fate {
        Fate::Done { returned, revision: Revision(0), serializable: false }
    }

    fn put(called: u64, returned: u64, value: u64) -> Operation {
        operation(called, done(returned), None, Some(Some(ValueId(value))))
    }

    fn get(called: u64, returned: u64, seen: Option<u64>) -> Operation {
        operation(called, done(returned), Some(seen.map(ValueId)), None)
    }

    fn cas(called: u64, returned: u64, expected: u64, value: u64) -> Operation {
        let (saw, wrote) = (Some(Some(ValueId(expected))), Some(Some(ValueId(value))));
        operation(called, done(returned), saw, wrote)
    }

    fn lost_put(called: u64, value: u64) -> Operation {
        operation(called, Fate::Unknown, None, Some(Some(ValueId(value))))
    }

    /// Overlapping operations may be ordered either way.
    #[test]
    fn sound_histories_pass() {
        for history in [
            vec![],
            vec![put(0, 10, 1), get(11, 20, Some(1))],
            vec![put(0, 10, 1), get(5, 20, None)],
            vec![put(0, 10, 1), put(0, 10, 2), get(11, 12, Some(1)), get(13, 14, Some(1))],
            vec![put(0, 1, 1), cas(2, 20, 1, 2), get(3, 4, Some(1)), get(5, 6, Some(2))],
            // The answer was lost, the effect was not; or it was, too.
            vec![lost_put(0, 1), get(50, 60, None), get(70, 80, Some(1))],
            vec![put(0, 1, 1), lost_put(2, 2), get(50, 60, Some(1))],
        ] {
            assert_eq!(check(&history), Ok(()), "{history:?}");
        }
    }

    /// Stale reads, lost updates and writes that come and go are found.
    #[test]
    fn broken_histories_are_found() {
        for history in [
            // a stale read after an acknowledged write
            vec![put(0, 10, 1), get(11, 20, None)],
            // a value that nobody wrote
            vec![get(0, 1, Some(9))],
            // two reads disagree on an order
            vec![
                put(0, 9, 1),
                put(0, 9, 2),
                get(10, 11, Some(1)),
                get(12, 13, Some(2)),
                get(14, 15, Some(1)),
            ],
            // two swaps from the same value
            vec![put(0, 1, 1), cas(2, 9, 1, 2), cas(2, 9, 1, 3)],
            // the effect of a lost answer before its call
            vec![get(0, 1, Some(1)), lost_put(2, 1)],
            // it took effect, and then it had not
            vec![lost_put(0, 1), get(2, 3, Some(1)), get(4, 5, None)],
        ] {
            assert!(check(&history).is_err(), "{history:?}");
        }
    }

    /// A refused operation has no effect, and whoever sees one has found a violation.
    #[test]
    fn refused_operations_have_no_effect() {
        let refused = operation(0, Fate::No, None, Some(Some(ValueId(1))));
        assert_eq!(check(&[refused.clone(), get(2, 3, None)]), Ok(()));
        assert!(check(&[refused, get(2, 3, Some(1))]).is_err());
    }

    /// Many concurrent operations with a hidden fault are decided within the bound on steps.
    #[test]
    fn wide_histories_are_decided() {
        let mut history: Vec<_> = (1..=12).map(|value| put(value, 1_000, value)).collect();
        history.extend((0..12).map(|at| get(2_000 + 10 * at, 2_005 + 10 * at, Some(7))));
        assert_eq!(check(&history), Ok(()));
        history.push(get(3_000, 3_001, Some(8)));
        assert!(check(&history).is_err());
    }
}
