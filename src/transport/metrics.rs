//! Bytes to and from each other member, under the names that etcd's dashboards read.

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
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
    round_trips: RoundTrips,
    known: Family<Pair, Gauge>,
    active: Family<Pair, Gauge>,
    disconnected: Family<Pair, Counter>,
    pub(super) snapshots: SnapshotMetrics,
}

/// Two labels: this member's id and the other's, in hex.
type Pair = [(&'static str, String); 2];

/// How long a question and its answer take, by the member that is asked.
#[derive(Clone, Debug)]
struct RoundTrips(Family<Labels, Histogram, fn() -> Histogram>);

impl Default for RoundTrips {
    /// With etcd's bounds: 0.1 ms to 3.3 s.
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_1, 2.0, 16))))
    }
}

/// The counters of one other member.
#[derive(Clone, Debug)]
pub(super) struct MemberMetrics {
    pub(super) sent_bytes: Counter,
    pub(super) received_bytes: Counter,
    pub(super) sent_failures: Counter,
    pub(super) round_trips: Histogram,
    /// Whether a stream to the member is open.
    pub(super) active: Gauge,
    /// Streams to the member that were open and have ended.
    pub(super) disconnected: Counter,
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
        registry.register(
            "etcd_network_peer_round_trip_time_seconds",
            "Time from a question to a member to its answer",
            self.round_trips.0.clone(),
        );
        registry.register(
            "etcd_network_known_peers",
            "Members that are known, this one included",
            self.known.clone(),
        );
        registry.register(
            "etcd_network_active_peers",
            "Members to which a stream is open",
            self.active.clone(),
        );
        registry.register(
            "etcd_network_disconnected_peers",
            "Streams to members that were open and have ended",
            self.disconnected.clone(),
        );
        self.snapshots.register(registry);
    }

    /// A member is known to this one.
    pub(super) fn known(&self, local: MemberId, member: MemberId) {
        self.known.get_or_create(&pair(local, member)).set(1);
    }

    pub(super) fn member(&self, local: MemberId, member: MemberId) -> MemberMetrics {
        let both = pair(local, member);
        MemberMetrics {
            round_trips: self.round_trips.0.get_or_create_owned(&to(member)),
            active: self.active.get_or_create_owned(&both),
            disconnected: self.disconnected.get_or_create_owned(&both),
            sent_bytes: self.sent_bytes.get_or_create_owned(&to(member)),
            received_bytes: self.received_bytes.get_or_create_owned(&from(member)),
            sent_failures: self.sent_failures.get_or_create_owned(&to(member)),
        }
    }

    /// A removed member's series would otherwise stay for good.
    pub(super) fn forget(&self, local: MemberId, member: MemberId) {
        let both = pair(local, member);
        self.known.remove(&both);
        self.active.remove(&both);
        self.disconnected.remove(&both);
        self.round_trips.0.remove(&to(member));
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

fn pair(local: MemberId, member: MemberId) -> Pair {
    [("Local", local.to_string()), ("Remote", member.to_string())]
}
