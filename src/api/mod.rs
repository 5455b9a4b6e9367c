//! The faces towards clients: the gRPC services, and plain HTTP for probes and Prometheus.
//!
//! Services are thin: a method converts what it is given, makes one call on [`Handle`], and converts
//! the answer. Input is checked in [`convert`] and nowhere else; errors become statuses in
//! [`status`] and nowhere else. [`routes`] puts everything together, gRPC and HTTP side by side, for
//! whoever owns the listener.
//!
//! Absent: listeners, TLS, and every rule about the state. What of the etcd API is not served yet
//! stands in [`UNIMPLEMENTED`].

pub mod auth;
pub mod cluster;
pub mod convert;
pub mod dispatch;
mod downgrade;
pub mod election;
pub mod gateway;
pub mod header;
pub mod health;
pub mod http;
pub mod kv;
pub mod layers;
pub mod lease;
pub mod lock;
pub mod maintenance;
mod range_answer;
mod range_stream;
pub mod ranges;
mod raw;
pub mod reflection;
pub mod registry;
mod sips;
pub mod slow;
mod snapshot;
pub mod status;
#[cfg(test)]
mod tests;
pub mod unary;
pub mod version;
pub mod watch;

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, http::Request, response::IntoResponse};
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tower::{Layer, Service, ServiceExt};

use crate::{
    node::Handle,
    proto::{
        etcdserverpb::{
            auth_server::AuthServer, cluster_server::ClusterServer, kv_server::KvServer,
            lease_server::LeaseServer, maintenance_server::MaintenanceServer,
        },
        registry::registry_server::RegistryServer,
        v3electionpb::election_server::ElectionServer,
        v3lockpb::lock_server::LockServer,
    },
    registry::Views,
    telemetry::Metrics,
    types::{Millis, limits},
};

use self::{
    dispatch::Dispatch,
    gateway::{Gateway, Manners},
    layers::{Guard, Guarded, LearnerGate},
    lease::keep_alive::KeepAlives,
    ranges::Ranges,
    registry::Registry,
    slow::SlowCalls,
};

/// The settings of this room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest encoded request, in bytes. The transport takes a little more, so that a request just
    /// above it is refused by name.
    pub request_bytes_max: usize,
    /// Most entries in one list of a transaction.
    pub txn_ops_max: usize,
    /// Silence after which a watcher that asked for it is told the revision.
    pub progress_interval: Millis,
    /// A unary call that takes longer is told on the log; `None`: none is.
    pub slow_request: Option<Millis>,
    /// Whether this member, while it is a learner, serves reads of its own state: an observer.
    pub learner_serves_reads: bool,
    /// Whether etcd's API is served as JSON, too.
    pub gateway: bool,
    /// Who may use from a browser what is not gRPC.
    pub access: http::Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_bytes_max: limits::REQUEST_BYTES_MAX,
            txn_ops_max: limits::TXN_OPS_MAX,
            progress_interval: Millis(600_000),
            slow_request: None,
            learner_serves_reads: false,
            gateway: true,
            access: http::Access::default(),
        }
    }
}

impl Config {
    /// Largest message that the transport takes, in bytes.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        self.request_bytes_max.saturating_add(limits::REQUEST_OVERHEAD_BYTES)
    }
}

/// Largest message sent: as much as etcd sends, which is what a length of 31 bits can say.
const SENT_BYTES_MAX: usize = 0x7fff_ffff;

/// The methods that answer UNIMPLEMENTED. A test holds the services to this list.
pub const UNIMPLEMENTED: &[&str] = &[
    "etcdserverpb.Auth/AuthDisable",
    "etcdserverpb.Auth/AuthEnable",
    "etcdserverpb.Auth/RoleAdd",
    "etcdserverpb.Auth/RoleDelete",
    "etcdserverpb.Auth/RoleGet",
    "etcdserverpb.Auth/RoleGrantPermission",
    "etcdserverpb.Auth/RoleList",
    "etcdserverpb.Auth/RoleRevokePermission",
    "etcdserverpb.Auth/UserAdd",
    "etcdserverpb.Auth/UserChangePassword",
    "etcdserverpb.Auth/UserDelete",
    "etcdserverpb.Auth/UserGet",
    "etcdserverpb.Auth/UserGrantRole",
    "etcdserverpb.Auth/UserList",
    "etcdserverpb.Auth/UserRevokeRole",
];

