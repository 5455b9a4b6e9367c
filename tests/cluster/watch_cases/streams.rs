//! Streams and their watchers: ids, refusals, cancellations, progress, and how they end.

use std::{collections::BTreeMap, time::Duration};

use quorate::proto::etcdserverpb::WatchCreateRequest;
use tonic::Code;

use super::{alone, from, is_progress, put, refused, with_id};
use crate::harness::{
    Cluster, READY, Timing, eventually,
    streams::{WatchStream, channel, header_revision, watcher, words},
    within,
};

/// Ids that the member gives count from 0, and skip those that the client chose.
#[tokio::test]
async fn case_35_automatic_ids_count_from_zero() {
    let (_cluster, _, mut stream) = alone().await;
    let mut ids = Vec::new();
    for request in
        [watcher("a", ""), watcher("a", ""), with_id(2, watcher("a", "")), watcher("a", "")]
    {
        ids.push(stream.created(request).await.watch_id);
    }
    assert_eq!(ids, [0, 1, 2, 3]);
}

/// An id in use is refused, and its watcher goes on.
#[tokio::test]
async fn case_36_a_duplicate_id_is_refused() {
    let (_cluster, mut client, mut stream) = alone().await;
    stream.created(with_id(5, watcher("a", ""))).await;

    let reason = refused(&mut stream, with_id(5, watcher("b", ""))).await;

    assert_eq!(reason, "mvcc: duplicate watch ID provided on the WatchStream");
    put(&mut client, "a", "1").await;
    let response = stream.events().await;
    assert_eq!((response.watch_id, words(&response)), (5, vec!["PUT a 2".to_owned()]));
}

/// Only what is there can be cancelled, and once; id 0 and negative ids are ids like others.
#[tokio::test]
async fn case_37_rr_25_cancelling_nothing_is_silent() {
    let (_cluster, mut client, mut stream) = alone().await;
    assert_eq!(stream.created(watcher("a", "")).await.watch_id, 0);
    assert_eq!(stream.created(with_id(-7, watcher("a", ""))).await.watch_id, -7);

    for id in [0, -7] {
        stream.cancel(99).await;
        stream.cancel(id).await;
        let response = stream.next().await;
        assert_eq!((response.watch_id, response.canceled), (id, true));
        assert_eq!((response.compact_revision, response.cancel_reason.as_str()), (0, ""));
        stream.cancel(id).await;
    }

    // What comes next is the answer to what was asked next.
    assert_eq!(stream.created(with_id(-7, watcher("b", ""))).await.watch_id, -7);
    assert_eq!(stream.created(watcher("b", "")).await.watch_id, 1);
    put(&mut client, "a", "nobody watches it").await;
    put(&mut client, "b", "1").await;
    let mut told = [stream.events().await.watch_id, stream.events().await.watch_id];
    told.sort_unstable();
    assert_eq!(told, [-7, 1]);
}

/// A start in compacted history is told after the confirmation, with the oldest revision kept. The
/// watcher is still there until it is cancelled; as long as there is no other, nothing is said of the
/// whole stream.
#[tokio::test]
async fn case_38_39_a_start_in_compacted_history() {
    let (_cluster, mut client, mut stream) = alone().await;
    for value in ["2", "3", "4", "5"] {
        put(&mut client, "a", value).await;
    }
    client.compact(4, None).await.unwrap();

    stream.created(from(3, with_id(8, watcher("a", "")))).await;
    let lost = stream.next().await;
    assert_eq!((lost.watch_id, lost.canceled, lost.compact_revision), (8, true, 4));
    assert_eq!((header_revision(&lost), lost.events.len()), (0, 0));
    let reason = refused(&mut stream, with_id(8, watcher("b", ""))).await;
    assert_eq!(reason, "mvcc: duplicate watch ID provided on the WatchStream");

    stream.ask_progress().await;
    stream.created(watcher("b", "")).await;
    stream.cancel(8).await;
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled), (8, true));
    assert_eq!((header_revision(&canceled), canceled.compact_revision), (5, 0));
    stream.ask_progress().await;
    let progress = stream.next().await;
    assert!(is_progress(&progress) && header_revision(&progress) == 5, "{progress:?}");

    let kept = stream.created(from(4, with_id(8, watcher("a", "")))).await;
    assert_eq!(kept.watch_id, 8);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let response = stream.next().await;
        assert!(response.watch_id == 8 || is_progress(&response), "{response:?}");
        seen.extend(words(&response));
    }
    assert_eq!(seen, ["PUT a 4", "PUT a 5"]);
}

