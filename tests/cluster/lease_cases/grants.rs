//! Grants, revocations and lists.

use tonic::{Code, Status};

use super::{alone, newest_revision, put};
use crate::harness::{Cluster, eventually, leasing::Leasing};

/// The longest time to live there is.
const TTL_MAX: i64 = 9_000_000_000;
/// What a lease lives at least under default timing.
const TTL_MIN: i64 = 2;

fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// A time to live below the shortest is raised to it, and the answer says so; the longest is taken,
/// a longer one is not. Ids are what the client says, below zero too.
#[tokio::test]
async fn case_55_times_to_live_are_raised_or_refused() {
    let (_cluster, mut client, mut leasing) = alone().await;

    for (id, ttl) in [(10, 0), (11, -5), (12, 1), (13, i64::MIN), (14, TTL_MIN)] {
        let granted = leasing.grant(id, ttl).await.unwrap();
        assert_eq!((granted.id, granted.ttl, granted.error.as_str()), (id, TTL_MIN, ""));
    }
    let granted = leasing.grant(-1, TTL_MAX).await.unwrap();
    assert_eq!((granted.id, granted.ttl), (-1, TTL_MAX));
    let told = leasing.time_to_live(-1).await.unwrap();
    assert_eq!((told.id, told.granted_ttl), (-1, TTL_MAX));
    assert!((TTL_MAX - 60..=TTL_MAX).contains(&told.ttl), "{told:?}");
    for (id, ttl) in [(20, TTL_MAX + 1), (21, i64::MAX), (-1, TTL_MAX + 1)] {
        let refused = refusal(leasing.grant(id, ttl).await);
        assert_eq!(refused, (Code::OutOfRange, "etcdserver: too large lease TTL".to_owned()));
    }

    assert_eq!(newest_revision(&mut client).await, 1, "a grant has no revision");
}

/// Without an id the server draws one above zero; an id that is taken is refused, whatever the time.
#[tokio::test]
async fn ids_are_drawn_or_taken_once() {
    let (_cluster, _, mut leasing) = alone().await;
    let exists = (Code::FailedPrecondition, "etcdserver: lease already exists".to_owned());

    let (one, other) = (leasing.grant(0, 60).await.unwrap(), leasing.grant(0, 60).await.unwrap());
    assert!(one.id > 0 && other.id > 0 && one.id != other.id, "{one:?} {other:?}");
    assert_eq!(one.header.as_ref().map(|header| header.revision), Some(1));
    for id in [i64::MIN, -1, 1, i64::MAX] {
        assert_eq!(leasing.grant(id, 60).await.unwrap().id, id);
        assert_eq!(refusal(leasing.grant(id, 60).await), exists);
        assert_eq!(refusal(leasing.grant(id, 0).await), exists);
    }
    leasing.revoke(-1).await.unwrap();
    assert_eq!(leasing.grant(-1, 60).await.unwrap().id, -1, "what is gone can be granted again");
}

/// What is not there cannot be revoked: not twice, not without an id, not before it is granted.
#[tokio::test]
async fn revoking_nothing_is_refused() {
    let (_cluster, mut client, mut leasing) = alone().await;
    let missing = (Code::NotFound, "etcdserver: requested lease not found".to_owned());

    for id in [0, 5, -5, i64::MAX] {
        assert_eq!(refusal(leasing.revoke(id).await), missing);
    }
    leasing.grant(5, 60).await.unwrap();
    assert_eq!(leasing.revoke(5).await.unwrap(), 1);
    assert_eq!(refusal(leasing.revoke(5).await), missing);
    let option = etcd_client::PutOptions::new().with_lease(5);
    let error = client.put("k", "v", Some(option)).await.unwrap_err();
    assert!(error.to_string().contains(&missing.1), "{error}");
    assert_eq!(newest_revision(&mut client).await, 1);
}

/// Asked for what is left of no lease, a member says so and does not fail.
#[tokio::test]
async fn case_57_no_lease_has_no_time_left() {
    let cluster = Cluster::start(3).await;
    for index in 0..cluster.len() {
        let mut leasing = Leasing::at(&cluster.endpoint(index));
        for id in [0, 5, -5] {
            let told = leasing.time_to_live(id).await.unwrap();
            assert_eq!((told.id, told.ttl, told.granted_ttl), (id, -1, 0));
            assert!(told.keys.is_empty(), "{told:?}");
            let header = told.header.unwrap();
            assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
            assert_eq!(header.revision, 1);
        }
    }
    let mut leasing = Leasing::at(&cluster.endpoint(0));
    leasing.grant(5, 60).await.unwrap();
    leasing.revoke(5).await.unwrap();
    assert_eq!(leasing.time_to_live(5).await.unwrap().ttl, -1);
}

/// The keys of a revoked lease go at one revision, in the order of their names and in one response;
/// a lease without keys leaves the revision as it is.
#[tokio::test]
async fn case_58_keys_go_together_and_in_order() {
    use crate::harness::streams::{WatchStream, channel, watcher, words};
    let (cluster, mut client, mut leasing) = alone().await;
    leasing.grant(5, 60).await.unwrap();
    leasing.grant(6, 60).await.unwrap();
    for key in ["lk3", "lk1", "lk2"] {
        put(&mut client, key, 5).await;
    }
    let mut stream = WatchStream::open(&channel(&cluster.endpoint(0))).await.unwrap();
    stream.created(watcher("lk", "ll")).await;

    let before = newest_revision(&mut client).await;
    assert_eq!(leasing.revoke(6).await.unwrap(), before, "nothing hangs on it");
    let revision = leasing.revoke(5).await.unwrap();

    assert_eq!(revision, before + 1);
    let response = stream.events().await;
    let expected = ["lk1", "lk2", "lk3"].map(|key| format!("DELETE {key} {revision}"));
    assert_eq!(words(&response), expected);
    for event in &response.events {
        let pair = event.kv.as_ref().unwrap();
        assert!(event.prev_kv.is_none() && pair.value.is_empty(), "{event:?}");
        assert_eq!((pair.create_revision, pair.version, pair.lease), (0, 0, 0), "{event:?}");
    }
}

/// Every member lists all leases, and nothing that is gone.
#[tokio::test]
async fn every_member_lists_the_leases() {
    let cluster = Cluster::start(3).await;
    let mut leasing = Leasing::at(&cluster.endpoint(0));
    for (id, ttl) in [(3, 300), (1, 600), (-2, 900), (9, 60)] {
        leasing.grant(id, ttl).await.unwrap();
    }
    leasing.revoke(9).await.unwrap();

    for index in 0..cluster.len() {
        let mut leasing = Leasing::at(&cluster.endpoint(index));
        // A member may be a moment behind: the list is its own, and nobody else is asked for it.
        eventually("a member to list what there is", super::clock::SOON, async || {
            let mut listed = leasing.list().await;
            listed.sort_unstable();
            (listed == [-2, 1, 3]).then_some(())
        })
        .await;
    }
}

/// The leader lists first what has the least time left, as of the last renewals.
#[tokio::test]
async fn the_leader_lists_by_the_time_left() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut leasing = Leasing::at(&cluster.endpoint(leader));
    for (id, ttl) in [(1, 600), (2, 300), (-3, 900), (4, 60), (5, 60), (6, 60)] {
        leasing.grant(id, ttl).await.unwrap();
        // Their deadlines are to differ.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(leasing.list().await, [4, 5, 6, 2, 1, -3]);

    assert_eq!(leasing.renew(4).await.unwrap(), 60);
    assert_eq!(leasing.list().await, [5, 6, 4, 2, 1, -3]);
}
