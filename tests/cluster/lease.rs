//! Leases: keys that live as long as somebody says so.

use std::time::Duration;

use etcd_client::{LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions};

use crate::harness::{Change, Cluster, Watching, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn leased(id: i64) -> Option<PutOptions> {
    Some(PutOptions::new().with_lease(id))
}

/// What a lease is asked for, it tells: its time, its keys, its being there.
#[tokio::test]
async fn a_lease_tells_its_time_and_its_keys() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;

    let granted = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(77))).await.unwrap();
    assert_eq!((granted.id(), granted.ttl()), (77, 60));
    client.put("a", "", leased(77)).await.unwrap();
    client.put("b", "", leased(77)).await.unwrap();

    let option = LeaseTimeToLiveOptions::new().with_keys();
    let told = client.lease_time_to_live(77, Some(option)).await.unwrap();
    assert_eq!(told.granted_ttl(), 60);
    assert!((50..=60).contains(&told.ttl()), "{told:?}");
    assert_eq!(told.keys(), [b"a".to_vec(), b"b".to_vec()]);

    let drawn = client.lease_grant(60, None).await.unwrap().id();
    let mut ids: Vec<i64> =
        client.leases().await.unwrap().leases().iter().map(|lease| lease.id()).collect();
    ids.sort_unstable();
    let mut expected = [77, drawn];
    expected.sort_unstable();
    assert_eq!(ids, expected);

    let unknown = client.lease_time_to_live(5, None).await.unwrap();
    assert_eq!((unknown.ttl(), unknown.granted_ttl()), (-1, 0));
}

/// An id can be granted once.
#[tokio::test]
async fn an_id_is_granted_once() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let with_id = || Some(LeaseGrantOptions::new().with_id(5));
    client.lease_grant(60, with_id()).await.unwrap();

    let error = client.lease_grant(60, with_id()).await.unwrap_err();
    assert!(error.to_string().contains("etcdserver: lease already exists"), "{error}");
    let error = client.lease_revoke(6).await.unwrap_err();
    assert!(error.to_string().contains("etcdserver: requested lease not found"), "{error}");
}

/// Revoking deletes all keys of a lease at one revision, in the order of their names.
#[tokio::test]
async fn revoking_deletes_the_keys_at_once() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let id = client.lease_grant(60, None).await.unwrap().id();
    for key in ["k3", "k1", "k2"] {
        client.put(key, "", leased(id)).await.unwrap();
    }
    client.put("k1", "freed", None).await.unwrap();
    let mut watching = Watching::prefix(&mut client, "k").await;

    let revoked = client.lease_revoke(id).await.unwrap();

    let revision = revoked.header().unwrap().revision();
    for key in ["k2", "k3"] {
        let change = Change { what: "DELETE", key: key.to_owned(), value: String::new(), revision };
        assert_eq!(watching.next().await, change);
    }
    assert_eq!(client.get("k1", None).await.unwrap().count(), 1);
}

/// A lease that nobody renews runs out, not before its time, and takes its keys along.
#[tokio::test]
async fn a_lease_runs_out() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let mut watching = Watching::prefix(&mut client, "k").await;
    let id = client.lease_grant(2, None).await.unwrap().id();
    let start = tokio::time::Instant::now();
    client.put("k", "v", leased(id)).await.unwrap();

    assert_eq!(watching.next().await.what, "PUT");
    assert_eq!(watching.next().await.what, "DELETE");

    assert!(
        start.elapsed() >= Duration::from_millis(1900),
        "it ran out after {:?}",
        start.elapsed()
    );
    assert_eq!(client.lease_time_to_live(id, None).await.unwrap().ttl(), -1);
}

/// Renewing works through every member, and a renewal of nothing says so.
#[tokio::test]
async fn every_member_renews() {
    let cluster = Cluster::start(3).await;
    let id = cluster.client(0).await.lease_grant(30, None).await.unwrap().id();

    for index in 0..cluster.len() {
        let mut client = cluster.client(index).await;
        // The client opens the stream with a renewal of its own.
        let (mut keeper, mut answers) = client.lease_keep_alive(id).await.unwrap();
        keeper.keep_alive().await.unwrap();
        let answer = within("a renewal", SOON, answers.message()).await.unwrap().unwrap();
        assert_eq!((answer.id(), answer.ttl()), (id, 30), "renewed at {index}");
    }

    cluster.client(1).await.lease_revoke(id).await.unwrap();
    let error = cluster.client(2).await.lease_keep_alive(id).await.unwrap_err();
    assert!(error.to_string().contains("lease not found"), "{error}");
}

/// A lease outlives the leader that kept its time, and still runs out under the next one.
#[tokio::test]
async fn a_lease_survives_its_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut client = cluster.client((leader + 1) % 3).await;
    let id = client.lease_grant(3, None).await.unwrap().id();
    client.put("k", "v", leased(id)).await.unwrap();
    let mut watching = Watching::prefix(&mut client, "k").await;

    cluster.member(leader).kill();
    cluster.member(leader).ended().await;

    cluster.leader().await;
    assert_eq!(watching.next().await.what, "DELETE");
}
