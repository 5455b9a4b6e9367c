//! Renewals and the end of the time to live.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{alone, newest_revision, put};
use crate::harness::{
    Cluster, Timing, Watching, eventually,
    leasing::Leasing,
    streams::{WatchStream, channel, watcher, words},
    within,
};

/// How long things may take on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(60);
/// The election timeout of a cluster with default timing.
const ELECTION: Duration = Duration::from_secs(1);
/// Clocks of members tick in steps.
const TICK: Duration = Duration::from_millis(100);

/// One stream renews what there is and says of what is not that it has no time left, in the order of
/// the requests; it stays open for more, and ends well when the client has nothing more to ask.
#[tokio::test]
async fn case_56_a_stream_answers_in_order_and_stays() {
    let cluster = Cluster::start(3).await;
    Leasing::at(&cluster.endpoint(0)).grant(7, 60).await.unwrap();
    Leasing::at(&cluster.endpoint(0)).grant(-7, 90).await.unwrap();
    for index in 0..cluster.len() {
        let mut stream = Leasing::at(&cluster.endpoint(index)).keep_alive().await.unwrap();
        for _ in 0..3 {
            let ids = [5, 7, 0, 7, -7, 5, i64::MAX];
            for id in ids {
                stream.ask(id).await;
            }
            for id in ids {
                let answer = stream.answer().await.unwrap();
                let ttl = if id == 7 {
                    60
                } else if id == -7 {
                    90
                } else {
                    0
                };
                assert_eq!((answer.id, answer.ttl), (id, ttl), "at {index}");
                let header = answer.header.unwrap();
                assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term != 0);
                assert_eq!(header.revision, 1);
            }
        }
        stream.ask(7).await;
        stream.close_requests();
        assert_eq!(stream.answer().await.unwrap().ttl, 60);
        let end = stream.answer().await.unwrap_err();
        assert_eq!(end.code(), tonic::Code::Ok, "{end}");
    }
}

/// A lease ends when its time is over, not before and soon after, and its keys go as if they had been
/// deleted: all at one revision, each with its name and that revision only.
#[tokio::test]
async fn expiry_looks_like_a_delete() {
    const TTL: i64 = 2;
    /// Half a second, a commit, and what a busy machine adds.
    const LATE_MAX: Duration = Duration::from_secs(3);
    let (cluster, mut client, mut leasing) = alone().await;
    let mut stream = WatchStream::open(&channel(&cluster.endpoint(0))).await.unwrap();
    stream.created(watcher("k", "l")).await;
    let asked = Instant::now();
    leasing.grant(1, TTL).await.unwrap();
    let granted = Instant::now();
    leasing.grant(2, 60).await.unwrap();
    put(&mut client, "k2", 1).await;
    put(&mut client, "k1", 1).await;
    let last = put(&mut client, "kept", 2).await;

    let mut response = stream.events().await;
    while !words(&response)[0].starts_with("DELETE") {
        response = stream.events().await;
    }

    let ttl = Duration::from_secs(u64::try_from(TTL).unwrap());
    assert!(asked.elapsed() >= ttl, "it ended after {:?}", asked.elapsed());
    assert!(granted.elapsed() <= ttl + LATE_MAX, "it ended after {:?}", granted.elapsed());
    let revision = last + 1;
    assert_eq!(words(&response), ["k1", "k2"].map(|key| format!("DELETE {key} {revision}")));
    for event in &response.events {
        let pair = event.kv.as_ref().unwrap();
        assert_eq!((pair.create_revision, pair.version, pair.lease), (0, 0, 0), "{event:?}");
        assert!(pair.value.is_empty() && event.prev_kv.is_none(), "{event:?}");
    }
    assert_eq!(leasing.time_to_live(1).await.unwrap().ttl, -1);
    assert_eq!(leasing.list().await, [2]);
    assert_eq!(newest_revision(&mut client).await, revision);
}

