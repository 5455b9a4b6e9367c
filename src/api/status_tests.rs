//! Codes and messages against a table, byte for byte.

use super::*;
use crate::{
    state::Level,
    types::{LeaseId, Revision, Seconds},
};

fn looks_like(status: &Status, code: i32, message: &str) {
    assert_eq!((i32::from(status.code()), status.message()), (code, message));
}

/// Requests that make no sense get etcd's texts.
#[test]
fn invalid_requests() {
    let table = [
        (Invalid::KeyNotProvided, 3, "etcdserver: key is not provided"),
        (Invalid::ValueProvided, 3, "etcdserver: value is provided"),
        (Invalid::LeaseProvided, 3, "etcdserver: lease is provided"),
        (Invalid::SortOption { order: 3, target: 0 }, 3, "etcdserver: invalid sort option"),
        (
            Invalid::TooManyOps { given: 129, left: 128 },
            3,
            "etcdserver: too many operations in txn request",
        ),
        (Invalid::TooDeep(8), 3, "etcdserver: too many nested levels in txn request"),
        (Invalid::DuplicateKey, 3, "etcdserver: duplicate key given in txn request"),
        (Invalid::OpWithoutKind, 3, "etcdserver: key not found"),
        (Invalid::StreamSorted, 12, "RangeStream does not support custom sort orders"),
        (Invalid::StreamFiltered, 12, "RangeStream does not support revision filters"),
        (Invalid::TtlTooLarge(Seconds(9_000_000_001)), 11, "etcdserver: too large lease TTL"),
        (Invalid::MemberUrls, 3, "etcdserver: given member URLs are invalid"),
        (Invalid::ClientApiVersion, 3, "etcdserver: invalid client api version"),
    ];
    for (invalid, code, message) in table {
        looks_like(&of_invalid(invalid), code, message);
    }
}

/// Changes of members that are not safe are refused in etcd's words and with the codes it sends.
#[test]
fn unsafe_changes_of_members() {
    let table = [
        (
            MembershipError::NotEnoughStarted,
            2,
            "etcdserver: re-configuration failed due to not enough started members",
        ),
        (MembershipError::Unhealthy, 14, "etcdserver: unhealthy cluster"),
        (
            MembershipError::LearnerNotReady,
            9,
            "etcdserver: can only promote a learner member which is in sync with leader",
        ),
        (
            MembershipError::Request(RequestError::Node(Error::TooManyRequests)),
            2,
            "etcdserver: too many requests",
        ),
        (
            MembershipError::Request(RequestError::Refused(Refused::MemberNotFound)),
            5,
            "etcdserver: member not found",
        ),
    ];
    for (error, code, message) in table {
        looks_like(&of_membership(error), code, message);
    }
    looks_like(&not_supported_for_learner(), 9, "etcdserver: rpc not supported for learner");
}

