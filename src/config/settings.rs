//! The settings as they are written: their names, their help, and their layered, unchecked values.

use std::fmt::{self, Formatter};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::{
    check::Check, discovery::DiscoverySettings, http::HttpSettings, log::LogSettings,
    observe::ObserveSettings, tls::TlsSettings, upkeep::UpkeepSettings,
};
use crate::types::limits;

/// One setting: a key of the file, and after renaming a flag and a variable.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name: `--name` is the flag, `name` the key, `QUORATE_NAME` the variable.
    pub name: &'static str,
    /// What its value is called in the help.
    pub value_name: &'static str,
    /// Its help: one line.
    pub help: &'static str,
    /// Whether the flag alone means `true`. A value other than that follows an equals sign.
    pub is_switch: bool,
}

/// Settings about one subject: their names, their values as they are written, and what they mean.
pub(super) trait Group: Default + Serialize + DeserializeOwned {
    /// Its settings, in the order in which help and `--print-config` show them.
    const SETTINGS: &'static [Setting];
    /// What a member is told of them.
    type Checked;

    /// Looks at what the values mean, alone and against each other.
    fn check(self, check: &mut Check<'_>) -> Self::Checked;

    /// The value in force of one of its settings, as TOML.
    fn print(checked: &Self::Checked, setting: &str) -> String;
}

/// Every setting there is, in the order in which help and `--print-config` show them.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    let groups = [
        MEMBER,
        DiscoverySettings::SETTINGS,
        TlsSettings::SETTINGS,
        HttpSettings::SETTINGS,
        LogSettings::SETTINGS,
        UpkeepSettings::SETTINGS,
        ObserveSettings::SETTINGS,
    ];
    groups.into_iter().flatten()
}

/// The settings that belong to no other group.
pub(super) const MEMBER: &[Setting] = &[
    setting("name", "NAME", "Name of this member [default: default]"),
    setting("data-dir", "DIR", "Directory of log and state [default: <name>.quorate]"),
    setting(
        "listen-client-urls",
        "URLS",
        "Where clients connect to [default: http://localhost:2379]",
    ),
    setting(
        "advertise-client-urls",
        "URLS",
        "Client URLs that the cluster shows for this member [default: http://localhost:2379]",
    ),
    setting(
        "listen-peer-urls",
        "URLS",
        "Where other members connect to [default: http://localhost:2380]",
    ),
    setting(
        "initial-advertise-peer-urls",
        "URLS",
        "Peer URLs of this member, as the others know them [default: http://localhost:2380]",
    ),
    setting(
        "initial-cluster",
        "NAME=URL,...",
        "Founding members with their peer URLs [default: this member alone]",
    ),
    setting(
        "initial-cluster-state",
        "STATE",
        "Found a cluster (new) or join one (existing) [default: new]",
    ),
    setting(
        "initial-cluster-token",
        "TOKEN",
        "Keeps clusters with the same members apart [default: etcd-cluster]",
    ),
    setting(
        "discovery-srv",
        "DOMAIN",
        "Domain whose SRV records name the initial cluster, in place of initial-cluster",
    ),
    setting("discovery-srv-name", "SUFFIX", "Suffix of the service's name in the SRV records"),
    setting(
        "discovery-srv-resolver",
        "ADDRESS",
        "DNS server that is asked for them, as ip:port [default: those of the system]",
    ),
    switch(
        "force-new-cluster",
        "Start as the only member, with the data there is: when the others are lost for good",
    ),
    setting("heartbeat-interval", "MS", "Time between heartbeats of the leader [default: 100]"),
    setting("election-timeout", "MS", "Silence of the leader until an election [default: 1000]"),
    setting("log-level", "LEVEL", "trace, debug, info, warn or error [default: info]"),
    setting("max-request-bytes", "BYTES", "Largest request [default: 1572864]"),
    setting("max-txn-ops", "COUNT", "Most operations in a list of a transaction [default: 128]"),
    setting(
        "watch-progress-notify-interval",
        "DURATION",
        "Silence after which watchers are told of their progress [default: 10m]",
    ),
    setting(
        "quota-backend-bytes",
        "BYTES",
        "Largest store; 0: what the disk has left, below 0: no limit [default: 0]",
    ),
    setting(
        "block-cache-bytes",
        "BYTES",
        "Blocks of files kept in memory; 0: a 16th of it, 64 MiB to 1 GiB [default: 0]",
    ),
    setting(
        "snapshot-send-rate",
        "BYTES",
        "Bytes a second sent to members that fell behind; 0: no limit [default: 67108864]",
    ),
    setting(
        "registry-view-bytes",
        "BYTES",
        "Memory for the registry's view; 0: none, read from the store [default: 268435456]",
    ),
    setting(
        "corrupt-check-time",
        "DURATION",
        "How often members compare their data; 0: never [default: 5m]",
    ),
    setting("listen-metrics-urls", "URLS", "More listeners, with metrics and health only"),
    switch(
        "strict-reconfig-check",
        "Refuse changes of members that would put the quorum at risk [default: true]",
    ),
    setting("max-learners", "COUNT", "Most learners that a cluster may have [default: 1]"),
    switch(
        "learner-serves-reads",
        "While a learner, serve serializable reads and watches: an observer [default: false]",
    ),
];

