//! Every figure a member counts, as a typed handle.
//!
//! Names that etcd's dashboards and alerts read are kept; the others begin with `quorate_`.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Metric, Registry},
};

use super::{
    Callers, Probes, Spans, callers,
    grpc::{self, GrpcMethod},
    process::{self, Process},
    text::from_open_metrics,
};

/// Every figure a member counts. Made once and shared.
#[derive(Debug)]
pub struct Metrics {
    /// 1 while a leader is known.
    pub has_leader: Gauge,
    /// 1 while this member leads.
    pub is_leader: Gauge,
    /// 1 while this member is fenced: it lost data and has not caught up.
    pub fenced: Gauge,
    /// How often the known leader changed.
    pub leader_changes_seen: Counter,
    /// Index up to which the log is committed.
    pub proposals_committed: Gauge,
    /// Index up to which the log is applied.
    pub proposals_applied: Gauge,
    /// Proposals that failed on this member.
    pub proposals_failed: Counter,

    /// Seconds a synced write to the log takes.
    pub wal_fsync_seconds: Histogram,
    /// 1 while the disk has not answered for too long to lead with it.
    pub disk_hangs: Gauge,
    /// Seconds a commit of applied writes takes.
    pub backend_commit_seconds: Histogram,

    /// The size up to which something is stored; negative: without limit.
    pub quota_bytes: Gauge,
    /// Bytes that the state's files take.
    pub disk_used_bytes: Gauge,
    /// Bytes that the file system of the data directory has left.
    pub disk_free_bytes: Gauge,
    /// Logical bytes that were given up and may still take room on disk.
    pub garbage_bytes: Gauge,
    /// 1 while files are being rid of what was given up.
    pub compaction_running: Gauge,
    /// Seconds that this took.
    pub compaction_seconds: Histogram,
    /// Bytes by which files got smaller by it.
    pub compaction_freed_bytes: Counter,
    /// Members whose data were compared with the others', counted by the leader.
    pub states_compared: Counter,
    /// Members that could not be compared.
    pub states_not_compared: Counter,
    /// Comparisons that found members with different data.
    pub states_differed: Counter,

    /// Renewals by this member's lease clock.
    pub leases_renewed: Counter,
    /// Renewals of leases that its clock did not know.
    pub leases_not_found: Counter,
    /// Renewals asked of this member that no leader confirmed in time.
    pub renewals_failed: Counter,
    /// Leases that the clock was held for at a time.
    pub renewals_per_lock: Histogram,

    /// What goes through the listeners for clients.
    pub clients: ListenerMetrics,
    /// What goes through the listeners for other members.
    pub peers: ListenerMetrics,

    /// Which versions of libraries call.
    pub callers: Arc<Callers>,
    /// What probes and scrapers were told.
    pub probes: Probes,
    /// Makes spans of calls, when they are wanted.
    pub spans: OnceLock<Spans>,

    grpc: BTreeMap<String, Arc<GrpcMethod>>,
    registry: Mutex<Registry>,
}

/// What goes through listeners.
#[derive(Clone, Debug, Default)]
pub struct ListenerMetrics {
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections refused because there were too many.
    pub refused: Counter,
    /// Requests whose handler panicked and that were answered with an internal error.
    pub panics: Counter,
    /// Bytes read.
    pub received_bytes: Counter,
    /// Bytes written.
    pub sent_bytes: Counter,
}

