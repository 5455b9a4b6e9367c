//! Members come, go, and are given votes.
//!
//! What is told here holds for etcd, too: where an etcd can be had, each story runs against it as
//! well as against quorate, and codes and texts are the same byte for byte.

mod cases;
mod etcd;
mod learners;
mod tools;

use std::time::Duration;

use quorate::proto::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse, MoveLeaderRequest, StatusRequest, StatusResponse,
    cluster_client::ClusterClient, maintenance_client::MaintenanceClient,
};
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::harness::{Cluster, eventually};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// How long a call may take; longer than any server lets it wait.
const CALL: Duration = Duration::from_secs(20);

/// Somebody's members.
trait Servers {
    /// Whose they are.
    const NAME: &'static str;

    fn endpoint(&self, index: usize) -> String;

    fn len(&self) -> usize;

    /// Ends a member at once.
    async fn kill(&mut self, index: usize);
}

impl Servers for Cluster {
    const NAME: &'static str = "quorate";

    fn endpoint(&self, index: usize) -> String {
        Self::endpoint(self, index)
    }

    fn len(&self) -> usize {
        Self::len(self)
    }

    async fn kill(&mut self, index: usize) {
        self.member(index).kill();
        self.member(index).ended().await;
    }
}

/// Tells a story to a new cluster of quorate, and to one of etcd if there is one.
macro_rules! on_both {
    ($size:expr, $story:expr) => {{
        let mut cluster = crate::harness::Cluster::start($size).await;
        $story(&mut cluster).await;
        drop(cluster);
        if let Some(mut etcds) = crate::membership::etcd::Etcds::start($size).await {
            $story(&mut etcds).await;
        }
    }};
}
use on_both;

/// What a server said in refusing a call.
type Said = (Code, String);

fn said(code: Code, message: &str) -> Said {
    (code, message.to_owned())
}

/// One member, to be asked.
#[derive(Clone)]
struct Asked {
    members: ClusterClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl Asked {
    /// The member at this place.
    fn at(servers: &impl Servers, index: usize) -> Self {
        Self::at_url(&servers.endpoint(index))
    }

    fn at_url(url: &str) -> Self {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect_lazy();
        Self {
            members: ClusterClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        }
    }

    async fn add(&self, urls: &[&str], learner: bool) -> Result<MemberAddResponse, Said> {
        let peer_ur_ls = owned(urls);
        let request = timed(MemberAddRequest { peer_ur_ls, is_learner: learner });
        answer(self.members.clone().member_add(request).await)
    }

    async fn remove(&self, id: u64) -> Result<MemberRemoveResponse, Said> {
        answer(self.members.clone().member_remove(timed(MemberRemoveRequest { id })).await)
    }

    async fn update(&self, id: u64, urls: &[&str]) -> Result<MemberUpdateResponse, Said> {
        let request = timed(MemberUpdateRequest { id, peer_ur_ls: owned(urls) });
        answer(self.members.clone().member_update(request).await)
    }

    async fn promote(&self, id: u64) -> Result<MemberPromoteResponse, Said> {
        answer(self.members.clone().member_promote(timed(MemberPromoteRequest { id })).await)
    }

    async fn list(&self, linearizable: bool) -> Result<MemberListResponse, Said> {
        answer(self.members.clone().member_list(timed(MemberListRequest { linearizable })).await)
    }

    async fn move_leader(&self, target_id: u64) -> Result<(), Said> {
        let request = timed(MoveLeaderRequest { target_id });
        let moved = answer(self.maintenance.clone().move_leader(request).await)?;
        assert_eq!(moved.header, None);
        Ok(())
    }

    async fn status(&self) -> Result<StatusResponse, Said> {
        answer(self.maintenance.clone().status(timed(StatusRequest {})).await)
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL);
    request
}

fn answer<T>(answer: Result<Response<T>, Status>) -> Result<T, Said> {
    answer.map(Response::into_inner).map_err(|status| (status.code(), status.message().to_owned()))
}

/// The ids of the members by place: all are started under their names.
async fn ids(servers: &impl Servers) -> Vec<u64> {
    let mut ids = Vec::new();
    for index in 0..servers.len() {
        let status = Asked::at(servers, index).status().await.unwrap();
        ids.push(status.header.unwrap().member_id);
    }
    ids
}

/// Waits until all members are known to be started, and returns who leads.
async fn settled(servers: &impl Servers) -> usize {
    let first = Asked::at(servers, 0);
    eventually("all members to be started", SOON, async || {
        let members = first.list(true).await.ok()?.members;
        members.iter().all(|member| !member.name.is_empty()).then_some(())
    })
    .await;
    eventually("a leader", SOON, async || {
        let leader = first.status().await.ok()?.leader;
        ids(servers).await.iter().position(|id| *id == leader)
    })
    .await
}

/// Waits until a member has been in contact with enough others to let somebody in.
async fn healthy(asked: &Asked) {
    let added = eventually("the cluster to be healthy", SOON, async || {
        let added = asked.add(&["http://127.0.0.1:9"], true).await;
        if let Err(refused) = &added {
            assert_eq!(*refused, unhealthy());
        }
        added.ok()
    })
    .await;
    asked.remove(added.member.unwrap().id).await.unwrap();
}

fn unhealthy() -> Said {
    said(Code::Unavailable, "etcdserver: unhealthy cluster")
}

fn member_not_found() -> Said {
    said(Code::NotFound, "etcdserver: member not found")
}

fn not_in_sync() -> Said {
    let text = "etcdserver: can only promote a learner member which is in sync with leader";
    said(Code::FailedPrecondition, text)
}

fn not_enough_started() -> Said {
    let text = "etcdserver: re-configuration failed due to not enough started members";
    said(Code::Unknown, text)
}

/// The member of this id.
fn find(members: &[Member], id: u64) -> Member {
    members.iter().find(|member| member.id == id).expect("it is a member").clone()
}
