//! Whether members agree: on who leads, on every entry, and on the state after it.

use std::collections::BTreeMap;

use crate::{
    raft::{LogEntry, Position},
    sim::checks::Violation,
    types::{Index, MemberId, Term},
};

/// What members have said so far, and so what others must say.
#[derive(Debug, Default)]
pub struct Agreement {
    leaders: BTreeMap<Term, MemberId>,
    entries: BTreeMap<Index, (Term, u32)>,
    states: BTreeMap<Index, (Term, u64)>,
}

impl Agreement {
    /// A member leads: it is the only one in its term.
    pub fn leads(&mut self, member: MemberId, term: Term) -> Result<(), Violation> {
        let first = *self.leaders.entry(term).or_insert(member);
        only(first == member, || format!("both {first} and {member} lead in term {term}"))
    }

    /// A member holds an entry to be committed: it is the same one everywhere, for good.
    pub fn committed(&mut self, member: MemberId, entry: &LogEntry) -> Result<(), Violation> {
        let found = (Term(entry.term), crc32fast::hash(&entry.data));
        let first = *self.entries.entry(Index(entry.index)).or_insert(found);
        only(first == found, || {
            format!(
                "{member} committed entry {} of term {} with hash {:x}, another one had term {} and hash {:x}",
                entry.index, found.0, found.1, first.0, first.1
            )
        })
    }

    /// A member has applied the log up to `position`, and this is the hash of its state.
    pub fn applied(
        &mut self,
        member: MemberId,
        position: Position,
        hash: u64,
    ) -> Result<(), Violation> {
        let found = (position.term, hash);
        let first = *self.states.entry(position.index).or_insert(found);
        only(first == found, || {
            format!(
                "after entry {} {member} is in term {} with state {:x}, another one was in term {} with state {:x}",
                position.index, found.0, found.1, first.0, first.1
            )
        })
    }

    /// How many terms had a leader.
    #[must_use]
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }
}

fn only(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MemberId = MemberId(1);
    const B: MemberId = MemberId(2);

    /// Two leaders of one term, two entries at one index and two states after it are found.
    #[test]
    fn disagreement_is_found() {
        let mut agreement = Agreement::default();
        agreement.leads(A, Term(2)).unwrap();
        agreement.leads(B, Term(3)).unwrap();
        assert!(agreement.leads(B, Term(2)).is_err());

        let entry = |term| LogEntry { index: 5, term, ..LogEntry::default() };
        agreement.committed(A, &entry(2)).unwrap();
        agreement.committed(B, &entry(2)).unwrap();
        assert!(agreement.committed(B, &entry(3)).is_err());

        let position = Position { index: Index(5), term: Term(2) };
        agreement.applied(A, position, 7).unwrap();
        agreement.applied(B, position, 7).unwrap();
        assert!(agreement.applied(A, position, 8).is_err());
    }
}
