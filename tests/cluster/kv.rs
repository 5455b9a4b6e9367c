//! Keys and values: what a client puts, and what it gets.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, GetOptions, KeyValue, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, TxnOpResponse,
};
use tonic::Code;

use crate::harness::Cluster;

fn pairs(kvs: &[KeyValue]) -> Vec<(&str, &str)> {
    kvs.iter().map(|kv| (kv.key_str().unwrap(), kv.value_str().unwrap())).collect()
}

async fn put_all(client: &mut Client, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        client.put(*key, *value, None).await.unwrap();
    }
}

/// The code and the text of a refusal.
#[track_caller]
fn refusal<T: std::fmt::Debug>(result: Result<T, etcd_client::Error>) -> (Code, String) {
    match result.unwrap_err() {
        etcd_client::Error::GRpcStatus(status) => (status.code(), status.message().to_owned()),
        other => panic!("not a refusal of the server: {other:?}"),
    }
}

/// The first revision of a store is 1; each change adds one, and a key counts its own.
#[tokio::test]
async fn revisions_and_versions_count_changes() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;

    let empty = client.get("k", None).await.unwrap();
    assert_eq!((empty.header().unwrap().revision(), empty.count()), (1, 0));

    put_all(&mut client, &[("k", "1"), ("k", "2")]).await;
    let kv = client.get("k", None).await.unwrap().take_kvs().remove(0);
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version()), (2, 3, 2));

    let deleted = client.delete("k", None).await.unwrap();
    assert_eq!((deleted.deleted(), deleted.header().unwrap().revision()), (1, 4));
    let again = client.delete("k", None).await.unwrap();
    assert_eq!((again.deleted(), again.header().unwrap().revision()), (0, 4));

    put_all(&mut client, &[("k", "3")]).await;
    let kv = client.get("k", None).await.unwrap().take_kvs().remove(0);
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version()), (5, 5, 1));
}

/// What was there before is shown to whoever asks.
#[tokio::test]
async fn previous_pairs_are_shown() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let put_option = || Some(PutOptions::new().with_prev_key());

    let first = client.put("a", "1", put_option()).await.unwrap();
    assert!(first.prev_key().is_none());
    let second = client.put("a", "2", put_option()).await.unwrap();
    assert_eq!(second.prev_key().unwrap().value(), b"1");

    put_all(&mut client, &[("b", "3")]).await;
    let option = DeleteOptions::new().with_range("z").with_prev_key();
    let deleted = client.delete("a", Some(option)).await.unwrap();
    assert_eq!(pairs(deleted.prev_kvs()), [("a", "2"), ("b", "3")]);
}

/// Ranges, prefixes, limits, orders, counts and old revisions.
#[tokio::test]
async fn ranges_are_read_in_all_their_forms() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    put_all(&mut client, &[("a", "9"), ("b/1", "8"), ("b/2", "7"), ("c", "6"), ("b/1", "5")]).await;

    let all = client.get("", Some(GetOptions::new().with_all_keys())).await.unwrap();
    assert_eq!(pairs(all.kvs()), [("a", "9"), ("b/1", "5"), ("b/2", "7"), ("c", "6")]);

    let prefix = client.get("b/", Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(pairs(prefix.kvs()), [("b/1", "5"), ("b/2", "7")]);

    let from = client.get("b/2", Some(GetOptions::new().with_from_key())).await.unwrap();
    assert_eq!(pairs(from.kvs()), [("b/2", "7"), ("c", "6")]);

    let limited =
        client.get("a", Some(GetOptions::new().with_range("c").with_limit(2))).await.unwrap();
    assert_eq!(pairs(limited.kvs()), [("a", "9"), ("b/1", "5")]);
    assert!(limited.more());
    assert_eq!(limited.count(), 3);

    let newest = GetOptions::new()
        .with_all_keys()
        .with_sort(SortTarget::Mod, SortOrder::Descend)
        .with_limit(2);
    let newest = client.get("", Some(newest)).await.unwrap();
    assert_eq!(pairs(newest.kvs()), [("b/1", "5"), ("c", "6")]);

    let old = client.get("b/1", Some(GetOptions::new().with_revision(3))).await.unwrap();
    assert_eq!(pairs(old.kvs()), [("b/1", "8")]);
    assert_eq!(old.header().unwrap().revision(), 6);

    let keys =
        client.get("b/", Some(GetOptions::new().with_prefix().with_keys_only())).await.unwrap();
    assert_eq!(pairs(keys.kvs()), [("b/1", ""), ("b/2", "")]);

    let count =
        client.get("b/", Some(GetOptions::new().with_prefix().with_count_only())).await.unwrap();
    assert_eq!((count.count(), count.kvs().len()), (2, 0));
}

/// A transaction takes one branch, whole, at one revision.
#[tokio::test]
async fn a_transaction_takes_one_branch() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let claim = |value: &str| {
        Txn::new()
            .when([Compare::version("lock", CompareOp::Equal, 0)])
            .and_then([TxnOp::put("lock", value, None), TxnOp::put("by", value, None)])
            .or_else([TxnOp::get("by", None)])
    };

    let won = client.txn(claim("me")).await.unwrap();
    let lost = client.txn(claim("you")).await.unwrap();

    assert!(won.succeeded());
    assert_eq!(won.header().unwrap().revision(), 2);
    assert!(!lost.succeeded());
    assert_eq!(lost.header().unwrap().revision(), 2);
    match lost.op_responses().remove(0) {
        TxnOpResponse::Get(get) => assert_eq!(pairs(get.kvs()), [("by", "me")]),
        other => panic!("not a read: {other:?}"),
    }
}

