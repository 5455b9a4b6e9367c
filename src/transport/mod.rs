//! Member to member: raft messages, forwarded requests, snapshots and questions to the leader's
//! lease clock, over gRPC.
//!
//! Each member keeps one stream open to every other and sends on it; what comes in arrives on the
//! streams of the others. Delivery is not promised: a frame is dropped when its member is away or
//! its queue is full, and the node hears of it as [`report_unreachable`]. Frames that arrive keep
//! their order while a stream lasts. A snapshot has a connection of its own, so that it never holds
//! up a heartbeat, and its outcome is reported exactly once; a broken one goes on where it ended.
//!
//! Nothing of a call is believed before its handshake names this cluster and this member. A sender
//! that the list of members does not name may be newer than the list, and is heard; one that was
//! removed is refused, and told so. Raft messages are bytes here: who steps them checks them.
//!
//! [`GrpcPeers`] sends and [`PeerService`] receives. Everything is bounded: queues by frames and
//! bytes, messages by size, silences by deadlines.
//!
//! [`report_unreachable`]: crate::node::ports::Inbox::report_unreachable

use std::time::Duration;

use crate::types::{BootNumber, ClusterId, MemberId};

mod admission;
mod assembly;
mod contact;
mod error;
mod head;
mod link;
mod lookup;
mod metrics;
mod peers;
mod queue;
mod rate;
mod receive;
mod renewals;
mod service;
mod snapshot;
mod snapshot_metrics;
mod source;
mod wire;

#[cfg(test)]
mod strangers;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use error::{ChunkError, Refusal};
pub use lookup::{ClusterMembers, membership_at};
pub use metrics::PeerMetrics;
pub use peers::GrpcPeers;
pub use service::PeerService;

/// Who this member is to the others, and how patient it is with them.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub member: MemberId,
    /// The start of its process: with it, what a start counts has a name for good.
    pub boot: BootNumber,
    /// A member that says nothing for about this long is taken for away.
    pub election_timeout: Duration,
    /// Bytes of snapshots that it sends a second, to all others together; 0: as many as it can.
    pub snapshot_send_rate: u64,
}
