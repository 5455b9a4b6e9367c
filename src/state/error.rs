//! Why the state machine declines a command, and why it stops.

use crate::types::{Fault, LeaseId, MemberId, Revision};

/// Why the state machine declined a command.
///
/// A refusal is part of the replicated history: every member reaches the same one at the same
/// index, so it may depend only on the command and on the state before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The key is needed (an ignore flag) but does not live.
    #[error("key not found")]
    KeyNotFound,
    /// The revision asked for has been compacted away.
    #[error("revision {0} has been compacted")]
    Compacted(Revision),
    /// The revision asked for does not exist yet.
    #[error("revision {0} is a future revision")]
    FutureRevision(Revision),
    /// The lease was never granted, or is gone.
    #[error("lease {0} not found")]
    LeaseNotFound(LeaseId),
    /// A lease of this id lives already.
    #[error("lease {0} already exists")]
    LeaseExists(LeaseId),
    /// An expiry was proposed by a leader of the past.
    #[error("expiry of lease {0} was proposed under an older term")]
    StaleExpiry(LeaseId),
    /// The NOSPACE alarm is raised and the command stores something.
    #[error("database space exceeded")]
    NoSpace,
    /// The CORRUPT alarm is raised and the command writes.
    #[error("corrupt cluster")]
    Corrupt,
    /// No member has this id, or it was removed.
    #[error("member not found")]
    MemberNotFound,
    /// A member has this id already.
    #[error("member {0} exists already")]
    MemberExists(MemberId),
    /// Another member is reached there already.
    #[error("a peer url belongs to another member")]
    PeerUrlsTaken,
    /// There are as many learners as there may be.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// A vote can be given to a learner only.
    #[error("member {0} is not a learner")]
    NotALearner(MemberId),
    /// Without this member nobody would have a vote.
    #[error("member {0} is the only one with a vote")]
    LastVoter(MemberId),
}

/// A refusal, which every member reaches, or a fault of this one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The command was declined and left no trace.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// This member's data is bad.
    #[error(transparent)]
    Fault(#[from] Fault),
}
