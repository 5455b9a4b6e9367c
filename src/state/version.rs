//! What members understand, and what all of them have agreed on.
//!
//! That is one number, the *level*. A release that can say something new in the log, or that makes
//! something else of what can be said already, has a higher one than the release before. Members tell
//! theirs through the log when they start. The cluster's level is the lowest of all its members',
//! once each has told it, and never goes down by itself: from then on the log may hold what older
//! programs cannot read, so they are refused.
//!
//! It follows from the log alone: [`settle`] runs with every command that changes a member. So no
//! leader has to ask around and decide, and a cluster has its level as soon as the last of its first
//! members has published itself. Until then it is that of the first release.

use std::fmt;

use crate::{
    state::{Command, meta, write_txn::WriteTxn},
    types::Fault,
};

/// What a program understands. [`Level::UNKNOWN`] is below all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub u32);

impl Level {
    /// Nothing was told.
    pub const UNKNOWN: Self = Self(0);
    /// What every program understands.
    pub const FIRST: Self = Self(1);
    /// What this program understands.
    pub const OWN: Self = Self(1);
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}", self.0)
    }
}

impl Command {
    /// What a member must understand to apply this. A field that is new to a command raises it, too,
    /// where it is used: an older program would not see it.
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Put(_)
            | Self::DeleteRange(_)
            | Self::Txn(_)
            | Self::Compact(_)
            | Self::LeaseGrant { .. }
            | Self::LeaseRevoke { .. }
            | Self::LeaseCheckpoint { .. }
            | Self::PublishMember { .. }
            | Self::ChangeMembers(_)
            | Self::Alarm(_) => Level::FIRST,
        }
    }
}

/// Raises the cluster's level to the lowest that its members have told. To be called whenever a
/// member was changed or removed.
pub(super) fn settle(txn: &mut WriteTxn<'_>) -> Result<(), Fault> {
    let told = meta::members(txn.view())?.into_iter().map(|member| member.level);
    let lowest = told.min().unwrap_or(Level::UNKNOWN);
    let store = txn.store_mut();
    store.level = store.level.max(lowest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        state::{
            Member, bootstrap,
            testing::{Machine, publish_level},
        },
        types::{ClusterId, MemberId},
    };

    fn of_members(count: u64) -> Machine {
        let member = |id| Member { id: MemberId(id), ..Member::default() };
        let members: Vec<Member> = (1..=count).map(member).collect();
        Machine::on(bootstrap(ClusterId(7), &members))
    }

    fn level(machine: &Machine) -> Level {
        meta::store(machine.view()).unwrap().level
    }

    /// The lowest counts, once everybody has told: whoever has not might be the lowest.
    #[test]
    fn the_lowest_of_all_counts() {
        let mut machine = of_members(3);
        machine.apply(publish_level(1, 2)).outcome.unwrap();
        machine.apply(publish_level(2, 3)).outcome.unwrap();
        assert_eq!(level(&machine), Level::UNKNOWN);
        machine.apply(publish_level(3, 2)).outcome.unwrap();
        assert_eq!(level(&machine), Level(2));
        machine.apply(publish_level(1, 3)).outcome.unwrap();
        assert_eq!(level(&machine), Level(2));
        machine.apply(publish_level(3, 3)).outcome.unwrap();
        assert_eq!(level(&machine), Level(3));
    }

    /// What the log may hold by now, an older program cannot read.
    #[test]
    fn it_never_goes_down() {
        let mut machine = of_members(1);
        machine.apply(publish_level(1, 2)).outcome.unwrap();
        machine.apply(publish_level(1, 1)).outcome.unwrap();
        assert_eq!(level(&machine), Level(2));
    }
}
