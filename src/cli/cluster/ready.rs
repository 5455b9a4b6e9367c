//! Waiting until the members serve.

use std::time::Duration;

use tokio::time::sleep;
use tonic::transport::Endpoint;

use super::plan::MemberSpec;
use crate::proto::etcdserverpb::{
    StatusRequest, StatusResponse, maintenance_client::MaintenanceClient,
};

/// How often a member is asked. It is a local call that costs next to nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a member may take to answer before it is asked again.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits until every member serves and knows a leader, and returns the leader's name.
pub(super) async fn wait(members: &[MemberSpec]) -> String {
    loop {
        let mut leader = None;
        let mut all = true;
        for member in members {
            match status(member).await {
                Some(status) if status.leader != 0 => {
                    if status.header.is_some_and(|header| header.member_id == status.leader) {
                        leader = Some(member.name.clone());
                    }
                }
                Some(_) | None => all = false,
            }
        }
        match leader {
            Some(leader) if all => return leader,
            Some(_) | None => sleep(POLL_INTERVAL).await,
        }
    }
}

async fn status(member: &MemberSpec) -> Option<StatusResponse> {
    let endpoint = Endpoint::from_shared(member.client_url()).ok()?;
    let channel =
        endpoint.connect_timeout(CALL_TIMEOUT).timeout(CALL_TIMEOUT).connect().await.ok()?;
    let response = MaintenanceClient::new(channel).status(StatusRequest {}).await.ok()?;
    Some(response.into_inner())
}