/// Everything that clients reach. Readers of the registry are answered from these views.
pub fn routes(
    node: Handle,
    metrics: Arc<Metrics>,
    config: Config,
    registry: Arc<Views>,
) -> Dispatch {
    let services = services(node.clone(), metrics, config.clone(), Arc::clone(&registry));
    let stopping = {
        let node = node.clone();
        move || {
            let node = node.clone();
            async move { node.retiring().await }
        }
    };
    let gateway = Gateway::new(services.clone(), config.message_bytes_max(), stopping);
    let discovery = http::Discovery { services: services.clone(), views: registry, node };
    let etcd = if config.gateway { gateway.etcd() } else { Router::new() };
    let registry = gateway.routes(Manners::Own, gateway::REGISTRY);
    services
        .with(|router| router.merge(registry).merge(discovery.routes()).merge(etcd))
        .open_to(config.access)
}

/// The gRPC services, and the pages about this member.
fn services(node: Handle, metrics: Arc<Metrics>, config: Config, registry: Arc<Views>) -> Dispatch {
    let slow = SlowCalls::new(node.clone(), config.slow_request);
    let services = Services {
        guard: Guard::new(
            node.clone(),
            LearnerGate { serves_reads: config.learner_serves_reads },
            Arc::clone(&metrics),
            config.message_bytes_max(),
        )
        .telling_slow_calls(slow.clone()),
        router: http::routes(node.clone(), Arc::clone(&metrics), config.learner_serves_reads),
    };
    let received = config.message_bytes_max();

    /// Sets both limits on the size of a message; the generated servers share no trait for it.
    macro_rules! limited {
        ($server:ident, $new:ident, $service:expr) => {
            $server::$new($service)
                .max_decoding_message_size(received)
                .max_encoding_message_size(SENT_BYTES_MAX)
        };
    }

    /// A service as it is, and as the library serves it.
    macro_rules! both {
        ($server:ident, $service:expr) => {{
            let service = Arc::new($service);
            (Arc::clone(&service), limited!($server, from_arc, service))
        }};
    }

    let (kv, library) =
        both!(KvServer, kv::KvService::new(node.clone(), config.clone(), slow.clone()));
    let maintenance = maintenance::MaintenanceService::new(node.clone(), &metrics);
    let kv = Ranges::new(node.clone(), config.clone(), slow, kv, library);
    let (leases, library) = both!(LeaseServer, lease::LeaseService::new(node.clone()));
    let leases = KeepAlives::new(node.clone(), received, leases, library);
    let service = registry::RegistryService::new(node.clone(), Arc::clone(&registry));
    let registry =
        Registry::new(node.clone(), registry, received, limited!(RegistryServer, new, service));
    let guard = services.guard.clone();
    let others = services
        .add(limited!(ClusterServer, new, cluster::ClusterService::new(node.clone())))
        .add(limited!(MaintenanceServer, new, maintenance))
        .add(limited!(AuthServer, new, auth::AuthService::new(node.clone())))
        .add(limited!(LockServer, new, lock::LockService::new(node.clone())))
        .add(limited!(ElectionServer, new, election::ElectionService::new(node.clone())))
        .add(HealthServer::new(health::HealthService::new(node.clone())))
        .add(reflection::service())
        .add(reflection::old_service())
        .add(watch::Watches::new(node, config))
        .router;
    Dispatch::new(guard, kv, leases, registry, others)
}

/// The router while services are being added to it.
struct Services {
    guard: Guard,
    router: Router,
}

impl Services {
    /// Adds a service behind the guard, under its name.
    fn add<S>(mut self, service: S) -> Self
    where
        S: NamedService + Clone + Send + Sync + 'static,
        Guarded<S>:
            Service<Request<tonic::body::Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        <Guarded<S> as Service<Request<tonic::body::Body>>>::Response: IntoResponse,
        <Guarded<S> as Service<Request<tonic::body::Body>>>::Future: Send + 'static,
    {
        let service = self
            .guard
            .layer(service)
            .map_request(|request: Request<Body>| request.map(tonic::body::Body::new));
        self.router = self.router.route_service(&format!("/{}/{{*method}}", S::NAME), service);
        self
    }
}
