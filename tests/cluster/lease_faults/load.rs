//! Leases beside much else.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{GetOptions, PutOptions};
use tokio::{task::JoinSet, time::Instant};

use super::{Deletions, SOON, grant};
use crate::harness::{Cluster, leasing::Leasing, within};

/// More puts than the cluster can take, and leases that run out meanwhile: they do not wait for their
/// turn behind the puts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_34_leases_end_in_time_under_overload() {
    const WRITERS: usize = 256;
    const VALUE_LEN: usize = 1_024;
    const LEASES: i64 = 400;
    const TTL: i64 = 3;
    /// What is allowed between the end of the time and the deletion that a watcher sees.
    const DELAY_P99_MAX: Duration = Duration::from_secs(2);
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let (stop, puts) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let mut writers = JoinSet::new();
    let clients = [cluster.client(0).await, cluster.client(1).await, cluster.client(2).await];
    for writer in 0..WRITERS {
        let (mut client, stop, puts) = (clients[writer % 3].clone(), stop.clone(), puts.clone());
        writers.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                if client.put(format!("w/{writer}"), vec![b'v'; VALUE_LEN], None).await.is_ok() {
                    puts.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    // The watch is of what the leases hold, on a connection of its own, so that it is not the watch
    // that is late.
    let mut deletions = Deletions::watch_prefix(&cluster.endpoint(leader)).await;
    let started = (Instant::now(), puts.load(Ordering::SeqCst));
    let granted = grant(&cluster.endpoint(leader), 1..=LEASES, TTL).await;
    deletions.count(usize::try_from(LEASES).unwrap()).await;
    let per_second =
        (puts.load(Ordering::SeqCst) - started.1) as f64 / started.0.elapsed().as_secs_f64();
    stop.store(true, Ordering::SeqCst);
    within("all writers to end", SOON, async { while writers.join_next().await.is_some() {} })
        .await;

    let ttl = Duration::from_secs(u64::try_from(TTL).unwrap());
    let mut delays: Vec<Duration> = granted
        .iter()
        .map(|(id, granted)| deletions.seen[id].saturating_duration_since(*granted + ttl))
        .collect();
    delays.sort_unstable();
    let (median, p99) = (delays[delays.len() / 2], delays[delays.len() * 99 / 100]);
    eprintln!("{per_second:.0} puts/s; leases ended late by {median:?}, p99 {p99:?}");
    assert!(p99 <= DELAY_P99_MAX, "p99 {p99:?}");
}

/// Grants, attachments, renewals and revocations of a few leases cross each other; then what hangs on
/// what is consistent on every member, and nothing hangs on a lease that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_32_requests_that_cross_leave_no_orphan() {
    const WORKERS: u64 = 12;
    const LEASES: u64 = 5;
    const REQUESTS: u64 = 250;
    let cluster = Cluster::start(3).await;
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let url = cluster.endpoint(usize::try_from(worker).unwrap() % 3);
        workers.spawn(async move {
            let mut client = crate::harness::connect(std::slice::from_ref(&url)).await;
            let mut leasing = Leasing::at(&url);
            let mut number = worker.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            for _ in 0..REQUESTS {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                let id = i64::try_from(1 + (number >> 8) % LEASES).unwrap();
                let key = format!("k{}", (number >> 16) % 30);
                // Most of them may be refused, for what they name may be gone.
                match number % 8 {
                    0 | 1 => drop(leasing.grant(id, 600).await),
                    2 => drop(leasing.revoke(id).await),
                    3 => {
                        leasing.renew(id).await.unwrap();
                    }
                    4 => drop(client.delete(key, None).await.unwrap()),
                    5 => drop(client.put(key, "v", None).await.unwrap()),
                    _ => {
                        drop(client.put(key, "v", Some(PutOptions::new().with_lease(id))).await);
                    }
                }
            }
        });
    }
    within("all workers to end", SOON, workers.join_all()).await;

    for index in 0..cluster.len() {
        let mut client = cluster.client(index).await;
        let mut leasing = Leasing::at(&cluster.endpoint(index));
        let pairs = client.get("k", Some(GetOptions::new().with_prefix())).await.unwrap();
        let mut keys_of: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for pair in pairs.kvs().iter().filter(|pair| pair.lease() != 0) {
            keys_of.entry(pair.lease()).or_default().push(pair.key_str().unwrap().to_owned());
        }
        let listed = leasing.list().await;
        for (id, keys) in &keys_of {
            assert!(listed.contains(id), "{keys:?} hang on lease {id}, which is not there");
        }
        for id in listed {
            let keys = keys_of.remove(&id).unwrap_or_default();
            assert_eq!(leasing.keys(id).await, keys, "the keys of lease {id} at {index}");
        }
    }
}
