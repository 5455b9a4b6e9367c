//! SIGTERM: leadership is handed over, and the process is gone soon.

use std::time::Duration;

use etcd_client::WatchOptions;
use tokio::time::Instant;

use crate::harness::{Cluster, Timing, within};

/// How soon a supervisor may count on the end.
const GONE_WITHIN: Duration = Duration::from_millis(1500);

/// A leader with an idle client and a watching one hands over in the next term, and neither client
/// keeps it; nor do they keep a follower.
#[tokio::test]
async fn a_stopped_member_is_gone_soon() {
    let mut cluster = Cluster::start_with(3, Timing::SlowElection).await;
    let leader = cluster.leader().await;
    let follower = (0..3).find(|index| *index != leader).unwrap();
    let mut third =
        cluster.client((0..3).find(|it| ![leader, follower].contains(it)).unwrap()).await;
    let term = third.status().await.unwrap().raft_term();
    for stopped in [follower, leader] {
        let mut idle = cluster.client(stopped).await;
        idle.put("k", "v", None).await.unwrap();
        let mut watching = cluster.client(stopped).await;
        let prefix = WatchOptions::new().with_prefix();
        let (_watcher, mut stream) = watching.watch("k", Some(prefix)).await.unwrap();
        idle.put("k1", "v", None).await.unwrap();
        within("an event", GONE_WITHIN, stream.message()).await.unwrap();

        let began = Instant::now();
        cluster.member(stopped).terminate().await;
        let status = cluster.member(stopped).ended().await;
        let took = began.elapsed();

        assert_eq!(status.code(), Some(0), "{status}");
        assert!(took < GONE_WITHIN, "the end took {took:?}");
        if stopped == follower {
            cluster.member(stopped).restart().await;
            assert_eq!(cluster.leader().await, leader);
        }
    }
    cluster.leader_within(GONE_WITHIN).await;
    let now = third.status().await.unwrap().raft_term();
    assert_eq!(now, term + 1, "the place was not handed over");
}
