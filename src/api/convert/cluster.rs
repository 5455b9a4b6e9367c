//! Members of the cluster.

use crate::{proto::etcdserverpb, state::Member};

/// The members as clients see them, in the order of their ids.
#[must_use]
pub fn members(mut members: Vec<Member>) -> Vec<etcdserverpb::Member> {
    members.sort_by_key(|member| member.id);
    members.into_iter().map(member).collect()
}

fn member(member: Member) -> etcdserverpb::Member {
    etcdserverpb::Member {
        id: member.id.0,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner,
    }
}
