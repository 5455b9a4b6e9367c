//! History that goes by itself.

use std::time::Duration;

use super::{SOON, hash, kv, put};
use crate::harness::{Cluster, Timing, eventually};

async fn compacted(cluster: &Cluster, index: usize) -> Option<i64> {
    hash(cluster, index, 0).await.ok().map(|found| found.compact_revision)
}

/// Writes now and then until a member has given up history up to a revision at least.
async fn until_compacted(cluster: &Cluster, index: usize, revision: i64) {
    let mut kv = kv(cluster, index);
    eventually("old history to be gone", SOON, async || {
        let _ = put(&mut kv, "tick", "").await;
        compacted(cluster, index).await.filter(|compacted| *compacted >= revision)
    })
    .await;
}

/// Three members keep two seconds of history, and less than what was written since is never gone;
/// when their leader is killed, the next one goes on.
#[tokio::test]
async fn history_by_age_goes_whoever_leads() {
    let flags = ["--auto-compaction-retention=2s"];
    let mut cluster = Cluster::start_flagged(3, Timing::Default, &flags).await;
    let leader = cluster.leader().await;
    let other = cluster.follower().await;
    let mut kv = kv(&cluster, other);
    let old = put(&mut kv, "k", "old").await.unwrap();
    assert_eq!(compacted(&cluster, other).await, Some(-1));

    until_compacted(&cluster, other, old).await;
    let written = tokio::time::Instant::now();
    let new = put(&mut kv, "k", "new").await.unwrap();
    let gone = compacted(&cluster, other).await.unwrap();
    // Unless this machine stood still meanwhile, two seconds have not passed.
    assert!(gone < new || written.elapsed() >= Duration::from_secs(2), "{gone}, {new}");

    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    let successor = cluster.leader().await;
    let newer = eventually("a write", SOON, async || put(&mut kv, "k", "newer").await.ok()).await;
    until_compacted(&cluster, successor, newer).await;
    let log = cluster.member(successor).log_text();
    assert!(log.contains("completed auto periodic compaction"), "{log}");
}

/// Values that etcd would not take are refused, with the setting's name; `--print-config` shows what
/// is in force.
#[tokio::test]
async fn settings_are_checked_and_shown() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    for flag in ["--auto-compaction-mode=daily", "--auto-compaction-retention=soon"] {
        let refused = cluster.member(0).refuses_to_start(&[flag]).await;
        assert_ne!(refused.code, Some(0), "{refused:?}");
        let name = flag.trim_start_matches("--").split('=').next().unwrap();
        assert!(refused.stderr.contains(name), "{refused:?}");
    }
    let mode = "--auto-compaction-mode=revision";
    let flags = [mode, "--auto-compaction-retention=1000", "--print-config"];
    let shown = cluster.member(0).refuses_to_start(&flags).await.ok();
    assert!(shown.contains("auto-compaction-mode = \"revision\" # flag"), "{shown}");
    assert!(shown.contains("auto-compaction-retention = \"1000\" # flag"), "{shown}");
}