/// Progress of a stream is not told before it is true: not without watchers, not while one waits
/// for the future.
#[tokio::test]
async fn case_40_42_progress_and_a_future_start() {
    let (_cluster, mut client, mut stream) = alone().await;
    stream.ask_progress().await;
    stream.created(from(6, watcher("a", ""))).await;
    // An answer to the question from before may be late, but is never wrong.
    stream.ask_progress().await;
    stream.created(watcher("b", "")).await;

    for value in ["2", "3", "4", "5", "6"] {
        put(&mut client, "a", value).await;
    }

    let first = stream.next().await;
    assert_eq!((first.watch_id, words(&first)), (0, vec!["PUT a 6".to_owned()]));
    stream.ask_progress().await;
    let progress = stream.next().await;
    assert!(is_progress(&progress) && header_revision(&progress) == 6, "{progress:?}");
}

/// Watchers that make no sense are refused, with the words that clients know.
#[tokio::test]
async fn case_7_41_refusals_have_their_reasons() {
    let (_cluster, mut client, mut stream) = alone().await;

    let reason = refused(&mut stream, from(-3, watcher("a", ""))).await;
    assert_eq!(reason, "etcdserver: mvcc: required revision has been compacted");
    for end in ["a", "b"] {
        let reason = refused(&mut stream, watcher("b", end)).await;
        assert_eq!(reason, "mvcc: watcher range is empty");
    }

    stream.created(watcher("a", "")).await;
    put(&mut client, "a", "1").await;
    assert_eq!(words(&stream.events().await), ["PUT a 2"]);
}

/// A client that has ended its side of the stream still gets what it asked for.
#[tokio::test]
async fn case_48_a_half_closed_stream_goes_on() {
    let (_cluster, mut client, mut stream) = alone().await;
    stream.created(watcher("a", "")).await;

    stream.close_requests();

    for revision in 2..=4 {
        assert_eq!(put(&mut client, "a", "v").await, revision);
        assert_eq!(words(&stream.events().await), [format!("PUT a {revision}")]);
    }
}

/// An empty key alone means the smallest key there is, and with an end of zero everything.
#[tokio::test]
async fn case_49_an_empty_key() {
    let (_cluster, mut client, mut stream) = alone().await;
    assert_eq!(stream.created(watcher("", "")).await.watch_id, 0);
    assert_eq!(stream.created(watcher("", "\0")).await.watch_id, 1);

    put(&mut client, "a", "v").await;
    let response = stream.events().await;
    assert_eq!((response.watch_id, words(&response)), (1, vec!["PUT a 2".to_owned()]));
    put(&mut client, "\0", "v").await;
    let mut told = [stream.events().await.watch_id, stream.events().await.watch_id];
    told.sort_unstable();
    assert_eq!(told, [0, 1]);
}

