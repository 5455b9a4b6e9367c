//! Members that are stopped and started again one after the other, as for an upgrade, under load.
//!
//! A stop hands over and answers what it was asked, so a client that turns to another member when one
//! is unavailable has nothing else to do: what failed had not happened. That is what is checked: no
//! request fails for good, and although each is repeated without looking, none has an effect twice.

use crate::{harness::Cluster, load::Load};

/// Restarts all members in turn, so many times, under load, and judges.
async fn roll(rounds: usize) {
    let mut cluster = Cluster::start(3).await;
    let endpoints = (0..3).map(|index| cluster.endpoint(index)).collect();
    let load = Load::start(endpoints, false);
    for _ in 0..rounds {
        for index in 0..3 {
            load.advance().await;
            cluster.member(index).terminate().await;
            let ended = cluster.member(index).ended().await;
            assert_eq!(ended.code(), Some(0), "{ended}");
            load.advance().await;
            cluster.member(index).restart().await;
            cluster.leader().await;
        }
    }
    load.advance().await;
    load.judge(&mut cluster.client_of_all().await).await;
}

/// One rolling restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_doubles_and_hides_nothing() {
    roll(1).await;
}

/// Many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn rolling_restarts_fail_double_and_hide_nothing() {
    roll(20).await;
}
