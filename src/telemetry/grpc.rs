//! How many gRPC calls began, and how they ended, by method, under the names that dashboards know.
//!
//! Every method and code is there from the start with a zero, so that a rate over the first failure
//! is a rate. Calls of methods that are not listed are not counted: a client must not be able to
//! make new series.

use std::{array, collections::BTreeMap, sync::Arc};

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::spread::{MICROS_PER_SECOND, Spread};
use crate::types::Distribution;

/// Whether a call carries one message or many, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// One request, one response.
    Unary,
    /// One request, many responses.
    ServerStream,
    /// Many of both.
    BidiStream,
}

impl CallKind {
    const fn label(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::ServerStream => "server_stream",
            Self::BidiStream => "bidi_stream",
        }
    }
}

/// The counters of one method.
#[derive(Debug)]
pub struct GrpcMethod {
    /// How its calls look.
    pub kind: CallKind,
    started: Counter,
    handled: [Counter; CODES.len()],
    received: Counter,
    sent: Counter,
    /// In microseconds; only when it was asked for.
    handling: Option<Arc<Distribution>>,
}

impl GrpcMethod {
    /// Counts a call that began.
    pub fn started(&self) {
        self.started.inc();
    }

    /// Counts messages of clients.
    pub fn received(&self, messages: u64) {
        self.received.inc_by(messages);
    }

    /// Counts messages to clients.
    pub fn sent(&self, messages: u64) {
        self.sent.inc_by(messages);
    }

    /// Whether it is of use to know how long a call took.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.handling.is_some()
    }

    /// Counts how long a call took from its begin to its end.
    pub fn took(&self, micros: u64) {
        if let Some(handling) = &self.handling {
            handling.observe(micros);
        }
    }

    /// Counts a call that ended with this gRPC status code; codes that do not exist count as
    /// `Unknown`.
    pub fn handled(&self, code: i32) {
        let counter = usize::try_from(code).ok().and_then(|code| self.handled.get(code));
        let [_, _, unknown, ..] = &self.handled;
        counter.unwrap_or(unknown).inc();
    }
}

/// Names of the gRPC status codes, at their number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Methods of a service, by kind.
struct Service {
    name: &'static str,
    unary: &'static [&'static str],
    server_stream: &'static [&'static str],
    bidi_stream: &'static [&'static str],
}

const SERVICES: &[Service] = &[
    Service {
        name: "etcdserverpb.KV",
        unary: &["Range", "Put", "DeleteRange", "Txn", "Compact"],
        server_stream: &["RangeStream"],
        bidi_stream: &[],
    },
    Service { name: "etcdserverpb.Watch", unary: &[], server_stream: &[], bidi_stream: &["Watch"] },
    Service {
        name: "etcdserverpb.Lease",
        unary: &["LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"],
        server_stream: &[],
        bidi_stream: &["LeaseKeepAlive"],
    },
    Service {
        name: "etcdserverpb.Cluster",
        unary: &["MemberAdd", "MemberRemove", "MemberUpdate", "MemberList", "MemberPromote"],
        server_stream: &[],
        bidi_stream: &[],
    },
    Service {
        name: "etcdserverpb.Maintenance",
        unary: &["Alarm", "Status", "Defragment", "Hash", "HashKV", "MoveLeader", "Downgrade"],
        server_stream: &["Snapshot"],
        bidi_stream: &[],
    },
    Service {
        name: "etcdserverpb.Auth",
        unary: &[
            "AuthEnable",
            "AuthDisable",
            "AuthStatus",
            "Authenticate",
            "UserAdd",
            "UserGet",
            "UserList",
            "UserDelete",
            "UserChangePassword",
            "UserGrantRole",
            "UserRevokeRole",
            "RoleAdd",
            "RoleGet",
            "RoleList",
            "RoleDelete",
            "RoleGrantPermission",
            "RoleRevokePermission",
        ],
        server_stream: &[],
        bidi_stream: &[],
    },
    Service {
        name: "v3lockpb.Lock",
        unary: &["Lock", "Unlock"],
        server_stream: &[],
        bidi_stream: &[],
    },
    Service {
        name: "v3electionpb.Election",
        unary: &["Campaign", "Proclaim", "Leader", "Resign"],
        server_stream: &["Observe"],
        bidi_stream: &[],
    },
    Service {
        name: "quorate.registry.v1.Registry",
        unary: &[
            "Register",
            "Deregister",
            "SetOverride",
            "ClearOverride",
            "ListServices",
            "Resolve",
        ],
        server_stream: &["Watch"],
        bidi_stream: &["KeepAlive", "Session"],
    },
    Service {
        name: "grpc.health.v1.Health",
        unary: &["Check", "List"],
        server_stream: &["Watch"],
        bidi_stream: &[],
    },
];

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// The bounds of durations of calls, in microseconds: those that Prometheus' libraries begin with.
static HANDLING_MICROS: [u64; 11] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// Makes and registers the counters, by path: `/etcdserverpb.KV/Range`. With `timed`, durations of
/// calls are counted, too.
pub(super) fn register(registry: &mut Registry, timed: bool) -> BTreeMap<String, Arc<GrpcMethod>> {
    let started = Family::<Labels<3>, Counter>::default();
    let handled = Family::<Labels<4>, Counter>::default();
    let received = Family::<Labels<3>, Counter>::default();
    let sent = Family::<Labels<3>, Counter>::default();
    registry.register("grpc_server_started", "gRPC calls that began", started.clone());
    registry.register("grpc_server_handled", "gRPC calls that ended, by code", handled.clone());
    let help = "Messages of gRPC calls that came from clients";
    registry.register("grpc_server_msg_received", help, received.clone());
    let help = "Messages of gRPC calls that went to clients";
    registry.register("grpc_server_msg_sent", help, sent.clone());

    let (mut methods, mut durations) = (BTreeMap::new(), Vec::new());
    for service in SERVICES {
        let kinds = [
            (CallKind::Unary, service.unary),
            (CallKind::ServerStream, service.server_stream),
            (CallKind::BidiStream, service.bidi_stream),
        ];
        for (kind, names) in kinds {
            for name in names {
                let labels = [
                    ("grpc_type", kind.label()),
                    ("grpc_service", service.name),
                    ("grpc_method", *name),
                ];
                let [kind_label, service_label, method_label] = labels;
                let counters = array::from_fn(|code| {
                    let code = CODES.get(code).copied().unwrap_or_default();
                    let code_label = ("grpc_code", code);
                    handled.get_or_create_owned(&[
                        kind_label,
                        service_label,
                        method_label,
                        code_label,
                    ])
                });
                let handling = timed.then(|| Arc::new(Distribution::new(&HANDLING_MICROS)));
                durations.extend(handling.clone().map(|handling| (labels.to_vec(), handling)));
                let method = GrpcMethod {
                    kind,
                    started: started.get_or_create_owned(&labels),
                    handled: counters,
                    received: received.get_or_create_owned(&labels),
                    sent: sent.get_or_create_owned(&labels),
                    handling,
                };
                methods.insert(format!("/{}/{name}", service.name), Arc::new(method));
            }
        }
    }
    let (name, help) = ("grpc_server_handling_seconds", "Time from begin to end of gRPC calls");
    let spread = Spread::new(name, help, MICROS_PER_SECOND, true, durations);
    registry.register_collector(Box::new(spread));
    methods
}