/// The seconds left are whole, fall, and start anew with a renewal, whichever member is asked.
#[tokio::test]
async fn the_time_left_falls_and_starts_anew() {
    const TTL: i64 = 20;
    let cluster = Cluster::start(3).await;
    let mut members: Vec<Leasing> =
        (0..3).map(|index| Leasing::at(&cluster.endpoint(index))).collect();
    members[0].grant(1, TTL).await.unwrap();

    for index in 0..3 {
        eventually("a second to pass", SOON, async || {
            let told = members[index].time_to_live(1).await.unwrap();
            assert_eq!(told.granted_ttl, TTL);
            assert!((0..=TTL).contains(&told.ttl), "{told:?}");
            (told.ttl <= TTL - 2).then_some(())
        })
        .await;
        let asked = Instant::now();
        assert_eq!(members[(index + 1) % 3].renew(1).await.unwrap(), TTL);
        let told = members[(index + 2) % 3].time_to_live(1).await.unwrap();
        // Seconds that are not whole are cut off, so one more may be missing.
        let passed = i64::try_from(asked.elapsed().as_secs()).unwrap() + 1;
        assert!((TTL - passed..=TTL).contains(&told.ttl), "{told:?} {passed} s after a renewal");
    }
}

/// A renewal that meets the end of its lease, while that is being agreed upon, waits for it and then
/// says that there is no such lease. It does not bring the lease back.
#[tokio::test]
async fn case_60_a_renewal_does_not_bring_a_lease_back() {
    // The election is slow, so that the leader keeps its place while nobody answers it.
    let mut cluster = Cluster::start_with(3, Timing::SlowElection).await;
    let leader = cluster.leader().await;
    let mut leasing = Leasing::at(&cluster.endpoint(leader));
    let (id, over) = end_without_quorum(&mut cluster, leader).await;

    sleep_until(over + TICK).await;
    let mut stream = leasing.keep_alive().await.unwrap();
    stream.ask(id).await;
    let early = stream.answer_within(Duration::from_millis(500)).await;
    for follower in (0..3).filter(|index| *index != leader) {
        cluster.member(follower).resume().await;
    }

    // Nothing could be agreed upon, so nothing could be answered.
    assert!(early.is_none(), "{early:?}");
    let answer = stream.answer().await.unwrap();
    assert_eq!((answer.id, answer.ttl), (id, 0));
    let mut client = cluster.client(leader).await;
    assert_eq!(client.get("k", None).await.unwrap().count(), 0);
    assert_eq!(leasing.time_to_live(id).await.unwrap().ttl, -1);
    stream.ask(id).await;
    assert_eq!(stream.answer().await.unwrap().ttl, 0, "the stream goes on");
}

/// A lease with the key `k` whose time runs out while the leader's followers are paused, and when it
/// does at the latest.
async fn end_without_quorum(cluster: &mut Cluster, leader: usize) -> (i64, Instant) {
    const TRIES: i64 = 10;
    let mut client = cluster.client(leader).await;
    let mut leasing = Leasing::at(&cluster.endpoint(leader));
    for id in 1..=TRIES {
        // The shortest there is under this timing.
        let ttl = leasing.grant(id, 1).await.unwrap().ttl;
        let over = Instant::now() + Duration::from_secs(u64::try_from(ttl).unwrap());
        put(&mut client, "k", id).await;
        eventually("the last second of the lease", SOON, async || {
            (leasing.time_to_live(id).await.unwrap().ttl <= 0).then_some(())
        })
        .await;
        for follower in (0..3).filter(|index| *index != leader) {
            cluster.member(follower).pause().await;
        }
        let local = etcd_client::GetOptions::new().with_serializable();
        if client.get("k", Some(local)).await.unwrap().count() == 1 {
            return (id, over);
        }
        // Pausing took too long on a busy machine.
        for follower in (0..3).filter(|index| *index != leader) {
            cluster.member(follower).resume().await;
        }
    }
    panic!("followers were never paused in time");
}

