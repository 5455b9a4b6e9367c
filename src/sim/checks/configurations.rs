//! Whether changes of who decides come one after the other, and everybody counts alike.
//!
//! A small model of its own reads the entries that members commit and says which configuration is in
//! force after each. A member's state must agree wherever it stands, and so must the consensus of one
//! that leads. In no log may two changes stand that nobody has applied: between the configurations that
//! are in force at a time at most one voter differs, so that their majorities meet.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    raft::{LogEntry, Payload, Position, Progress, payload},
    sim::checks::Violation,
    state::{Command, ConfState, MemberChange, codec},
    types::{Index, MemberId, Term},
};

/// Who decides, and who only receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Those with a vote.
    pub voters: BTreeSet<MemberId>,
    /// Those without.
    pub learners: BTreeSet<MemberId>,
}

/// All configurations that were ever in force.
#[derive(Debug)]
pub struct Configurations {
    /// By the entry since which each is in force.
    since: BTreeMap<Index, Configuration>,
    /// Who was removed, and by which entry.
    removed: BTreeMap<MemberId, Position>,
    /// Up to here some member has committed the log.
    front: Index,
}

impl Configuration {
    /// Whether `ids` holds a majority of the voters.
    #[must_use]
    pub fn has_majority(&self, ids: &BTreeSet<MemberId>) -> bool {
        self.voters.intersection(ids).count() > self.voters.len() / 2
    }

    /// Everybody in it.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.voters.iter().chain(&self.learners).copied()
    }
}

impl Configurations {
    /// The first one, of a new cluster of these members.
    #[must_use]
    pub fn new(founders: &[MemberId]) -> Self {
        let first = Configuration {
            voters: founders.iter().copied().collect(),
            ..Configuration::default()
        };
        // Entry 1 is the first state.
        let front = Index(1);
        Self { since: [(front, first)].into(), removed: BTreeMap::new(), front }
    }

    /// The newest one that is in force somewhere.
    #[must_use]
    pub fn newest(&self) -> &Configuration {
        self.at(self.front)
    }

    /// Up to where the log is committed.
    #[must_use]
    pub fn front(&self) -> Index {
        self.front
    }

    fn at(&self, index: Index) -> &Configuration {
        self.since.range(..=index).next_back().expect("the first one is from the first entry on").1
    }

    /// The entry that removed a member, if one did.
    #[must_use]
    pub fn removal(&self, id: MemberId) -> Option<Position> {
        self.removed.get(&id).copied()
    }

    /// A member holds an entry to be committed.
    pub fn committed(&mut self, entry: &LogEntry) -> Result<(), Violation> {
        let index = Index(entry.index);
        if index <= self.front {
            return Ok(());
        }
        if index != self.front.next() {
            let front = self.front;
            return Err(Violation(format!("entry {index} is committed, and nobody had {front}")));
        }
        self.front = index;
        let broken = |fault: crate::types::Fault| Violation(fault.to_string());
        let Payload::Change(_, group) = payload(entry).map_err(broken)? else { return Ok(()) };
        for request in codec::decode_group(group).map_err(broken)? {
            let Command::ChangeMembers(change) = request.command else {
                return Err(Violation(format!("entry {index} is no change of members")));
            };
            let at = Position { index, term: Term(entry.term) };
            if let Some(next) = self.after(&change, at) {
                self.since.insert(index, next);
            }
        }
        Ok(())
    }

    /// What a change makes of the newest one; `None` when it is refused.
    fn after(&mut self, change: &MemberChange, at: Position) -> Option<Configuration> {
        let mut next = self.newest().clone();
        match change {
            MemberChange::Add { id, learner, learners_max, .. } => {
                let full = *learner && next.learners.len() as u64 >= u64::from(*learners_max);
                if full || self.removed.contains_key(id) || next.ids().any(|known| known == *id) {
                    return None;
                }
                if *learner { &mut next.learners } else { &mut next.voters }.insert(*id);
            }
            MemberChange::Promote(id) => {
                if !next.learners.remove(id) {
                    return None;
                }
                next.voters.insert(*id);
            }
            MemberChange::Remove(id) => {
                let last = next.voters.len() == 1 && next.voters.contains(id);
                if last || !(next.voters.remove(id) || next.learners.remove(id)) {
                    return None;
                }
                self.removed.insert(*id, at);
            }
            MemberChange::Update { .. } => {}
        }
        Some(next)
    }

