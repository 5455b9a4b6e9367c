//! A large store: saved while others write, wiped, restored on three members, with times.

use std::{fs, time::Duration};

use etcd_client::GetOptions;
use tokio::time::Instant;

use super::{hash_kv, restore, run, wipe};
use crate::harness::{Cluster, Following, eventually, quorate};

const KEYS: usize = 1_000_000;
const LONG: Duration = Duration::from_secs(900);

/// A million keys are saved, wiped and restored; what it took is told.
#[tokio::test]
#[ignore = "takes minutes"]
async fn a_million_keys_come_back() {
    let mut cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints();
    let bench = |words: &str| {
        let mut command = quorate();
        command.arg("bench").args(words.split(' ')).args(["--endpoints", &endpoints]);
        command
    };
    let started = Instant::now();
    let load = format!("load --keys {KEYS} --txn-size 100");
    let mut filling = Following::start(bench(&load), cluster.path("load.out"));
    let filled = tokio::time::timeout(LONG, filling.child.wait()).await.unwrap().unwrap();
    assert!(filled.success(), "{}", filling.output());
    eprintln!("filled in {:.1?}", started.elapsed());
    let mut client = cluster.client_of_all().await;
    let count = GetOptions::new().with_all_keys().with_count_only();
    let before = client.get("", Some(count.clone())).await.unwrap();
    let revision = before.header().unwrap().revision();
    let leader = cluster.leader().await;
    let hash = hash_kv(&cluster, leader, 0).await.hash;

    let file = cluster.path("s.db");
    let text = file.to_str().unwrap();
    let mut writer = client.clone();
    let slowest = tokio::spawn(async move {
        let mut slowest = Duration::ZERO;
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            let begun = Instant::now();
            writer.put("during", "v", None).await.unwrap();
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    });
    let begun = Instant::now();
    let mut command = quorate();
    command.args(["snapshot", "save", text, "--endpoints", &cluster.endpoint(leader)]);
    let mut saving = Following::start(command, cluster.path("save.out"));
    let saved = tokio::time::timeout(LONG, saving.child.wait()).await.unwrap().unwrap();
    assert!(saved.success(), "{}", saving.output());
    let (took, bytes) = (begun.elapsed(), fs::metadata(&file).unwrap().len());
    eprintln!("saved {bytes} bytes in {took:.1?}; slowest put {:.1?}", slowest.await.unwrap());
    let status = run(&["snapshot", "status", text]).await.ok();
    eprintln!("{}", status.trim());

    cluster.kill_all().await;
    let begun = Instant::now();
    for index in 0..3 {
        wipe(&mut cluster, index);
        restore(&mut cluster, index, &file, &[]).await.ok();
    }
    eprintln!("three data directories restored in {:.1?}", begun.elapsed());
    let begun = Instant::now();
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    eprintln!("a leader after {:.1?}", begun.elapsed());
    let mut client = cluster.client_of_all().await;
    let after = client.get("", Some(count)).await.unwrap();
    assert!(after.count() >= before.count(), "{} keys", after.count());
    for index in 0..3 {
        let same = eventually("the checksum", LONG, async || {
            Some(hash_kv(&cluster, index, revision).await.hash)
        });
        assert_eq!(same.await, hash, "member {index}");
    }
}
