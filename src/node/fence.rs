//! The fence: a member that lost what it had written is kept out until it is whole again.
//!
//! Votes and acknowledgements are promises, and a member whose log was cut, damaged or put back from
//! a copy does not know which ones it gave. It comes back as a new *incarnation*, fenced: it votes
//! in no election, acknowledges nothing and serves nobody. It asks all other voters for their term.
//! Whoever answers knows the new incarnation from then on, and what older ones say no longer counts.
//! When all have answered, the member takes over the highest term, takes entries or a checkpoint, and
//! is whole once it has applied the log up to the commit index that a leader of that term, or a later
//! one, has told it.
//!
//! Why all others, and not a majority of them: a vote that was lost may still be on its way to a
//! candidate, and only the candidate itself can refuse it. With three members it is the same.
//! A leader tells its commit index only once it has committed in its own term: before, it may know
//! less than was committed. `tests/model` visits every state of a small cluster under these rules,
//! and shows what goes wrong without each.
//!
//! [`Fencing`] is what a start knows, [`Return`] the way back, [`Incarnations`] what is known of others.

use std::{collections::BTreeMap, fmt, sync::Arc};

use crate::{
    node::ports::FenceStore,
    types::{BootNumber, Fault, Incarnation, Index, MemberId, Term},
};

/// In which life a member starts, and whether it is whole.
#[derive(Clone)]
pub struct Fencing {
    /// The member.
    pub member: MemberId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Whether it lost something and is not whole since.
    pub fenced: bool,
    /// Drawn anew at each start: tells two starts apart that have the same number, which means that
    /// the identity was put back from a copy.
    pub start: u64,
    /// Whether a checkpoint may have been installed since the log was last begun: then the log may
    /// end before the state without a loss.
    pub may_have_installed: bool,
    /// Whether the operator accepts the loss, and starts a cluster of this member alone.
    pub forced: bool,
    /// Whether this start has found a loss by itself.
    raised: bool,
    store: Arc<dyn FenceStore>,
}

impl fmt::Debug for Fencing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fencing")
            .field("incarnation", &self.incarnation)
            .field("fenced", &self.fenced)
            .finish_non_exhaustive()
    }
}

impl Fencing {
    /// What `store` keeps, as it was found at this start.
    #[must_use]
    pub fn new(
        store: Arc<dyn FenceStore>,
        member: MemberId,
        incarnation: Incarnation,
        fenced: bool,
        start: u64,
    ) -> Self {
        Self {
            member,
            incarnation,
            fenced,
            start,
            may_have_installed: false,
            forced: false,
            raised: false,
            store,
        }
    }

    /// For a member that nobody keeps a fence for: a loss is a fault.
    #[must_use]
    pub fn none(member: MemberId) -> Self {
        let none = Self::new(Arc::new(NoFence), member, Incarnation(0), false, 0);
        Self { may_have_installed: true, ..none }
    }

    /// Puts the fence up, because of `loss`: durably, before anything that shows the loss is thrown
    /// away. A second loss found at the same start changes nothing.
    pub fn raise(&mut self, loss: &Fault) -> Result<(), Fault> {
        tracing::error!("{loss}");
        if !self.raised {
            let raised = self.store.raise(self.incarnation);
            self.incarnation = raised.map_err(|fault| fault.during(&loss.to_string()))?;
            self.raised = true;
            self.fenced = true;
        }
        Ok(())
    }

    /// Takes the fence down because the operator accepts what was lost.
    pub fn lift(&mut self) -> Result<(), Fault> {
        if self.fenced {
            self.store.lift()?;
            self.fenced = false;
        }
        Ok(())
    }

    /// Where it is kept.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn FenceStore> {
        &self.store
    }
}

struct NoFence;

impl FenceStore for NoFence {
    fn raise(&self, _: Incarnation) -> Result<Incarnation, Fault> {
        Err(Fault::new("this member lost what it had written, and nothing keeps it fenced"))
    }

    fn lift(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// What a member says of itself when it opens a stream to another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// The number of its start.
    pub boot: BootNumber,
    /// Drawn at its start.
    pub start: u64,
    /// Its term.
    pub term: Term,
    /// Where its log ends.
    pub last: Index,
}

/// The way back of a fenced member.
#[derive(Debug, Default)]
pub(super) struct Return {
    /// The highest term that each of the others has answered.
    answers: BTreeMap<MemberId, Term>,
    /// The newest commit index that a leader has told, with its term.
    told: Option<(Term, Index)>,
    /// Whether the highest term was taken over: from then on entries are taken and acknowledged.
    pub(super) adopted: bool,
    /// Whether it is being written down that the member is whole.
    pub(super) lifting: bool,
    pub(super) ticks: u64,
}

impl Return {
    /// Takes an answer in. `committed` comes from a leader that has committed in its term.
    pub(super) fn answered(&mut self, from: MemberId, term: Term, committed: Option<Index>) {
        let known = self.answers.entry(from).or_default();
        *known = term.max(*known);
        if let Some(index) = committed
            && self.told.is_none_or(|(known, _)| term >= known)
        {
            self.told = Some((term, index));
        }
    }

    /// Who of `others` has not answered.
    pub(super) fn missing(&self, others: &[MemberId]) -> Vec<MemberId> {
        others.iter().filter(|id| !self.answers.contains_key(id)).copied().collect()
    }

    /// The highest term of the answers, once all of `others` have answered. Where there are no
    /// others, nobody can tell.
    pub(super) fn highest(&self, others: &[MemberId]) -> Option<Term> {
        let all = !others.is_empty() && self.missing(others).is_empty();
        let highest = self.answers.values().copied().max();
        highest.filter(|_| all)
    }

