//! Why a recipe came to nothing.

use crate::{
    node::{self, RequestError},
    state::Refused,
};

/// Why a recipe came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// One of its steps was declined, or the member cannot carry it out now.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The key with which the caller waited is gone, as a rule because its lease ended.
    #[error("the key in the line is gone")]
    SessionExpired,
    /// The caller does not lead, or not any more.
    #[error("not leader of the election")]
    NotLeader,
    /// Nobody leads.
    #[error("the election has no leader")]
    NoLeader,
}

impl From<node::Error> for Error {
    fn from(error: node::Error) -> Self {
        Self::Request(error.into())
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Request(refused.into())
    }
}