impl Metrics {
    /// All figures at zero, without durations of single calls.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with_durations(false)
    }

    /// All figures at zero, and durations of single calls when they are asked for.
    #[must_use]
    pub fn with_durations(durations: bool) -> Arc<Self> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::new()));
        let grpc = grpc::register(&mut registry, durations);
        let (callers, probes) = (Arc::<Callers>::default(), Probes::default());
        registry.register_collector(Box::new(callers::Shown(Arc::clone(&callers))));
        probes.register(&mut registry);
        let mut new = Registered(registry);
        Arc::new(Self {
            has_leader: new.one("etcd_server_has_leader", "Whether a leader is known"),
            is_leader: new.one("etcd_server_is_leader", "Whether this member leads"),
            fenced: new
                .one("quorate_server_fenced", "Whether this member lost data and is not whole"),
            leader_changes_seen: new.one("etcd_server_leader_changes_seen", "Leader changes seen"),
            proposals_committed: new
                .one("etcd_server_proposals_committed_total", "Committed index"),
            proposals_applied: new.one("etcd_server_proposals_applied_total", "Applied index"),
            proposals_failed: new.one("etcd_server_proposals_failed", "Proposals that failed"),
            wal_fsync_seconds: new
                .seconds("etcd_disk_wal_fsync_duration_seconds", "Synced log writes"),
            disk_hangs: new.one("quorate_node_disk_hangs", "Whether the disk does not answer"),
            backend_commit_seconds: new
                .seconds("etcd_disk_backend_commit_duration_seconds", "Commits of applied writes"),
            quota_bytes: new.one("etcd_server_quota_backend_bytes", "Size up to which is stored"),
            disk_used_bytes: new.one("quorate_storage_state_bytes", "Bytes of the state's files"),
            disk_free_bytes: new
                .one("quorate_storage_free_bytes", "Bytes that the file system has left"),
            garbage_bytes: new
                .one("quorate_storage_garbage_bytes", "Bytes given up that may still take room"),
            compaction_running: new
                .one("quorate_compaction_running", "Whether files are rid of what was given up"),
            compaction_seconds: new
                .long_seconds("quorate_compaction_duration_seconds", "Files rid of garbage"),
            compaction_freed_bytes: new
                .one("quorate_compaction_freed_bytes", "Bytes by which files got smaller by it"),
            states_compared: new.one("quorate_states_compared", "Members with compared data"),
            states_not_compared: new
                .one("quorate_states_not_compared", "Members that could not be compared"),
            states_differed: new
                .one("quorate_states_differed", "Comparisons that found different data"),
            leases_renewed: new
                .one("etcd_debugging_lease_renewed", "Renewals by this member's clock"),
            leases_not_found: new
                .one("quorate_lease_renewals_not_found", "Renewals of leases that are not there"),
            renewals_failed: new
                .one("quorate_lease_renewals_failed", "Renewals that no leader confirmed in time"),
            renewals_per_lock: new
                .sizes("quorate_lease_renewals_per_lock", "Renewals that the clock is held for"),
            clients: new.listener(
                "quorate_server_client",
                "etcd_network_client_grpc_received_bytes",
                "etcd_network_client_grpc_sent_bytes",
            ),
            peers: new.listener(
                "quorate_server_peer",
                "quorate_server_peer_received_bytes",
                "quorate_server_peer_sent_bytes",
            ),
            callers,
            probes,
            spans: OnceLock::new(),
            grpc,
            registry: Mutex::new(new.0),
        })
    }

    /// The counters of the gRPC method with this path, such as `/etcdserverpb.KV/Range`.
    #[must_use]
    pub fn grpc(&self, path: &str) -> Option<&Arc<GrpcMethod>> {
        self.grpc.get(path)
    }

    /// Adds the figures of another room.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Everything as Prometheus text, of the content type [`Metrics::CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = String::new();
        // Writing to a string fails only if one of the figures says so, and none does.
        if text::encode(&mut open, &registry).is_err() {
            let _ = writeln!(open, "# incomplete");
        }
        from_open_metrics(&open)
    }

    /// The content type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// How many files this process may have open at once, where the system tells.
    #[must_use]
    pub fn open_fds_max() -> Option<u64> {
        process::open_fds_max().and_then(|max| u64::try_from(max).ok())
    }
}

/// Registers each figure as it is made.
struct Registered(Registry);

impl Registered {
    fn one<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// Durations, in buckets from 0.1 ms to 8 s: with etcd's bounds alone, 1 ms and more, every
    /// healthy disk would be in the first one.
    fn seconds(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(0.000_125, 2.0, 17));
        self.0.register(name, help, histogram.clone());
        histogram
    }

    /// Durations of work in the background, in buckets from 10 ms to five minutes.
    fn long_seconds(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(0.01, 2.0, 16));
        self.0.register(name, help, histogram.clone());
        histogram
    }

    /// Numbers of things, in buckets from one to a thousand.
    fn sizes(&mut self, name: &str, help: &str) -> Histogram {
        let histogram = Histogram::new(exponential_buckets(1.0, 4.0, 6));
        self.0.register(name, help, histogram.clone());
        histogram
    }

    fn listener(&mut self, prefix: &str, received: &str, sent: &str) -> ListenerMetrics {
        ListenerMetrics {
            connections: self.one(&format!("{prefix}_connections"), "Connections that are open"),
            refused: self.one(&format!("{prefix}_connections_refused"), "Connections refused"),
            panics: self.one(&format!("{prefix}_request_panics"), "Request handlers that panicked"),
            received_bytes: self.one(received, "Bytes read from connections"),
            sent_bytes: self.one(sent, "Bytes written to connections"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A figure that moved shows under the name and with the type that scrapers know.
    #[test]
    fn figures_appear_as_prometheus_text() {
        let metrics = Metrics::new();

        metrics.has_leader.set(1);
        metrics.leader_changes_seen.inc();
        metrics.proposals_committed.set(7);
        metrics.wal_fsync_seconds.observe(0.003);

        let text = metrics.encode();
        for line in [
            "# TYPE etcd_server_has_leader gauge",
            "etcd_server_has_leader 1",
            "# TYPE etcd_server_leader_changes_seen_total counter",
            "etcd_server_leader_changes_seen_total 1",
            "# TYPE etcd_server_proposals_committed_total gauge",
            "etcd_server_proposals_committed_total 7",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 1",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 0",
            "etcd_disk_wal_fsync_duration_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    /// Calls are counted by method and code; a code that does not exist is `Unknown`.
    #[test]
    fn calls_are_counted_by_method_and_code() {
        let metrics = Metrics::new();

        let range = metrics.grpc("/etcdserverpb.KV/Range").unwrap();
        range.started();
        range.handled(0);
        range.handled(99);

        let text = metrics.encode();
        let labels = "grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Range\"";
        for line in [
            format!("grpc_server_started_total{{{labels}}} 1"),
            format!("grpc_server_handled_total{{{labels},grpc_code=\"OK\"}} 1"),
            format!("grpc_server_handled_total{{{labels},grpc_code=\"Unknown\"}} 1"),
            format!("grpc_server_handled_total{{{labels},grpc_code=\"Unavailable\"}} 0"),
        ] {
            assert!(text.contains(&line), "{line} is not in:\n{text}");
        }
        assert!(metrics.grpc("/etcdserverpb.KV/Nothing").is_none());
    }
}