/// What the state declines gets etcd's texts.
#[test]
fn refusals() {
    let table = [
        (Refused::KeyNotFound, 3, "etcdserver: key not found"),
        (
            Refused::Compacted(Revision(7)),
            11,
            "etcdserver: mvcc: required revision has been compacted",
        ),
        (
            Refused::FutureRevision(Revision(7)),
            11,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (Refused::LeaseNotFound(LeaseId(7)), 5, "etcdserver: requested lease not found"),
        (Refused::LeaseExists(LeaseId(7)), 9, "etcdserver: lease already exists"),
        (Refused::StaleExpiry(LeaseId(7)), 13, "etcdserver: expiry proposed under an older term"),
        (Refused::NoSpace, 8, "etcdserver: mvcc: database space exceeded"),
        (Refused::Corrupt, 15, "etcdserver: corrupt cluster"),
        (Refused::MemberNotFound, 5, "etcdserver: member not found"),
    ];
    for (refused, code, message) in table {
        looks_like(&of_refused(refused.clone()), code, message);
        looks_like(&of_request(RequestError::Refused(refused)), code, message);
    }
}

/// What cannot be answered now gets etcd's texts, and the codes that etcd really sends.
#[test]
fn not_now() {
    let table = [
        (Error::NoLeader, 14, "etcdserver: no leader"),
        (Error::LeaderChanged, 14, "etcdserver: leader changed"),
        (Error::TooManyRequests, 2, "etcdserver: too many requests"),
        (Error::TooLarge(1_600_000), 3, "etcdserver: request is too large"),
        (Error::Stopped, 14, "etcdserver: server stopped"),
        (Error::Fault(Fault::new("disk full")), 14, "etcdserver: server stopped"),
        (Error::NotCapable(Level(2)), 9, "etcdserver: not capable"),
        (Error::NotLeader, 9, "etcdserver: not leader"),
        (Error::TimedOut(TimeoutCause::Unknown), 14, "etcdserver: request timed out"),
        (Error::TimedOut(TimeoutCause::NoLeader), 4, "context deadline exceeded"),
        (
            Error::TimedOut(TimeoutCause::LeaderFailure),
            14,
            "etcdserver: request timed out, possibly due to previous leader failure",
        ),
        (
            Error::TimedOut(TimeoutCause::ConnectionLost),
            14,
            "etcdserver: request timed out, possibly due to connection lost",
        ),
        (
            Error::TimedOut(TimeoutCause::AppliedIndex),
            14,
            "etcdserver: request timed out, waiting for the applied index took too long",
        ),
    ];
    for (error, code, message) in table {
        looks_like(&of_node(error.clone()), code, message);
        looks_like(&of_request(RequestError::Node(error)), code, message);
    }
}

/// What goes wrong in a lock or an election loses its code, but for the end of the member and that of
/// the time.
#[test]
fn recipes_have_no_codes() {
    let inside = |error| of_recipe(recipes::Error::from(error));
    let missing = recipes::Error::from(Refused::LeaseNotFound(LeaseId(7)));
    looks_like(&of_recipe(missing), 2, "etcdserver: requested lease not found");
    looks_like(&of_recipe(Refused::NoSpace.into()), 2, "etcdserver: mvcc: database space exceeded");
    looks_like(&inside(Error::NoLeader), 2, "etcdserver: no leader");
    looks_like(&inside(Error::TooLarge(9)), 2, "etcdserver: request is too large");
    let timed_out = Error::TimedOut(TimeoutCause::Unknown);
    looks_like(&inside(timed_out), 2, "etcdserver: request timed out");
    let no_time = Error::TimedOut(TimeoutCause::NoLeader);
    looks_like(&inside(no_time), 4, "context deadline exceeded");
    looks_like(&inside(Error::Stopped), 14, "etcdserver: server stopped");
    looks_like(&inside(Fault::new("disk full").into()), 14, "etcdserver: server stopped");
    looks_like(&of_recipe(recipes::Error::SessionExpired), 2, "mutex: session is expired");
    looks_like(&of_recipe(recipes::Error::NotLeader), 2, "election: not leader");
    looks_like(&of_recipe(recipes::Error::NoLeader), 2, "election: no leader");
    looks_like(&of_misuse(Invalid::KeyNotProvided), 2, "etcdserver: key is not provided");
    looks_like(&of_misuse(Invalid::LeaderNotProvided), 2, "\"leader\" field must be provided");
}

/// A fault tells clients that the member stops, and nothing about its disk.
#[test]
fn a_fault_shows_no_details() {
    looks_like(&of_fault(Fault::new("disk full")), 14, "etcdserver: server stopped");
}

/// The rest, which belongs to no error type.
#[test]
fn others() {
    looks_like(&auth_not_enabled(), 9, "etcdserver: authentication is not enabled");
    looks_like(&unimplemented("a.B/C"), 12, "quorate does not serve a.B/C yet");
    looks_like(&bad_leader_transferee(), 9, "etcdserver: bad leader transferee");
    looks_like(
        &leader_transfer_timed_out(),
        2,
        "etcdserver: request timed out, leader transfer took too long",
    );
    looks_like(&no_health_of_service(), 5, "unknown service");
    looks_like(&unknown_method("/a.B/C"), 12, "unknown method C for service a.B");
    looks_like(&unknown_service("/a.B/C"), 12, "unknown service a.B");
    looks_like(&unknown_service("/a"), 12, "unknown service a");
    looks_like(&watch_canceled(), 1, "etcdserver: watch canceled");
    looks_like(
        &message_too_large("2200000", 2_097_152),
        8,
        "grpc: received message larger than max (2200000 vs. 2097152)",
    );
}
