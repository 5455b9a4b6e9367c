//! A whole member from its [`Config`]: data directory, log, state, node, listeners, and its orderly end.
//!
//! [`run`] is the way in and returns when the member has ended. Nothing is opened for good before
//! everything that can be refused has been refused: a data directory that is in use, an address
//! that is taken, settings that do not fit the data.
//!
//! A member that is asked to stop hands leadership over while it still serves, then lets running
//! calls end, ends streams, and brings its state to disk. A member that has a fault stops at once.
//!
//! Absent: decisions about requests, which are the api's and the node's.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{runtime::Handle as RuntimeHandle, select, sync::watch, task::spawn_blocking, time::timeout};
use tonic::service::Routes;
use tracing::{error, info, warn};

use crate::{
    api,
    config::{Config, ListenUrl, Url},
    node::{self, Clock, Handle, MonotonicClock, Settings, Stop, Threads, ports::Peers},
    state::meta,
    storage::DataDir,
    telemetry::Metrics,
    transport::{self, GrpcPeers, PeerMetrics, PeerService},
    types::{Fault, MemberId, Millis},
};

mod bind;
mod call;
mod connection;
mod error;
mod figures;
mod identity;
mod listener;
mod phase;
mod publish;
mod stop;
mod tasks;
#[cfg(test)]
mod tests;

pub use error::Error;

use self::{
    bind::Bound,
    connection::Profile,
    identity::Prepared,
    phase::{Phase, Phases},
    stop::Requests,
    tasks::{Runtimes, Tasks},
};

/// How long calls that run may go on after the member was asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// How long the member's threads may take to end and to bring the state to disk.
const THREADS_END_WITHIN: Duration = Duration::from_secs(30);

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

async fn run_on(config: &Config, peer_runtime: &RuntimeHandle) -> Result<(), Error> {
    let requests = Requests::listen(config.exit_with_parent)?;
    let dir = DataDir::open(&config.data_dir)?;
    let sockets = Sockets::bind(config)?;
    let prepared = identity::prepare(config, dir)?;
    let member = Running::start(config, prepared, sockets, peer_runtime)?;
    member.until_stopped(config, requests).await
}

/// The sockets of a member.
struct Sockets {
    clients: Vec<Bound>,
    peers: Vec<Bound>,
    metrics: Vec<Bound>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            clients: bind::bind_all(&config.listen_client_urls)?,
            peers: bind::bind_all(&config.listen_peer_urls)?,
            metrics: bind::bind_all(&config.listen_metrics_urls)?,
        })
    }
}

/// A member that runs.
struct Running {
    node: Handle,
    threads: Threads,
    peers: Arc<GrpcPeers>,
    tasks: Tasks,
    phase: watch::Sender<Phase>,
    closing: watch::Sender<bool>,
}

impl Running {
    fn start(
        config: &Config,
        prepared: Prepared,
        sockets: Sockets,
        peer_runtime: &RuntimeHandle,
    ) -> Result<Self, Error> {
        let Prepared { cluster, member, boot, log, store, opened } = prepared;
        info!(%cluster, %member, %boot, data_dir = %config.data_dir.display(), "starting");
        let metrics = Metrics::new();
        let peer_metrics = PeerMetrics::default();
        metrics.register(|registry| peer_metrics.register(registry));
        let identity =
            transport::Config { cluster, member, election_timeout: config.election_timeout };
        let peers =
            GrpcPeers::new(identity, peer_runtime.clone(), store.clone(), peer_metrics);
        let settings = Settings {
            heartbeat: millis(config.heartbeat_interval),
            election_timeout: millis(config.election_timeout),
            request_bytes_max: config.max_request_bytes,
            ..Settings::new(cluster, member, boot)
        };
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::default());
        let (node, threads) = node::start(
            settings,
            figures::of_node(&metrics),
            clock,
            &opened,
            log,
            store,
            peers.clone(),
        )
        .map_err(Error::Start)?;
        peers.attach(Arc::new(node.clone()));
        peers.set_members(&addresses(&node).map_err(Error::Start)?);
        metrics.register(|registry| {
            registry.register_collector(Box::new(figures::StoreFigures(node.clone())));
        });

