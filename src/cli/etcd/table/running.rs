//! How a member runs, whom it runs with, and what it tells.

use super::{Fate, Flag, Kind, flag, none, set};

const ENGINE: &str = "the state is not kept in bbolt";
const LOG: &str = "the log is cut by its size, and by whether all members have what is cut";
const SNAPSHOTS: &str = "there is one state at a time, and no snapshot files beside it";
const DISCOVERY_ENDS: &str = "the connection for discovery is not kept";
const DISCOVERY_IS_PLAIN: &str = "members ask discovery-endpoints without tls";
const DISCOVERY_HAS_NO_USER: &str = "members ask discovery-endpoints as nobody";
const COMPACTION: &str = "the storage engine removes compacted history in the background";

pub(super) const MEMBER: &[Flag] = &[
    set("name", Kind::Text),
    set("data-dir", Kind::Text),
    none("wal-dir", Kind::Text, "the log stands in the data directory"),
    none("snapshot-count", Kind::Unsigned(64), LOG),
    set("heartbeat-interval", Kind::Unsigned(64)),
    set("election-timeout", Kind::Unsigned(64)),
    none(
        "initial-election-tick-advance",
        Kind::Switch,
        "elections at start follow the election timeout as all others do",
    ),
    set("listen-peer-urls", Kind::Urls),
    set("listen-client-urls", Kind::Urls),
    set("listen-client-http-urls", Kind::Urls),
    none("max-snapshots", Kind::Unsigned(64), SNAPSHOTS),
    none("max-wals", Kind::Unsigned(64), LOG),
    none("memory-mlock", Kind::Switch, "memory is not locked"),
    set("quota-backend-bytes", Kind::Signed),
    none("backend-bbolt-freelist-type", Kind::Text, ENGINE),
    none("backend-batch-interval", Kind::Duration, ENGINE),
    none("backend-batch-limit", Kind::Signed, ENGINE),
    set("max-txn-ops", Kind::Unsigned(64)),
    set("max-request-bytes", Kind::Unsigned(64)),
    set("max-concurrent-streams", Kind::Unsigned(32)),
    none("grpc-keepalive-min-time", Kind::Duration, "clients may ping as often as they like"),
    set("grpc-keepalive-interval", Kind::Duration),
    set("grpc-keepalive-timeout", Kind::Duration),
    none("socket-reuse-port", Kind::Switch, "a port that is taken is never shared"),
    none("socket-reuse-address", Kind::Switch, "it is always set"),
    set("enable-grpc-gateway", Kind::Switch),
    none("raft-read-timeout", Kind::Duration, "the election timeout decides when a peer is gone"),
    none("raft-write-timeout", Kind::Duration, "the election timeout decides when a peer is gone"),
    flag(
        "feature-gates",
        Kind::Gates,
        Fate::Here("checked; each gate says why it changes nothing"),
    ),
    flag(
        "config-file",
        Kind::Text,
        Fate::Here("YAML or JSON with etcd's keys, in place of all flags"),
    ),
    flag("version", Kind::Switch, Fate::Here("prints the versions")),
];

pub(super) const CLUSTERING: &[Flag] = &[
    set("initial-advertise-peer-urls", Kind::Urls),
    set("initial-cluster", Kind::Text),
    set("initial-cluster-state", Kind::Choice(&["new", "existing"])),
    set("initial-cluster-token", Kind::Text),
    set("advertise-client-urls", Kind::Urls),
    set("discovery-token", Kind::Text),
    set("discovery-endpoints", Kind::Text),
    set("discovery-dial-timeout", Kind::Duration),
    set("discovery-request-timeout", Kind::Duration),
    none("discovery-keepalive-time", Kind::Duration, DISCOVERY_ENDS),
    none("discovery-keepalive-timeout", Kind::Duration, DISCOVERY_ENDS),
    none("discovery-insecure-transport", Kind::Switch, DISCOVERY_IS_PLAIN),
    none("discovery-insecure-skip-tls-verify", Kind::Switch, DISCOVERY_IS_PLAIN),
    none("discovery-cert", Kind::Text, DISCOVERY_IS_PLAIN),
    none("discovery-key", Kind::Text, DISCOVERY_IS_PLAIN),
    none("discovery-cacert", Kind::Text, DISCOVERY_IS_PLAIN),
    none("discovery-user", Kind::Text, DISCOVERY_HAS_NO_USER),
    none("discovery-password", Kind::Text, DISCOVERY_HAS_NO_USER),
    none(
        "discovery-fallback",
        Kind::Choice(&["exit", "proxy"]),
        "a member that fails always exits",
    ),
    set("discovery-srv", Kind::Text),
    set("discovery-srv-name", Kind::Text),
    set("strict-reconfig-check", Kind::Switch),
    none("pre-vote", Kind::Switch, "it is always on"),
    set("auto-compaction-retention", Kind::Text),
    set("auto-compaction-mode", Kind::Text),
    none(
        "v2-deprecation",
        Kind::Choices(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]),
        "there is no v2 store",
    ),
];

pub(super) const MONITORING: &[Flag] = &[
    none("enable-pprof", Kind::Switch, "there is no Go runtime to look into"),
    set("metrics", Kind::Text),
    set("listen-metrics-urls", Kind::Urls),
];

pub(super) const LOGGING: &[Flag] = &[
    set("logger", Kind::Text),
    set("log-outputs", Kind::Text),
    set("log-level", Kind::Text),
    set("log-format", Kind::Text),
    set("enable-log-rotation", Kind::Switch),
    set("log-rotation-config-json", Kind::Text),
    set("warning-unary-request-duration", Kind::Duration),
];

pub(super) const TRACING: &[Flag] = &[
    set("enable-distributed-tracing", Kind::Switch),
    set("distributed-tracing-address", Kind::Text),
    set("distributed-tracing-service-name", Kind::Text),
    set("distributed-tracing-instance-id", Kind::Text),
    set("distributed-tracing-sampling-rate", Kind::Signed),
];

pub(super) const FEATURES: &[Flag] = &[
    set("corrupt-check-time", Kind::Duration),
    none(
        "compact-hash-check-time",
        Kind::Duration,
        "members compare all their data every corrupt-check-time",
    ),
    none("compaction-batch-limit", Kind::Signed, COMPACTION),
    none("compaction-sleep-interval", Kind::Duration, COMPACTION),
    set("watch-progress-notify-interval", Kind::Duration),
    set("warning-apply-duration", Kind::Duration),
    none(
        "bootstrap-defrag-threshold-megabytes",
        Kind::Unsigned(64),
        "the storage engine gives space back by itself",
    ),
    set("max-learners", Kind::Signed),
    none("downgrade-check-time", Kind::Duration, "no downgrade runs that would have to be watched"),
    none("snapshot-catchup-entries", Kind::Unsigned(64), LOG),
];

pub(super) const UNSAFE: &[Flag] = &[
    set("force-new-cluster", Kind::Switch),
    none("unsafe-no-fsync", Kind::Switch, "what is acknowledged is always synced"),
];
