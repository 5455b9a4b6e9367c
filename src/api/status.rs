//! Every error of the crate as a gRPC status: the only place that makes one.
//!
//! Code and message are etcd's, byte for byte, because clients match on the message. Where etcd
//! sends another code than its own documents say, so does this. No match has a catch-all arm: a new
//! error does not compile until someone has chosen what clients see of it.
//!
//! The message is the stable reason that clients may match on; there is no second one beside it.

use tonic::{
    Code::{
        self, Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition,
        Internal, InvalidArgument, NotFound, OutOfRange, ResourceExhausted, Unavailable,
        Unimplemented, Unknown,
    },
    Status,
};
use tower::BoxError;

use crate::{
    api::convert::Invalid,
    node::{Error, MembershipError, RequestError, TimeoutCause},
    recipes, registry,
    state::Refused,
    types::Fault,
};

/// Why a request has no answer.
#[must_use]
pub fn of_request(error: RequestError) -> Status {
    match error {
        RequestError::Refused(refused) => of_refused(refused),
        RequestError::Node(error) => of_node(error),
    }
}

/// Why a request makes no sense.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "it is a function for map_err")]
pub fn of_invalid(invalid: Invalid) -> Status {
    let (code, message) = match invalid {
        Invalid::KeyNotProvided => (InvalidArgument, "etcdserver: key is not provided"),
        Invalid::ValueProvided => (InvalidArgument, "etcdserver: value is provided"),
        Invalid::LeaseProvided => (InvalidArgument, "etcdserver: lease is provided"),
        Invalid::SortOption { .. } => (InvalidArgument, "etcdserver: invalid sort option"),
        Invalid::TooManyOps { .. } => {
            (InvalidArgument, "etcdserver: too many operations in txn request")
        }
        // Our own: etcd has no bound on nesting but its stack.
        Invalid::TooDeep(_) => {
            (InvalidArgument, "etcdserver: too many nested levels in txn request")
        }
        Invalid::DuplicateKey => {
            (InvalidArgument, "etcdserver: duplicate key given in txn request")
        }
        Invalid::OpWithoutKind => (InvalidArgument, "etcdserver: key not found"),
        Invalid::StreamSorted => (Unimplemented, "RangeStream does not support custom sort orders"),
        Invalid::StreamFiltered => (Unimplemented, "RangeStream does not support revision filters"),
        Invalid::TtlTooLarge(_) => (OutOfRange, "etcdserver: too large lease TTL"),
        // etcd checks it in a layer without codes, as all of its elections: see `of_misuse`.
        Invalid::LeaderNotProvided => (Unknown, "\"leader\" field must be provided"),
        Invalid::MemberUrls => (InvalidArgument, "etcdserver: given member URLs are invalid"),
        Invalid::DowngradeFormat => {
            (InvalidArgument, "etcdserver: wrong downgrade target version format")
        }
        Invalid::DowngradeTarget => {
            (InvalidArgument, "etcdserver: invalid downgrade target version")
        }
        Invalid::ClientApiVersion => (InvalidArgument, "etcdserver: invalid client api version"),
    };
    Status::new(code, message)
}