        let (phase, phases) = Phases::new();
        let (closing, closed) = watch::channel(false);
        let mut running = Self { node, threads, peers, tasks: Tasks::default(), phase, closing };
        running.listen(config, sockets, &metrics, &phases, (peer_runtime, closed));
        Ok(running)
    }

    fn listen(
        &mut self,
        config: &Config,
        sockets: Sockets,
        metrics: &Arc<Metrics>,
        phases: &Phases,
        (peer_runtime, closed): (&RuntimeHandle, watch::Receiver<bool>),
    ) {
        let here = RuntimeHandle::current();
        let service = PeerService::new(Arc::clone(&self.peers), Arc::new(self.node.clone()), closed);
        let service = Routes::new(service.into_server()).prepare();
        let profile = Profile::peers(config.election_timeout);
        let peers = listener::Shared::new(service, profile, metrics.peers.clone());
        for Bound { url, socket } in sockets.peers {
            info!(url, "listening for members");
            let serving = listener::serve(socket, Arc::clone(&peers), phases.clone());
            self.tasks.start("the peer listener", peer_runtime, logged(serving));
        }

        let api = api::Config {
            request_bytes_max: config.max_request_bytes,
            txn_ops_max: config.max_txn_ops,
            ..api::Config::default()
        };
        let profile = Profile::clients(Metrics::open_fds_max());
        let service = api::routes(self.node.clone(), Arc::clone(metrics), api);
        let clients = listener::Shared::new(service, profile, metrics.clients.clone());
        for Bound { url, socket } in sockets.clients {
            info!(url, "listening for clients");
            let serving = listener::serve(socket, Arc::clone(&clients), phases.clone());
            self.tasks.start("the client listener", &here, logged(serving));
        }

        let service = api::http::routes(self.node.clone(), Arc::clone(metrics));
        let probes = listener::Shared::new(service, profile, metrics.clients.clone());
        for Bound { url, socket } in sockets.metrics {
            info!(url, "listening for metrics and health");
            let serving = listener::serve(socket, Arc::clone(&probes), phases.clone());
            self.tasks.start("the metrics listener", &here, logged(serving));
        }
    }

    /// Serves until the member is asked to stop, has a fault, or loses one of its parts.
    async fn until_stopped(mut self, config: &Config, mut requests: Requests) -> Result<(), Error> {
        let announced = async {
            publish::publish(&self.node, config).await;
            announce(config);
            pending::<()>().await;
        };
        select! {
            () = requests.first() => {}
            stop = self.node.stopped() => return Err(stopped(stop)),
            name = self.tasks.ended() => return Err(Error::Ended(name)),
            () = announced => {}
        }
        // Not waited for: it only matters when it comes before the end.
        tokio::spawn(requests.second());
        self.stop().await
    }

    /// The orderly end.
    async fn stop(self) -> Result<(), Error> {
        self.phase.send_replace(Phase::Refusing);
        // Alone there is nobody to hand over to, and no point in waiting for it.
        let others = addresses(&self.node).map_or(0, |members| members.len().saturating_sub(1));
        if others > 0 && !self.node.hand_over(None).await {
            info!("no other member took over leadership");
        }
        self.phase.send_replace(Phase::Draining);
        self.closing.send_replace(true);
        if !self.tasks.end(DRAIN_WITHIN).await {
            warn!("calls were cut off, they ran on for too long");
        }
        self.node.shutdown();
        let ended = timeout(THREADS_END_WITHIN, spawn_blocking(|| self.threads.join())).await;
        self.peers.close();
        match ended {
            Ok(Ok(Ok(()))) => {
                info!("stopped");
                Ok(())
            }
            Ok(Ok(Err(fault))) => Err(Error::Stopped(fault)),
            Ok(Err(_)) => Err(Error::Ended("the thread that waits for the others")),
            Err(_) => Err(Error::Stopped(Fault::new("its threads did not end in time"))),
        }
    }
}

/// Tells whoever waits for it, a test or a service manager, that requests can be sent.
fn announce(config: &Config) {
    info!(
        client_urls = ?config.listen_client_urls.iter().map(ListenUrl::to_string).collect::<Vec<_>>(),
        advertised = ?config.advertise_client_urls.iter().map(Url::to_string).collect::<Vec<_>>(),
        peer_urls = ?config.listen_peer_urls.iter().map(ListenUrl::to_string).collect::<Vec<_>>(),
        "ready to serve client requests"
    );
}

async fn logged(serving: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = serving.await {
        error!(%error, "a listener cannot be used");
    }
}

fn stopped(stop: Stop) -> Error {
    match stop {
        Stop::Fault(fault) => Error::Stopped(fault),
        Stop::Asked => Error::Ended("the node"),
    }
}

/// Where the members listen, as of the state that the node starts from.
fn addresses(node: &Handle) -> Result<Vec<(MemberId, Vec<String>)>, Fault> {
    let view = node.view().map_err(|error| Fault::new(error.to_string()))?;
    let members = meta::members(&*view)?;
    Ok(members.into_iter().map(|member| (member.id, member.peer_urls)).collect())
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
