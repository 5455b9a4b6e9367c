//! Why a member cannot answer now.

use crate::{
    state::{Level, Refused},
    types::Fault,
};

/// Why a member cannot answer now. `may_have_happened` tells the two kinds of failure apart that a
/// client must treat differently.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No leader is known. Nothing was proposed.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while a read waited for its confirmation.
    #[error("leader changed")]
    LeaderChanged,
    /// Too many requests wait. Nothing was proposed.
    #[error("too many requests")]
    TooManyRequests,
    /// The encoded request is larger than the limit. Nothing was proposed.
    #[error("request of {0} bytes is too large")]
    TooLarge(usize),
    /// Some member does not understand the request. Nothing was proposed.
    #[error("not all members understand {0}")]
    NotCapable(Level),
    /// The member is shutting down.
    #[error("server stopped")]
    Stopped,
    /// This member lost part of what it had written, and is not whole since. Nothing was proposed.
    #[error("member is fenced")]
    Fenced,
    /// No outcome within the request timeout.
    #[error("request timed out")]
    TimedOut(TimeoutCause),
    /// This member does not lead, and what was asked needs the leader.
    #[error("not leader")]
    NotLeader,
    /// This member's disk or data is bad; it is stopping.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl Error {
    /// Whether it can help to ask the leader again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoLeader
            | Self::NotLeader
            | Self::LeaderChanged
            | Self::TooManyRequests
            | Self::Fenced
            | Self::TimedOut(_) => true,
            Self::TooLarge(_) | Self::NotCapable(_) | Self::Stopped | Self::Fault(_) => false,
        }
    }
}

/// What a timeout is put down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutCause {
    /// Nothing in particular.
    Unknown,
    /// There was no leader for the whole time.
    NoLeader,
    /// The leader failed shortly before or while the request waited.
    LeaderFailure,
    /// The link to the leader was down.
    ConnectionLost,
    /// This member lags behind what is committed.
    AppliedIndex,
}

/// Why a request has no answer: the state declined it, or the member cannot answer now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Declined by the state, the same on every member.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Not now.
    #[error(transparent)]
    Node(#[from] Error),
}
