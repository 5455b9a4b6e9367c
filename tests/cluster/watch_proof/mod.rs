//! A million watch events, checked one by one.
//!
//! Three members are killed, paused and cut off from each other while clients write transactions and
//! leases, and observers watch with all sorts of options, each moving on to another member whenever
//! its stream breaks, and now and then without a reason. Afterwards the whole history is read from
//! every member, held against a replay and against what was acknowledged, and what every watcher was
//! shown must be exactly its part of the history: in order, once, each revision whole, nothing
//! missing, with the pairs before, and progress told only of what had come.

mod history;
mod observers;
mod writers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::harness::{Cluster, Link, Proxy, Timing, eventually};

use self::{history::History, observers::Observers, writers::Writers};

const SIZE: usize = 3;
/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(120);
/// Requests that must be answered between two faults, and while a minority is away.
const TRAFFIC: usize = 60;

/// A sequence that looks random and is the same for the same seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(bound).unwrap()).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Faults so far, by kind.
#[derive(Debug, Default)]
struct Faults {
    kills: usize,
    pauses: usize,
    cuts: usize,
}

/// Breaks something for a moment, and repairs it. Each kind of fault has its turn.
async fn strike(
    number: usize,
    cluster: &mut Cluster,
    proxies: &[Proxy],
    writers: &Writers,
    dice: &mut Dice,
    faults: &mut Faults,
) {
    let mut victim = dice.below(SIZE);
    let moment = Duration::from_millis(200 + u64::try_from(dice.below(1_800)).unwrap());
    match number % 6 {
        0 | 3 => {
            if number % 6 == 3 {
                victim = cluster.leader().await;
            }
            cluster.member(victim).kill();
            cluster.member(victim).ended().await;
            writers.advance(TRAFFIC).await;
            cluster.member(victim).spawn();
            faults.kills += 1;
        }
        // How long these last is what they are about.
        1 => {
            let link = dice.pick(&[Link::Silent, Link::Closed]);
            proxies[victim].set(link);
            sleep(moment).await;
            writers.advance(TRAFFIC).await;
            proxies[victim].set(Link::Open);
            faults.cuts += 1;
        }
        2 => {
            cluster.member(victim).pause().await;
            sleep(moment).await;
            cluster.member(victim).resume().await;
            faults.pauses += 1;
        }
        4 => {
            proxies.iter().for_each(|proxy| proxy.set(Link::Silent));
            sleep(moment).await;
            proxies.iter().for_each(|proxy| proxy.set(Link::Open));
            faults.cuts += SIZE;
        }
        _ => {
            for index in 0..SIZE {
                cluster.member(index).kill();
            }
            for index in 0..SIZE {
                cluster.member(index).ended().await;
                cluster.member(index).spawn();
            }
            faults.kills += SIZE;
        }
    }
}

/// Goes on until so many events were delivered and so many faults struck, and judges.
async fn prove(events: usize, strikes: usize, seed: u64) {
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let (mut cluster, proxies) = Cluster::prepare_proxied(folder, SIZE, Timing::Default).await;
    for index in 0..SIZE {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    let endpoints: Vec<String> = (0..SIZE).map(|index| cluster.endpoint(index)).collect();
    let delivered = Arc::<AtomicUsize>::default();
    let writers = Writers::start(&endpoints, seed);
    let observers = Observers::start(&endpoints, seed, &delivered);

    let (mut faults, mut struck) = (Faults::default(), 0);
    while struck < strikes || delivered.load(Ordering::SeqCst) < events {
        writers.advance(TRAFFIC + dice.below(3 * TRAFFIC)).await;
        if struck < strikes {
            strike(struck, &mut cluster, &proxies, &writers, &mut dice, &mut faults).await;
            struck += 1;
        }
    }
    writers.advance(TRAFFIC).await;
    let journal = writers.stop().await;
    cluster.leader().await;
    let last = at_rest(&cluster).await;
    let records = observers.finish(last).await;

    let history = History::read(&endpoints, last).await;
    history.check(&journal);
    let checked: usize = records.iter().map(|record| history.judge(record)).sum();
    let resumes: usize = records.iter().map(|record| record.resumes).sum();
    let bookmarks: usize = records.iter().map(|record| record.bookmarks.len()).sum();
    eprintln!(
        "seed {seed}: {checked} events checked on {} watchers, {last} revisions, {} acknowledged and {} unknown requests, {faults:?}, {resumes} resumes, {bookmarks} bookmarks",
        records.len(),
        journal.acknowledged.len(),
        journal.unknown,
    );
    assert!(checked >= events, "{checked} events");
    assert!(resumes > 2 * strikes && bookmarks > strikes, "hardly anything happened");
}

/// Waits for the end of all leases, after which nothing changes any more; the newest revision.
async fn at_rest(cluster: &Cluster) -> i64 {
    let mut client = cluster.client_of_all().await;
    eventually("an end of all leases", SOON, async || {
        let leases = client.leases().await.ok()?;
        if !leases.leases().is_empty() {
            return None;
        }
        Some(client.get("rest", None).await.ok()?.header()?.revision())
    })
    .await
}

/// Tens of thousands of events under a few faults: nothing twice, nothing missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_18_watchers_see_all_and_once_under_faults() {
    prove(50_000, 4, 0x51ab_0101).await;
}

/// A million events under many faults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn rr_18_a_million_events_are_seen_once() {
    prove(1_000_000, 40, 0x51ab_0102).await;
}