    /// A member has applied the log up to `index`, and its state says that this is in force.
    pub fn applied(&self, id: MemberId, index: Index, conf: &ConfState) -> Result<(), Violation> {
        let expected = self.at(index);
        let whole = conf.voters_outgoing.is_empty() && conf.learners_next.is_empty();
        let same =
            conf.voters.iter().eq(&expected.voters) && conf.learners.iter().eq(&expected.learners);
        if whole && same {
            return Ok(());
        }
        Err(Violation(format!("after entry {index} {id} has {conf:?} instead of {expected:?}")))
    }

    /// A member that leads, and has applied the log up to `index`, counts these.
    pub fn counted(&self, id: MemberId, index: Index, all: &[Progress]) -> Result<(), Violation> {
        let expected = self.at(index);
        let of = |learner: bool| all.iter().filter(move |p| p.learner == learner).map(|p| p.member);
        if of(false).eq(expected.voters.iter().copied())
            && of(true).eq(expected.learners.iter().copied())
        {
            return Ok(());
        }
        let counted: Vec<_> = all.iter().map(|p| (p.member, p.learner)).collect();
        Err(Violation(format!(
            "after entry {index} {id} leads and counts {counted:?} instead of {expected:?}"
        )))
    }

    /// A member's log holds so many changes after the last entry that anybody has applied.
    pub fn pending(&self, id: MemberId, changes: usize) -> Result<(), Violation> {
        if changes <= 1 {
            return Ok(());
        }
        let front = self.front;
        Err(Violation(format!("{changes} changes stand after entry {front} in the log of {id}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<MemberId> {
        ids.iter().copied().map(MemberId).collect()
    }

    fn conf(voters: &[u64], learners: &[u64]) -> ConfState {
        ConfState { voters: ids(voters), learners: ids(learners), ..ConfState::default() }
    }

    /// What is refused changes nothing, and a removed member does not come back.
    #[test]
    fn the_model_follows_changes() {
        let mut all = Configurations::new(&ids(&[1, 2]));
        let mut change = |index: u64, change: MemberChange| {
            let at = Position { index: Index(index), term: Term(1) };
            if let Some(next) = all.after(&change, at) {
                all.since.insert(Index(index), next);
            }
            all.front = Index(index);
            let newest = all.newest().clone();
            (newest.voters.into_iter().collect(), newest.learners.into_iter().collect())
        };
        let add = |id, learner| MemberChange::Add {
            id: MemberId(id),
            peer_urls: Vec::new(),
            learner,
            learners_max: 1,
        };
        assert_eq!(change(2, add(3, true)), (ids(&[1, 2]), ids(&[3])));
        assert_eq!(change(3, add(4, true)), (ids(&[1, 2]), ids(&[3])));
        assert_eq!(change(4, MemberChange::Promote(MemberId(3))), (ids(&[1, 2, 3]), ids(&[])));
        assert_eq!(change(5, MemberChange::Remove(MemberId(1))), (ids(&[2, 3]), ids(&[])));
        assert_eq!(change(6, add(1, false)), (ids(&[2, 3]), ids(&[])));
        assert_eq!(change(7, MemberChange::Remove(MemberId(2))), (ids(&[3]), ids(&[])));
        assert_eq!(change(8, MemberChange::Remove(MemberId(3))), (ids(&[3]), ids(&[])));
        let removed = |id| all.removal(MemberId(id)).map(|at| at.index);
        assert_eq!([removed(1), removed(2), removed(3)], [Some(Index(5)), Some(Index(7)), None]);
    }

    /// A wrong configuration, wrong counting, and a second change before the first is applied are found.
    #[test]
    fn disagreement_is_found() {
        let mut all = Configurations::new(&ids(&[1, 2, 3]));
        let (me, at) = (MemberId(1), Index(1));
        all.applied(me, at, &conf(&[1, 2, 3], &[])).unwrap();
        assert!(all.applied(me, at, &conf(&[1, 2], &[])).is_err());
        assert!(all.applied(me, at, &conf(&[1, 2], &[3])).is_err());
        let progress = |id: u64| Progress {
            member: MemberId(id),
            matched: Index(1),
            recent_active: true,
            learner: false,
        };
        all.counted(me, at, &[progress(1), progress(2), progress(3)]).unwrap();
        assert!(all.counted(me, at, &[progress(1), progress(2)]).is_err());
        all.pending(me, 1).unwrap();
        assert!(all.pending(me, 2).is_err());
        assert!(all.committed(&LogEntry { index: 3, ..LogEntry::default() }).is_err());
    }
}
