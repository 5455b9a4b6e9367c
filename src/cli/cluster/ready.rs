//! Waiting until the members serve.

use std::time::Duration;

use tokio::time::sleep;
use tonic::transport::Endpoint;

use super::plan::MemberSpec;
use crate::proto::etcdserverpb::{
    MemberListRequest, StatusRequest, cluster_client::ClusterClient,
    maintenance_client::MaintenanceClient,
};

/// How often a member is asked. It is a local call that costs next to nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a member may take to answer before it is asked again.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until every member serves, knows a leader and has told the others its name, and returns
/// the leader's name.
pub(super) async fn wait(members: &[MemberSpec]) -> String {
    loop {
        let mut leader = None;
        let mut all = true;
        for member in members {
            match look(member).await {
                Some(Serving::Leading) => leader = Some(member.name.clone()),
                Some(Serving::Following) => {}
                None => all = false,
            }
        }
        match leader {
            Some(leader) if all => return leader,
            Some(_) | None => sleep(POLL_INTERVAL).await,
        }
    }
}

/// What a member does that serves.
enum Serving {
    Leading,
    Following,
}

async fn look(member: &MemberSpec) -> Option<Serving> {
    let endpoint = Endpoint::from_shared(member.client_url()).ok()?;
    let endpoint = endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT);
    let channel = endpoint.connect().await.ok()?;
    let status = MaintenanceClient::new(channel.clone()).status(StatusRequest {}).await.ok()?;
    let status = status.into_inner();
    let local = MemberListRequest { linearizable: false };
    let list = ClusterClient::new(channel).member_list(local).await.ok()?.into_inner();
    // A member that has not told its name yet is shown as not started.
    if status.leader == 0 || list.members.iter().any(|member| member.name.is_empty()) {
        return None;
    }
    let leads = status.header.is_some_and(|header| header.member_id == status.leader);
    Some(if leads { Serving::Leading } else { Serving::Following })
}
