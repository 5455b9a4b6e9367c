//! Why a member does not start, or does not run on.

use std::io;

use super::{DiscoveryError, JoinError, RendezvousError};
use crate::{
    storage::DataDirError,
    tls,
    types::{Fault, MemberId},
};

/// Why a member does not start, or does not run on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The member was removed from its cluster.
    #[error("the member has been permanently removed from the cluster")]
    Removed,
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {url}: {source}")]
    Listen {
        /// The listen URL.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The fail points asked for cannot be had.
    #[error("FAILPOINTS: {0}")]
    FailPoints(String),
    /// The system gives no threads.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    /// Signals cannot be received.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// A member without data may not begin, or does not know as whom.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The member had been removed from its cluster before it was started.
    #[error(
        "the member has been permanently removed from the cluster: data directory {path} is that of \
         member {member}, which never returns. To take part again, add a new member, and start it \
         with an empty data directory and initial-cluster-state existing"
    )]
    RemovedBefore {
        /// The data directory.
        path: String,
        /// The member.
        member: MemberId,
    },
    /// The DNS names no cluster for this member.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// Another cluster names no cluster for this member.
    #[error(transparent)]
    Rendezvous(#[from] RendezvousError),
    /// A cluster was to be made of data that are not there.
    #[error("force-new-cluster is set, but data directory {0} is empty")]
    NothingToForce(String),
    /// The identity is there, but the state is not.
    #[error(
        "data directory {0} belongs to a member that ran before, but its state is gone: remove this \
         member from its cluster and add it again"
    )]
    StateLost(String),
    /// The log or the state cannot be opened or do not fit.
    #[error("{0}")]
    Start(Fault),
    /// The member stopped by itself; its log says why.
    #[error("the member stopped: {0}")]
    Stopped(Fault),
    /// A part that must not end has ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}
