//! What a member is told at its start.

use crate::{
    node::{AutoCompaction, fail_points},
    types::{BootNumber, ClusterId, MemberId, Millis, Seconds, limits},
};

/// What a member is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster.
    pub cluster: ClusterId,
    /// This member.
    pub member: MemberId,
    /// The number of this start of it.
    pub boot: BootNumber,
    /// Time between a leader's heartbeats; also the length of a tick.
    pub heartbeat: Millis,
    /// Time without a leader after which a member stands for election, at least.
    pub election_timeout: Millis,
    /// Largest encoded request, in bytes.
    pub request_bytes_max: usize,
    /// Bytes of flushed log that are kept when nobody lags, so that a short absence needs no snapshot.
    pub log_kept_bytes: u64,
    /// Bytes of flushed log that are kept for members that lag.
    pub log_kept_for_laggards_bytes: u64,
    /// Bytes of applied log that may be missing from the state's files.
    pub unflushed_bytes_max: u64,
    /// The largest logical size of the store, in bytes; 0: the disk decides; below 0: no limit.
    pub quota_backend_bytes: i64,
    /// Logical bytes of garbage from which the disk is rid of it without being asked, once they are
    /// half of what is kept.
    pub garbage_bytes_min: u64,
    /// Whether changes of the members that put the quorum at risk are refused.
    pub strict_reconfig_check: bool,
    /// With so many learners in the cluster, this member adds no further one.
    pub learners_max: u32,
    /// How often members compare their data, while this one leads; `None`: never.
    pub compare_states_every: Option<Millis>,
    /// Which history this member gives up by itself while it leads.
    pub auto_compaction: Option<AutoCompaction>,
    /// What takes longer to apply is told on the log; `None`: nothing is.
    pub slow_apply: Option<Millis>,
    /// Spreads election timeouts.
    pub seed: u64,
}

impl Settings {
    /// Settings with etcd's timings and the bounds of [`limits`].
    #[must_use]
    pub fn new(cluster: ClusterId, member: MemberId, boot: BootNumber) -> Self {
        let kept = |bound| fail_points::size("log-kept-bytes", bound);
        Self {
            cluster,
            member,
            boot,
            heartbeat: Millis(100),
            election_timeout: Millis(1_000),
            request_bytes_max: limits::REQUEST_BYTES_MAX,
            log_kept_bytes: kept(limits::LAGGARD_LOG_BYTES_MAX / 4),
            log_kept_for_laggards_bytes: kept(limits::LAGGARD_LOG_BYTES_MAX),
            unflushed_bytes_max: fail_points::size(
                "unflushed-bytes",
                limits::UNFLUSHED_LOG_BYTES_MAX,
            ),
            quota_backend_bytes: 0,
            garbage_bytes_min: fail_points::size("garbage-bytes", limits::GARBAGE_BYTES_MIN),
            strict_reconfig_check: true,
            learners_max: 1,
            compare_states_every: Some(limits::COMPARE_STATES_EVERY),
            auto_compaction: None,
            slow_apply: None,
            seed: member.0 ^ boot.0,
        }
    }

    /// Ticks of an election timeout.
    #[must_use]
    pub fn election_ticks(&self) -> usize {
        let ticks = self.election_timeout.0 / self.heartbeat.0.max(1);
        usize::try_from(ticks).unwrap_or(usize::MAX).max(2)
    }

    /// How long a request may take: five seconds and two election timeouts, as in etcd.
    #[must_use]
    pub fn request_timeout(&self) -> Millis {
        limits::REQUEST_TIMEOUT_BASE + self.election_timeout + self.election_timeout
    }

    /// The shortest time to live of a lease: one and a half election timeouts in whole ticks,
    /// rounded up to seconds, as in etcd.
    #[must_use]
    pub fn lease_ttl_min(&self) -> Seconds {
        let ticks = self.election_ticks() as u64 * 3 / 2;
        let seconds = (ticks * self.heartbeat.0).div_ceil(1_000);
        Seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}
