//! The life of a cluster in one story, under load: one member becomes three and five, a learner is
//! given a vote, the leader is removed, a member that died is replaced, and one that was away while
//! much was written comes back.

use std::time::Duration;

use etcd_client::{Client, MemberAddOptions, Txn, TxnOp};
use quorate::proto::etcdserverpb::{HashKvRequest, maintenance_client::MaintenanceClient};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    harness::{Cluster, Timing, connect, eventually},
    load::Load,
};

const SOON: Duration = Duration::from_secs(120);
/// Before a put is repeated, and how long all of them may take.
const PAUSE: Duration = Duration::from_millis(20);
const WRITTEN_WITHIN: Duration = Duration::from_secs(900);
/// Writers of what a member misses.
const WRITERS: usize = 64;

/// The cluster, the load on it, and who of its processes is a member.
struct Life {
    cluster: Cluster,
    load: Load,
    members: Vec<usize>,
}

impl Life {
    async fn begin() -> Self {
        let cluster = Cluster::start(1).await;
        let load = Load::start(vec![cluster.endpoint(0)], true);
        let life = Self { cluster, load, members: vec![0] };
        life.load.advance().await;
        life
    }

    /// A client of all members.
    async fn client(&self) -> Client {
        connect(&self.endpoints()).await
    }

    fn endpoints(&self) -> Vec<String> {
        endpoints(&self.cluster, &self.members)
    }

    /// Adds a member, starts it, and lets clients come to it. Returns its place.
    async fn join(&mut self, learner: bool) -> usize {
        let index = self.cluster.enlist(Timing::Default);
        let peer = self.cluster.member(index).peer_url();
        // While one member joins, the others may not be ready for the next.
        let added = eventually("a member to be added", SOON, async || {
            let options = learner.then(|| MemberAddOptions::new().with_is_learner());
            self.client().await.member_add([peer.clone()], options).await.ok()
        })
        .await;
        let name = format!("n{}", index + 1);
        let entry = |name: &str, url: &str| format!("{name}={url}");
        let members = added.member_list().iter().map(|member| {
            let is_new = member.name().is_empty();
            entry(if is_new { &name } else { member.name() }, &member.peer_urls()[0])
        });
        let initial = members.collect::<Vec<_>>().join(",");
        let member = self.cluster.member(index);
        member.flags([format!("--initial-cluster={initial}").as_str()]);
        member.restart().await;
        if learner {
            let id = added.member().unwrap().id();
            eventually("the learner to be promoted", SOON, async || {
                self.client().await.member_promote(id).await.ok()
            })
            .await;
        }
        self.members.push(index);
        self.load.goes_to(self.endpoints());
        self.load.advance().await;
        index
    }

    /// Takes a member off the list of clients and then out of the cluster.
    async fn remove(&mut self, index: usize) {
        let url = self.cluster.endpoint(index);
        self.members.retain(|member| *member != index);
        self.load.goes_to(self.endpoints());
        let id = eventually("the members to be listed", SOON, async || {
            let members = self.client().await.member_list().await.ok()?;
            let found = members.members().iter().find(|member| member.client_urls()[0] == url);
            found.map(etcd_client::Member::id)
        })
        .await;
        eventually("the member to be removed", SOON, async || {
            self.client().await.member_remove(id).await.ok()
        })
        .await;
        self.load.advance().await;
    }

    /// Puts so many keys, `at_once` in each transaction, and returns the last revision.
    async fn write(&self, keys: usize, at_once: usize) -> i64 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let mut client = self.client().await;
            writers.spawn(async move {
                let deadline = Instant::now() + WRITTEN_WITHIN;
                for first in (writer * at_once..keys).step_by(WRITERS * at_once) {
                    let put = |key| TxnOp::put(format!("w/{key}"), [b'v'; 64], None);
                    let puts: Vec<_> = (first..keys.min(first + at_once)).map(put).collect();
                    while client.txn(Txn::new().and_then(puts.clone())).await.is_err() {
                        assert!(Instant::now() < deadline, "key {first} is not written in time");
                        sleep(PAUSE).await;
                    }
                }
            });
        }
        writers.join_all().await;
        // The client may try the member that is away first.
        let client = self.client().await;
        let read = async || client.clone().get("w", None).await.ok();
        eventually("an answer", SOON, read).await.header().unwrap().revision()
    }
}

fn endpoints(cluster: &Cluster, members: &[usize]) -> Vec<String> {
    members.iter().map(|index| cluster.endpoint(*index)).collect()
}

/// All members have the same pairs and the same history.
async fn agree(endpoints: &[String], revision: i64) {
    let mut hashes = Vec::new();
    for url in endpoints {
        let mut member = MaintenanceClient::connect(url.clone()).await.unwrap();
        let answer = eventually("the member to catch up", SOON, async || {
            member.hash_kv(HashKvRequest { revision }).await.ok()
        });
        let answer = answer.await.into_inner();
        hashes.push((answer.hash, answer.compact_revision));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "members differ: {hashes:?}");
}

/// One member is away for so many puts, with `at_once` in each transaction.
async fn live(missed: usize, at_once: usize) {
    let mut life = Life::begin().await;
    life.join(false).await;
    life.join(true).await;
    life.join(true).await;
    life.join(false).await;
    assert_eq!(life.members.len(), 5);

    let leader = life.cluster.leader().await;
    life.remove(leader).await;
    let ended = life.cluster.member(leader).ended().await;
    assert_eq!(ended.code(), Some(1), "a removed member ends: {ended}");
    life.join(false).await;

    let died = life.members[0];
    life.cluster.member(died).kill();
    life.cluster.member(died).ended().await;
    life.load.advance().await;
    life.remove(died).await;
    life.join(true).await;

    let away = life.cluster.leader().await;
    life.cluster.member(away).kill();
    life.cluster.member(away).ended().await;
    life.load.advance().await;
    let written = life.write(missed, at_once).await;
    life.cluster.member(away).restart().await;
    agree(&life.endpoints(), written).await;

    life.load.advance().await;
    let mut client = life.client().await;
    let Life { cluster, load, members } = life;
    load.judge(&mut client).await;
    assert_eq!(members.len(), 5);
    let last = client.get("end", None).await.unwrap().header().unwrap().revision();
    agree(&endpoints(&cluster, &members), last).await;
}

/// From one member to five and through all that can become of them; one misses ten thousand writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_changes_and_recovers_under_load() {
    live(10_000, 1).await;
}

/// The same; one misses a million writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_member_that_missed_a_million_writes_comes_back() {
    live(1_000_000, 100).await;
}
