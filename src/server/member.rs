//! A member that runs: its node, its faces to clients and to other members, and how they end.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    runtime::Handle as RuntimeHandle, select, sync::watch, task::spawn_blocking, time::timeout,
};
use tonic::service::Routes;
use tracing::{info, warn};

use super::{
    Error, Sockets,
    bind::Bound,
    call::Traffic,
    connection::Profile,
    encryption::Encryption,
    face::Face,
    figures::{self, RegistryFigures, StoreFigures, WatchFigures},
    identity::Prepared,
    listener, node_figures, notify, publish,
    stop::Requests,
    tasks::Tasks,
    traces,
};
use crate::{
    api,
    config::{self, Config, ListenUrl, MetricsDetail, Url},
    node::{self, AutoCompaction, Handle, MonotonicClock, Settings, Stop, Threads, ports::Peers},
    registry::Views,
    storage::DataDir,
    telemetry::{Metrics, Spans},
    tls::Acceptor,
    transport::{self, GrpcPeers, PeerMetrics, PeerService},
    types::{Fault, Millis},
};

/// How long calls that run may go on after the member was asked to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
/// How long streams of other members may take to end; nothing depends on them by then.
const PEERS_END_WITHIN: Duration = Duration::from_secs(1);
/// How long the member's threads may take to end and to bring the state to disk.
const THREADS_END_WITHIN: Duration = Duration::from_secs(30);

/// A member that runs.
pub(super) struct Member {
    node: Handle,
    threads: Threads,
    links: GrpcLinks,
    dir: Arc<DataDir>,
    /// Move events on to watchers, and renew leases.
    tasks: Tasks,
    clients: Face,
    peers: Face,
    spans: Option<Spans>,
}

/// Both directions of what goes between members.
struct GrpcLinks {
    out: Arc<GrpcPeers>,
    /// Ends the streams that come in.
    closing: watch::Sender<bool>,
}

impl Member {
    /// Starts everything. The caller's runtime serves clients, `peer_runtime` the other members.
    pub(super) fn start(
        config: &Config,
        prepared: Prepared,
        sockets: Sockets,
        encryption: &Encryption,
        peer_runtime: &RuntimeHandle,
    ) -> Result<Self, Error> {
        let Prepared { cluster, member, boot, log, store, opened, dir, members } = prepared;
        let (version, data_dir) = (env!("CARGO_PKG_VERSION"), config.data_dir.display());
        info!(version, %cluster, %member, %boot, %data_dir, "starting");

        let durations = config.observe.metrics == MetricsDetail::Extensive;
        let metrics = Metrics::with_durations(durations);
        let spans = traces::start(&config.observe);
        spans.iter().for_each(|spans| drop(metrics.spans.set(spans.clone())));
        let peer_metrics = PeerMetrics::default();
        metrics.register(|registry| {
            peer_metrics.register(registry);
            encryption.register(registry);
        });
        let identity = transport::Config {
            cluster,
            member,
            boot,
            election_timeout: config.election_timeout,
            snapshot_send_rate: config.snapshot_send_rate,
        };
        let (dialer, on) = (encryption.dialer.clone(), peer_runtime.clone());
        let out = GrpcPeers::new(identity, dialer, on, store.clone(), peer_metrics);
        let settings = settings(config, Settings::new(cluster, member, boot));
        let (figures, clock) = (figures::of_node(&metrics), Arc::new(MonotonicClock::default()));
        let (node, threads) =
            node::start(settings, figures, clock, &opened, log.clone(), store, out.clone())
                .map_err(Error::Start)?;
        out.attach(Arc::new(node.clone()));
        if let Some(members) = members {
            out.set_members(&members); // it has no list of its own yet
        }
        out.reached_at(&own_urls(&node, config));
        let views = Views::new(node.clone(), config.registry_view_bytes);
        metrics.register(|registry| {
            node_figures::register(registry, &node, &log);
            registry.register_collector(Box::new(StoreFigures(node.clone())));
            registry.register_collector(Box::new(RegistryFigures(Arc::clone(&views))));
            registry.register_collector(Box::new(WatchFigures(Arc::clone(node.watch_hub()))));
        });
        let (mut tasks, runtime) = (Tasks::default(), RuntimeHandle::current());
        tasks.start("the fan-out to watchers", &runtime, node.clone().fan_out());
        tasks.start("the renewal of leases", &runtime, node.clone().renew_leases());
        tasks.start("the comparison of states", &runtime, node.clone().compare_states());
        tasks.start("the view of the registry", &runtime, Arc::clone(&views).follow_keys());

        let (closing, closed) = watch::channel(false);
        let service = PeerService::new(Arc::clone(&out), Arc::new(node.clone()), closed);
        let mut peers = Face::new(peer_runtime.clone());
        peers.serve(
            sockets.peers,
            encryption.peers.as_ref(),
            !config.tls.peer.skip_client_san_verification,
            &listener::Shared::new(
                Routes::new(service.into_server()).prepare(),
                Profile::peers(config.election_timeout),
                metrics.peers.clone(),
            ),
        );
        let sockets = [sockets.clients, sockets.http, sockets.metrics];
        let secure = encryption.clients.as_ref();
        let clients = client_face(config, &node, &metrics, views, sockets, secure);
        let links = GrpcLinks { out, closing };
        Ok(Self { node, threads, links, dir, tasks, clients, peers, spans })
    }