pub(super) const fn setting(
    name: &'static str,
    value_name: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, value_name, help, is_switch: false }
}

pub(super) const fn switch(name: &'static str, help: &'static str) -> Setting {
    Setting { name, value_name: "BOOL", help, is_switch: true }
}

/// The values of all layers together, as far as they are of no other group, before anybody has looked at what they mean.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Settings {
    pub(super) name: String,
    /// Follows the name when it is not set.
    pub(super) data_dir: Option<String>,
    pub(super) listen_client_urls: List,
    pub(super) advertise_client_urls: List,
    pub(super) listen_peer_urls: List,
    pub(super) initial_advertise_peer_urls: List,
    /// Follows the name and the advertised peer URLs when it is not set.
    pub(super) initial_cluster: Option<List>,
    pub(super) initial_cluster_state: String,
    pub(super) initial_cluster_token: String,
    pub(super) discovery_srv: String,
    pub(super) discovery_srv_name: String,
    pub(super) discovery_srv_resolver: String,
    pub(super) force_new_cluster: bool,
    pub(super) heartbeat_interval: u64,
    pub(super) election_timeout: u64,
    pub(super) log_level: String,
    pub(super) max_request_bytes: u64,
    pub(super) max_txn_ops: u64,
    pub(super) watch_progress_notify_interval: String,
    pub(super) quota_backend_bytes: i64,
    pub(super) block_cache_bytes: u64,
    pub(super) snapshot_send_rate: u64,
    pub(super) registry_view_bytes: u64,
    pub(super) corrupt_check_time: String,
    pub(super) listen_metrics_urls: List,
    pub(super) strict_reconfig_check: bool,
    pub(super) max_learners: u64,
    pub(super) learner_serves_reads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let client = || List(vec!["http://localhost:2379".to_owned()]);
        let peer = || List(vec!["http://localhost:2380".to_owned()]);
        Self {
            name: "default".to_owned(),
            data_dir: None,
            listen_client_urls: client(),
            advertise_client_urls: client(),
            listen_peer_urls: peer(),
            initial_advertise_peer_urls: peer(),
            initial_cluster: None,
            initial_cluster_state: "new".to_owned(),
            initial_cluster_token: "etcd-cluster".to_owned(),
            discovery_srv: String::new(),
            discovery_srv_name: String::new(),
            discovery_srv_resolver: String::new(),
            force_new_cluster: false,
            heartbeat_interval: 100,
            election_timeout: 1000,
            log_level: "info".to_owned(),
            max_request_bytes: limits::REQUEST_BYTES_MAX as u64,
            max_txn_ops: limits::TXN_OPS_MAX as u64,
            watch_progress_notify_interval: "10m".to_owned(),
            quota_backend_bytes: 0,
            block_cache_bytes: 0,
            snapshot_send_rate: limits::SNAPSHOT_SEND_RATE,
            registry_view_bytes: limits::REGISTRY_VIEW_BYTES,
            corrupt_check_time: "5m".to_owned(),
            listen_metrics_urls: List(Vec::new()),
            strict_reconfig_check: true,
            max_learners: 1,
            learner_serves_reads: false,
        }
    }
}

/// Several texts: in the file a list or one text with commas, everywhere else the latter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct List(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("texts, as a list or separated by commas")
    }

    fn visit_str<E>(self, text: &str) -> Result<List, E> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Ok(List(parts.map(str::to_owned).collect()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<List, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(seq)).map(List)
    }
}
