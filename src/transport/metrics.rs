//! Bytes to and from each other member, under the names that etcd's dashboards read.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::snapshot_metrics::SnapshotMetrics;
use crate::types::MemberId;

/// One label: the other member's id in hex.
pub(super) type Labels = [(&'static str, String); 1];

/// Bytes to and from each other member, and failures on the way.
#[derive(Clone, Debug, Default)]
pub struct PeerMetrics {
    sent_bytes: Family<Labels, Counter>,
    received_bytes: Family<Labels, Counter>,
    sent_failures: Family<Labels, Counter>,
    pub(super) snapshots: SnapshotMetrics,
}

/// The counters of one other member.
#[derive(Clone, Debug)]
pub(super) struct MemberMetrics {
    pub(super) sent_bytes: Counter,
    pub(super) received_bytes: Counter,
    pub(super) sent_failures: Counter,
}

impl PeerMetrics {
    /// Shows the counters under their names.
    pub fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(name, help, family.clone());
        };
        add("etcd_network_peer_sent_bytes", "Bytes sent to a member", &self.sent_bytes);
        add(
            "etcd_network_peer_received_bytes",
            "Bytes received from a member",
            &self.received_bytes,
        );
        add(
            "etcd_network_peer_sent_failures",
            "Frames and streams to a member that failed",
            &self.sent_failures,
        );
        self.snapshots.register(registry);
    }

    pub(super) fn member(&self, member: MemberId) -> MemberMetrics {
        MemberMetrics {
            sent_bytes: self.sent_bytes.get_or_create_owned(&to(member)),
            received_bytes: self.received_bytes.get_or_create_owned(&from(member)),
            sent_failures: self.sent_failures.get_or_create_owned(&to(member)),
        }
    }

    /// A removed member's series would otherwise stay for good.
    pub(super) fn forget(&self, member: MemberId) {
        self.sent_bytes.remove(&to(member));
        self.received_bytes.remove(&from(member));
        self.sent_failures.remove(&to(member));
        self.snapshots.forget(member);
    }
}

pub(super) fn to(member: MemberId) -> Labels {
    [("To", member.to_string())]
}

pub(super) fn from(member: MemberId) -> Labels {
    [("From", member.to_string())]
}