/// Renewals and the end of their lease cross each other again and again: what is renewed is there,
/// and what is gone stays gone.
#[tokio::test]
async fn case_60_renewals_around_the_end_agree_with_it() {
    const LEASES: i64 = 40;
    let cluster = Cluster::start_with(1, Timing::Alone).await;
    let mut leasing = Leasing::at(&cluster.endpoint(0));
    let ttl = leasing.grant(LEASES, 1).await.unwrap().ttl;
    assert_eq!(ttl, 1);
    let mut renewing = tokio::task::JoinSet::new();
    for id in 0..LEASES {
        let mut leasing = leasing.clone();
        renewing.spawn(async move {
            leasing.grant(id + 100, 1).await.unwrap();
            let granted = Instant::now();
            let mut stream = leasing.keep_alive().await.unwrap();
            // From before the end to after it, in steps of five milliseconds.
            let offset = Duration::from_millis(900 + 5 * u64::try_from(id).unwrap());
            sleep_until(granted + offset).await;
            stream.ask(id + 100).await;
            let answered = stream.answer().await.unwrap().ttl;
            let left = leasing.time_to_live(id + 100).await.unwrap().ttl;
            // One that was renewed has a second again; it could only end after that.
            assert!(answered == 1 || left == -1, "lease {id}: {answered}, then {left} left");
            answered
        });
    }
    let answers = within("all renewals", SOON, renewing.join_all()).await;
    let gone = answers.iter().filter(|ttl| **ttl == 0).count();
    assert!(gone > 0, "no renewal came too late");
    eventually("the end of all", SOON, async || leasing.list().await.is_empty().then_some(()))
        .await;
}

/// A new leader gives a lease that was about to end its whole time and an election timeout more.
#[tokio::test]
async fn case_61_a_new_leader_starts_the_time_anew() {
    const TTL: i64 = 3;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let mut client = cluster.client(other).await;
    let mut leasing = Leasing::at(&cluster.endpoint(other));
    let mut watching = Watching::prefix(&mut client, "k").await;
    leasing.grant(1, TTL).await.unwrap();
    put(&mut client, "k", 1).await;
    assert_eq!(watching.next().await.what, "PUT");
    eventually("the last second of the lease", SOON, async || {
        (leasing.time_to_live(1).await.unwrap().ttl <= 0).then_some(())
    })
    .await;

    let killed = Instant::now();
    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    let told =
        eventually("the new leader to tell", SOON, async || leasing.time_to_live(1).await.ok())
            .await;
    let (asked, left) = (killed.elapsed(), told.ttl);
    let gone = watching.next().await;

    assert_eq!(told.granted_ttl, TTL);
    let whole = Duration::from_secs(u64::try_from(TTL).unwrap()) + ELECTION;
    let passed = i64::try_from(asked.as_secs()).unwrap() + 1;
    assert!((TTL + 1 - passed..=TTL + 1).contains(&left), "{left} s left after {asked:?}");
    assert_eq!(gone.what, "DELETE");
    assert!(killed.elapsed() >= whole - TICK, "it ended {:?} after the kill", killed.elapsed());
}

/// An answer to a renewal never shows a revision above the one at which its lease was revoked.
#[tokio::test]
async fn case_62_a_renewal_is_told_before_the_end() {
    let cluster = Cluster::start(3).await;
    let mut client = cluster.client(0).await;
    let (mut renewed, mut refused) = (0, 0);
    for id in 1..=60 {
        let member = usize::try_from(id).unwrap() % 3;
        let mut leasing = Leasing::at(&cluster.endpoint(member));
        leasing.grant(id, 60).await.unwrap();
        put(&mut client, &format!("k{id}"), id).await;
        let mut stream = leasing.keep_alive().await.unwrap();
        let renewing = async {
            let mut answers = Vec::new();
            while answers.last().is_none_or(|(ttl, _)| *ttl > 0) {
                stream.ask(id).await;
                let answer = stream.answer().await.unwrap();
                answers.push((answer.ttl, answer.header.unwrap().revision));
            }
            answers
        };
        let mut revoking = leasing.clone();
        let (answers, revoked) = tokio::join!(renewing, revoking.revoke(id));
        let revoked = revoked.unwrap();
        for (ttl, revision) in answers {
            if ttl > 0 {
                assert!(revision <= revoked, "renewed at {revision}, revoked at {revoked}");
                renewed += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(refused == 60 && renewed > 0, "{renewed} renewals met 60 revocations");
}
