//! The rules about request metadata, in etcd's order.

use std::str;

use axum::http::HeaderMap;
use tonic::Status;

use super::Leadership;
use crate::{
    api::{convert::Invalid, status},
    node::Error,
};

/// Tells the version of the client's library, which is counted.
const CLIENT_API_VERSION: &str = "client-api-version";
/// Asks for an error while there is no leader.
const HAS_LEADER: &str = "hasleader";

/// What the metadata of a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// The call is to fail, or to end, when there is no leader.
    pub(super) needs_leader: bool,
}

/// What a fenced member answers still: what it says of itself, and nothing of its state.
const OF_FENCED: [&str; 2] = ["/etcdserverpb.Maintenance/Status", "/grpc.health.v1.Health/Check"];

/// What a client says of the version of its library: nothing if empty, `None` if it is no text.
pub(super) fn caller(headers: &HeaderMap) -> Option<&str> {
    let version = headers.get(CLIENT_API_VERSION).map_or(&b""[..], |value| value.as_bytes());
    str::from_utf8(version).ok()
}

/// Checks the metadata of a call that is about to begin, and whether the member serves at all.
pub(super) fn check(
    path: &str,
    headers: &HeaderMap,
    leadership: &dyn Leadership,
) -> Result<Rules, Status> {
    if leadership.is_fenced() && !OF_FENCED.iter().any(|open| path.starts_with(open)) {
        return Err(status::of_node(Error::Fenced));
    }
    if caller(headers).is_none() {
        return Err(status::of_invalid(Invalid::ClientApiVersion));
    }
    let needs_leader = headers.get(HAS_LEADER).is_some_and(|value| value == "true");
    if needs_leader && !leadership.has_leader() {
        return Err(status::of_node(Error::NoLeader));
    }
    Ok(Rules { needs_leader })
}
