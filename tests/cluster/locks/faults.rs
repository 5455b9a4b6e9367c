//! Locks and elections when leases end and members go.

use super::*;

/// The lock passes on when the lease of its holder is revoked, and when it runs out.
#[tokio::test]
async fn the_lock_passes_on_with_the_lease() {
    let cluster = Cluster::start(3).await;
    let client = Client::of(&cluster, 0);
    for (id, ttl) in [(1, 60), (2, 2), (3, 60)] {
        client.lease(id, ttl).await;
    }
    client.lock(1).await.unwrap();
    let second = Client::of(&cluster, 1).locking(2);
    client.until_line(2).await;
    let third = Client::of(&cluster, 2).locking(3);
    client.until_line(3).await;

    client.revoke(1).await;

    // The second has the lock for a moment, or its lease ran out before: nobody renews it.
    match answered(second).await {
        Ok(locked) => assert_eq!(locked.key, "job/2"),
        Err(status) => assert_eq!(status.message(), "mutex: session is expired"),
    }
    assert_eq!(answered(third).await.unwrap().key, "job/3");
    assert_eq!(client.line().await, ["job/3"]);
}

/// Waiters and observers outlive the leader of the cluster.
#[tokio::test]
async fn who_waits_outlives_a_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let here = Client::of(&cluster, (leader + 1) % 3);
    let there = Client::of(&cluster, (leader + 2) % 3);
    for id in [1, 2] {
        here.lease(id, 60).await;
    }
    let held = here.campaign(1, "one").await.unwrap().leader;
    let mut observer = there.observe().await;
    assert_eq!(shown(&mut observer).await, "one");
    let waiters = [here.campaigning(2, "two"), there.campaigning(0, "three")];
    here.until_line(3).await;

    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    cluster.leader().await;
    there.resign(held).await.unwrap();

    let [second, third] = waiters;
    // They may have come in either order.
    let (first, then) = match here.line().await[0].as_str() {
        "job/2" => (second, third),
        _ => (third, second),
    };
    let next = answered(first).await.unwrap().leader;
    let value = here.leader().await.unwrap().kv.unwrap().value;
    assert_eq!(shown(&mut observer).await.as_bytes(), &value[..]);
    here.resign(next).await.unwrap();
    answered(then).await.unwrap();
}

/// A member that stops sends its waiters and observers elsewhere, and nothing of them is left.
#[tokio::test]
async fn a_member_that_stops_sends_them_elsewhere() {
    let mut cluster = Cluster::start(3).await;
    let stopping = cluster.follower().await;
    let (here, there) = (Client::of(&cluster, stopping), Client::of(&cluster, (stopping + 1) % 3));
    for id in [1, 2] {
        there.lease(id, 60).await;
    }
    let held = there.lock(1).await.unwrap();
    let waiters = [here.locking(2), here.locking(0)];
    let mut observer = here.observe().await;
    assert_eq!(shown(&mut observer).await, "");
    there.until_line(3).await;

    cluster.member(stopping).terminate().await;

    let stopped = (Code::Unavailable, "etcdserver: server stopped".to_owned());
    for waiter in waiters {
        assert_eq!(said(answered(waiter).await), stopped);
    }
    let ended = within("the end", SOON, observer.message()).await;
    assert_eq!(said(ended), stopped);
    assert!(cluster.member(stopping).ended().await.success());
    assert_eq!(there.line().await, ["job/1"]);
    there.unlock(held.key).await.unwrap();
    there.until_clean(&[1, 2]).await;
}
