//! Events: what comes with them, what is left out, and how they share responses.

use etcd_client::{DeleteOptions, PutOptions, Txn, TxnOp};
use prost::Message;
use quorate::proto::{
    etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType},
    mvccpb::Event,
};

use super::{alone, delete, from, is_progress, put};
use crate::harness::streams::{
    WatchStream, header_revision, small_channel, watcher, watcher_of_all, words,
};

/// Below this size a piece of a response must stay: the largest request and half a MiB.
const PIECE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The pair that came before an event, as key and value.
fn previous(event: &Event) -> Option<(&[u8], &[u8])> {
    event.prev_kv.as_ref().map(|pair| (&pair.key[..], &pair.value[..]))
}

/// A long backlog comes in a few responses, each of at most a thousand revisions, whose headers are
/// no earlier than what they show.
#[tokio::test]
async fn case_43_a_backlog_travels_in_large_responses() {
    const REVISIONS: i64 = 1_100;
    let (_cluster, client, mut stream) = alone().await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..20 {
        let mut client = client.clone();
        writers.spawn(async move {
            for _ in 0..REVISIONS / 20 {
                put(&mut client, &format!("k{writer}"), "v").await;
            }
        });
    }
    writers.join_all().await;

    stream.created(watcher_of_all(1)).await;

    let (mut next, mut responses) = (2, 0);
    while next < 2 + REVISIONS {
        let response = stream.events().await;
        assert!(response.events.len() <= 1_000, "{} revisions at once", response.events.len());
        for event in &response.events {
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, next);
            next += 1;
        }
        assert!(
            header_revision(&response) >= next - 1,
            "{} before {next}",
            header_revision(&response)
        );
        responses += 1;
    }
    assert!((2..20).contains(&responses), "{responses} responses");
}

/// All changes of a request come in one response, in the order of its operations; those of a range
/// in key order.
#[tokio::test]
async fn case_44_a_request_arrives_in_one_response() {
    let (_cluster, mut client, mut stream) = alone().await;
    for key in ["r1", "r3", "r2"] {
        put(&mut client, key, "v").await;
    }
    stream.created(watcher("\0", "\0")).await;

    let mut operations: Vec<TxnOp> =
        ["k9", "k1", "k5"].map(|key| TxnOp::put(key, "v", None)).into();
    operations.push(TxnOp::delete("r", Some(DeleteOptions::new().with_prefix())));
    operations.extend(["k7", "k2"].map(|key| TxnOp::put(key, "v", None)));
    client.txn(Txn::new().and_then(operations)).await.unwrap();

    let expected =
        ["PUT k9", "PUT k1", "PUT k5", "DELETE r1", "DELETE r2", "DELETE r3", "PUT k7", "PUT k2"];
    let response = stream.events().await;
    assert_eq!(words(&response), expected.map(|word| format!("{word} 5")));
    assert_eq!(header_revision(&response), 5);
}

