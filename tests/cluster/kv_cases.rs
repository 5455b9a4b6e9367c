//! What reimplementations of etcd's key-value calls get wrong and only shows on the wire or on a
//! member that lags. The cases have the numbers that the tests of the rooms use as well.

use bytes::Bytes;
use quorate::proto::etcdserverpb::{
    CompactionRequest, Compare, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
    TxnResponse, kv_client::KvClient, request_op::Request, response_op::Response,
};
use tonic::{Code, Status, transport::Channel};

use crate::harness::Cluster;

/// More than any request may have, and less than any message.
const TOO_LARGE_FOR_A_REQUEST: usize = 1_600_000;
/// More than any message may have.
const TOO_LARGE_FOR_A_MESSAGE: usize = 2_200_000;
/// Operations that one list of a transaction may have.
const OPS_MAX: usize = 128;

async fn kv(cluster: &Cluster, index: usize) -> KvClient<Channel> {
    let endpoint = Channel::from_shared(cluster.endpoint(index)).unwrap();
    KvClient::new(endpoint.connect().await.unwrap())
}

fn range(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..Default::default() }
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn then(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..Default::default() }
}

fn puts(count: usize, prefix: &str) -> Vec<RequestOp> {
    (0..count).map(|n| op(Request::RequestPut(put(format!("{prefix}{n}"), "")))).collect()
}