/// A watcher registered under load shows everything after the revision of its confirmation: no
/// event is lost between what was there and what comes.
#[tokio::test]
async fn case_50_rr_28_registration_falls_between_two_revisions() {
    const WATCHERS: usize = 200;
    let (_cluster, mut client, mut stream) = alone().await;
    let (stop, stopped) = tokio::sync::watch::channel(());
    let writer = tokio::spawn(async move {
        let mut last = 0;
        while !stopped.has_changed().unwrap_or(true) {
            last = put(&mut client, "k", "v").await;
        }
        last
    });

    let mut next = BTreeMap::new();
    let mut seen = 0;
    stream.create(watcher("k", "")).await;
    while seen < 20 * WATCHERS || next.len() < WATCHERS {
        let response = stream.next().await;
        let revision = header_revision(&response);
        if response.created {
            assert_eq!(next.insert(response.watch_id, revision + 1), None);
            if next.len() < WATCHERS {
                stream.create(watcher("k", "")).await;
            }
        }
        for event in &response.events {
            let next = next.get_mut(&response.watch_id).expect("confirmed before its events");
            assert_eq!(event.kv.as_ref().unwrap().mod_revision, *next);
            *next += 1;
            seen += 1;
        }
    }

    drop(stop);
    assert!(within("the writer", READY, writer).await.unwrap() > 1);
}

/// Without a leader a stream that asked for one ends, and is not opened; one that did not stays,
/// and goes on when there is a leader again.
#[tokio::test]
async fn case_53_streams_that_need_a_leader_end_without_one() {
    let mut cluster = Cluster::start(3).await;
    let channel = channel(&cluster.endpoint(0));
    let mut strict = WatchStream::open_with_leader(&channel).await.unwrap();
    let mut plain = WatchStream::open(&channel).await.unwrap();
    strict.created(watcher("k", "")).await;
    plain.created(watcher("k", "")).await;

    for index in [1, 2] {
        cluster.member(index).kill();
        cluster.member(index).ended().await;
    }

    let ended = strict.message().await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
    let refused = match WatchStream::open_with_leader(&channel).await {
        Err(status) => status,
        Ok(mut stream) => stream.message().await.unwrap_err(),
    };
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));

    // Without a leader there are no events, but what needs none is still answered.
    plain.created(watcher("other", "")).await;
    cluster.member(1).spawn();
    let mut client = cluster.client(0).await;
    eventually("a put under a leader", READY, async || client.put("k", "v", None).await.ok()).await;
    assert_eq!(words(&plain.events().await)[0], "PUT k 2");
    tokio::time::timeout(Duration::from_secs(60), WatchStream::open_with_leader(&channel))
        .await
        .expect("a stream is soon answered")
        .unwrap();
}

/// Watchers that asked for it are told of their progress when nothing happened since the last tick,
/// each under its own id; one that waits for the future is not, nor is one that did not ask.
#[tokio::test]
async fn case_54_a_quiet_watcher_is_told_of_its_progress() {
    const TICKS: usize = 5;
    let flags = ["--watch-progress-notify-interval", "100ms"];
    let cluster = Cluster::start_flagged(1, Timing::Alone, &flags).await;
    let mut client = cluster.client(0).await;
    let mut stream = WatchStream::open(&channel(&cluster.endpoint(0))).await.unwrap();
    let notified = |request| WatchCreateRequest { progress_notify: true, ..request };
    stream.create(notified(watcher("busy", ""))).await;
    stream.create(notified(watcher("quiet", ""))).await;
    stream.create(watcher("quiet", "")).await;
    stream.create(from(1_000, notified(watcher("busy", "")))).await;

    let (mut written, mut seen, mut ticks) = (1, 1, 0);
    while ticks < TICKS {
        let response = stream.next().await;
        let revision = header_revision(&response);
        assert!(!response.canceled && revision <= written, "{response:?}");
        match (response.watch_id, response.events.len()) {
            _ if response.created => {}
            (0, 1) => {
                assert_eq!(revision, seen + 1);
                seen = revision;
            }
            // Every revision is one of its events, so it knows of none that it was not shown.
            (0, 0) => assert_eq!(revision, seen),
            (1, 0) => {
                if revision == written {
                    ticks += 1;
                    written = put(&mut client, "busy", "v").await;
                }
            }
            _ => panic!("nobody asked for {response:?}"),
        }
    }
    assert!(seen >= written - 1, "only {seen} of {written} were shown");
}
