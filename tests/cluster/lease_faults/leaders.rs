//! Leaders that pause, and leaders that die.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{Deletions, SOON, grant, renewer::Renewer};
use crate::harness::{Cluster, Link, Timing, eventually, leasing::Leasing};

/// Leases of these tests live for so long; it is more than a change of the leader takes.
const TTL: i64 = 5;

fn ttl() -> Duration {
    Duration::from_secs(u64::try_from(TTL).unwrap())
}

/// A leader is stopped for longer than leases live, while clients renew theirs at the others. It wakes
/// up believing that it leads and that every lease has run out; it ends none of those.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_29_a_leader_that_was_paused_ends_nothing() {
    const RENEWED: i64 = 300;
    const SILENT: i64 = 100;
    const ROUNDS: i64 = 2;
    let mut cluster = Cluster::start(3).await;
    let renewed: Vec<i64> = (1..=RENEWED).collect();
    let leader = cluster.leader().await;
    grant(&cluster.endpoint(leader), 1..=RENEWED, TTL).await;
    let silent = RENEWED + 1..=RENEWED + SILENT;
    grant(&cluster.endpoint(leader), silent.clone(), TTL).await;
    let urls: Vec<String> = (0..3).map(|index| cluster.endpoint(index)).collect();

    let renewer = Renewer::start(urls, renewed.clone(), Duration::from_secs(1));
    let mut paused_terms = Vec::new();
    for _ in 0..ROUNDS {
        let leader = cluster.leader().await;
        let mut deletions = Deletions::watch(&cluster.endpoint((leader + 1) % 3)).await;
        cluster.member(leader).pause().await;
        // That long the leases are without it, so this is what is waited for.
        deletions.until(Instant::now() + 2 * ttl()).await;
        cluster.member(leader).resume().await;
        deletions.until(Instant::now() + 2 * ttl()).await;
        let lost: Vec<i64> =
            deletions.ids().into_iter().filter(|id| renewed.contains(id)).collect();
        assert_eq!(lost, Vec::<i64>::new(), "they were renewed all the time");
        paused_terms.push(leader);
    }
    let mut deletions = Deletions::watch(&cluster.endpoint(0)).await;
    deletions.count(usize::try_from(SILENT).unwrap()).await;
    assert_eq!(deletions.ids(), silent.collect::<BTreeSet<_>>(), "those that nobody renewed");
    let told = renewer.stop().await;
    eprintln!("{} renewals, {} failures, paused {paused_terms:?}", told.renewals, told.failures);
    assert_eq!(told.gone, Vec::<i64>::new());
    assert!(told.renewals > renewed.len() * 10, "hardly anything was renewed: {told:?}");
    let mut leasing = Leasing::at(&cluster.endpoint(1));
    eventually("the members to know all leases", SOON, async || {
        let listed: BTreeSet<i64> = leasing.list().await.into_iter().collect();
        (listed == renewed.iter().copied().collect()).then_some(())
    })
    .await;
    // Once nobody renews them any more, they go as well.
    deletions.count(usize::try_from(RENEWED + SILENT).unwrap()).await;
}

/// Leaders are killed while they end leases: what they had proposed and lost is proposed again, so
/// that all are gone in the end, each once, and none of them before its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_30_lost_revocations_are_repeated_by_the_next_leader() {
    const LEASES: i64 = 3_000;
    let mut cluster = Cluster::start(3).await;
    let all = usize::try_from(LEASES).unwrap();
    let leader = cluster.leader().await;
    let granted = grant(&cluster.endpoint(leader), 1..=LEASES, TTL).await;
    let mut seen = BTreeMap::new();
    for round in 1..=2 {
        let leader = cluster.leader().await;
        let mut deletions = Deletions::watch(&cluster.endpoint((leader + 1) % 3)).await;
        // Some are gone, others are on their way.
        deletions.count(seen.len() + 1).await;
        cluster.member(leader).kill();
        cluster.member(leader).ended().await;
        cluster.leader().await;
        // The watcher was at a member that lives, and the killed one comes back.
        cluster.member(leader).restart().await;
        deletions.until(Instant::now() + Duration::from_millis(100)).await;
        seen = deletions.seen;
        eprintln!("round {round}: {} of {all} were gone when the leader was killed", seen.len());
        if seen.len() == all {
            break;
        }
    }
    let mut deletions = Deletions::watch(&cluster.endpoint(0)).await;
    deletions.count(all).await;

    for (id, at) in &seen {
        let lived = at.duration_since(granted[id]) + Duration::from_secs(1);
        assert!(lived >= ttl(), "lease {id} ended {lived:?} after its grant");
    }
    let mut leasing = Leasing::at(&cluster.endpoint(0));
    assert_eq!(leasing.list().await, Vec::<i64>::new());
}

/// A leader is cut off from the others as leases run out, so that what it proposes is dropped, and
/// comes back: all are gone in the end, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_30_dropped_revocations_are_repeated() {
    const LEASES: i64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, proxies) = Cluster::prepare_proxied(folder, 3, Timing::Default).await;
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    let all = usize::try_from(LEASES).unwrap();
    for link in [Link::Silent, Link::Closed] {
        let leader = cluster.leader().await;
        let granted = grant(&cluster.endpoint(leader), 1..=LEASES, TTL).await;
        let mut leasing = Leasing::at(&cluster.endpoint((leader + 1) % 3));
        eventually("the last second of the first lease", SOON, async || {
            (leasing.time_to_live(1).await.unwrap().ttl <= 0).then_some(())
        })
        .await;

        // Nobody hears the others, so nothing is agreed upon, until long after the end of all.
        proxies.iter().for_each(|proxy| proxy.set(link));
        let last = granted.values().max().copied().unwrap();
        tokio::time::sleep_until(last + ttl() + Duration::from_secs(1)).await;
        proxies.iter().for_each(|proxy| proxy.set(Link::Open));

        eventually("the end of all leases", SOON, async || {
            let mut client = cluster.client_of_all().await;
            let option = etcd_client::GetOptions::new().with_prefix().with_count_only();
            (client.get("k", Some(option)).await.ok()?.count() == 0).then_some(())
        })
        .await;
        eventually("no lease to be listed", SOON, async || {
            leasing.list().await.is_empty().then_some(())
        })
        .await;
    }
    // Each key was put twice and deleted twice, and nothing else happened.
    let revision = cluster.client(0).await.get("k", None).await.unwrap();
    let revision = revision.header().unwrap().revision();
    assert_eq!(usize::try_from(revision).unwrap(), 1 + 4 * all);
}