fn said(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

/// The header inside an answer within a transaction.
fn inner_header(response: &TxnResponse, index: usize) -> ResponseHeader {
    match response.responses[index].response.as_ref().unwrap() {
        Response::ResponseRange(range) => range.header,
        Response::ResponsePut(put) => put.header,
        Response::ResponseDeleteRange(delete) => delete.header,
        Response::ResponseTxn(txn) => txn.header,
    }
    .unwrap()
}

/// A member that was away reads what it has, and what it has not yet is in its future.
#[tokio::test]
async fn case_06_a_future_revision_is_judged_by_the_member_that_is_asked() {
    let mut cluster = Cluster::start(3).await;
    let away = cluster.follower().await;
    let other = (away + 1) % 3;
    let first = kv(&cluster, other).await.put(put("k", "old")).await.unwrap().into_inner();
    let seen = first.header.unwrap().revision;
    let at = |revision| RangeRequest { revision, serializable: true, ..range("k") };
    // It has seen that much before it goes.
    let linearizable = kv(&cluster, away).await.range(range("k")).await.unwrap().into_inner();
    assert_eq!(linearizable.header.unwrap().revision, seen);

    // Stopped in order, so that it keeps what it has seen without asking the others.
    cluster.member(away).terminate().await;
    cluster.member(away).ended().await;
    let mut ahead = kv(&cluster, other).await;
    let newer = ahead.put(put("k", "new")).await.unwrap().into_inner().header.unwrap().revision;
    let there = ahead.range(at(newer)).await.unwrap().into_inner();
    assert_eq!(there.kvs[0].value, "new");
    cluster.kill_all_that_run().await;
    cluster.member(away).spawn();
    cluster.member(away).answers_status().await;

    let mut behind = kv(&cluster, away).await;
    let refused = behind.range(at(newer)).await.unwrap_err();
    let future = "etcdserver: mvcc: required revision is a future revision";
    assert_eq!(said(&refused), (Code::OutOfRange, future));
    let old = behind.range(at(seen)).await.unwrap().into_inner();
    assert_eq!(old.kvs[0].value, "old");
}

/// A request that is too large is told so by name, and a message that is too large by the transport.
#[tokio::test]
async fn case_21_what_is_too_large_is_refused() {
    let cluster = Cluster::start(1).await;
    let mut client = kv(&cluster, 0).await;

    let request = client.put(put("k", vec![0; TOO_LARGE_FOR_A_REQUEST])).await.unwrap_err();
    let message = client.put(put("k", vec![0; TOO_LARGE_FOR_A_MESSAGE])).await.unwrap_err();

    assert_eq!(said(&request), (Code::InvalidArgument, "etcdserver: request is too large"));
    assert_eq!(message.code(), Code::ResourceExhausted);
    let after = client.range(range("k")).await.unwrap().into_inner();
    assert_eq!((after.count, after.header.unwrap().revision), (0, 1));
}

/// A transaction without operations is vacuously serializable, so it needs no quorum; one read that
/// is not makes it ask for one.
#[tokio::test]
async fn case_23_comparing_alone_needs_no_quorum() {
    let mut cluster = Cluster::start(3).await;
    kv(&cluster, 0).await.put(put("k", "v")).await.unwrap();
    kv(&cluster, 0).await.range(range("k")).await.unwrap();
    for index in [1, 2] {
        cluster.member(index).kill();
        cluster.member(index).ended().await;
    }
    // Wrong, since the key has version 1.
    let missing = Compare { key: "k".into(), ..Default::default() };
    let mut client = kv(&cluster, 0).await;

    let compared = TxnRequest { compare: vec![missing.clone()], ..Default::default() };
    let compared = client.txn(compared).await.unwrap().into_inner();
    assert!(!compared.succeeded);
    let reading = TxnRequest {
        compare: vec![missing],
        failure: vec![op(Request::RequestRange(range("k")))],
        ..Default::default()
    };
    assert_eq!(client.txn(reading).await.unwrap_err().code(), Code::Unavailable);
}

/// The header within a nested transaction's answer is there, and empty.
#[tokio::test]
async fn case_25_a_nested_header_is_empty() {
    let cluster = Cluster::start(1).await;
    let nested = then(puts(1, "k"));

    let request = then(vec![op(Request::RequestTxn(nested))]);
    let response = kv(&cluster, 0).await.txn(request).await.unwrap().into_inner();

    assert_eq!(inner_header(&response, 0), ResponseHeader::default());
    let Some(Response::ResponseTxn(inner)) = &response.responses[0].response else {
        panic!("not a transaction: {response:?}")
    };
    assert!(inner.succeeded);
    assert_eq!(inner_header(inner, 0), ResponseHeader { revision: 2, ..Default::default() });
}

/// Operations are counted per list, and a nested list has what its parent leaves.
#[tokio::test]
async fn case_29_operations_are_counted_through_the_levels() {
    let cluster = Cluster::start(1).await;
    let mut client = kv(&cluster, 0).await;
    let nested = |count| then(vec![op(Request::RequestTxn(then(puts(count, "n"))))]);
    let too_many = (Code::InvalidArgument, "etcdserver: too many operations in txn request");

    client.txn(then(puts(OPS_MAX, "k"))).await.unwrap();
    client.txn(nested(OPS_MAX - 1)).await.unwrap();

    let refused = client.txn(then(puts(OPS_MAX + 1, "k"))).await.unwrap_err();
    assert_eq!(said(&refused), too_many);
    let refused = client.txn(nested(OPS_MAX)).await.unwrap_err();
    assert_eq!(said(&refused), too_many);
}

/// A read within a transaction has the revision in its header and nothing else, also when the
/// transaction is nothing but reads.
#[tokio::test]
async fn case_68_inner_headers_have_only_a_revision() {
    let cluster = Cluster::start(1).await;
    let mut client = kv(&cluster, 0).await;
    client.put(put("k", "v")).await.unwrap();

    let read = op(Request::RequestRange(range("k")));
    let alone = client.txn(then(vec![read.clone()])).await.unwrap().into_inner();
    let mixed = client.txn(then(vec![op(Request::RequestPut(put("k", "w"))), read])).await;
    let mixed = mixed.unwrap().into_inner();

    let only = |revision| ResponseHeader { revision, ..Default::default() };
    assert_eq!(inner_header(&alone, 0), only(2));
    assert_eq!(inner_header(&mixed, 1), only(3));
    let whole = alone.header.unwrap();
    assert!(whole.cluster_id != 0 && whole.member_id != 0 && whole.raft_term != 0);
}

/// Only the branch that is taken must ask for what is kept, in a transaction that only reads as well.
#[tokio::test]
async fn a_branch_not_taken_may_ask_for_what_is_compacted() {
    let cluster = Cluster::start(1).await;
    let mut kv = kv(&cluster, 0).await;
    kv.put(put("k", "1")).await.unwrap();
    kv.put(put("k", "2")).await.unwrap();
    kv.compact(CompactionRequest { revision: 3, physical: false }).await.unwrap();
    let compacted = vec![op(Request::RequestRange(RangeRequest { revision: 2, ..range("k") }))];
    let txn = |success, failure| TxnRequest { success, failure, ..Default::default() };

    let answer = kv.txn(txn(vec![], compacted.clone())).await.unwrap().into_inner();
    let refused = kv.txn(txn(compacted, vec![])).await.unwrap_err();

    assert!(answer.succeeded && answer.responses.is_empty(), "{answer:?}");
    let text = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(said(&refused), (Code::OutOfRange, text));
}
