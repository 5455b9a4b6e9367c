//! Slow work stands in the log, as far as it says something, and is counted.

use quorate::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op::Request,
};

use super::{SOON, kv, put};
use crate::{
    harness::{Cluster, Timing, eventually, within},
    quota::page,
};

async fn figure(cluster: &Cluster, name: &str) -> u64 {
    let (_, text) = page(cluster, 0, "/metrics").await;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} in:\n{text}"))[name.len() + 1..].parse().unwrap()
}

/// A commit that takes long makes the put slow, and both are told: with key, sizes and times, and
/// without the value. What is quick is not.
#[tokio::test]
async fn slow_puts_are_told_without_their_values() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    let flags = ["--warning-unary-request-duration=150ms", "--warning-apply-duration=50ms"];
    cluster.member(0).flags(flags);
    cluster.member(0).fail_points("apply-before-commit=sleep(200)");
    cluster.member(0).spawn();
    cluster.leader().await;
    let mut kv = kv(&cluster, 0);
    put(&mut kv, "told/key", "secret-value").await.unwrap();

    let line = |log: &str, words: &[&str]| {
        let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        found.map(str::to_owned)
    };
    let call = eventually("the slow call to be told", SOON, async || {
        line(&cluster.member(0).log_text(), &["request stats", "told/key"])
    })
    .await;
    for word in ["WARN", "/etcdserverpb.KV/Put", "value_size:12", "time spent", "remote=127.0.0.1:"]
    {
        assert!(call.contains(word), "{word} in {call}");
    }
    let log = cluster.member(0).log_text();
    let apply = line(&log, &["apply request took too long", "commit "]).unwrap();
    assert!(apply.contains("expected-duration") && apply.contains("50ms"), "{apply}");
    assert!(!log.contains("secret-value"), "{log}");
    assert!(figure(&cluster, "etcd_server_slow_apply_total").await >= 1);
    assert!(figure(&cluster, "quorate_slow_requests_total").await >= 1);
}

/// A command and a read of many keys are told by themselves, at a limit that they cannot meet.
#[tokio::test]
async fn large_requests_are_told_by_what_they_ask_for() {
    let flags = ["--warning-apply-duration=1ms", "--max-txn-ops=2000"];
    let mut cluster = Cluster::start_flagged(1, Timing::Alone, &flags).await;
    let mut kv = kv(&cluster, 0);
    let ops = (0..2_000).map(|n| {
        let (key, value) = (format!("many/{n}").into(), "secret-value".into());
        let put = PutRequest { key, value, ..Default::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    });
    let fill = TxnRequest { success: ops.collect(), ..Default::default() };
    let range =
        RangeRequest { key: "many/".into(), range_end: "many0".into(), ..Default::default() };
    let delete =
        DeleteRangeRequest { key: "many/".into(), range_end: "many0".into(), ..Default::default() };

    // Again, if others have used up the lines of a second.
    let log = eventually("both to be told", SOON, async || {
        within("a transaction", SOON, kv.txn(fill.clone())).await.unwrap();
        let read = within("a read", SOON, kv.range(range.clone())).await.unwrap().into_inner();
        assert_eq!(read.count, 2_000);
        within("a delete", SOON, kv.delete_range(delete.clone())).await.unwrap();
        let log = cluster.member(0).log_text();
        let told = log.contains("delete_range:<key:\\\"many/\\\" range_end:\\\"many0\\\" >")
            && log.contains("range_response_count:2000")
            && log.contains("and 1996 more");
        told.then_some(log)
    })
    .await;
    assert!(log.contains("read-only range "), "{log}");
    assert!(!log.contains("secret-value"));
    let lines = log.lines().filter(|line| line.contains("took too long")).count();
    assert!(lines as u64 <= figure(&cluster, "etcd_server_slow_apply_total").await);
}

/// A limit of zero is none.
#[tokio::test]
async fn a_limit_of_zero_tells_nothing() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    cluster.member(0).flags(["--warning-unary-request-duration=0", "--warning-apply-duration=0"]);
    cluster.member(0).fail_points("apply-before-commit=sleep(400)");
    cluster.member(0).spawn();
    cluster.leader().await;
    put(&mut kv(&cluster, 0), "k", "v").await.unwrap();

    assert_eq!(figure(&cluster, "etcd_server_slow_apply_total").await, 0);
    assert_eq!(figure(&cluster, "quorate_slow_requests_total").await, 0);
}
