//! What 3.6 takes and 3.7 does not any more, and what neither has listened to for years.

use super::{Fate, Flag, Kind, flag, none};

const NO_DISCOVERY: &str = "discovery by a service of v2 is not supported: use initial-cluster, discovery-srv or \
     discovery-endpoints";
const GONE_FOR_LONG: &str = "etcd ignores it, too";

const fn alias(name: &'static str, kind: Kind, successor: &'static str) -> Flag {
    flag(name, kind, Fate::Alias(successor))
}

const fn gate(name: &'static str, gate: &'static str) -> Flag {
    flag(name, Kind::Switch, Fate::Gate(gate))
}

const fn gone(name: &'static str) -> Flag {
    none(name, Kind::Ignored, GONE_FOR_LONG)
}

pub(super) const EXPERIMENTAL: &[Flag] = &[
    flag("discovery", Kind::Text, Fate::Refused(NO_DISCOVERY)),
    flag("discovery-proxy", Kind::Text, Fate::Refused(NO_DISCOVERY)),
    alias(
        "experimental-bootstrap-defrag-threshold-megabytes",
        Kind::Unsigned(64),
        "bootstrap-defrag-threshold-megabytes",
    ),
    gate("experimental-compact-hash-check-enabled", "CompactHashCheck"),
    alias("experimental-compact-hash-check-time", Kind::Duration, "compact-hash-check-time"),
    alias("experimental-compaction-batch-limit", Kind::Signed, "compaction-batch-limit"),
    alias("experimental-compaction-sleep-interval", Kind::Duration, "compaction-sleep-interval"),
    alias("experimental-corrupt-check-time", Kind::Duration, "corrupt-check-time"),
    alias("experimental-distributed-tracing-address", Kind::Text, "distributed-tracing-address"),
    alias(
        "experimental-distributed-tracing-instance-id",
        Kind::Text,
        "distributed-tracing-instance-id",
    ),
    alias(
        "experimental-distributed-tracing-sampling-rate",
        Kind::Signed,
        "distributed-tracing-sampling-rate",
    ),
    alias(
        "experimental-distributed-tracing-service-name",
        Kind::Text,
        "distributed-tracing-service-name",
    ),
    alias("experimental-downgrade-check-time", Kind::Duration, "downgrade-check-time"),
    alias("experimental-enable-distributed-tracing", Kind::Switch, "enable-distributed-tracing"),
    gate("experimental-enable-lease-checkpoint", "LeaseCheckpoint"),
    gate("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist"),
    gate("experimental-initial-corrupt-check", "InitialCorruptCheck"),
    alias("experimental-memory-mlock", Kind::Switch, "memory-mlock"),
    alias(
        "experimental-peer-skip-client-san-verification",
        Kind::Switch,
        "peer-skip-client-san-verification",
    ),
    alias("experimental-snapshot-catchup-entries", Kind::Unsigned(64), "snapshot-catchup-entries"),
    // How etcd's files spell it.
    alias("experimental-snapshot-catch-up-entries", Kind::Unsigned(64), "snapshot-catchup-entries"),
    gate("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag"),
    gate("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer"),
    alias("experimental-warning-apply-duration", Kind::Duration, "warning-apply-duration"),
    alias(
        "experimental-warning-unary-request-duration",
        Kind::Duration,
        "warning-unary-request-duration",
    ),
    alias(
        "experimental-watch-progress-notify-interval",
        Kind::Duration,
        "watch-progress-notify-interval",
    ),
];

pub(super) const GONE: &[Flag] = &[
    gone("cluster-active-size"),
    gone("cluster-remove-delay"),
    gone("cluster-sync-interval"),
    gone("config"),
    gone("force"),
    gone("max-result-buffer"),
    gone("max-retry-attempts"),
    gone("peer-heartbeat-interval"),
    gone("peer-election-timeout"),
    gone("retry-interval"),
    gone("snapshot"),
    gone("v"),
    gone("vv"),
    gone("test.coverprofile"),
    gone("test.outputdir"),
];
