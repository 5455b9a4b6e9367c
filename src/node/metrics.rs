//! What a member measures about itself.

use prometheus_client::metrics::{
    counter::Counter,
    gauge::Gauge,
    histogram::{Histogram, exponential_buckets},
};

use crate::node::Figures;

/// Handles of the figures a member keeps. Clones share the figure.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether a leader is known.
    pub has_leader: Gauge,
    /// Whether this member leads.
    pub is_leader: Gauge,
    /// Whether this member lost something and is not whole since.
    pub fenced: Gauge,
    /// Leader changes seen since start.
    pub leader_changes_seen: Counter,
    /// The committed index.
    pub proposals_committed: Gauge,
    /// The applied index.
    pub proposals_applied: Gauge,
    /// Requests that ended without an outcome.
    pub proposals_failed: Counter,
    /// Seconds that a write and sync of the log took.
    pub wal_fsync_seconds: Histogram,
    /// Whether the disk has not answered for too long to lead with it.
    pub disk_hangs: Gauge,
    /// Seconds that a commit of the state took.
    pub backend_commit_seconds: Histogram,
    /// What took too long to apply, reads included.
    pub slow_applies: Counter,
    /// Calls that took too long.
    pub slow_requests: Counter,
    /// The size up to which something is stored; negative: without limit.
    pub quota_bytes: Gauge,
    /// Bytes that the state's files take.
    pub disk_used_bytes: Gauge,
    /// Bytes that the file system has left.
    pub disk_free_bytes: Gauge,
    /// Logical bytes that were given up and may still take room.
    pub garbage_bytes: Gauge,
    /// Whether files are being rid of what was given up.
    pub compaction_running: Gauge,
    /// Seconds that this took.
    pub compaction_seconds: Histogram,
    /// Bytes by which files got smaller.
    pub compaction_freed_bytes: Counter,
    /// Renewals by this member's lease clock.
    pub leases_renewed: Counter,
    /// Renewals of leases that its clock did not know.
    pub leases_not_found: Counter,
    /// Renewals asked of this member that no leader confirmed in time.
    pub renewals_failed: Counter,
    /// Leases that the clock was held for at a time.
    pub renewals_per_lock: Histogram,
    /// Members' answers that were compared, by the leader.
    pub states_compared: Counter,
    /// Members that could not be compared in a round.
    pub states_not_compared: Counter,
    /// Rounds in which members held different data.
    pub states_differed: Counter,
    /// How much was asked, applied and read.
    pub figures: Figures,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_125, 2.0, 17));
        Self {
            has_leader: Gauge::default(),
            is_leader: Gauge::default(),
            fenced: Gauge::default(),
            leader_changes_seen: Counter::default(),
            proposals_committed: Gauge::default(),
            proposals_applied: Gauge::default(),
            proposals_failed: Counter::default(),
            wal_fsync_seconds: seconds(),
            disk_hangs: Gauge::default(),
            backend_commit_seconds: seconds(),
            slow_applies: Counter::default(),
            slow_requests: Counter::default(),
            quota_bytes: Gauge::default(),
            disk_used_bytes: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            garbage_bytes: Gauge::default(),
            compaction_running: Gauge::default(),
            compaction_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 16)),
            compaction_freed_bytes: Counter::default(),
            leases_renewed: Counter::default(),
            leases_not_found: Counter::default(),
            renewals_failed: Counter::default(),
            renewals_per_lock: Histogram::new(exponential_buckets(1.0, 4.0, 6)),
            states_compared: Counter::default(),
            states_not_compared: Counter::default(),
            states_differed: Counter::default(),
            figures: Figures::default(),
        }
    }
}

/// Microseconds as the seconds that histograms count in.
#[expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1_000_000.0
}

/// A number of things as histograms count it.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn size(count: usize) -> f64 {
    count as f64
}
