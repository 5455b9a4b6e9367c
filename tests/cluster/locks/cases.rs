//! Answers of locks that reimplementations get wrong.

use super::*;

/// What comes out of the steps of a lock has no code, only the words.
#[tokio::test]
async fn case_63_what_goes_wrong_inside_is_unknown() {
    let cluster = Cluster::start(1).await;
    let client = Client::of(&cluster, 0);
    let no_lease = unknown("etcdserver: requested lease not found");

    assert_eq!(said(client.lock(99).await), no_lease);
    assert_eq!(said(client.campaign(99, "v").await), no_lease);
    assert_eq!(said(client.unlock("").await), unknown("etcdserver: key is not provided"));
    let unnamed = unknown("\"leader\" field must be provided");
    assert_eq!(said(client.resign(None).await), unnamed);
    assert_eq!(said(client.proclaim(None, "v").await), unnamed);
    let keyless = unknown("etcdserver: key is not provided");
    assert_eq!(said(client.resign(Some(LeaderKey::default())).await), keyless);
    assert_eq!(said(client.proclaim(Some(LeaderKey::default()), "v").await), keyless);
    assert_eq!(said(client.leader().await), unknown("election: no leader"));
    assert_eq!(client.unlock("job/0").await.unwrap(), 1, "it is no mistake that it is gone");
    client.until_clean(&[]).await;
}

/// Who has the lock has it again at once, without a write; who is cancelled leaves no key behind. It
/// does not matter which members are asked.
#[tokio::test]
async fn case_64_the_same_lease_again_and_a_cancelled_waiter() {
    let cluster = Cluster::start(3).await;
    let clients: Vec<_> = (0..3).map(|index| Client::of(&cluster, index)).collect();
    clients[0].lease(0x7f, 60).await;
    clients[0].lease(-1, 60).await;

    let first = clients[0].lock(0x7f).await.unwrap();
    let again = clients[1].lock(0x7f).await.unwrap();
    assert_eq!(first.key, "job/7f");
    let revision = |response: &LockResponse| response.header.unwrap().revision;
    assert_eq!((again.key.clone(), revision(&again)), (first.key.clone(), revision(&first)));

    for lease in [-1, 0] {
        let waiter = clients[2].locking(lease);
        clients[2].until_line(2).await;
        waiter.abort();
        clients[2].until_line(1).await;
    }
    assert_eq!(clients[0].unlock(first.key.clone()).await.unwrap(), revision(&first) + 5);
    clients[1].until_clean(&[-1, 0x7f]).await;
    assert_eq!(clients[2].lock(-1).await.unwrap().key, "job/-1");
}

/// Ten waiters at three members get the lock in the order in which they came.
#[tokio::test]
async fn waiters_get_the_lock_in_order() {
    let cluster = Cluster::start(3).await;
    let client = Client::of(&cluster, 0);
    let mut waiting = Vec::new();
    for n in 1..=10_usize {
        let id = i64::try_from(n).unwrap();
        client.lease(id, 60).await;
        waiting.push((id, Client::of(&cluster, n % 3).locking(id)));
        client.until_line(n).await;
    }

    let mut last = 0;
    for (id, waiter) in waiting {
        let locked = answered(waiter).await.unwrap();
        assert_eq!(locked.key, format!("job/{id:x}"));
        assert_eq!(client.line().await[0], format!("job/{id:x}"));
        let kvs = client.get(&format!("job/{id:x}"), "").await.kvs;
        assert!(last < kvs[0].create_revision, "tokens grow");
        last = kvs[0].create_revision;
        client.unlock(locked.key).await.unwrap();
    }
}

/// A lease that the call gets for itself is a minute long, and is renewed as long as the call waits.
#[tokio::test]
async fn a_lease_of_its_own_is_renewed_while_it_waits() {
    let cluster = Cluster::start(3).await;
    let client = Client::of(&cluster, 0);
    client.lease(1, 600).await;
    let held = client.lock(1).await.unwrap();
    let waiter = Client::of(&cluster, cluster.follower().await).locking(0);
    client.until_line(2).await;
    let own = *client.leases().await.iter().find(|id| **id != 1).unwrap();
    let mut leases = cluster.client(0).await;
    let mut left = async || leases.lease_time_to_live(own, None).await.unwrap().ttl();

    let first = left().await;
    assert!((55..=60).contains(&first), "{first} s of 60 are left");
    let low = eventually("it to run down", SOON, async || {
        let left = left().await;
        (left <= 45).then_some(left)
    })
    .await;
    eventually("it to be renewed", SOON, async || (left().await > low + 5).then_some(())).await;

    client.unlock(held.key).await.unwrap();
    let locked = answered(waiter).await.unwrap();
    assert_eq!(locked.key, format!("job/{own:x}"));
    assert!(left().await >= 55, "it begins anew with the answer");
}
