//! Three members, one of which lags so far that it needs a checkpoint, ended at every step of it.

use std::{os::unix::process::ExitStatusExt, time::Duration};

use etcd_client::GetOptions;

use crate::{
    SMALL, end_at, folder,
    harness::{Cluster, Timing, eventually},
    load::{AfterFailure, Load},
    replay,
};

/// The steps, and how often to let them pass before.
pub(crate) const PLACES: &[(&str, usize)] = &[
    ("checkpoint-made", 1),
    ("stage-written", 3),
    ("stage-synced", 1),
    ("stage-moved", 1),
    ("state-opened", 1),
    ("state-pointed", 1),
    ("state-retired", 1),
    ("state-installed", 1),
];
/// Steps of a start that an install comes by as well, and at which time it does.
const SHARED: &[(&str, usize)] = &[
    // Counting the start, then pointing at the new state.
    ("file-drafted", 2),
    ("file-renamed", 2),
    ("log-before-reset", 1),
    ("log-reset", 1),
];
const SIZE: usize = 3;
const VALUE_LEN: usize = 2_000;
const LATE: Duration = Duration::from_secs(90);
/// Enough for logs to be cut far behind a member that is away.
const MISSED: usize = 900;

/// Lets a member fall behind, and ends whoever comes by a place that is armed while it catches up.
async fn crash_and_catch_up(cluster: &mut Cluster, load: &Load, place: &str, late: &str) {
    let behind = cluster.follower().await;
    cluster.member(behind).kill();
    cluster.member(behind).ended().await;
    load.advance(MISSED).await;
    load.pause(true);
    cluster.member(behind).fail_points(late);
    cluster.member(behind).spawn();
    let mut ends = 0;
    eventually(&format!("an end at {place}, and the member to catch up"), LATE, async || {
        for index in 0..SIZE {
            if let Some(ended) = cluster.member(index).try_ended() {
                assert_eq!(ended.signal(), Some(6), "member {index} at {place}: {ended}");
                ends += 1;
                cluster.member(index).fail_points(SMALL);
                cluster.member(index).spawn();
            }
        }
        let revision = load.journal().revision();
        (ends > 0 && revision_of(cluster, behind).await? >= revision).then_some(())
    })
    .await;
    eprintln!("{place}: {ends} ends");
    load.pause(false);
}

async fn revision_of(cluster: &Cluster, index: usize) -> Option<i64> {
    let option = GetOptions::new().with_serializable();
    let read = cluster.client(index).await.get("k", Some(option)).await.ok()?;
    Some(read.header()?.revision())
}

/// All members hold what was acknowledged, and the same.
async fn check(cluster: &mut Cluster, load: Load) {
    let journal = load.stop().await;
    let leader = cluster.leader().await;
    let revision = journal.verify(&mut cluster.client(leader).await).await.unwrap();
    for index in 0..SIZE {
        eventually("all members to have everything", LATE, async || {
            (revision_of(cluster, index).await? == revision).then_some(())
        })
        .await;
    }
    cluster.kill_all().await;
    let peer_urls: Vec<String> = (0..SIZE).map(|index| cluster.member(index).peer_url()).collect();
    let mut hashes = Vec::new();
    for index in 0..SIZE {
        let held = replay::read(cluster.member(index).data_dir(), &peer_urls).unwrap();
        hashes.push((held.revision, held.hash));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "members differ: {hashes:?}");
    assert_eq!(hashes[0].0, revision);
    eprintln!("{} acknowledged, {} unknown", journal.acknowledged, journal.unknown);
}

async fn start(fail_points: &str) -> (Cluster, Load) {
    let mut cluster = Cluster::prepare(folder(), SIZE, Timing::Default);
    for index in 0..SIZE {
        cluster.member(index).fail_points(fail_points);
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    let endpoints = (0..SIZE).map(|index| cluster.endpoint(index)).collect();
    let load = Load::start(endpoints, 4, VALUE_LEN, AfterFailure::GoOn);
    (cluster, load)
}

/// A member that makes a checkpoint for another one and ends has lost nothing but the checkpoint.
#[tokio::test]
async fn rr_03_making_a_checkpoint_may_end() {
    let (mut cluster, load) = start(&end_at("checkpoint-made", 1, SMALL)).await;
    crash_and_catch_up(&mut cluster, &load, "checkpoint-made", SMALL).await;
    check(&mut cluster, load).await;
}

/// Wherever an install is cut off, the state and the log fit each other afterwards: the old ones or
/// the new ones.
#[tokio::test]
async fn rr_09_an_install_may_end_anywhere() {
    let (mut cluster, load) = start(SMALL).await;
    for (place, nth) in PLACES.iter().skip(1).chain(SHARED) {
        let armed = end_at(place, *nth, SMALL);
        crash_and_catch_up(&mut cluster, &load, place, &armed).await;
    }
    check(&mut cluster, load).await;
}
