//! The header of every answer: who answered, and when in the history of the store.

use crate::{node::Handle, proto::etcdserverpb::ResponseHeader, types::Revision};

/// A header with this member's ids and term, and the revision that the answer reflects.
#[must_use]
pub fn header(node: &Handle, revision: Revision) -> ResponseHeader {
    ResponseHeader {
        cluster_id: node.cluster_id().0,
        member_id: node.member_id().0,
        revision: revision.0,
        raft_term: node.term().0,
    }
}

/// The header of an answer about members, which carries no revision.
#[must_use]
pub fn without_revision(node: &Handle) -> ResponseHeader {
    header(node, Revision(0))
}
