//! Figures of the store that are read when somebody asks for metrics.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
};

use crate::{
    api::{convert, version},
    node::{self, Handle},
    registry::Views,
    state::{Range, RevisionFilter, Sort, member, meta, mvcc},
    telemetry::Metrics,
    types::{Fault, Key, KeyRange},
    watch::Hub,
};

/// The node's own figures, as those that are shown.
pub(super) fn of_node(metrics: &Metrics) -> node::Metrics {
    let counter = |name, help| {
        let counter = Counter::default();
        metrics.register(|registry| registry.register(name, help, counter.clone()));
        counter
    };
    node::Metrics {
        slow_applies: counter("etcd_server_slow_apply", "What took too long to apply"),
        slow_requests: counter("quorate_slow_requests", "Calls that took too long"),
        has_leader: metrics.has_leader.clone(),
        is_leader: metrics.is_leader.clone(),
        fenced: metrics.fenced.clone(),
        leader_changes_seen: metrics.leader_changes_seen.clone(),
        proposals_committed: metrics.proposals_committed.clone(),
        proposals_applied: metrics.proposals_applied.clone(),
        proposals_failed: metrics.proposals_failed.clone(),
        wal_fsync_seconds: metrics.wal_fsync_seconds.clone(),
        disk_hangs: metrics.disk_hangs.clone(),
        backend_commit_seconds: metrics.backend_commit_seconds.clone(),
        quota_bytes: metrics.quota_bytes.clone(),
        disk_used_bytes: metrics.disk_used_bytes.clone(),
        disk_free_bytes: metrics.disk_free_bytes.clone(),
        garbage_bytes: metrics.garbage_bytes.clone(),
        compaction_running: metrics.compaction_running.clone(),
        compaction_seconds: metrics.compaction_seconds.clone(),
        compaction_freed_bytes: metrics.compaction_freed_bytes.clone(),
        leases_renewed: metrics.leases_renewed.clone(),
        leases_not_found: metrics.leases_not_found.clone(),
        renewals_failed: metrics.renewals_failed.clone(),
        renewals_per_lock: metrics.renewals_per_lock.clone(),
        states_compared: metrics.states_compared.clone(),
        states_not_compared: metrics.states_not_compared.clone(),
        states_differed: metrics.states_differed.clone(),
        figures: node::Figures::default(),
    }
}

/// Reads the figures of the store from its newest state.
#[derive(Debug)]
pub(super) struct StoreFigures(pub(super) Handle);

impl StoreFigures {
    fn read(&self) -> Result<[(&'static str, &'static str, i64); 8], Fault> {
        // It counts the views of others.
        let open_views = i64::try_from(self.0.open_views()).unwrap_or(i64::MAX);
        let view = self.0.view().map_err(|error| Fault::new(error.to_string()))?;
        let everything = Range {
            range: KeyRange::From(Key::new(vec![0]).expect("the first key is not empty")),
            revision: 0,
            limit: 0,
            sort: Sort::default(),
            keys_only: false,
            count_only: true,
            filter: RevisionFilter::default(),
        };
        let keys = mvcc::count(&*view, &everything);
        let pending = i64::try_from(self.0.pending()).unwrap_or(i64::MAX);
        let size = i64::try_from(self.0.db_size()).unwrap_or(i64::MAX);
        let learner =
            member::find(&*view, self.0.member_id())?.is_some_and(|member| member.learner);
        Ok([
            ("etcd_debugging_mvcc_current_revision", "Current revision", meta::revision(&*view)?.0),
            (
                "etcd_debugging_mvcc_compact_revision",
                "Compacted revision",
                meta::compacted(&*view)?.0,
            ),
            ("etcd_mvcc_db_total_size_in_bytes", "Logical size", size),
            ("etcd_mvcc_db_total_size_in_use_in_bytes", "Logical size in use", size),
            ("etcd_server_is_learner", "Whether this member is a learner", i64::from(learner)),
            ("etcd_debugging_mvcc_keys_total", "Keys that live", keys.unwrap_or(0)),
            ("etcd_mvcc_db_open_read_transactions", "Views that are being read", open_views),
            ("etcd_server_proposals_pending", "Requests that wait for their outcome", pending),
        ])
    }
}

impl StoreFigures {
    /// The alarms that are raised, of any member.
    fn encode_alarms(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(alarms) = self.0.view().ok().and_then(|view| meta::alarms(&*view).ok()) else {
            return Ok(());
        };
        if alarms.is_empty() {
            return Ok(());
        }
        let raised = ConstGauge::new(1_i64);
        let (name, help) = ("etcd_debugging_server_alarms", "Alarms that are raised");
        let kind = raised.metric_type();
        let mut family = encoder.encode_descriptor(name, help, None, kind)?;
        for alarm in alarms {
            let kind = convert::maintenance::alarm_name(alarm.kind).to_owned();
            let labels = [("server_id", alarm.member.to_string()), ("alarm_type", kind)];
            raised.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for StoreFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A member that cannot read its state is stopping; its other figures are worth showing.
        for (name, help, value) in self.read().into_iter().flatten() {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let mut version = |name, help, label, version: &str| {
            let gauge = ConstGauge::new(1_i64);
            let kind = gauge.metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            gauge.encode(family.encode_family(&[(label, version)])?)
        };
        version(
            "etcd_server_id",
            "Who this member is",
            "server_id",
            &self.0.member_id().to_string(),
        )?;
        let server = version::SERVER;
        version("etcd_server_version", "The version of the API", "server_version", server)?;
        if let Some(agreed) = self.0.cluster_version() {
            let agreed = version::cluster(Some(agreed)).trim_end_matches(".0");
            let help = "What all members understand";
            version("etcd_cluster_version", help, "cluster_version", agreed)?;
        }
        self.encode_alarms(encoder)
    }
}

/// Reads the figures of the watchers from their hub.
#[derive(Debug)]
pub(super) struct WatchFigures(pub(super) Arc<Hub>);

impl Collector for WatchFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let figures = self.0.figures();
        for (name, help, value) in [
            ("etcd_debugging_mvcc_watch_stream_total", "Watch streams", figures.streams),
            ("etcd_debugging_mvcc_watcher_total", "Watchers", figures.watchers),
            ("etcd_debugging_mvcc_slow_watcher_total", "Watchers that are behind", figures.behind),
            (
                "etcd_debugging_mvcc_pending_events_total",
                "Events that wait to be matched",
                figures.pending,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let sent = ConstCounter::new(figures.delivered);
        let (name, help) = ("etcd_debugging_mvcc_events", "Events sent to watchers");
        sent.encode(encoder.encode_descriptor(name, help, None, sent.metric_type())?)
    }
}

/// Reads the figures of the registry from its views.
#[derive(Debug)]
pub(super) struct RegistryFigures(pub(super) Arc<Views>);

impl Collector for RegistryFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let figures = self.0.figures();
        for (name, help, value) in [
            ("quorate_registry_services", "Services that have instances", figures.services),
            ("quorate_registry_instances", "Registered instances", figures.instances),
            ("quorate_registry_followers", "Who follows the registry", figures.followers),
            (
                "quorate_registry_view_in_memory",
                "Whether the registry is read from memory; else the figures above are 0",
                usize::from(figures.is_in_memory),
            ),
            ("quorate_registry_view_bytes", "Memory of the view", figures.catalog_bytes),
            ("quorate_registry_recent_bytes", "Memory of recent changes", figures.recent_bytes),
            (
                "quorate_registry_follower_bytes",
                "Memory of what followers have of their own while they catch up",
                figures.follower_bytes,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
