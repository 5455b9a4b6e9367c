//! What a member does by itself: history that it gives up, slow work that it tells of. And what
//! operators ask of a single member.

mod compaction;
mod doors;
mod downgrade;
mod slow;
mod status;

use std::time::Duration;

use quorate::proto::etcdserverpb::{
    HashKvRequest, HashKvResponse, PutRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};
use tonic::{Status, transport::Channel};

use crate::harness::{Cluster, streams::channel, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn kv(cluster: &Cluster, index: usize) -> KvClient<Channel> {
    KvClient::new(channel(&cluster.endpoint(index)))
}

fn maintenance(cluster: &Cluster, index: usize) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(channel(&cluster.endpoint(index)))
}

/// Puts a key, and returns the revision.
async fn put(kv: &mut KvClient<Channel>, key: &str, value: &str) -> Result<i64, Status> {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    let put = PutRequest { key, value, ..Default::default() };
    let answer = within("a put", SOON, kv.put(put)).await?;
    Ok(answer.into_inner().header.unwrap().revision)
}

/// The checksum of a member at a revision.
async fn hash(cluster: &Cluster, index: usize, revision: i64) -> Result<HashKvResponse, Status> {
    let mut maintenance = maintenance(cluster, index);
    let asked = maintenance.hash_kv(HashKvRequest { revision });
    within("a checksum", SOON, asked).await.map(tonic::Response::into_inner)
}
