//! Wall clocks that jump.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use tokio::time::Instant;

use super::{Deletions, SOON, grant, renewer::Renewer};
use crate::harness::{Cluster, Timing, eventually_or};

const TTL: i64 = 3;

/// Where Debian and others put the library that makes the wall clock of a process tell lies.
const FAKETIME: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
];

fn faketime() -> Option<PathBuf> {
    let found = FAKETIME.iter().map(PathBuf::from).find(|path| path.exists());
    if found.is_none() {
        eprintln!(
            "SKIPPED: there is no libfaketime (Debian's package faketime) to move clocks with"
        );
    }
    found
}

/// The wall clocks of all members jump an hour ahead and an hour back, again and again: leases that
/// are renewed stay, the others end after their time, neither early nor late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_33_jumps_of_the_wall_clock_end_and_freeze_nothing() {
    const RENEWED: i64 = 50;
    const LATE_MAX: Duration = Duration::from_secs(4);
    let Some(library) = faketime() else { return };
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    let mut cluster = Cluster::prepare(folder, 3, Timing::Default);
    let jump = |to: &str| {
        // Replaced as a whole, for members read it at any moment.
        let aside = offset.with_extension("new");
        fs::write(&aside, format!("{to}\n")).unwrap();
        fs::rename(&aside, &offset).unwrap();
    };
    jump("+0");
    for index in 0..3 {
        let member = cluster.member(index);
        member.variable("LD_PRELOAD", library.to_str().unwrap());
        member.variable("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap());
        member.variable("FAKETIME_NO_CACHE", "1");
        // Only the wall clock: the other one does not jump on any machine.
        member.variable("DONT_FAKE_MONOTONIC", "1");
        member.spawn();
    }
    let leader = cluster.leader().await;
    let url = cluster.endpoint(leader);
    let mut deletions = Deletions::watch(&url).await;
    let renewed: Vec<i64> = (1..=RENEWED).collect();
    grant(&url, 1..=RENEWED, TTL).await;
    let renewer = Renewer::start(vec![url.clone()], renewed.clone(), Duration::from_millis(500));

    let ttl = Duration::from_secs(u64::try_from(TTL).unwrap());
    let jumps = ["+3600", "+0", "-3600", "+3600", "-3600"];
    let mut silent = RENEWED;
    for to in jumps {
        let before = Instant::now();
        let granted = grant(&url, silent + 1..=silent + 10, TTL).await;
        silent += 10;
        jump(to);
        deletions.count(usize::try_from(silent - RENEWED).unwrap()).await;
        for (id, granted) in granted {
            let ended = deletions.seen[&id];
            assert!(ended - before >= ttl, "lease {id} ended {:?} after its grant", ended - before);
            assert!(ended - granted <= ttl + LATE_MAX, "lease {id} lived {:?}", ended - granted);
        }
    }

    let lost: Vec<i64> = deletions.ids().into_iter().filter(|id| renewed.contains(id)).collect();
    assert_eq!(lost, Vec::<i64>::new(), "they were renewed all the time");
    let told = renewer.stop().await;
    assert_eq!(told.gone, Vec::<i64>::new());
    assert_eq!(cluster.leader().await, leader, "the same leader over all jumps");
    // The clocks did jump: whoever misses a member now says so at a time that is an hour off.
    let follower = (leader + 1) % 3;
    cluster.member(follower).kill();
    cluster.member(follower).ended().await;
    let member = cluster.member(leader);
    let told = || format!("log lines an hour apart in:\n{}", member.log_text());
    eventually_or(told, SOON, async || (hours(&member.log_text()).len() > 1).then_some(())).await;
}

/// The hours that log lines tell, and the days with them.
fn hours(log: &str) -> BTreeSet<String> {
    log.lines().filter_map(|line| line.get(..13)).map(str::to_owned).collect()
}