/// Of a deleted key there is the key and the revision, and the old pair when it was asked for,
/// whether a client deleted it or its lease ran out.
#[tokio::test]
async fn case_45_deletes_look_alike() {
    let (_cluster, mut client, mut stream) = alone().await;
    let lease = client.lease_grant(2, None).await.unwrap().id();
    put(&mut client, "a", "old").await;
    client.put("b", "old", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    stream.created(watcher("a", "c")).await;
    stream.created(WatchCreateRequest { prev_kv: true, ..watcher("a", "c") }).await;

    delete(&mut client, "a").await;

    for (key, revision) in [("a", 4), ("b", 5)] {
        for _ in 0..2 {
            let response = stream.events().await;
            let event = &response.events[0];
            let pair = event.kv.as_ref().unwrap();
            assert_eq!(words(&response), [format!("DELETE {key} {revision}")]);
            assert_eq!((pair.create_revision, pair.version, pair.lease), (0, 0, 0));
            assert!(pair.value.is_empty());
            let expected = (response.watch_id == 1).then_some((key.as_bytes(), &b"old"[..]));
            assert_eq!(previous(event), expected);
        }
    }
}

/// A pair from before the compacted revision does not come along, but its successor does.
#[tokio::test]
async fn case_16_46_a_compacted_previous_pair_is_absent() {
    let (_cluster, mut client, mut stream) = alone().await;
    for value in ["2", "3", "4"] {
        put(&mut client, "a", value).await;
    }
    client.compact(3, None).await.unwrap();

    stream.created(WatchCreateRequest { prev_kv: true, ..from(3, watcher("a", "")) }).await;

    let mut events = Vec::new();
    while events.len() < 2 {
        events.extend(stream.events().await.events);
    }
    assert_eq!(previous(&events[0]), None);
    assert_eq!(previous(&events[1]), Some((&b"a"[..], &b"3"[..])));
}

/// A watcher that leaves everything out is told of progress all the same.
#[tokio::test]
async fn case_47_filters_leave_events_out() {
    let (_cluster, mut client, mut stream) = alone().await;
    let (no_put, no_delete) = (i32::from(FilterType::Noput), i32::from(FilterType::Nodelete));
    for filters in [vec![no_put, no_delete], vec![no_put], vec![no_delete, 77]] {
        stream.created(WatchCreateRequest { filters, ..watcher("a", "") }).await;
    }

    put(&mut client, "a", "1").await;
    delete(&mut client, "a").await;

    let mut told = Vec::new();
    for _ in 0..2 {
        let response = stream.events().await;
        told.push((response.watch_id, words(&response)));
    }
    told.sort();
    assert_eq!(told, [(1, vec!["DELETE a 3".to_owned()]), (2, vec!["PUT a 2".to_owned()])]);
    stream.ask_progress().await;
    let progress = stream.next().await;
    assert!(is_progress(&progress) && header_revision(&progress) == 3, "{progress:?}");
}

/// A client that takes pieces gets a large replay in pieces of bounded size, in order; all but the
/// last of a batch say that more follows.
#[tokio::test]
async fn case_51_large_responses_are_split() {
    let (_cluster, mut client, mut stream) = alone().await;
    for _ in 0..10 {
        put(&mut client, "k", vec![b'v'; 1_024_000]).await;
    }
    for _ in 0..10 {
        delete(&mut client, "k").await;
        put(&mut client, "k", "").await;
    }

    stream.created(WatchCreateRequest { fragment: true, ..from(2, watcher("k", "")) }).await;

    let (mut revisions, mut pieces, mut more) = (Vec::new(), 0, true);
    while revisions.len() < 30 {
        let response = stream.events().await;
        assert!(response.encoded_len() < PIECE_BYTES_MAX, "{} bytes", response.encoded_len());
        pieces += usize::from(response.fragment);
        more = response.fragment;
        revisions
            .extend(response.events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision));
    }
    assert!(revisions.into_iter().eq(2..=31));
    assert!(!more && pieces >= 1, "{pieces} pieces with more to follow");
}

/// A client that does not read while compaction passes by: afterwards it is shown what was on its
/// way, without a gap, and then that the rest is gone.
#[tokio::test]
async fn case_52_compaction_past_a_stalled_watcher_ends_it() {
    const PUTS: i64 = 70;
    let (cluster, mut client, _) = alone().await;
    let mut stream = WatchStream::open(&small_channel(&cluster.endpoint(0))).await.unwrap();
    stream.created(watcher("k", "")).await;

    for _ in 0..PUTS {
        put(&mut client, "k", vec![b'v'; 1_000_000]).await;
    }
    let last = put(&mut client, "k", "last").await;
    client.compact(last, None).await.unwrap();

    let mut next = 2;
    let lost = loop {
        let response = stream.next().await;
        if response.canceled {
            break response;
        }
        for event in &response.events {
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, next);
            next += 1;
        }
    };
    assert!(next > 2 && next < last, "the watcher was told everything up to {next} of {last}");
    assert_eq!((lost.compact_revision, header_revision(&lost)), (last, 0));
    stream.created(from(lost.compact_revision, watcher("k", ""))).await;
    assert_eq!(words(&stream.events().await), [format!("PUT k {last}")]);
}
