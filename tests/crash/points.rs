//! A member alone, ended at every durable step of start, write and maintenance.

use std::os::unix::process::ExitStatusExt;

use crate::{
    SMALL, WHOLE_LOG, end_at, folder,
    harness::{Cluster, Timing},
    load::{AfterFailure, Load},
    replay,
};

/// The signal of a process that ended itself.
const ABORTED: i32 = 6;
const WRITERS: usize = 4;

/// Ends a new member at the nth time at a place, and checks what is left of it.
async fn crash_and_check(place: &str, nth: usize, sizes: &str, value_len: usize) {
    let mut cluster = Cluster::prepare(folder(), 1, Timing::Alone);
    let endpoints = vec![cluster.endpoint(0)];
    let peer_urls = vec![cluster.member(0).peer_url()];
    cluster.member(0).fail_points(end_at(place, nth, sizes));
    cluster.member(0).spawn();
    let load = Load::start(endpoints, WRITERS, value_len, AfterFailure::GoOn);
    let ended = cluster.member(0).ended().await;
    assert_eq!(ended.signal(), Some(ABORTED), "{place}, time {nth}: {ended}");
    let journal = load.stop().await;

    let dir = cluster.member(0).data_dir().to_owned();
    // Before there is an identity there is nothing to replay.
    if dir.join("identity").exists() && dir.join("state").exists() && journal.acknowledged > 0 {
        let held = replay::read(&dir, &peer_urls)
            .unwrap_or_else(|wrong| panic!("{place}, time {nth}, right after it:\n{wrong}"));
        assert!(held.replayed || sizes != WHOLE_LOG, "{place}: the log was cut");
        assert!(held.revision >= journal.revision(), "{place}, time {nth}: {held:?}");
    }
    cluster.member(0).fail_points(sizes);
    cluster.member(0).restart().await;
    let mut client = cluster.client(0).await;
    let revision = journal
        .verify(&mut client)
        .await
        .unwrap_or_else(|wrong| panic!("{place}, time {nth}, after a restart:\n{wrong}"));
    // It goes on as if nothing had been.
    let next = client.put("after", "v", None).await.unwrap();
    assert_eq!(next.header().unwrap().revision(), revision + 1, "{place}, time {nth}");

    cluster.member(0).kill();
    cluster.member(0).ended().await;
    let held = replay::read(&dir, &peer_urls)
        .unwrap_or_else(|wrong| panic!("{place}, time {nth}, after a second end:\n{wrong}"));
    assert_eq!(held.revision, revision + 1, "{place}, time {nth}");
    eprintln!(
        "{place}, time {nth}: {} acknowledged, {} unknown, {held:?}",
        journal.acknowledged, journal.unknown
    );
}

const START: &[(&str, &[usize])] = &[
    ("dir-made", &[1]),
    // Identity, pointer to the state, count of starts.
    ("file-drafted", &[1, 2, 3]),
    ("file-renamed", &[1, 2, 3]),
    ("start-named", &[1]),
    ("start-log-opened", &[1]),
    ("state-dir-made", &[1]),
    ("start-store-opened", &[1]),
    ("first-state-committed", &[1]),
    ("log-before-reset", &[1]),
    ("log-reset", &[1]),
    ("start-fitted", &[1]),
    ("start-in-log", &[1]),
    ("start-counted", &[1]),
];
const WRITE: &[(&str, &[usize])] = &[
    ("log-before-write", &[1, 60]),
    ("log-before-sync", &[5, 90]),
    ("log-synced", &[4, 61]),
    ("log-written", &[2, 70]),
    ("apply-before-commit", &[1, 40]),
    ("apply-committed", &[2, 41]),
    ("apply-published", &[3, 55]),
    ("apply-answered", &[1, 50]),
];
const MAINTENANCE: &[(&str, &[usize])] = &[
    ("compacted-for-readers", &[1, 3]),
    ("compacted-mark-raised", &[1, 3]),
    ("flush-begins", &[2, 4]),
    ("flushed", &[2, 4]),
    ("files-freed", &[1, 2]),
];
const TRUNCATION: &[(&str, &[usize])] =
    &[("log-before-truncate", &[1, 3]), ("log-truncated", &[1, 3]), ("log-purged", &[1, 4])];

const RECLAIM: &[(&str, &[usize])] = &[("reclaim-step", &[1, 4, 9]), ("reclaimed", &[1, 2])];

