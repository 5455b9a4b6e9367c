//! A whole member from its [`Config`]: data directory, log, state, node, listeners, and its end.
//!
//! [`run`] is the way in and returns when the member has ended. Whatever can be refused is refused
//! before anything is written: a data directory that is in use, an address that is taken, settings
//! that do not fit the data.
//!
//! A member that is asked to stop hands leadership over while it still serves, then lets running
//! calls end, ends streams, and brings its state to disk. A member that has a fault ends at once. A
//! panic ends the process, except in the handler of a request.
//!
//! Absent: decisions about requests, which are the api's and the node's.

use tokio::{runtime::Handle as RuntimeHandle, select};
use tracing::warn;

use crate::{
    config::{self, Config},
    node::fail_points,
    storage::DataDir,
};

mod bind;
mod call;
mod connection;
mod discovery;
mod dns;
mod door;
mod encryption;
mod error;
mod face;
mod fence;
mod figures;
pub(crate) mod gather;
mod identity;
mod join;
mod listener;
mod member;
mod node_figures;
mod notify;
mod phase;
mod publish;
mod rendezvous;
mod restore;
mod sans;
mod stop;
mod tasks;
#[cfg(test)]
mod tests;
mod traces;

pub use crate::api::version::SERVER as ETCD_VERSION;

pub use discovery::DiscoveryError;
pub use error::Error;
pub use join::JoinError;
pub use rendezvous::RendezvousError;
pub use restore::{Restoration, RestoreError, Restored, restore};

use self::{
    bind::{Bound, bind_all},
    encryption::Encryption,
    member::Member,
    stop::Requests,
    tasks::Runtimes,
};

/// Runs a member until it is asked to stop, or cannot go on.
///
/// # Errors
///
/// Why it did not start, or what stopped it.
pub fn run(config: Config) -> Result<(), Error> {
    tasks::end_on_panic();
    let runtimes = Runtimes::start()?;
    let peers = runtimes.peers.handle().clone();
    let result = runtimes.clients.block_on(run_on(&config, &peers));
    runtimes.stop();
    result
}

/// Tells the fail points of this process what to do; for tests.
///
/// # Errors
///
/// When they cannot be had, as in a release build.
pub fn arm_fail_points(text: &str) -> Result<(), Error> {
    fail_points::arm(text).map_err(Error::FailPoints)?;
    warn!(text, "fail points are armed");
    Ok(())
}

async fn run_on(config: &Config, peer_runtime: &RuntimeHandle) -> Result<(), Error> {
    let mut requests = Requests::listen(config.exit_with_parent)?;
    for notice in config::tls_notices(config) {
        tracing::warn!("{notice}");
    }
    let dir = DataDir::open(&config.data_dir)?;
    let encryption = Encryption::load(config, &config.data_dir)?;
    // Before this member listens: founders that start together would wait for each other's answers.
    let (config, place) = select! {
        found = identity::look_up(config, &dir, &encryption.dialer) => found?,
        () = requests.first() => return Ok(()),
    };
    let config = &*config;
    for notice in config.http.notices() {
        warn!("{notice}");
    }
    let sockets = Sockets::bind(config)?;
    let prepared = identity::prepare(config, dir, place)?;
    let member = Member::start(config, prepared, sockets, &encryption, peer_runtime)?;
    member.until_stopped(config, requests).await
}

/// The sockets of a member.
struct Sockets {
    clients: Vec<Bound>,
    /// For HTTP apart from gRPC.
    http: Vec<Bound>,
    peers: Vec<Bound>,
    metrics: Vec<Bound>,
}

impl Sockets {
    /// All of them, or none.
    fn bind(config: &Config) -> Result<Self, Error> {
        let bind = |urls| bind_all(urls, config.http.socket_reuse_port);
        Ok(Self {
            clients: bind(&config.listen_client_urls)?,
            http: bind(&config.http.listen_client_http_urls)?,
            peers: bind(&config.listen_peer_urls)?,
            metrics: bind(&config.listen_metrics_urls)?,
        })
    }
}
