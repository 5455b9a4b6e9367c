//! [`Turnover`]: what came of members that come, go and fall behind, and the [`Step`]s of it at which
//! members crash.

use crate::types::{MemberId, Millis};

/// A moment of a change of members, or of an installation, at which a member may crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A change stands in its log.
    Appended,
    /// It knows that a change is committed, and has not applied it.
    Committed,
    /// Its state has applied a change, and consensus has not heard of it.
    Applied,
    /// A checkpoint is staged, and about to be the state.
    Received,
    /// A checkpoint is the state, and the log has not followed.
    Installed,
}

impl Step {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// Its place among all of them.
    #[must_use]
    pub fn place(self) -> usize {
        match self {
            Self::Appended => 0,
            Self::Committed => 1,
            Self::Applied => 2,
            Self::Received => 3,
            Self::Installed => 4,
        }
    }
}

/// What came of members that come, go and fall behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turnover {
    /// Members that were added.
    pub added: u64,
    /// Learners that were given a vote.
    pub promoted: u64,
    /// Members that were removed.
    pub removed: u64,
    /// Removals of a member that led when it was asked for.
    pub leaders_removed: u64,
    /// Members that ended by themselves, having heard that they were removed.
    pub left: u64,
    /// Changes that were asked for again, because nobody said what became of them.
    pub asked_again: u64,
    /// Crashes at each [`Step`], by its place.
    pub crashes: [u64; Step::COUNT],
    /// Checkpoints that followed another one with nothing applied in between.
    pub in_a_row: u64,
    /// Members that lost their disks for good.
    pub wiped: u64,
    /// Members that were away while the others settled.
    pub away: u64,
    /// How long the others took to have a leader, once nothing broke any more.
    pub led_after: Millis,
    /// How long a write took that was asked for then.
    pub wrote_after: Millis,
}

/// Steps that were reached and not yet looked at.
pub type Reached = Vec<(MemberId, Step)>;
