//! Members that are cut off from the others.

use std::time::Duration;

use tonic::Code;

use super::SOON;
use crate::harness::{
    Cluster, Link, Timing, eventually,
    streams::{WatchStream, channel, watcher, words},
};

/// A few election timeouts, and what a busy machine adds.
const CUT_OFF_NOTICED: Duration = Duration::from_secs(20);

/// A member that no one reaches ends the streams that need a leader, whether it led or not, and
/// keeps the others: they go on when it is back.
#[tokio::test]
async fn rr_27_a_member_that_is_cut_off_ends_streams_that_need_a_leader() {
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, proxies) = Cluster::prepare_proxied(folder, 3, Timing::Default).await;
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    for (number, led) in [false, true].into_iter().enumerate() {
        let leader = cluster.leader().await;
        let cut_off = if led { leader } else { (leader + 1) % 3 };
        let channel = channel(&cluster.endpoint(cut_off));
        let mut strict = WatchStream::open_with_leader(&channel).await.unwrap();
        let mut plain = WatchStream::open(&channel).await.unwrap();
        let key = format!("k{number}");
        strict.created(watcher(&key, "")).await;
        plain.created(watcher(&key, "")).await;

        proxies[cut_off].set(Link::Silent);

        let ended = strict.message_within(CUT_OFF_NOTICED).await.expect("the stream ends");
        let ended = ended.unwrap_err();
        assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: no leader"));
        let mut client = cluster.client((cut_off + 1) % 3).await;
        eventually("a put at the others", SOON, async || {
            client.put(key.as_str(), "v", None).await.ok()
        })
        .await;
        proxies[cut_off].set(Link::Open);
        let change = words(&plain.events().await);
        assert!(change[0].starts_with(&format!("PUT {key} ")), "{change:?}");
    }
}