    /// What must be applied before a member in `term` is whole.
    pub(super) fn target(&self, term: Term) -> Option<Index> {
        self.told.filter(|(told, _)| *told >= term).map(|(_, index)| index)
    }
}

/// What is known of the other members' lives.
#[derive(Debug, Default)]
pub(super) struct Incarnations(BTreeMap<MemberId, Known>);

#[derive(Clone, Copy, Debug)]
struct Known {
    incarnation: Incarnation,
    start: Option<(BootNumber, u64)>,
}

/// What a greeting tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing new.
    Same,
    /// The member has started again: what it acknowledged before should still be there.
    Restarted,
    /// A newer incarnation speaks: what older ones acknowledged does not count.
    Newer,
    /// A life speaks that is over: of an older incarnation, or from an identity that was put back from
    /// a copy. Or a connection of an earlier start was heard late; so the newest start is named.
    Over {
        /// A new life must be above this one.
        newest: Incarnation,
        /// The newest start that is known.
        start: u64,
    },
}

impl Incarnations {
    /// Takes a greeting in.
    pub(super) fn greeted(&mut self, from: MemberId, greeting: &Greeting) -> Told {
        let Greeting { incarnation, boot, start, .. } = *greeting;
        let fresh = Known { incarnation, start: Some((boot, start)) };
        let Some(known) = self.0.get_mut(&from) else {
            self.0.insert(from, fresh);
            return Told::Same;
        };
        if incarnation > known.incarnation {
            *known = fresh;
            return Told::Newer;
        }
        let (known_boot, known_start) = known.start.unwrap_or((boot, start));
        if incarnation < known.incarnation {
            return Told::Over { newest: known.incarnation, start: known_start };
        }
        if boot < known_boot || (boot == known_boot && start != known_start) {
            return Told::Over { newest: above(known.incarnation), start: known_start };
        }
        let told = if start == known_start { Told::Same } else { Told::Restarted };
        known.start = fresh.start;
        told
    }

    /// Ends a member's incarnation: nothing it says counts from now on. Returns one that is above it.
    pub(super) fn end(&mut self, member: MemberId) -> Incarnation {
        let known =
            self.0.entry(member).or_insert(Known { incarnation: Incarnation(0), start: None });
        known.incarnation = above(known.incarnation);
        known.incarnation
    }

    /// Whether what this incarnation of a member says is to be heard, and whether it is a new one.
    pub(super) fn hears(&mut self, from: MemberId, incarnation: Incarnation) -> (bool, bool) {
        let fresh = Known { incarnation, start: None };
        let known = self.0.entry(from).or_insert(fresh);
        let newer = incarnation > known.incarnation;
        if newer {
            *known = fresh;
        }
        (incarnation >= known.incarnation, newer)
    }
}

fn above(incarnation: Incarnation) -> Incarnation {
    Incarnation(incarnation.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId(0xa);
    const B: MemberId = MemberId(0xb);

    /// One answer of two is not enough, and the highest term of all counts.
    #[test]
    fn all_others_must_answer() {
        let mut back = Return::default();
        assert_eq!(back.highest(&[]), None);
        back.answered(A, Term(3), None);
        assert_eq!((back.highest(&[A, B]), back.missing(&[A, B])), (None, vec![B]));
        back.answered(B, Term(5), None);
        back.answered(B, Term(4), None);
        assert_eq!(back.highest(&[A, B]), Some(Term(5)));
    }

    /// The commit index of a leader of an older term is no target.
    #[test]
    fn only_a_leader_of_the_term_tells_how_far_to_catch_up() {
        let mut back = Return::default();
        back.answered(A, Term(3), Some(Index(9)));
        assert_eq!((back.target(Term(4)), back.target(Term(3))), (None, Some(Index(9))));
        back.answered(B, Term(4), Some(Index(7)));
        back.answered(A, Term(3), Some(Index(10)));
        assert_eq!(back.target(Term(4)), Some(Index(7)));
    }

    /// What an incarnation says that is known to be over is not heard, whoever tells of the new one.
    #[test]
    fn older_incarnations_are_not_heard() {
        let mut known = Incarnations::default();
        let greeting = |incarnation, boot, start| Greeting {
            incarnation: Incarnation(incarnation),
            boot: BootNumber(boot),
            start,
            ..Greeting::default()
        };
        assert_eq!(known.greeted(A, &greeting(5, 1, 11)), Told::Same);
        assert_eq!(known.hears(A, Incarnation(5)), (true, false));
        assert_eq!(known.greeted(A, &greeting(9, 2, 12)), Told::Newer);
        assert_eq!(known.hears(A, Incarnation(5)), (false, false));
        let over = Told::Over { newest: Incarnation(9), start: 12 };
        assert_eq!(known.greeted(A, &greeting(5, 3, 13)), over);
        assert_eq!(known.hears(A, Incarnation(10)), (true, true));
    }

    /// A start with the number of another one, or an older one, is of an identity from a copy.
    #[test]
    fn an_identity_that_was_put_back_is_recognised() {
        let at = |boot, start| Greeting {
            incarnation: Incarnation(5),
            boot: BootNumber(boot),
            start,
            ..Greeting::default()
        };
        let over = Told::Over { newest: Incarnation(6), start: 1 };
        for (boot, start, expected) in
            [(4, 1, Told::Same), (5, 2, Told::Restarted), (4, 2, over), (3, 9, over)]
        {
            let mut known = Incarnations::default();
            assert_eq!(known.greeted(A, &at(4, 1)), Told::Same);
            let told = known.greeted(A, &at(boot, start));
            assert_eq!(told, expected, "start {start} of number {boot}");
        }
    }
}
