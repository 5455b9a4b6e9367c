//! Members that fall behind, and members that crash.

use std::time::Duration;

use etcd_client::CompactionOptions;
use quorate::proto::etcdserverpb::WatchCreateRequest;

use super::{SOON, Writer, follow};
use crate::harness::{
    Cluster, Timing, eventually,
    streams::{WatchStream, channel, header_revision, watcher, watcher_of_all, words},
};

/// Sizes that make a member cut its log after a few hundred requests.
const SMALL: &str = "log-prefill-bytes=return(0);log-file-bytes=return(1048576);\
                     unflushed-bytes=return(262144);log-kept-bytes=return(65536);\
                     log-purge-bytes=return(4194304)";
const VALUE_LEN: usize = 2_000;
/// Enough for logs to be cut far behind a member that is away.
const MISSED: i64 = 1_200;

/// Watchers of a member that was away until only a checkpoint could help it go on where they were:
/// nothing is repeated, nothing is missing, nobody stays silent, and those that wait for a revision
/// of the future see nothing from before it.
#[tokio::test]
async fn rr_17_21_22_watches_outlive_the_install_of_a_checkpoint() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    for index in 0..3 {
        cluster.member(index).fail_points(SMALL);
        cluster.member(index).spawn();
    }
    let away = cluster.follower().await;
    let writer = Writer::start(cluster.client((away + 1) % 3).await, "k", VALUE_LEN);
    writer.advance(20).await;
    let mut stream = WatchStream::open(&channel(&cluster.endpoint(away))).await.unwrap();
    let now = header_revision(&stream.created(watcher("k", "")).await);
    let mut next = vec![now + 1];
    // One within the reach of the checkpoint, and some far behind it.
    for start in [now + 50, now + 75, now + 100, now + 10 * MISSED] {
        let request = WatchCreateRequest { start_revision: start, ..watcher("k", "") };
        stream
            .created_among(request, |response| {
                follow(&mut next[usize::try_from(response.watch_id).unwrap()], response);
            })
            .await;
        next.push(start);
    }

    cluster.member(away).pause().await;
    writer.advance(MISSED).await;
    let seen_by_others = writer.revision();
    cluster.member(away).resume().await;
    eventually("a checkpoint to be installed", SOON, async || {
        cluster.member(away).log_text().contains("installing a checkpoint").then_some(())
    })
    .await;
    writer.advance(50).await;
    let last = writer.stop().await;

    assert!(last > seen_by_others);
    let far = next.len() - 1;
    while next[..far].iter().any(|next| *next <= last) {
        let response = stream.next().await;
        assert!(!response.canceled, "{response:?}");
        follow(&mut next[usize::try_from(response.watch_id).unwrap()], &response);
    }
    assert_eq!(next[far], now + 10 * MISSED, "a watcher of the future was shown the past");
}

/// The deletion at the very revision that history was compacted to is still told after a crash.
#[tokio::test]
async fn rr_20_a_delete_at_the_compacted_revision_survives_a_crash() {
    const KEYS: usize = 30;
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let mut revision = 1;
    for number in 0..KEYS {
        client.put(format!("k{number:02}"), "v", None).await.unwrap();
        let deleted = client.delete(format!("k{number:02}"), None).await.unwrap();
        revision = deleted.header().unwrap().revision();
        if number % 10 == 9 {
            let options = CompactionOptions::new().with_physical();
            client.compact(revision, Some(options)).await.unwrap();
            let compacted = revision;
            cluster.member(0).kill();
            cluster.member(0).ended().await;
            cluster.member(0).restart().await;

            let mut stream = WatchStream::open(&channel(&cluster.endpoint(0))).await.unwrap();
            stream.created(watcher_of_all(compacted)).await;
            assert_eq!(words(&stream.events().await), [format!("DELETE k{number:02} {compacted}")]);
            client = cluster.client(0).await;
        }
    }
    assert_eq!(revision, 1 + 2 * i64::try_from(KEYS).unwrap());
}

/// A member that is paused for a while stays a member, and its watchers learn what they missed.
#[tokio::test]
async fn rr_69_watches_outlive_a_pause() {
    let mut cluster = Cluster::start(3).await;
    let writer = Writer::start(cluster.client_of_all().await, "k", 10);
    writer.advance(1).await;
    for index in 0..3 {
        let mut stream = WatchStream::open(&channel(&cluster.endpoint(index))).await.unwrap();
        let mut next = header_revision(&stream.created(watcher("k", "")).await) + 1;
        cluster.member(index).pause().await;
        // How long it lasts is the point: about an election timeout.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        cluster.member(index).resume().await;

        writer.advance(20).await;
        let revision = writer.revision();
        while next <= revision {
            follow(&mut next, &stream.next().await);
        }
    }
    writer.stop().await;
}