/// An inner transaction sees what the outer one has written, but compares with what was before.
#[tokio::test]
async fn transactions_nest() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let inner = Txn::new()
        .when([Compare::version("k", CompareOp::Equal, 0)])
        .and_then([TxnOp::get("k", None)])
        .or_else([TxnOp::get("other", None)]);

    let outer = Txn::new().and_then([TxnOp::put("k", "v", None), TxnOp::txn(inner)]);
    let response = client.txn(outer).await.unwrap();

    match response.op_responses().remove(1) {
        TxnOpResponse::Txn(inner) => match inner.op_responses().remove(0) {
            TxnOpResponse::Get(get) => assert_eq!(pairs(get.kvs()), [("k", "v")]),
            other => panic!("not a read: {other:?}"),
        },
        other => panic!("not a transaction: {other:?}"),
    }
}

/// Compacted revisions are refused; the compacted one itself and all later ones are there.
#[tokio::test]
async fn compaction_forgets_older_revisions() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    put_all(&mut client, &[("k", "2"), ("k", "3"), ("k", "4")]).await;

    client.compact(3, None).await.unwrap();

    let at = |revision| Some(GetOptions::new().with_revision(revision));
    assert_eq!(pairs(client.get("k", at(3)).await.unwrap().kvs()), [("k", "3")]);
    let compacted = "etcdserver: mvcc: required revision has been compacted".to_owned();
    assert_eq!(refusal(client.get("k", at(2)).await), (Code::OutOfRange, compacted.clone()));
    assert_eq!(refusal(client.compact(3, None).await), (Code::OutOfRange, compacted));
    let future = "etcdserver: mvcc: required revision is a future revision".to_owned();
    assert_eq!(refusal(client.compact(99, None).await), (Code::OutOfRange, future));
}

/// Clients match on codes and texts, so both are etcd's.
#[tokio::test]
async fn refusals_have_the_codes_and_texts_of_etcd() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let is = |result: (Code, String), code: Code, text: &str| {
        assert_eq!(result, (code, format!("etcdserver: {text}")));
    };

    is(refusal(client.put("", "v", None).await), Code::InvalidArgument, "key is not provided");
    is(refusal(client.get("", None).await), Code::InvalidArgument, "key is not provided");
    let future = Some(GetOptions::new().with_revision(100));
    is(
        refusal(client.get("k", future).await),
        Code::OutOfRange,
        "mvcc: required revision is a future revision",
    );
    let leased = Some(PutOptions::new().with_lease(7));
    is(refusal(client.put("k", "v", leased).await), Code::NotFound, "requested lease not found");
    let ignoring = Some(PutOptions::new().with_ignore_value());
    is(
        refusal(client.put("k", "v", ignoring.clone()).await),
        Code::InvalidArgument,
        "value is provided",
    );
    is(refusal(client.put("k", "", ignoring).await), Code::InvalidArgument, "key not found");
    let twice = Txn::new().and_then([TxnOp::put("k", "1", None), TxnOp::put("k", "2", None)]);
    is(
        refusal(client.txn(twice).await),
        Code::InvalidArgument,
        "duplicate key given in txn request",
    );
    let many: Vec<TxnOp> = (0..129).map(|i| TxnOp::put(format!("k{i}"), "", None)).collect();
    is(
        refusal(client.txn(Txn::new().and_then(many)).await),
        Code::InvalidArgument,
        "too many operations in txn request",
    );
    let large = vec![b'x'; 1_600_000];
    is(refusal(client.put("k", large, None).await), Code::InvalidArgument, "request is too large");
    assert_eq!(client.get("k", None).await.unwrap().header().unwrap().revision(), 1);
}

/// A write through one member is read through every other one.
#[tokio::test]
async fn every_member_serves_the_newest_write() {
    let cluster = Cluster::start(3).await;

    for writer in 0..cluster.len() {
        let value = writer.to_string();
        cluster.client(writer).await.put("k", value.as_str(), None).await.unwrap();
        for reader in 0..cluster.len() {
            let read = cluster.client(reader).await.get("k", None).await.unwrap();
            assert_eq!(
                pairs(read.kvs()),
                [("k", value.as_str())],
                "written at {writer}, read at {reader}"
            );
        }
    }
}

/// Without a quorum nothing linearizable is served, and a serializable read is.
#[tokio::test]
async fn without_a_quorum_only_serializable_reads_are_served() {
    let mut cluster = Cluster::start(3).await;
    let mut client = cluster.client(0).await;
    client.put("k", "v", None).await.unwrap();
    for index in [1, 2] {
        cluster.member(index).kill();
        cluster.member(index).ended().await;
    }

    let stale = client.get("k", Some(GetOptions::new().with_serializable())).await.unwrap();
    assert_eq!(pairs(stale.kvs()), [("k", "v")]);
    client.get("k", None).await.unwrap_err();
    client.put("k", "w", None).await.unwrap_err();
}