/// Why the members were not changed.
#[must_use]
pub fn of_membership(error: MembershipError) -> Status {
    let (code, message) = match error {
        // etcd declares FAILED_PRECONDITION for this one and has always sent UNKNOWN.
        MembershipError::NotEnoughStarted => (Unknown, NOT_ENOUGH_STARTED),
        MembershipError::Unhealthy => (Unavailable, "etcdserver: unhealthy cluster"),
        MembershipError::LearnerNotReady => (
            FailedPrecondition,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        MembershipError::Request(error) => return of_request(error),
    };
    Status::new(code, message)
}

const NOT_ENOUGH_STARTED: &str =
    "etcdserver: re-configuration failed due to not enough started members";

/// Why the state declined a command.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "it is a function for map_err")]
pub fn of_refused(refused: Refused) -> Status {
    let (code, message) = match refused {
        Refused::KeyNotFound => (InvalidArgument, "etcdserver: key not found"),
        Refused::Compacted(_) => {
            (OutOfRange, "etcdserver: mvcc: required revision has been compacted")
        }
        Refused::FutureRevision(_) => {
            (OutOfRange, "etcdserver: mvcc: required revision is a future revision")
        }
        Refused::LeaseNotFound(_) => (NotFound, "etcdserver: requested lease not found"),
        Refused::LeaseExists(_) => (FailedPrecondition, "etcdserver: lease already exists"),
        // No client asks for an expiry, so none sees this.
        Refused::StaleExpiry(_) => (Internal, "etcdserver: expiry proposed under an older term"),
        Refused::NoSpace => (ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        Refused::Corrupt => (DataLoss, "etcdserver: corrupt cluster"),
        Refused::MemberNotFound => (NotFound, "etcdserver: member not found"),
        Refused::MemberExists(_) => (FailedPrecondition, "etcdserver: member ID already exist"),
        Refused::PeerUrlsTaken => (FailedPrecondition, "etcdserver: Peer URLs already exists"),
        Refused::TooManyLearners => {
            (FailedPrecondition, "etcdserver: too many learner members in cluster")
        }
        Refused::NotALearner(_) => {
            (FailedPrecondition, "etcdserver: can only promote a learner member")
        }
        // etcd aborts where its strict checks are off; they say this.
        Refused::LastVoter(_) => {
            (Unknown, "etcdserver: re-configuration failed due to not enough started members")
        }
    };
    Status::new(code, message)
}

/// Why this member cannot answer now.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "it is a function for map_err")]
pub fn of_node(error: Error) -> Status {
    let (code, message) = match error {
        Error::NoLeader => (Unavailable, "etcdserver: no leader"),
        Error::LeaderChanged => (Unavailable, "etcdserver: leader changed"),
        // etcd declares RESOURCE_EXHAUSTED for this one and has always sent UNKNOWN.
        Error::TooManyRequests => (Unknown, "etcdserver: too many requests"),
        Error::TooLarge(_) => (InvalidArgument, "etcdserver: request is too large"),
        // A member with a fault is about to be gone; what is wrong with it stands in its log.
        Error::Stopped | Error::Fault(_) => (Unavailable, "etcdserver: server stopped"),
        // Our own: etcd starts such a member as if nothing had been lost.
        Error::Fenced => (
            Unavailable,
            "etcdserver: member is fenced: it lost data and does not serve until it has caught up",
        ),
        Error::TimedOut(cause) => timed_out(cause),
        Error::NotCapable(_) => (FailedPrecondition, "etcdserver: not capable"),
        Error::NotLeader => (FailedPrecondition, "etcdserver: not leader"),
    };
    Status::new(code, message)
}

fn timed_out(cause: TimeoutCause) -> (Code, &'static str) {
    match cause {
        TimeoutCause::Unknown => (Unavailable, "etcdserver: request timed out"),
        TimeoutCause::NoLeader => (DeadlineExceeded, "context deadline exceeded"),
        TimeoutCause::LeaderFailure => {
            (Unavailable, "etcdserver: request timed out, possibly due to previous leader failure")
        }
        TimeoutCause::ConnectionLost => {
            (Unavailable, "etcdserver: request timed out, possibly due to connection lost")
        }
        TimeoutCause::AppliedIndex => (
            Unavailable,
            "etcdserver: request timed out, waiting for the applied index took too long",
        ),
    }
}

/// Why a lock or an election came to nothing.
///
/// In etcd these services are clients of the server that they run in: what they are told loses its
/// code, and arrives as UNKNOWN with the words alone. Here, too, but for a member that stops: its
/// clients had better go elsewhere.
#[must_use]
pub fn of_recipe(error: recipes::Error) -> Status {
    if let Some(status) = of_stop(&error) {
        return status;
    }
    let message = match error {
        recipes::Error::Request(error) => return without_code(of_request(error)),
        recipes::Error::SessionExpired => "mutex: session is expired",
        recipes::Error::NotLeader => "election: not leader",
        recipes::Error::NoLeader => "election: no leader",
    };
    Status::new(Unknown, message)
}

/// The same if it came to nothing because the member stops.
#[must_use]
pub fn of_stop(error: &recipes::Error) -> Option<Status> {
    match error {
        recipes::Error::Request(RequestError::Node(error @ (Error::Stopped | Error::Fault(_)))) => {
            Some(of_node(error.clone()))
        }
        recipes::Error::Request(_)
        | recipes::Error::SessionExpired
        | recipes::Error::NotLeader
        | recipes::Error::NoLeader => None,
    }
}

/// Why a request to the registry was declined, or has no answer. What etcd's services say, too, is
/// said in etcd's words; the rest names what it is about.
#[must_use]
pub fn of_registry(error: registry::Error) -> Status {
    let code = match &error {
        registry::Error::Invalid(..) => InvalidArgument,
        registry::Error::Held { .. } => AlreadyExists,
        registry::Error::NoLease(_) => NotFound,
        registry::Error::Compacted(_) => OutOfRange,
        registry::Error::Contended(_) | registry::Error::SessionContended(_) => Aborted,
        registry::Error::Refused(refused) => return of_refused(refused.clone()),
        registry::Error::Node(error) => return of_node(error.clone()),
    };
    Status::new(code, error.to_string())
}

/// Why a request for a lock or about an election makes no sense.
#[must_use]
pub fn of_misuse(invalid: Invalid) -> Status {
    without_code(of_invalid(invalid))
}

/// The same words under UNKNOWN. That there was no time keeps its code, which is the context's.
fn without_code(status: Status) -> Status {
    if status.code() == DeadlineExceeded { status } else { Status::new(Unknown, status.message()) }
}

/// This member's disk or data is bad.
#[must_use]
pub fn of_fault(fault: Fault) -> Status {
    of_node(Error::Fault(fault))
}

/// The member serves no such method yet.
#[must_use]
pub fn unimplemented(method: &str) -> Status {
    Status::new(Unimplemented, format!("quorate does not serve {method} yet"))
}

/// The service of this path has no such method.
#[must_use]
pub fn unknown_method(path: &str) -> Status {
    let (service, method) = split(path);
    Status::new(Unimplemented, format!("unknown method {method} for service {service}"))
}

/// There is no service as this path names it.
#[must_use]
pub fn unknown_service(path: &str) -> Status {
    let (service, _) = split(path);
    Status::new(Unimplemented, format!("unknown service {service}"))
}

fn split(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.rsplit_once('/').unwrap_or((path, ""))
}

/// Authentication is off, so there is nothing to log in to. Clients go on without a token.
#[must_use]
pub fn auth_not_enabled() -> Status {
    Status::new(FailedPrecondition, "etcdserver: authentication is not enabled")
}

/// A learner does not answer this call.
#[must_use]
pub fn not_supported_for_learner() -> Status {
    Status::new(FailedPrecondition, "etcdserver: rpc not supported for learner")
}

/// Leadership cannot be handed to this member: it is unknown or has no vote.
#[must_use]
pub fn bad_leader_transferee() -> Status {
    Status::new(FailedPrecondition, "etcdserver: bad leader transferee")
}

/// The member chosen did not become leader in time. etcd has no code for it.
#[must_use]
pub fn leader_transfer_timed_out() -> Status {
    Status::new(Unknown, "etcdserver: request timed out, leader transfer took too long")
}

/// Nobody has agreed on a version that one could go back from.
#[must_use]
pub fn no_cluster_version() -> Status {
    Status::new(FailedPrecondition, "etcdserver: cluster version not found during downgrade")
}

/// There is no program before this one that reads its data. Our own: etcd would begin.
#[must_use]
pub fn no_downgrade() -> Status {
    let message = "etcdserver: downgrade is not supported: no earlier version reads this data";
    Status::new(FailedPrecondition, message)
}

/// A downgrade request asks for an action that does not exist.
#[must_use]
pub fn unknown_downgrade_action() -> Status {
    Status::new(Unknown, "etcdserver: unknown method")
}

/// The health service knows no service of this name.
#[must_use]
pub fn no_health_of_service() -> Status {
    Status::new(NotFound, "unknown service")
}

/// The client ended a watch stream.
#[must_use]
pub fn watch_canceled() -> Status {
    Status::new(Cancelled, "etcdserver: watch canceled")
}

/// What was sent as JSON is none, or not of the message that the method takes.
#[must_use]
pub fn bad_json(problem: &impl ToString) -> Status {
    Status::new(InvalidArgument, problem.to_string())
}

/// An answer of our own cannot be made JSON of.
#[must_use]
pub fn not_a_message(problem: &impl ToString) -> Status {
    Status::new(Internal, format!("the answer cannot be converted: {}", problem.to_string()))
}

/// The services within this process cannot be called.
#[must_use]
pub fn not_reached(error: BoxError) -> Status {
    Status::from_error(error)
}

/// A path was asked for with another HTTP method than it has, in the words of grpc-gateway.
#[must_use]
pub fn method_not_allowed() -> Status {
    Status::new(Unimplemented, "Method Not Allowed")
}

/// There is nothing under a path of the gateway, in the words of grpc-gateway.
#[must_use]
pub fn no_such_path() -> Status {
    Status::new(NotFound, "Not Found")
}

/// The time is over that the caller gave its call, in Go's words.
#[must_use]
pub fn deadline_exceeded() -> Status {
    Status::new(DeadlineExceeded, "context deadline exceeded")
}

/// The time that a caller gives its call is none, in the words of grpc-gateway.
#[must_use]
pub fn bad_timeout(text: &str) -> Status {
    Status::new(InvalidArgument, format!("invalid grpc-timeout: {text}"))
}

/// A header that is for bytes has none, in the words of grpc-gateway.
#[must_use]
pub fn bad_binary_header(name: &str) -> Status {
    Status::new(InvalidArgument, format!("invalid binary header {name}: illegal base64 data"))
}

/// The message is larger than the transport takes, in the words of etcd's own transport.
#[must_use]
pub fn message_too_large(received: &str, max: usize) -> Status {
    Status::new(
        ResourceExhausted,
        format!("grpc: received message larger than max ({received} vs. {max})"),
    )
}

/// The answer is larger than may be sent, in the words of etcd's own transport.
#[must_use]
pub fn answer_too_large(len: usize, max: usize) -> Status {
    Status::new(
        ResourceExhausted,
        format!("grpc: trying to send message larger than max ({len} vs. {max})"),
    )
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
