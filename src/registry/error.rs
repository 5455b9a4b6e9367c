//! Why the registry declines a request.

use std::fmt;

use thiserror::Error as ThisError;

use crate::{
    node::{self, RequestError},
    registry::{InstanceName, Name},
    state::Refused,
    types::{LeaseId, Revision},
};

/// Why a request was declined, or has no answer.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// A field makes no sense.
    #[error("{0}: {1}")]
    Invalid(Field, String),
    /// Somebody else holds the instance's id.
    #[error("instance {instance} is held by {holder}")]
    Held {
        /// The instance.
        instance: InstanceName,
        /// Who holds it: a session, or a lease without one.
        holder: Holder,
    },
    /// There is no such lease.
    #[error("lease {0} does not exist")]
    NoLease(LeaseId),
    /// History that is needed is compacted.
    #[error("revision {0} has been compacted")]
    Compacted(Revision),
    /// What others write at the same time got in between, again and again.
    #[error("instance {0} changes too fast")]
    Contended(InstanceName),
    /// The same about a session.
    #[error("session {0} changes too fast")]
    SessionContended(Name),
    /// Declined by the state.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The member cannot answer.
    #[error(transparent)]
    Node(#[from] node::Error),
}

/// A field of a request, as it is named on the wire: `instance.port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field(pub String);

/// Who holds an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A session.
    Session(Name),
    /// A lease without a session.
    Lease(LeaseId),
    /// Nobody that lives: the key is on no lease.
    Nobody,
}

impl Error {
    /// A complaint about a field.
    #[must_use]
    pub fn invalid(field: &str, complaint: impl Into<String>) -> Self {
        Self::Invalid(Field(field.to_owned()), complaint.into())
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refused) => refused.into(),
            RequestError::Node(error) => error.into(),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(session) => write!(f, "session {session}"),
            Self::Lease(lease) => write!(f, "lease {lease}"),
            Self::Nobody => f.write_str("a key without a lease"),
        }
    }
}
