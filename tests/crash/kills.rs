//! Members killed at random moments under load, again and again.

use std::time::Duration;

use etcd_client::GetOptions;

use crate::{
    SMALL, folder,
    harness::{Cluster, Timing, eventually},
    load::{AfterFailure, Load},
    replay,
};

const SIZE: usize = 3;
const WRITERS: usize = 6;
const VALUE_LEN: usize = 300;
const LATE: Duration = Duration::from_secs(90);
/// Requests that must be answered before, during and after each kill for it to count.
const TRAFFIC: usize = 20;

/// A sequence that looks random and is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// Kills members so many times, and checks that nothing acknowledged is lost and that all members
/// hold the same in the end. Keys are put once, so the end shows whatever was lost on the way.
async fn kill_and_check(cycles: usize, seed: u64) {
    let mut dice = Dice(seed);
    let mut cluster = Cluster::prepare(folder(), SIZE, Timing::Default);
    for index in 0..SIZE {
        cluster.member(index).fail_points(SMALL);
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    let endpoints = (0..SIZE).map(|index| cluster.endpoint(index)).collect();
    let load = Load::start(endpoints, WRITERS, VALUE_LEN, AfterFailure::GoOn);
    let mut kills = 0;
    for _ in 0..cycles {
        load.advance(TRAFFIC + dice.below(200)).await;
        let victims = match dice.below(4) {
            0 => (0..SIZE).collect(),
            1 => vec![cluster.leader().await],
            _ => vec![dice.below(SIZE)],
        };
        // Not at the moment of an answer.
        tokio::time::sleep(Duration::from_micros(u64::try_from(dice.below(20_000)).unwrap())).await;
        for victim in &victims {
            cluster.member(*victim).kill();
        }
        for victim in &victims {
            cluster.member(*victim).ended().await;
            kills += 1;
        }
        if victims.len() < SIZE {
            load.advance(TRAFFIC).await;
        }
        for victim in &victims {
            cluster.member(*victim).spawn();
        }
        load.advance(TRAFFIC).await;
    }
    load.advance(TRAFFIC).await;
    let journal = load.stop().await;
    let leader = cluster.leader().await;
    let revision = journal.verify(&mut cluster.client(leader).await).await.unwrap();
    for index in 0..SIZE {
        eventually("all members to have everything", LATE, async || {
            let option = GetOptions::new().with_serializable();
            let read = cluster.client(index).await.get("k", Some(option)).await.ok()?;
            (read.header()?.revision() == revision).then_some(())
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
    eprintln!(
        "seed {seed}: {cycles} cycles, {kills} kills, {} acknowledged, {} unknown, hashes {hashes:?}",
        journal.acknowledged, journal.unknown
    );
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "members differ: {hashes:?}");
    assert_eq!(hashes[0].0, revision);
}

/// Acknowledged writes survive kills of one member and of all.
#[tokio::test]
async fn rr_02_a_few_kills() {
    kill_and_check(4, 0x51ab_0001).await;
}

/// The same for long.
#[tokio::test]
#[ignore = "takes minutes"]
async fn fifty_kills() {
    kill_and_check(50, 0x51ab_0002).await;
}
