//! Hand-overs that clients ask for, and clusters that are offered more than they take.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::Error;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::Code;

use crate::harness::{Cluster, eventually, leasing::Leasing, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// Leadership goes round while clients put on all members: every put is acknowledged, none is done
/// twice, and nobody is told of an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puts_survive_hand_overs() {
    const WRITERS: usize = 30;
    const HAND_OVERS: usize = 12;
    let cluster = Cluster::start(3).await;
    let mut ids = Vec::new();
    for index in 0..3 {
        let status = cluster.client(index).await.status().await.unwrap();
        ids.push(status.header().unwrap().member_id());
    }
    let (stop, puts) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = cluster.client(writer % 3).await;
        let (stop, puts) = (Arc::clone(&stop), Arc::clone(&puts));
        writers.spawn(async move {
            let mut own = 0_i64;
            while !stop.load(Ordering::SeqCst) {
                client.put(format!("w/{writer}"), own.to_string(), None).await.unwrap();
                own += 1;
                puts.fetch_add(1, Ordering::SeqCst);
            }
            own
        });
    }
    for _ in 0..HAND_OVERS {
        let goal = puts.load(Ordering::SeqCst) + 100;
        eventually("puts to get on", SOON, async || {
            (puts.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
        let leader = cluster.leader().await;
        cluster.client(leader).await.move_leader(ids[(leader + 1) % 3]).await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let mut counts = Vec::new();
    within("the end of all writers", SOON, async {
        while let Some(count) = writers.join_next().await {
            counts.push(count.unwrap());
        }
    })
    .await;
    let mut client = cluster.client_of_all().await;
    let option = etcd_client::GetOptions::new().with_prefix();
    let answer = client.get("w/", Some(option)).await.unwrap();
    let mut versions: Vec<i64> = answer.kvs().iter().map(|pair| pair.version()).collect();
    counts.sort_unstable();
    versions.sort_unstable();
    assert_eq!(versions, counts, "each put has its effect once");
}

/// What became of puts that were too many.
#[derive(Default)]
struct Offered {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    /// Waited for longer than a request may: on a slow machine what may wait takes longer than that.
    timed_out: AtomicU64,
    /// Anything else, which nobody should be told.
    odd: Mutex<BTreeMap<String, u64>>,
}

impl Offered {
    /// Every put was done, or clearly was not.
    fn assert_told(&self) {
        let [acknowledged, refused, timed_out] =
            [&self.acknowledged, &self.refused, &self.timed_out]
                .map(|it| it.load(Ordering::SeqCst));
        eprintln!("{acknowledged} acknowledged, {refused} refused, {timed_out} timed out");
        assert_eq!(*self.odd.lock().unwrap(), BTreeMap::new(), "neither done nor clearly refused");
        assert!(acknowledged > 0 && refused > 0, "that was not too much");
    }
}

/// One member is offered more than may wait there, for a while.
async fn overload(lasting: Duration) {
    /// More bytes than may wait on one member.
    const CLIENTS: usize = 700;
    const VALUE_BYTES: usize = 128 * 1024;
    const TTL: i64 = 3;
    /// What a member may have in memory beyond what it had before: the bound of what waits there,
    /// once in the queue and once as it comes in, the newest of the log, and the memtables.
    const GROWTH_KIB_MAX: u64 = 700 * 1024;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let term = cluster.client(leader).await.status().await.unwrap().raft_term();
    let before: Vec<u64> = (0..3).map(|index| cluster.member(index).resident_kib()).collect();
    let offered = Arc::<Offered>::default();
    let mut clients = JoinSet::new();
    let connections =
        [cluster.client(leader).await, cluster.client(leader).await, cluster.client(leader).await];
    let value = vec![b'v'; VALUE_BYTES];
    for number in 0..CLIENTS {
        let (mut client, offered) = (connections[number % 3].clone(), Arc::clone(&offered));
        let value = value.clone();
        clients.spawn(async move {
            while !offered.stop.load(Ordering::SeqCst) {
                match client.put(format!("k/{}", number % 50), value.clone(), None).await {
                    Ok(_) => drop(offered.acknowledged.fetch_add(1, Ordering::SeqCst)),
                    Err(Error::GRpcStatus(status))
                        if status.code() == Code::Unknown
                            && status.message() == "etcdserver: too many requests" =>
                    {
                        offered.refused.fetch_add(1, Ordering::SeqCst);
                        sleep(Duration::from_millis(100)).await;
                    }
                    Err(Error::GRpcStatus(status))
                        if status.message() == "etcdserver: request timed out" =>
                    {
                        offered.timed_out.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        *offered.odd.lock().unwrap().entry(error.to_string()).or_default() += 1;
                    }
                }
            }
        });
    }

    // Meanwhile a lease is kept, and others run out.
    let mut leasing = Leasing::at(&cluster.endpoint((leader + 1) % 3));
    eventually("a grant", SOON, async || leasing.grant(1, TTL).await.ok()).await;
    let mut renewals = leasing.keep_alive().await.unwrap();
    let (begun, mut most, mut slowest) = (Instant::now(), before.clone(), Duration::ZERO);
    while begun.elapsed() < lasting {
        sleep(Duration::from_millis(300)).await;
        let asked = Instant::now();
        renewals.ask(1).await;
        assert_eq!(renewals.answer().await.unwrap().ttl, TTL, "a lease that was renewed is gone");
        slowest = slowest.max(asked.elapsed());
        for (index, most) in most.iter_mut().enumerate() {
            *most = (*most).max(cluster.member(index).resident_kib());
        }
    }
    offered.stop.store(true, Ordering::SeqCst);
    within("the end of all clients", SOON, clients.join_all()).await;
    eprintln!("{before:?} to {most:?} KiB; the slowest renewal took {slowest:?}");
    offered.assert_told();
    for (before, most) in before.iter().zip(&most) {
        assert!(most - before <= GROWTH_KIB_MAX, "{before} KiB became {most} KiB");
    }
    let status = cluster.client(leader).await.status().await.unwrap();
    assert_eq!(status.raft_term(), term, "the leader stays");
    cluster.client(leader).await.put("after", "v", None).await.unwrap();
}

/// What is too much is refused in so many words; memory stays bounded, leases are renewed in time, and
/// the leader stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused() {
    overload(Duration::from_secs(8)).await;
}

/// The same for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn what_is_too_much_for_long_is_refused() {
    overload(Duration::from_secs(120)).await;
}
