//! Watches: what changes, in order, once.

use std::time::Duration;

use etcd_client::{DeleteOptions, Txn, TxnOp, WatchFilterType, WatchOptions};

use crate::harness::{Change, Cluster, Watching, eventually};

/// How long what is certain to come may take.
const SOON: Duration = Duration::from_secs(20);

fn put(key: &str, value: &str, revision: i64) -> Change {
    Change { what: "PUT", key: key.to_owned(), value: value.to_owned(), revision }
}

fn delete(key: &str, revision: i64) -> Change {
    Change { what: "DELETE", key: key.to_owned(), value: String::new(), revision }
}

/// Changes below a prefix arrive in order, and others do not.
#[tokio::test]
async fn a_watch_shows_changes_below_its_prefix() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let mut watching = Watching::prefix(&mut client, "a/").await;

    client.put("a/1", "x", None).await.unwrap();
    client.put("b", "not watched", None).await.unwrap();
    client.put("a/1", "y", None).await.unwrap();
    client.delete("a/1", None).await.unwrap();

    assert_eq!(watching.next().await, put("a/1", "x", 2));
    assert_eq!(watching.next().await, put("a/1", "y", 4));
    assert_eq!(watching.next().await, delete("a/1", 5));
}

/// A watch from a past revision shows what happened since, and then goes on.
#[tokio::test]
async fn a_watch_begins_in_the_past() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for revision in 2..=5 {
        client.put("k", revision.to_string(), None).await.unwrap();
    }

    let mut watching =
        Watching::open(&mut client, "k", WatchOptions::new().with_start_revision(3)).await;
    client.put("k", "6", None).await.unwrap();

    for revision in 3..=6 {
        assert_eq!(watching.next().await, put("k", &revision.to_string(), revision));
    }
}

/// All changes of one revision arrive in one response.
#[tokio::test]
async fn a_revision_arrives_whole() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let mut watching = Watching::prefix(&mut client, "k").await;

    let puts: Vec<TxnOp> = (0..10).map(|i| TxnOp::put(format!("k{i}"), "v", None)).collect();
    client.txn(Txn::new().and_then(puts)).await.unwrap();
    client.delete("k", Some(DeleteOptions::new().with_prefix())).await.unwrap();

    let keys = |response: &etcd_client::WatchResponse| -> Vec<String> {
        response
            .events()
            .iter()
            .map(|event| event.kv().unwrap().key_str().unwrap().to_owned())
            .collect()
    };
    let expected: Vec<String> = (0..10).map(|i| format!("k{i}")).collect();
    assert_eq!(keys(&watching.response().await), expected);
    assert_eq!(keys(&watching.response().await), expected);
}

/// The pair before a change comes along when it is asked for.
#[tokio::test]
async fn previous_pairs_come_along() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    client.put("k", "1", None).await.unwrap();
    let mut watching = Watching::open(&mut client, "k", WatchOptions::new().with_prev_key()).await;

    client.delete("k", None).await.unwrap();

    let response = watching.response().await;
    assert_eq!(response.events()[0].prev_kv().unwrap().value(), b"1");
}

/// A filter leaves out one kind of change.
#[tokio::test]
async fn a_filter_leaves_changes_out() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let options = WatchOptions::new().with_filters([WatchFilterType::NoPut]);
    let mut watching = Watching::open(&mut client, "k", options).await;

    client.put("k", "1", None).await.unwrap();
    client.delete("k", None).await.unwrap();

    assert_eq!(watching.next().await, delete("k", 3));
}

/// Several watches share a stream; one of them can be cancelled by itself.
#[tokio::test]
async fn watches_share_a_stream() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let mut watching = Watching::open(&mut client, "a", WatchOptions::new().with_watch_id(1)).await;
    watching.watcher.watch("b", Some(WatchOptions::new().with_watch_id(2))).await.unwrap();
    assert!(watching.response().await.created());

    client.put("a", "1", None).await.unwrap();
    let first = watching.response().await;
    client.put("b", "1", None).await.unwrap();
    let second = watching.response().await;
    assert_eq!((first.watch_id(), second.watch_id()), (1, 2));

    watching.watcher.cancel_by_id(1).await.unwrap();
    let cancelled = watching.response().await;
    assert!(cancelled.canceled());
    assert_eq!(cancelled.watch_id(), 1);
    client.put("a", "2", None).await.unwrap();
    client.put("b", "2", None).await.unwrap();
    assert_eq!(watching.response().await.watch_id(), 2);
}

/// A watch from a compacted revision is cancelled, and told from where on there is history.
#[tokio::test]
async fn a_watch_of_compacted_history_is_cancelled() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for value in ["2", "3", "4"] {
        client.put("k", value, None).await.unwrap();
    }
    client.compact(4, None).await.unwrap();

    let mut watching =
        Watching::open(&mut client, "k", WatchOptions::new().with_start_revision(2)).await;

    let response = watching.response().await;
    assert!(response.canceled());
    assert_eq!(response.compact_revision(), 4);
}

/// Asked for progress, a watch says up to which revision it has shown everything.
#[tokio::test]
async fn progress_is_told_on_request() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let mut watching = Watching::open(&mut client, "k", WatchOptions::new()).await;
    client.put("other", "v", None).await.unwrap();

    watching.watcher.request_progress().await.unwrap();

    let response = watching.response().await;
    assert!(response.events().is_empty());
    assert_eq!(response.header().unwrap().revision(), 2);
}

/// Any member serves a watch, whichever member a change comes in through.
#[tokio::test]
async fn every_member_serves_watches() {
    let cluster = Cluster::start(3).await;
    let mut watches = Vec::new();
    for index in 0..cluster.len() {
        watches.push(Watching::prefix(&mut cluster.client(index).await, "k").await);
    }

    for index in 0..cluster.len() {
        cluster.client(index).await.put("k", index.to_string(), None).await.unwrap();
    }

    for watching in &mut watches {
        for index in 0..3 {
            assert_eq!(watching.next().await, put("k", &index.to_string(), index + 2));
        }
    }
}

/// Streams, watchers and the events they were sent are counted, and only while they are there.
#[tokio::test]
async fn watchers_are_counted() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let figures = async || {
        let (_, text) = crate::quota::page(&cluster, 0, "/metrics").await;
        let figure = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.unwrap_or_else(|| panic!("{name} is not shown")).parse::<i64>().unwrap()
        };
        [
            "etcd_debugging_mvcc_watch_stream_total",
            "etcd_debugging_mvcc_watcher_total",
            "etcd_debugging_mvcc_slow_watcher_total",
            "etcd_debugging_mvcc_pending_events_total",
            "etcd_debugging_mvcc_events_total",
        ]
        .map(figure)
    };
    assert_eq!(figures().await, [0; 5]);

    let mut watching = Watching::prefix(&mut client, "k").await;
    for value in ["1", "2"] {
        client.put("k", value, None).await.unwrap();
        watching.next().await;
    }
    assert_eq!(figures().await, [1, 1, 0, 0, 2]);

    drop(watching);
    let gone = async || (figures().await == [0, 0, 0, 0, 2]).then_some(());
    eventually("the end of the stream", SOON, gone).await;
}
