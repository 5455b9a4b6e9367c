//! Locks and elections over the wire, on clusters of real members.

mod cases;
mod elections;
mod faults;
mod fencing;

use std::time::Duration;

use quorate::proto::{
    etcdserverpb::{
        LeaseGrantRequest, LeaseLeasesRequest, LeaseRevokeRequest, RangeRequest, RangeResponse,
        kv_client::KvClient, lease_client::LeaseClient,
    },
    v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse,
        ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
        election_client::ElectionClient,
    },
    v3lockpb::{LockRequest, LockResponse, UnlockRequest, lock_client::LockClient},
};
use tokio::task::JoinHandle;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::harness::{Cluster, eventually, streams::channel, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// The name of the lock, or of the election.
const NAME: &str = "job";

/// A client of one member.
#[derive(Clone)]
struct Client(Channel);

impl Client {
    fn of(cluster: &Cluster, index: usize) -> Self {
        Self(channel(&cluster.endpoint(index)))
    }

    /// Grants a lease of some seconds.
    async fn lease(&self, id: i64, ttl: i64) -> i64 {
        let mut client = LeaseClient::new(self.0.clone());
        let request = LeaseGrantRequest { id, ttl };
        within("a lease", SOON, client.lease_grant(request)).await.unwrap().into_inner().id
    }

    async fn revoke(&self, id: i64) {
        let mut client = LeaseClient::new(self.0.clone());
        let request = LeaseRevokeRequest { id };
        within("a revocation", SOON, client.lease_revoke(request)).await.unwrap();
    }

    async fn leases(&self) -> Vec<i64> {
        let mut client = LeaseClient::new(self.0.clone());
        let listing = client.lease_leases(LeaseLeasesRequest {});
        let listed = within("the leases", SOON, listing).await.unwrap().into_inner();
        let mut ids: Vec<i64> = listed.leases.iter().map(|lease| lease.id).collect();
        ids.sort_unstable();
        ids
    }

    async fn get(&self, key: &str, range_end: &str) -> RangeResponse {
        let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
        let request = RangeRequest { key, range_end, ..Default::default() };
        let mut client = KvClient::new(self.0.clone());
        within("a read", SOON, client.range(request)).await.unwrap().into_inner()
    }

    /// The keys of the line, those that came first in front.
    async fn line(&self) -> Vec<String> {
        let mut kvs = self.get(&format!("{NAME}/"), &format!("{NAME}0")).await.kvs;
        kvs.sort_by_key(|kv| kv.create_revision);
        kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
    }

    /// Waits until the line is so long.
    async fn until_line(&self, len: usize) {
        eventually("the line", SOON, async || (self.line().await.len() == len).then_some(())).await;
    }

    /// Waits until nothing is left but these leases, and no key of the line.
    async fn until_clean(&self, leases: &[i64]) {
        eventually("nothing to be left", SOON, async || {
            (self.line().await.is_empty() && self.leases().await == leases).then_some(())
        })
        .await;
    }

    /// Asks for the lock in the background.
    fn locking(&self, lease: i64) -> JoinHandle<Result<LockResponse, Status>> {
        let mut client = LockClient::new(self.0.clone());
        let request = LockRequest { name: NAME.into(), lease };
        tokio::spawn(async move { Ok(client.lock(request).await?.into_inner()) })
    }

    async fn lock(&self, lease: i64) -> Result<LockResponse, Status> {
        answered(self.locking(lease)).await
    }

    async fn unlock(&self, key: impl Into<bytes::Bytes>) -> Result<i64, Status> {
        let mut client = LockClient::new(self.0.clone());
        let unlocking = client.unlock(UnlockRequest { key: key.into() });
        let unlocked = within("an unlock", SOON, unlocking).await?.into_inner();
        Ok(unlocked.header.unwrap().revision)
    }

    fn campaigning(&self, lease: i64, value: &str) -> JoinHandle<Result<CampaignResponse, Status>> {
        let mut client = ElectionClient::new(self.0.clone());
        let value = value.to_owned().into();
        let request = CampaignRequest { name: NAME.into(), lease, value };
        tokio::spawn(async move { Ok(client.campaign(request).await?.into_inner()) })
    }

    async fn campaign(&self, lease: i64, value: &str) -> Result<CampaignResponse, Status> {
        answered(self.campaigning(lease, value)).await
    }

    async fn proclaim(
        &self,
        leader: Option<LeaderKey>,
        value: &str,
    ) -> Result<ProclaimResponse, Status> {
        let mut client = ElectionClient::new(self.0.clone());
        let request = ProclaimRequest { leader, value: value.to_owned().into() };
        Ok(within("a proclamation", SOON, client.proclaim(request)).await?.into_inner())
    }

    async fn resign(&self, leader: Option<LeaderKey>) -> Result<ResignResponse, Status> {
        let mut client = ElectionClient::new(self.0.clone());
        let resigning = client.resign(ResignRequest { leader });
        Ok(within("a resignation", SOON, resigning).await?.into_inner())
    }

    async fn leader(&self) -> Result<LeaderResponse, Status> {
        let mut client = ElectionClient::new(self.0.clone());
        let looking = client.leader(LeaderRequest { name: NAME.into() });
        Ok(within("the leader", SOON, looking).await?.into_inner())
    }

    async fn observe(&self) -> Streaming<LeaderResponse> {
        let mut client = ElectionClient::new(self.0.clone());
        let observing = client.observe(LeaderRequest { name: NAME.into() });
        within("an observer", SOON, observing).await.unwrap().into_inner()
    }
}

async fn answered<T>(call: JoinHandle<Result<T, Status>>) -> Result<T, Status> {
    within("an answer", SOON, call).await.unwrap()
}

/// The next value that an observer is shown.
async fn shown(observer: &mut Streaming<LeaderResponse>) -> String {
    let response = within("a leader", SOON, observer.message()).await.unwrap().unwrap();
    String::from_utf8(response.kv.unwrap().value.to_vec()).unwrap()
}

fn said<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn unknown(message: &str) -> (Code, String) {
    (Code::Unknown, message.to_owned())
}
