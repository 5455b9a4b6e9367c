//! What the node counts, under the names that etcd's dashboards know.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::{
    node::{
        Handle,
        figures::{Durations, KINDS},
    },
    storage::Log,
    telemetry::{MICROS_PER_SECOND, SeriesLabels, Spread},
    types::Distribution,
};

/// Microseconds of a millisecond.
const MICROS_PER_MILLI: u32 = 1_000;

type Series = (SeriesLabels, Arc<Distribution>);

/// Shows what the node counts, and what is written to its log.
pub(super) fn register(registry: &mut Registry, node: &Handle, log: &Log) {
    counters(registry, node);
    gauges(registry, node);
    labelled_durations(registry, node);
    durations(registry, node, log);
}

fn counters(registry: &mut Registry, node: &Handle) {
    let (figures, done) = (node.figures(), &node.figures().done);
    for (name, help, counter) in [
        ("etcd_mvcc_put", "Puts applied, those of transactions included", &done.puts),
        ("etcd_mvcc_delete", "Deletes applied, those of transactions included", &done.deletes),
        ("etcd_mvcc_range", "Ranges read, those of transactions included", &done.ranges),
        ("etcd_mvcc_txn", "Transactions of more or less than one operation", &done.txns),
        ("etcd_debugging_lease_granted", "Leases granted", &done.granted),
        ("etcd_debugging_lease_revoked", "Leases that ended", &done.revoked),
        (
            "etcd_debugging_server_lease_expired",
            "Leases that this member ended because their time was over",
            &done.expired,
        ),
        (
            "etcd_server_slow_read_indexes",
            "Rounds for reads that were not answered in time",
            &figures.slow_rounds,
        ),
        (
            "etcd_server_read_indexes_failed",
            "Reads for which no leader was confirmed",
            &figures.failed_rounds,
        ),
        (
            "etcd_server_heartbeat_send_failures",
            "Heartbeats of this leader that left late",
            &figures.late_heartbeats,
        ),
        (
            "etcd_server_learner_promote_successes",
            "Learners that this leader gave a vote",
            &figures.promoted,
        ),
    ] {
        registry.register(name, help, counter.clone());
    }
    let (name, help) = ("etcd_server_learner_promote_failures", "Learners that it gave none");
    registry.register(name, help, figures.not_promoted.clone());
}

fn gauges(registry: &mut Registry, node: &Handle) {
    let figures = node.figures();
    for (name, help, gauge) in [
        (
            "etcd_server_snapshot_apply_in_progress_total",
            "Whether a checkpoint is being made the state",
            &figures.installing,
        ),
        (
            "etcd_debugging_mvcc_total_put_size_in_bytes",
            "Bytes of keys and values put",
            &figures.done.put_bytes,
        ),
        ("etcd_disk_wal_write_bytes_total", "Bytes written to the log", &figures.log_bytes),
        (
            "etcd_disk_defrag_inflight",
            "Whether files are being rid of all that was given up",
            &figures.defragmenting,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_last",
            "When files were last rid of compacted history",
            &figures.compacted_at,
        ),
    ] {
        registry.register(name, help, gauge.clone());
    }
}

fn labelled_durations(registry: &mut Registry, node: &Handle) {
    let figures = node.figures();
    let applied = KINDS.iter().zip(&figures.applied);
    let applied = applied.flat_map(|(kind, durations)| {
        both(durations).map(|(success, durations)| {
            let labels = vec![("version", "v3"), ("op", *kind), ("success", success)];
            (labels, durations)
        })
    });
    let mut show = |name, help, series: Vec<Series>| {
        let spread = Spread::new(name, help, MICROS_PER_SECOND, false, series);
        registry.register_collector(Box::new(spread));
    };
    show("etcd_server_apply_duration_seconds", "Work of applying a request", applied.collect());

    let reads = [("Range", &figures.read), ("ReadonlyTxn", &figures.read_txn)];
    let asked = KINDS.iter().copied().zip(&figures.asked).chain(reads);
    let asked = asked.flat_map(|(kind, durations)| {
        both(durations)
            .map(|(success, durations)| (vec![("type", kind), ("success", success)], durations))
    });
    let help = "Time from a request to its outcome";
    show("etcd_server_request_duration_seconds", help, asked.collect());

    let ranged = both(&figures.ranged).map(|(success, it)| (vec![("success", success)], it));
    show("etcd_server_range_duration_seconds", "Work of reading a range", ranged.into());
}

fn both(durations: &Durations) -> [(&'static str, Arc<Distribution>); 2] {
    [("true", Arc::clone(&durations.succeeded)), ("false", Arc::clone(&durations.failed))]
}

fn durations(registry: &mut Registry, node: &Handle, log: &Log) {
    let figures = node.figures();
    for (name, help, per_unit, distribution) in [
        (
            "etcd_mvcc_hash_duration_seconds",
            "Time of a checksum of everything",
            MICROS_PER_SECOND,
            &figures.hash,
        ),
        (
            "etcd_mvcc_hash_rev_duration_seconds",
            "Time of a checksum at a revision",
            MICROS_PER_SECOND,
            &figures.hash_at,
        ),
        (
            "etcd_disk_wal_write_duration_seconds",
            "Time in which the system takes what is written to the log, before it is synced",
            MICROS_PER_SECOND,
            log.write_micros(),
        ),
        (
            "etcd_disk_backend_defrag_duration_seconds",
            "Time in which files were rid of all that was given up",
            MICROS_PER_SECOND,
            &figures.defragmented,
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "Time in which a checkpoint was made, or a snapshot sent to a client",
            MICROS_PER_SECOND,
            &figures.checkpoints,
        ),
        (
            "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
            "Time in which files were rid of compacted history",
            MICROS_PER_MILLI,
            &figures.compacted,
        ),
        (
            "etcd_debugging_lease_ttl_total",
            "Times to live of granted leases, in seconds",
            1,
            &figures.done.ttls,
        ),
    ] {
        let series = vec![(Vec::new(), Arc::clone(distribution))];
        registry.register_collector(Box::new(Spread::new(name, help, per_unit, true, series)));
    }
}
