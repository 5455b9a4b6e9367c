//! What members of different releases agree on.

use std::time::Duration;

use crate::{
    harness::{Cluster, Timing, eventually, eventually_or},
    quota::page,
};

const SOON: Duration = Duration::from_secs(60);
/// What a later release does.
const LATER: &str = "level=return(2)";

async fn version(cluster: &Cluster, index: usize) -> String {
    page(cluster, index, "/version").await.1
}

/// Waits until a member's log has a line with these words.
async fn says(cluster: &mut Cluster, index: usize, words: &str) {
    let what = || format!("member {index} to say {words:?}");
    eventually_or(what, SOON, async || {
        cluster.member(index).log_text().contains(words).then_some(())
    })
    .await;
}

/// Before the last of the first members has told its version nothing is decided, and yet the cluster
/// serves. Then it is, and shows.
#[tokio::test]
async fn the_version_is_decided_when_the_last_member_is_there() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    for index in [0, 1] {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    cluster.client(0).await.put("k", "v", None).await.unwrap();
    let undecided = r#""etcdcluster":"not_decided""#;
    assert!(version(&cluster, 0).await.contains(undecided));
    assert!(!page(&cluster, 0, "/metrics").await.1.contains("etcd_cluster_version"));

    cluster.member(2).restart().await;

    for index in 0..3 {
        eventually("a version", SOON, async || {
            version(&cluster, index).await.contains(r#""etcdcluster":"3.7.0""#).then_some(())
        })
        .await;
    }
    let figures = page(&cluster, 0, "/metrics").await.1;
    assert!(figures.contains("etcd_cluster_version{cluster_version=\"3.7\"} 1"), "{figures}");
    assert!(figures.contains("etcd_server_version{server_version=\"3.7.1\"} 1"), "{figures}");
}

/// A cluster is upgraded member by member: what the oldest understands counts until it is gone, and
/// then no member goes back.
#[tokio::test]
async fn an_upgrade_goes_one_way() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    says(&mut cluster, 0, "all members understand level 1").await;

    for index in 0..3 {
        for member in 0..3 {
            let log = cluster.member(member).log_text();
            assert!(!log.contains("all members understand level 2"), "{log}");
        }
        cluster.member(index).terminate().await;
        assert_eq!(cluster.member(index).ended().await.code(), Some(0));
        cluster.member(index).fail_points(LATER);
        cluster.member(index).restart().await;
    }
    for index in 0..3 {
        says(&mut cluster, index, "all members understand level 2").await;
    }

    cluster.member(1).terminate().await;
    assert_eq!(cluster.member(1).ended().await.code(), Some(0));
    cluster.member(1).fail_points("");
    let refused = cluster.member(1).refuses_to_start(&[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let expected = "the members have agreed on level 2, and this program, quorate ";
    assert!(refused.stderr.contains(expected), "{refused:?}");
    assert!(refused.stderr.contains("understands level 1 only: start a newer one"), "{refused:?}");

    cluster.client(0).await.put("k", "v", None).await.unwrap();
    cluster.member(1).fail_points(LATER);
    cluster.member(1).restart().await;
}
