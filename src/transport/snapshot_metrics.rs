//! Snapshots to and from each other member. Those that etcd has bear its names; whoever shows them
//! takes care that two of its counters have no ending.

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio::time::Instant;

use super::metrics::{Labels, from, to};
use crate::types::MemberId;

type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Snapshots on their way, and those that came to an end.
#[derive(Clone, Debug)]
pub(super) struct SnapshotMetrics {
    sent: Direction,
    received: Direction,
    resumed: Family<Labels, Counter>,
}

#[derive(Clone, Debug)]
struct Direction {
    inflight: Family<Labels, Gauge>,
    success: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    seconds: Histograms,
    bytes: Family<Labels, Counter>,
}

impl Direction {
    fn new() -> Self {
        Self {
            inflight: Family::default(),
            success: Family::default(),
            failures: Family::default(),
            // etcd's buckets: 0.1 s to 51.2 s.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.1, 2.0, 10))
            }),
            bytes: Family::default(),
        }
    }

    fn register(&self, registry: &mut Registry, verb: &str, which: &str) {
        let name = |end: &str| format!("etcd_network_snapshot_{verb}_{end}");
        let help = |what: &str| format!("{what} {which} a member");
        registry.register(
            name("inflights_total"),
            help("Snapshots on the way"),
            self.inflight.clone(),
        );
        registry.register(
            name("success"),
            help("Snapshots that arrived whole"),
            self.success.clone(),
        );
        registry.register(
            name("failures"),
            help("Streams of snapshots that broke"),
            self.failures.clone(),
        );
        registry.register(
            name("total_duration_seconds"),
            help("Time of snapshots that arrived whole"),
            self.seconds.clone(),
        );
    }

    fn begin(&self, labels: &Labels) -> Running {
        let inflight = self.inflight.get_or_create_owned(labels);
        inflight.inc();
        Running {
            inflight,
            success: self.success.get_or_create_owned(labels),
            failures: self.failures.get_or_create_owned(labels),
            seconds: self.seconds.get_or_create_owned(labels),
            start: Instant::now(),
            arrived: false,
        }
    }

    fn forget(&self, labels: &Labels) {
        self.inflight.remove(labels);
        self.success.remove(labels);
        self.failures.remove(labels);
        self.seconds.remove(labels);
        self.bytes.remove(labels);
    }
}

/// A snapshot on its way. Unless it arrives, it has failed.
#[derive(Debug)]
pub(super) struct Running {
    inflight: Gauge,
    success: Counter,
    failures: Counter,
    seconds: Histogram,
    start: Instant,
    arrived: bool,
}

impl Running {
    /// It has arrived whole.
    pub(super) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inflight.dec();
        if self.arrived {
            self.success.inc();
            self.seconds.observe(self.start.elapsed().as_secs_f64());
        } else {
            self.failures.inc();
        }
    }
}

impl Default for SnapshotMetrics {
    fn default() -> Self {
        Self { sent: Direction::new(), received: Direction::new(), resumed: Family::default() }
    }
}

impl SnapshotMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.sent.register(registry, "send", "to");
        self.received.register(registry, "receive", "from");
        registry.register(
            "quorate_network_snapshot_sent_bytes",
            "Bytes of snapshots sent to a member",
            self.sent.bytes.clone(),
        );
        registry.register(
            "quorate_network_snapshot_received_bytes",
            "Bytes of snapshots received from a member",
            self.received.bytes.clone(),
        );
        registry.register(
            "quorate_network_snapshot_resumed",
            "Streams of snapshots to a member that went on where one before had ended",
            self.resumed.clone(),
        );
    }

    /// A snapshot begins to be sent, in however many streams.
    pub(super) fn sending(&self, member: MemberId) -> Running {
        self.sent.begin(&to(member))
    }

    pub(super) fn sent_bytes(&self, member: MemberId) -> Counter {
        self.sent.bytes.get_or_create_owned(&to(member))
    }

    /// A stream to this member goes on where one before it ended.
    pub(super) fn resumed(&self, member: MemberId) {
        self.resumed.get_or_create_owned(&to(member)).inc();
    }

    /// A stream of a snapshot begins to be received.
    pub(super) fn receiving(&self, member: MemberId) -> Running {
        self.received.begin(&from(member))
    }

    pub(super) fn received_bytes(&self, member: MemberId) -> Counter {
        self.received.bytes.get_or_create_owned(&from(member))
    }

    /// A removed member's series would otherwise stay for good.
    pub(super) fn forget(&self, member: MemberId) {
        self.sent.forget(&to(member));
        self.received.forget(&from(member));
        self.resumed.remove(&to(member));
    }
}
