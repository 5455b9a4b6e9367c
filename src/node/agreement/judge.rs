//! Who is in the wrong when members' checksums differ.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::MemberId;

/// In the place of a member: somebody is wrong, and nobody can say who. So it is in etcd.
const UNKNOWN: MemberId = MemberId(0);

/// What the checksums of some members say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// They are the same.
    Agreement,
    /// Most members have the same; these have another.
    Wrong(BTreeSet<MemberId>),
    /// They differ, and nothing says who is right.
    Unclear,
}

impl Judgement {
    pub(super) fn is_agreement(&self) -> bool {
        *self == Self::Agreement
    }

    /// Whom an alarm has to name.
    pub(super) fn suspects(&self) -> BTreeSet<MemberId> {
        match self {
            Self::Agreement => BTreeSet::new(),
            Self::Wrong(members) => members.clone(),
            Self::Unclear => BTreeSet::from([UNKNOWN]),
        }
    }
}

/// Judges the checksums of those who answered, out of so many `members`.
///
/// What more than half of all members hold is right: an entry is acknowledged when so many have it,
/// and nobody else could ever hold the same by accident. That the leader has something says nothing:
/// its disk is as bad as any. So of two members, or when too few answered, neither is named.
pub(super) fn judge(members: usize, hashes: &[(MemberId, u32)]) -> Judgement {
    let mut holders: BTreeMap<u32, BTreeSet<MemberId>> = BTreeMap::new();
    for (member, hash) in hashes {
        holders.entry(*hash).or_default().insert(*member);
    }
    if holders.len() <= 1 {
        return Judgement::Agreement;
    }
    let right = holders.iter().find(|(_, holders)| holders.len() > members / 2);
    match right.map(|(hash, _)| *hash) {
        Some(right) => {
            let wrong = holders.into_iter().filter(|(hash, _)| *hash != right);
            Judgement::Wrong(wrong.flat_map(|(_, holders)| holders).collect())
        }
        None => Judgement::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(members: usize, hashes: &[u32]) -> Judgement {
        let hashes: Vec<_> = (1..).map(MemberId).zip(hashes.iter().copied()).collect();
        judge(members, &hashes)
    }

    fn wrong<const N: usize>(members: [u64; N]) -> Judgement {
        Judgement::Wrong(members.into_iter().map(MemberId).collect())
    }

    /// The few are named, whether the leader is among them or not.
    #[test]
    fn the_few_are_wrong() {
        assert_eq!(of(3, &[7, 7, 7]), Judgement::Agreement);
        assert_eq!(of(3, &[7, 8, 7]), wrong([2]));
        assert_eq!(of(3, &[8, 7, 7]), wrong([1]));
        assert_eq!(of(5, &[1, 7, 7, 7, 2]), wrong([1, 5]));
    }

    /// Without more than half of all members on one side nobody is named: those who are away might
    /// be on the other.
    #[test]
    fn nobody_is_named_without_a_majority() {
        assert_eq!(of(2, &[7, 8]), Judgement::Unclear);
        assert_eq!(of(3, &[7, 8]), Judgement::Unclear);
        assert_eq!(of(3, &[7, 8, 9]), Judgement::Unclear);
        assert_eq!(of(4, &[7, 7, 8, 8]), Judgement::Unclear);
        assert_eq!(of(5, &[7, 7, 8]), Judgement::Unclear);
        assert_eq!(Judgement::Unclear.suspects(), BTreeSet::from([MemberId(0)]));
    }

    proptest! {
        /// Members that hold the same are never suspected, however many answer; nor is anybody who is
        /// of one mind with more than half.
        #[test]
        fn whoever_holds_what_most_hold_is_not_named(
            away in 0..5_usize, hashes in prop::collection::vec(0..3_u32, 0..8),
        ) {
            let members = hashes.len() + away;
            let judgement = of(members, &hashes);
            let same = hashes.iter().all(|hash| Some(hash) == hashes.first());
            prop_assert_eq!(judgement.is_agreement(), same);
            for (id, hash) in (1..).map(MemberId).zip(&hashes) {
                let alike = hashes.iter().filter(|other| *other == hash).count();
                prop_assert!(!(alike > members / 2 && judgement.suspects().contains(&id)));
            }
        }
    }
}