async fn crash_at(places: &[(&str, &[usize])], sizes: &str, value_len: usize) {
    for (place, times) in places {
        for nth in *times {
            crash_and_check(place, *nth, sizes, value_len).await;
        }
    }
}

/// A first start that is cut off anywhere is repeated as if it had never begun.
#[tokio::test]
async fn a_first_start_may_end_anywhere() {
    crash_at(START, WHOLE_LOG, 32).await;
}

/// The applied index is never on disk without its data, nor an acknowledged write without its entry.
#[tokio::test]
async fn rr_01_02_a_write_may_end_anywhere() {
    crash_at(WRITE, WHOLE_LOG, 32).await;
}

/// Flushes, compactions and freed files leave what the log leads to.
#[tokio::test]
async fn rr_03_maintenance_may_end_anywhere() {
    crash_at(MAINTENANCE, WHOLE_LOG, 2_000).await;
}

/// What is given up goes from disk step by step, each of which leaves a whole state.
#[tokio::test]
async fn reclaiming_may_end_anywhere() {
    crash_at(RECLAIM, WHOLE_LOG, 2_000).await;
}

/// A log that is cut where the state is flushed loses nothing.
#[tokio::test]
async fn rr_03_truncation_may_end_anywhere() {
    crash_at(TRUNCATION, SMALL, 2_000).await;
}

/// Where the disk fails, at which time, and how the member's last words end. The last is a place of
/// the log's engine.
const ERRORS: &[(&str, usize, &str)] = &[
    ("log-before-sync", 30, ".raftlog: sync: Input/output error (os error 5)"),
    ("apply-before-commit", 25, "Input/output error (os error 5)"),
    ("flush-begins", 2, "Input/output error (os error 5)"),
    ("file-drafted", 3, "identity: Input/output error (os error 5)"),
    ("log_fd::sync::err", 40, ".raftlog: sync: fp"),
];

/// An error of the disk ends the member with a reason; nothing is tried again. What was
/// acknowledged before is there.
#[tokio::test]
async fn rr_62_an_error_of_the_disk_ends_the_member() {
    for (place, nth, words) in ERRORS {
        let mut cluster = Cluster::prepare(folder(), 1, Timing::Alone);
        let endpoints = vec![cluster.endpoint(0)];
        let before = nth - 1;
        let text = format!("{WHOLE_LOG};{place}={before}*off->1*return(error)");
        cluster.member(0).fail_points(text);
        cluster.member(0).spawn();
        let load = Load::start(endpoints, WRITERS, 2_000, AfterFailure::GoOn);
        let ended = cluster.member(0).ended().await;
        let journal = load.stop().await;
        let said = cluster.member(0).log_text();
        assert_eq!(ended.code(), Some(1), "{place}: {ended}\n{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("Error: ") && last.ends_with(words), "{place}: {last}");
        eprintln!("{place}: {} acknowledged, {last}", journal.acknowledged);

        cluster.member(0).fail_points(WHOLE_LOG);
        cluster.member(0).restart().await;
        let mut client = cluster.client(0).await;
        journal.verify(&mut client).await.unwrap_or_else(|wrong| panic!("{place}:\n{wrong}"));
    }
}

/// Many more moments of the same.
#[tokio::test]
#[ignore = "takes minutes"]
async fn many_moments() {
    for (places, sizes, value_len) in
        [(WRITE, WHOLE_LOG, 100), (MAINTENANCE, WHOLE_LOG, 2_000), (TRUNCATION, SMALL, 2_000)]
    {
        for (place, _) in places {
            for nth in [1, 2, 5, 8, 13] {
                crash_and_check(place, nth, sizes, value_len).await;
            }
        }
    }
}

/// Every place there is stands in one of the tables.
#[test]
fn every_place_is_visited() {
    let tables = [START, WRITE, MAINTENANCE, RECLAIM, TRUNCATION].concat();
    let mut visited: Vec<&str> = tables.iter().map(|(place, _)| *place).collect();
    visited.extend(crate::install::PLACES.iter().map(|(place, _)| *place));
    visited.extend(crate::restore::PLACES.iter().map(|(place, _)| *place));
    visited.sort_unstable();
    let mut places = quorate::node::fail_points::PLACES.to_vec();
    places.sort_unstable();
    assert_eq!(visited, places);
}