    /// Serves until the member is asked to stop, has a fault, or loses one of its parts.
    pub(super) async fn until_stopped(
        mut self,
        config: &Config,
        mut requests: Requests,
    ) -> Result<(), Error> {
        let announced = async {
            publish::publish(&self.node, config).await;
            announce(config);
            notify::ready();
            pending::<()>().await;
        };
        let failed = select! {
            () = requests.first() => None,
            stop = self.node.stopped() => Some(match stop {
                Stop::Fault(fault) => Error::Stopped(fault),
                Stop::Removed => Error::Removed,
                Stop::Asked => Error::Ended("the node"),
            }),
            name = self.clients.ended() => Some(Error::Ended(name)),
            name = self.peers.ended() => Some(Error::Ended(name)),
            name = self.tasks.ended() => Some(Error::Ended(name)),
            () = announced => None,
        };
        match failed {
            None => {
                // Not waited for: it only matters when it comes before the end.
                tokio::spawn(requests.second());
                self.stop().await
            }
            Some(Error::Removed) => {
                tokio::spawn(requests.second());
                self.leave().await
            }
            Some(error) => {
                self.abandon().await;
                Err(error)
            }
        }
    }

    /// The end of a member that was removed, which it remembers.
    async fn leave(self) -> Result<(), Error> {
        info!("the member has been permanently removed from the cluster");
        let noted = self.dir.removed();
        self.stop().await?;
        noted?;
        Err(Error::Removed)
    }

