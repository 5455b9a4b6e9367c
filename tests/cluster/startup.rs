//! Starting and stopping, and refusing to start.

use std::{fs, time::Duration};

use crate::harness::{Cluster, Port, Timing};

/// Two processes on one data directory would destroy it, so the second one is refused.
#[tokio::test]
async fn a_data_directory_is_used_once() {
    let mut cluster = Cluster::start(1).await;
    let (client, peer) = (Port::free(), Port::free());
    let member = cluster.member(0);
    let flags = [
        format!("--listen-client-urls={}", client.url()),
        format!("--listen-peer-urls={}", peer.url()),
    ];

    let refused = member.refuses_to_start(&[&flags[0], &flags[1]]).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    let reason =
        format!("data directory {} is in use by another process", member.data_dir().display());
    assert!(refused.stderr.contains(&reason), "{refused:?}");
    cluster.client(0).await.put("k", "v", None).await.unwrap();
}

/// A data directory belongs to the cluster that it was made for.
#[tokio::test]
async fn a_data_directory_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(1).await;
    let member = cluster.member(0);
    member.kill();
    member.ended().await;

    let refused = member.refuses_to_start(&["--initial-cluster-token=another"]).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    let directory = format!("data directory {} belongs to cluster", member.data_dir().display());
    assert!(refused.stderr.contains(&directory), "{refused:?}");
}

/// A data directory that a newer or an older version has written is left alone.
#[tokio::test]
async fn another_format_is_refused() {
    let mut cluster = Cluster::start(1).await;
    let member = cluster.member(0);
    member.kill();
    member.ended().await;
    let identity = member.data_dir().join("identity");
    let ours = fs::read_to_string(&identity).unwrap();
    for format in ["format 0", "format 999"] {
        let line = ours.lines().find(|line| line.starts_with("format ")).unwrap();
        fs::write(&identity, ours.replace(line, format)).unwrap();

        let refused = member.refuses_to_start(&[]).await;

        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(
            refused.stderr.contains(&format!("has {format}, this version reads")),
            "{refused:?}"
        );
    }
    fs::write(&identity, ours).unwrap();
    member.restart().await;
}

/// A fail point that is not there is refused: the failure that is wanted would never come.
#[tokio::test]
async fn an_unknown_fail_point_is_refused() {
    let mut cluster = Cluster::start(1).await;
    let member = cluster.member(0);
    member.kill();
    member.ended().await;
    member.fail_points("no-such-place=return(end)");

    let refused = member.refuses_to_start(&[]).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    let reason = "FAILPOINTS: there is no fail point \"no-such-place\"";
    assert!(refused.stderr.contains(reason), "{refused:?}");
}

/// A port that is taken is named.
#[tokio::test]
async fn a_taken_port_is_named() {
    let mut cluster = Cluster::start(1).await;
    let path = cluster.path("other");
    let peer = Port::free();
    let member = cluster.member(0);

    let data_dir = format!("--data-dir={}", path.display());
    let listen_peer = format!("--listen-peer-urls={}", peer.url());
    let refused = member.refuses_to_start(&[&data_dir, &listen_peer]).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&member.authority()), "{refused:?}");
}

/// A setting that makes no sense is refused before anything is opened or made.
#[tokio::test]
async fn a_bad_setting_leaves_nothing_behind() {
    let mut cluster = Cluster::start(1).await;
    let path = cluster.path("other");
    let data_dir = format!("--data-dir={}", path.display());

    let refused = cluster.member(0).refuses_to_start(&[&data_dir, "--election-timeout=10"]).await;

    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("election-timeout: 10 ms is less than 5 times"), "{refused:?}");
    assert!(!path.exists(), "{} was made", path.display());
}

/// On SIGTERM a member ends well, and starts again with all it had.
#[tokio::test]
async fn a_stopped_member_starts_again() {
    let mut cluster = Cluster::start(1).await;
    cluster.client(0).await.put("k", "v", None).await.unwrap();

    cluster.member(0).terminate().await;
    let status = cluster.member(0).ended().await;
    cluster.member(0).restart().await;

    assert_eq!(status.code(), Some(0), "{status}");
    let read = cluster.client(0).await.get("k", None).await.unwrap();
    assert_eq!((read.count(), read.header().unwrap().revision()), (1, 2));
}

/// A leader that is stopped hands its place over: the next one is there before an election could be.
#[tokio::test]
async fn a_stopped_leader_hands_over() {
    let mut cluster = Cluster::start_with(3, Timing::SlowElection).await;
    let leader = cluster.leader().await;
    cluster.client(leader).await.put("k", "v", None).await.unwrap();

    cluster.member(leader).terminate().await;
    let status = cluster.member(leader).ended().await;
    let next = cluster.leader_within(Duration::from_millis(2500)).await;

    assert_eq!(status.code(), Some(0), "{status}");
    assert_ne!(next, leader);
    assert_eq!(cluster.client(next).await.get("k", None).await.unwrap().count(), 1);
}

/// A member whose standard input ends stops by itself, so that none outlives its supervisor.
#[tokio::test]
async fn a_member_ends_with_its_supervisor() {
    let mut cluster = Cluster::start(1).await;

    cluster.member(0).close_stdin();
    let status = cluster.member(0).ended().await;

    assert_eq!(status.code(), Some(0), "{status}");
}
