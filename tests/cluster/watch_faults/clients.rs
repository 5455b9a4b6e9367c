//! Clients that open and cancel by the thousands.

use std::fs;

use super::SOON;
use crate::harness::{
    Cluster,
    streams::{WatchStream, channel, watcher, words},
    within,
};

/// What memory may differ by for reasons of its own.
const SLACK_KIB: u64 = 24 * 1024;

/// Opens and cancels so many watchers, and a hundredth as many streams; then the member holds what
/// it held before.
async fn open_and_cancel(watchers: usize) {
    const BATCH: usize = 1_000;
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let channel = channel(&cluster.endpoint(0));
    let mut stays = WatchStream::open(&channel).await.unwrap();
    stays.created(watcher("k", "")).await;
    let mut base_line = None;
    for batch in 0..watchers / BATCH {
        // Half of them on a stream that is cancelled with them, half with their own cancellation.
        let mut stream = WatchStream::open(&channel).await.unwrap();
        let prefix = format!("k{batch}/");
        for number in 0..BATCH {
            let request = watcher(
                &format!("{prefix}{}", number % 100),
                if number % 3 == 0 { "l" } else { "" },
            );
            assert_eq!(stream.created(request).await.watch_id, i64::try_from(number).unwrap());
        }
        for number in 0..BATCH / 2 {
            let id = i64::try_from(number).unwrap();
            stream.cancel(id).await;
            let response = stream.next().await;
            assert_eq!((response.watch_id, response.canceled), (id, true));
        }
        for _ in 0..BATCH / 100 {
            let mut short = WatchStream::open(&channel).await.unwrap();
            short.created(watcher("a", "z")).await;
        }
        drop(stream);
        if batch == watchers / BATCH / 10 {
            base_line = Some(holds(&mut cluster));
        }
    }

    client.put("k", "v", None).await.unwrap();
    assert_eq!(words(&stays.events().await), ["PUT k 2"]);
    let (memory_before, files_before) = base_line.unwrap();
    crate::harness::eventually_or(
        || "the member to hold what it held before".to_owned(),
        SOON,
        async || {
            let (memory, files) = holds(&mut cluster);
            (memory <= memory_before + SLACK_KIB && files <= files_before + 2).then_some(())
        },
    )
    .await;
    let (memory, files) = holds(&mut cluster);
    eprintln!("{watchers} watchers came and went: {memory_before} to {memory} KiB, {files} files");
}

/// The memory and the open files of the member.
fn holds(cluster: &mut Cluster) -> (u64, usize) {
    let id = cluster.member(0).id();
    let files = fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    (cluster.member(0).resident_kib(), files)
}

/// Watchers that came and went leave nothing behind.
#[tokio::test]
async fn rr_26_opened_and_cancelled_watchers_leave_nothing() {
    open_and_cancel(100_000).await;
}

/// The same ten times as often.
#[tokio::test]
#[ignore = "takes minutes"]
async fn rr_26_a_million_watchers_leave_nothing() {
    open_and_cancel(1_000_000).await;
}

/// Resets so many streams of one connection, many at a time; the connection stays.
async fn cancel_streams(streams: usize) {
    const AT_ONCE: usize = 500;
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    let channel = channel(&cluster.endpoint(0));
    let mut stays = WatchStream::open(&channel).await.unwrap();
    stays.created(watcher("k", "")).await;
    for batch in 0..streams / AT_ONCE {
        let opened = (0..AT_ONCE).map(|_| WatchStream::open(&channel));
        let opened = within("many streams", SOON, futures_util::future::join_all(opened)).await;
        let mut opened: Vec<WatchStream> = opened.into_iter().map(Result::unwrap).collect();
        if batch % 2 == 0 {
            // The client's own library ends a connection on which much arrives for streams that it
            // has forgotten, so nothing is left on its way. The Go client has a check where it is.
            let created = opened.iter_mut().map(|stream| stream.created(watcher("k", "l")));
            within("many watchers", SOON, futures_util::future::join_all(created)).await;
        }
        drop(opened);
    }

    client.put("k", "v", None).await.unwrap();
    assert_eq!(words(&stays.events().await), ["PUT k 2"], "the connection was closed on the way");
}

/// A client that cancels thousands of streams at once is no attack.
#[tokio::test]
async fn rr_74_cancelled_streams_do_not_close_their_connection() {
    cancel_streams(20_000).await;
}

/// The same with a hundred thousand.
#[tokio::test]
#[ignore = "takes minutes"]
async fn rr_74_a_hundred_thousand_cancelled_streams() {
    cancel_streams(100_000).await;
}