    /// The orderly end. Other members are heard until the last call of a client is answered, since
    /// the answers come from the log that they send.
    async fn stop(self) -> Result<(), Error> {
        notify::stopping();
        self.clients.refuse();
        // Alone there is nobody to hand over to, and no point in waiting for it.
        if self.node.membership().members.len() > 1 && !self.node.hand_over(None).await {
            info!("no other member took over leadership");
        }
        self.node.retire();
        if !self.clients.drain(DRAIN_WITHIN).await {
            warn!("calls were cut off: they ran on for too long");
        }
        self.tasks.end(Duration::ZERO).await;
        self.links.closing.send_replace(true);
        self.peers.drain(PEERS_END_WITHIN).await;
        self.node.shutdown();
        let ended = timeout(THREADS_END_WITHIN, spawn_blocking(|| self.threads.join())).await;
        self.links.out.close();
        traces::end(self.spans).await;
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

    /// The quick end of a member that cannot be trusted any more: nobody is answered, nothing is
    /// written. Its threads are given a moment, so that the engines are not torn down under them.
    async fn abandon(self) {
        self.links.closing.send_replace(true);
        self.clients.drain(Duration::ZERO).await;
        self.tasks.end(Duration::ZERO).await;
        self.peers.drain(Duration::ZERO).await;
        self.node.shutdown();
        // The reason is known already.
        let _ = timeout(PEERS_END_WITHIN, spawn_blocking(|| self.threads.join())).await;
        self.links.out.close();
        traces::end(self.spans).await;
    }
}

/// What the node is told of the configuration.
fn settings(config: &Config, of_member: Settings) -> Settings {
    Settings {
        heartbeat: millis(config.heartbeat_interval),
        election_timeout: millis(config.election_timeout),
        request_bytes_max: config.max_request_bytes,
        quota_backend_bytes: config.quota_backend_bytes,
        strict_reconfig_check: config.strict_reconfig_check,
        learners_max: config.max_learners,
        compare_states_every: Some(config.corrupt_check_time)
            .filter(|period| !period.is_zero())
            .map(millis),
        auto_compaction: auto_compaction(config.upkeep.auto_compaction),
        slow_apply: Some(millis(config.upkeep.slow_apply)).filter(|limit| limit.0 > 0),
        ..of_member
    }
}

/// The listeners for clients, those for HTTP alone, and those for metrics and health.
fn client_face(
    config: &Config,
    node: &Handle,
    metrics: &Arc<Metrics>,
    views: Arc<Views>,
    [clients, http, probes]: [Vec<Bound>; 3],
    secure: Option<&Acceptor>,
) -> Face {
    let profile = Profile::clients(Metrics::open_fds_max(), &config.http);
    let figures = || metrics.clients.clone();
    let api = api::Config {
        request_bytes_max: config.max_request_bytes,
        txn_ops_max: config.max_txn_ops,
        progress_interval: millis(config.watch_progress_notify_interval),
        slow_request: Some(millis(config.upkeep.slow_request)).filter(|limit| limit.0 > 0),
        learner_serves_reads: config.learner_serves_reads,
        gateway: config.http.gateway,
        access: api::http::Access::new(&config.http.cors, &config.http.host_whitelist),
    };
    let mut face = Face::new(RuntimeHandle::current());
    let service = api::routes(node.clone(), Arc::clone(metrics), api, views);
    let (grpc_traffic, http_traffic) = if http.is_empty() {
        (Traffic::Both, Traffic::Both)
    } else {
        (Traffic::Grpc, Traffic::Http)
    };
    for (sockets, traffic) in [(clients, grpc_traffic), (http, http_traffic)] {
        let profile = Profile { traffic, ..profile };
        let shared = listener::Shared::new(service.clone(), profile, figures());
        face.serve(sockets, secure, false, &shared);
    }
    let service = api::http::routes(node.clone(), Arc::clone(metrics), config.learner_serves_reads);
    let shared = listener::Shared::new(service, profile, figures());
    face.serve(probes, secure, false, &shared);
    face
}

/// Tells whoever waits for it, a test or a service manager, that requests can be sent.
fn announce(config: &Config) {
    let listening = |urls: &[ListenUrl]| join(urls.iter().map(ListenUrl::to_string));
    info!(
        client_urls = listening(&config.listen_client_urls),
        peer_urls = listening(&config.listen_peer_urls),
        advertised = join(config.advertise_client_urls.iter().map(Url::to_string)),
        "ready to serve client requests"
    );
}

fn join(urls: impl Iterator<Item = String>) -> String {
    urls.collect::<Vec<_>>().join(",")
}

/// Where the others reach this member: where they believe to, once it is known what that is.
fn own_urls(node: &Handle, config: &Config) -> Vec<String> {
    match node.membership().get(node.member_id()) {
        Some(member) => member.peer_urls.clone(),
        None => config.initial_advertise_peer_urls.iter().map(Url::to_string).collect(),
    }
}

/// Which history is given up, if any is.
fn auto_compaction(rule: config::AutoCompaction) -> Option<AutoCompaction> {
    match rule {
        config::AutoCompaction::Periodic(Duration::ZERO) | config::AutoCompaction::Revision(0) => {
            None
        }
        config::AutoCompaction::Periodic(period) => Some(AutoCompaction::Periodic(millis(period))),
        config::AutoCompaction::Revision(kept) => Some(AutoCompaction::Revision(kept)),
    }
}

fn millis(duration: Duration) -> Millis {
    Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
