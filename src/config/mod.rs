//! What a member is told before it starts: one [`Config`], checked as a whole before anything opens.
//!
//! Settings carry etcd's names, units and defaults. They come in layers, each over the one before:
//! defaults, the file named by `--config-file`, `ETCD_*` variables, `QUORATE_*` variables, flags.
//! An unknown key of the file or an unknown `QUORATE_*` variable is refused; an unknown `ETCD_*`
//! variable is only reported, since a script written for etcd may set more than we read. Every
//! refusal names the setting, its value, and where it came from.
//!
//! [`load`] is the way in, and [`load_given`] for what follows other rules of layering: start lines of
//! etcd. The environment is handed to it, so this room reads no global state; the
//! file is the only thing it opens. Nothing here binds a port or looks at the data directory.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

mod check;
mod discovery;
pub mod duration;
mod error;
mod given;
mod http;
mod layers;
mod log;
mod observe;
mod print;
mod settings;
mod tls;
mod upkeep;
mod url;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use discovery::Discovery;
pub use error::{Error, Problem};
pub use given::{Given, load_given};
pub use http::Http;
pub use layers::{Inputs, Loaded, load};
pub use log::{Log, LogFormat, LogOutput, LogRotation};
pub use observe::{MetricsDetail, Observe};
pub use settings::{Setting, settings};
pub use tls::{Tls, TlsSide, notices as tls_notices};
pub use upkeep::{AutoCompaction, Upkeep};
pub use url::{ListenHost, ListenPlace, ListenUrl, Place, Scheme, Url, UrlError};

/// Everything `quorate serve` needs to know, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The member's name, which is also its entry in `initial_cluster`. Never empty.
    pub name: String,
    /// Where the member keeps its log and its state.
    pub data_dir: PathBuf,
    /// Where clients connect to. Never empty.
    pub listen_client_urls: Vec<ListenUrl>,
    /// The client URLs that this member publishes to the cluster. Never empty.
    pub advertise_client_urls: Vec<Url>,
    /// Where the other members connect to. Never empty.
    pub listen_peer_urls: Vec<ListenUrl>,
    /// The peer URLs under which the other members know this one. Never empty.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// The members that a new cluster starts with, this one included, sorted by name.
    pub initial_cluster: Vec<InitialMember>,
    /// Whether somebody set `initial_cluster`, or it is only the default of one member.
    pub initial_cluster_is_set: bool,
    /// Whether this member helps to found a cluster or joins one that runs.
    pub initial_cluster_state: InitialClusterState,
    /// Keeps clusters apart that were founded with the same members.
    pub initial_cluster_token: String,
    /// The domain whose SRV records name the initial cluster.
    pub discovery_srv: Option<String>,
    /// A suffix of the service's name in those records; empty: none.
    pub discovery_srv_name: String,
    /// The server that is asked for them; `None`: those of the system.
    pub discovery_srv_resolver: Option<SocketAddr>,
    /// How founders find each other in another cluster.
    pub discovery: Discovery,
    /// Whether this member starts as the only one of its cluster, whoever was a member before.
    pub force_new_cluster: bool,
    /// How often a leader tells its followers that it is there; raft's tick.
    pub heartbeat_interval: Duration,
    /// How long a follower hears nothing before it stands for election.
    pub election_timeout: Duration,
    /// What is logged.
    pub log_level: LogLevel,
    /// The largest request that is proposed, in bytes of its encoded form.
    pub max_request_bytes: usize,
    /// The most operations that one list of a transaction may have.
    pub max_txn_ops: usize,
    /// Silence after which watchers that asked for it are told how far they have come.
    pub watch_progress_notify_interval: Duration,
    /// The largest logical size of the store, in bytes; 0: the disk decides; below 0: no limit.
    pub quota_backend_bytes: i64,
    /// Bytes of the state's files that are kept in memory; 0: by the memory of the machine.
    pub block_cache_bytes: usize,
    /// Bytes of snapshots sent a second, to all members together; 0: as many as go.
    pub snapshot_send_rate: u64,
    /// Bytes of memory for what readers of the registry are told; 0: it is read from the store.
    pub registry_view_bytes: u64,
    /// How often members compare their data; zero: never.
    pub corrupt_check_time: Duration,
    /// More listeners that serve only metrics and health.
    pub listen_metrics_urls: Vec<ListenUrl>,
    /// Refuse changes of members that would put the quorum at risk.
    pub strict_reconfig_check: bool,
    /// The most learners that a cluster may have when this member is asked to add one.
    pub max_learners: u32,
    /// While it is a learner, this member serves serializable reads and watches: it is an observer.
    pub learner_serves_reads: bool,
    /// Encryption of both listeners.
    pub tls: Tls,
    /// What HTTP clients are served.
    pub http: Http,
    /// How is logged.
    pub log: Log,
    /// What the member does by itself.
    pub upkeep: Upkeep,
    /// What is told of the member's work.
    pub observe: Observe,
    /// Stop, as on SIGTERM, once standard input ends: how a supervised member notices that its
    /// supervisor is gone, however that died.
    pub exit_with_parent: bool,
}

/// A member that a new cluster starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name.
    pub name: String,
    /// Its peer URLs, sorted. Never empty.
    pub peer_urls: Vec<Url>,
}

/// Whether a member without data founds a cluster or joins one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialClusterState {
    /// It founds one, together with the other initial members.
    New,
    /// It joins one that runs, where it has already been added.
    Existing,
}

impl InitialClusterState {
    /// The word that a setting uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Existing => "existing",
        }
    }
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything, for those who work on the store.
    Trace,
    /// Keys and single requests.
    Debug,
    /// Role, membership, snapshots, lifecycle.
    Info,
    /// It healed, but look.
    Warn,
    /// Somebody must act.
    Error,
}

impl LogLevel {
    /// The word that a setting uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
