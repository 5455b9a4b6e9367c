//! Which keys hang on which lease.

use etcd_client::{Client, PutOptions, Txn, TxnOp};

use super::{alone, newest_revision, put};
use crate::harness::{Cluster, leasing::Leasing};

async fn exists(client: &mut Client, key: &str) -> bool {
    client.get(key, None).await.unwrap().count() == 1
}

async fn lease_of(client: &mut Client, key: &str) -> i64 {
    client.get(key, None).await.unwrap().kvs()[0].lease()
}

/// A key that moved from one lease to another lives as long as the other.
#[tokio::test]
async fn case_59_a_key_hangs_on_its_last_lease() {
    let (_cluster, mut client, mut leasing) = alone().await;
    leasing.grant(1, 60).await.unwrap();
    leasing.grant(2, 60).await.unwrap();
    put(&mut client, "k", 1).await;
    let moved = put(&mut client, "k", 2).await;
    assert_eq!((leasing.keys(1).await, leasing.keys(2).await), (vec![], vec!["k".to_owned()]));

    assert_eq!(leasing.revoke(1).await.unwrap(), moved);
    assert!(exists(&mut client, "k").await);
    assert_eq!(leasing.revoke(2).await.unwrap(), moved + 1);
    assert!(!exists(&mut client, "k").await);
}

/// A key leaves its lease by a put without one and by its deletion, and keeps it when a put says so.
#[tokio::test]
async fn keys_leave_and_come_back() {
    let (_cluster, mut client, mut leasing) = alone().await;
    leasing.grant(1, 60).await.unwrap();
    for key in ["kept", "freed", "gone", "back"] {
        put(&mut client, key, 1).await;
    }
    assert_eq!(leasing.keys(1).await, ["back", "freed", "gone", "kept"]);

    let ignore = PutOptions::new().with_ignore_lease();
    client.put("kept", "changed", Some(ignore)).await.unwrap();
    put(&mut client, "freed", 0).await;
    client.delete("gone", None).await.unwrap();
    put(&mut client, "back", 0).await;
    put(&mut client, "back", 1).await;

    assert_eq!(leasing.keys(1).await, ["back", "kept"]);
    assert_eq!(lease_of(&mut client, "kept").await, 1);
    assert_eq!(lease_of(&mut client, "freed").await, 0);
    leasing.revoke(1).await.unwrap();
    assert!(!exists(&mut client, "kept").await && !exists(&mut client, "back").await);
    assert!(exists(&mut client, "freed").await);
    // A key that is put again after its deletion has no lease.
    put(&mut client, "gone", 0).await;
    assert_eq!(lease_of(&mut client, "gone").await, 0);
}

/// A transaction moves keys as single requests do, and one with an unknown lease does nothing.
#[tokio::test]
async fn transactions_move_keys() {
    let (_cluster, mut client, mut leasing) = alone().await;
    leasing.grant(1, 60).await.unwrap();
    leasing.grant(2, 60).await.unwrap();
    let on = |lease| Some(PutOptions::new().with_lease(lease));
    put(&mut client, "a", 1).await;
    put(&mut client, "b", 1).await;

    let ops = vec![
        TxnOp::put("a", "v", on(2)),
        TxnOp::put("b", "v", None),
        TxnOp::put("c", "v", on(1)),
        TxnOp::put("d", "v", on(2)),
    ];
    client.txn(Txn::new().and_then(ops)).await.unwrap();
    let before = newest_revision(&mut client).await;
    let ops = vec![TxnOp::put("e", "v", on(1)), TxnOp::put("f", "v", on(404))];
    let error = client.txn(Txn::new().and_then(ops)).await.unwrap_err();

    assert!(error.to_string().contains("etcdserver: requested lease not found"), "{error}");
    assert_eq!(newest_revision(&mut client).await, before);
    assert_eq!(leasing.keys(1).await, ["c"]);
    assert_eq!(leasing.keys(2).await, ["a", "d"]);
}

/// What hangs on what outlives the members' processes.
#[tokio::test]
async fn attachments_outlive_a_restart() {
    let (mut cluster, mut client, mut leasing) = alone().await;
    leasing.grant(1, 600).await.unwrap();
    leasing.grant(2, 600).await.unwrap();
    put(&mut client, "a", 1).await;
    put(&mut client, "b", 1).await;
    put(&mut client, "b", 2).await;
    put(&mut client, "c", 1).await;
    put(&mut client, "c", 0).await;

    cluster.kill_all().await;
    cluster.member(0).restart().await;

    let mut leasing = Leasing::at(&cluster.endpoint(0));
    assert_eq!(
        (leasing.keys(1).await, leasing.keys(2).await),
        (vec!["a".into()], vec!["b".into()])
    );
    leasing.revoke(1).await.unwrap();
    let mut client = cluster.client(0).await;
    assert!(!exists(&mut client, "a").await);
    assert!(exists(&mut client, "b").await && exists(&mut client, "c").await);
}

/// Every member knows the keys of a lease, also right after they were put elsewhere.
#[tokio::test]
async fn every_member_tells_the_keys() {
    let cluster = Cluster::start(3).await;
    Leasing::at(&cluster.endpoint(0)).grant(1, 60).await.unwrap();
    for round in 0..5 {
        for index in 0..cluster.len() {
            let key = format!("k{round}{index}");
            put(&mut cluster.client(index).await, &key, 1).await;
            let mut other = Leasing::at(&cluster.endpoint((index + 1) % cluster.len()));
            assert!(other.keys(1).await.contains(&key), "{key} put at {index}");
        }
    }
}
