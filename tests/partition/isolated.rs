//! A member that hears nobody, and is heard by nobody but its clients.
//!
//! It knows what was true before, and says so to who asks for no more than that. What has to be true
//! now it refuses, within its own request timeout and in etcd's words, whether it led before or not.

use std::{collections::BTreeSet, time::Duration};

use quorate::proto::etcdserverpb::{PutRequest, RangeRequest, RangeResponse, kv_client::KvClient};
use tonic::{Code, Status, transport::Channel};

use crate::{
    harness::{eventually, streams::channel, within},
    inside::in_a_network,
    load::SOON,
    network::{Direction, Means},
    spans::ELECTION_TIMEOUT,
    world::{ALL, World},
};

/// Five seconds and two election timeouts, as in etcd, and what a busy machine takes.
const REFUSED_WITHIN: Duration = Duration::from_secs(3 * (5 + 2 * ELECTION_TIMEOUT.as_secs()));

/// A client of one member.
struct Asker(KvClient<Channel>);

impl Asker {
    fn of(world: &World, place: usize) -> Self {
        Self(KvClient::new(channel(&world.cluster.endpoint(place))))
    }

    async fn put(&mut self, value: &str) -> Result<(), Status> {
        let (key, value) = ("isolated".into(), value.to_owned().into());
        let put = PutRequest { key, value, ..Default::default() };
        within("an answer", REFUSED_WITHIN, self.0.put(put)).await.map(drop)
    }

    async fn get(&mut self, serializable: bool) -> Result<RangeResponse, Status> {
        let get = RangeRequest { key: "isolated".into(), serializable, ..Default::default() };
        within("an answer", REFUSED_WITHIN, self.0.range(get))
            .await
            .map(tonic::Response::into_inner)
    }
}

fn value(answer: &RangeResponse) -> String {
    let pair = answer.kvs.first().expect("the key is there");
    String::from_utf8_lossy(&pair.value).into_owned()
}

fn assert_refused(status: &Status) {
    let words = ["timed out", "no leader", "leader changed", "deadline exceeded"];
    let known = words.iter().any(|word| status.message().contains(word));
    let code = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
    assert!(known && code, "{status:?}");
}

/// Cuts a member off, and holds what it says against what it may know.
async fn isolate(world: &World, victim: usize) {
    let (others, before) = (ALL.map(|place| (place, victim)), format!("before {victim}"));
    let (mut isolated, mut asker) = (Asker::of(world, victim), Asker::of(world, (victim + 1) % 3));
    eventually("a write", SOON, async || asker.put(&before).await.ok()).await;
    // A read that says what is true now also brings it there.
    eventually("a read", SOON, async || isolated.get(false).await.ok()).await;

    let mut cuts: BTreeSet<Direction> = others.into_iter().filter(|(a, b)| a != b).collect();
    cuts.extend(cuts.clone().into_iter().map(|(from, to)| (to, from)));
    world.network.cut(&cuts).await;
    eventually("others to go on", SOON, async || asker.put("meanwhile").await.ok()).await;

    let (mut writer, mut reader) = (Asker::of(world, victim), Asker::of(world, victim));
    let (put, got, own) =
        tokio::join!(writer.put("refused"), reader.get(false), isolated.get(true));
    assert_refused(&put.unwrap_err());
    assert_refused(&got.unwrap_err());
    assert_eq!(value(&own.unwrap()), before);
    assert_eq!(value(&isolated.get(true).await.unwrap()), before);
    assert_eq!(value(&asker.get(false).await.unwrap()), "meanwhile");

    world.network.heal().await;
    let healed =
        eventually("an answer that is true", SOON, async || isolated.get(false).await.ok());
    // What timed out may have come to pass since then; what was true before cannot be so any more.
    assert_ne!(value(&healed.await), before);
}

async fn isolate_both(means: Means) {
    let world = World::start(means).await;
    isolate(&world, world.cluster.follower().await).await;
    isolate(&world, world.cluster.leader().await).await;
}

#[test]
fn an_isolated_member_refuses_what_must_be_true_now_and_serves_what_it_knows() {
    let name =
        "isolated::an_isolated_member_refuses_what_must_be_true_now_and_serves_what_it_knows";
    in_a_network(name, isolate_both);
}
