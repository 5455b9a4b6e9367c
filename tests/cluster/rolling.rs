//! Members that are stopped and started again one after the other, as for an upgrade, under load.
//!
//! A stop hands over and answers what it was asked, so a client that turns to another member when one
//! is unavailable has nothing else to do: what failed had not happened. That is what is checked: no
//! request fails for good, and although each is repeated without looking, none has an effect twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, Error, GetOptions, Txn, TxnOp};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::harness::{
    Cluster, connect, eventually,
    streams::{WatchStream, channel, watcher_of_all},
    within,
};

const SOON: Duration = Duration::from_secs(120);
const CLIENTS: usize = 50;
/// All of them together send so many requests a second, where the machine allows it.
const PER_SECOND: u32 = 1_000;
/// A request that is repeated for so long has failed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// Before the next member is asked.
const PAUSE: Duration = Duration::from_millis(20);
const WATCHERS: usize = 3;
/// A watcher that hears nothing for so long goes elsewhere.
const IDLE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    repeated: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    /// Why requests were repeated.
    reasons: Mutex<BTreeMap<String, u64>>,
    slowest: Mutex<Duration>,
    /// Set when no further revision will come.
    last: AtomicI64,
}

/// A client with requests of its own, one at a time.
struct Requests {
    number: usize,
    endpoints: Vec<String>,
    clients: Vec<Client>,
    at: usize,
    shared: Arc<Shared>,
}

impl Requests {
    /// Sends requests until it is told to stop; how often it counted, under the name of its counter.
    async fn run(mut self) -> (String, i64) {
        let interval = Duration::from_secs(1) * u32::try_from(CLIENTS).unwrap() / PER_SECOND;
        let mut due = Instant::now() + Duration::from_millis(u64::try_from(self.number).unwrap());
        let mut puts = 0;
        for step in 0.. {
            if self.shared.stop.load(Ordering::SeqCst) {
                break;
            }
            sleep_until(due).await;
            let begun = due;
            due = (due + interval).max(Instant::now() - interval);
            if step % 4 == 3 {
                self.read(puts).await;
            } else {
                puts += 1;
                self.put(puts, step % 4 == 0).await;
            }
            self.shared.answered.fetch_add(1, Ordering::SeqCst);
            let mut slowest = self.shared.slowest.lock().unwrap();
            *slowest = slowest.max(begun.elapsed());
        }
        (self.counter(), i64::try_from(puts).unwrap())
    }

    fn counter(&self) -> String {
        format!("c/{}", self.number)
    }

    /// Puts a key of its own, and its counter; nothing looks whether that was done before.
    async fn put(&mut self, put: u64, apart: bool) {
        let (own, counter) = (format!("u/{}/{put}", self.number), self.counter());
        let value = put.to_string();
        if apart {
            for key in [own, counter] {
                self.repeat(|mut client| {
                    let (key, value) = (key.clone(), value.clone());
                    async move { client.put(key, value, None).await.map(drop) }
                })
                .await;
            }
            return;
        }
        let txn = Txn::new()
            .and_then([TxnOp::put(own, value.clone(), None), TxnOp::put(counter, value, None)]);
        self.repeat(|mut client| {
            let txn = txn.clone();
            async move { client.txn(txn).await.map(drop) }
        })
        .await;
    }

    /// Reads its counter, which nobody else changes.
    async fn read(&mut self, puts: u64) {
        let counter = self.counter();
        let read = self.repeat(|mut client| {
            let counter = counter.clone();
            async move { client.get(counter, None).await }
        });
        if let Some(answer) = read.await {
            let value = answer.kvs().first().map_or("0", |pair| pair.value_str().unwrap());
            assert_eq!(value, puts.to_string(), "client {} reads its own writes", self.number);
        }
    }

    /// What every client does: whatever is unavailable is asked of the next member.
    async fn repeat<T, F: Future<Output = Result<T, Error>>>(
        &mut self,
        request: impl Fn(Client) -> F,
    ) -> Option<T> {
        let deadline = Instant::now() + GIVE_UP_AFTER;
        loop {
            let error = match request(self.clients[self.at].clone()).await {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            };
            let reason = match &error {
                Error::GRpcStatus(status) => format!("{:?}: {}", status.code(), status.message()),
                other => other.to_string(),
            };
            *self.shared.reasons.lock().unwrap().entry(reason).or_default() += 1;
            self.shared.repeated.fetch_add(1, Ordering::SeqCst);
            if Instant::now() >= deadline {
                let mut failed = self.shared.failed.lock().unwrap();
                *failed.entry(error.to_string()).or_default() += 1;
                return None;
            }
            self.at = (self.at + 1) % self.endpoints.len();
            sleep(PAUSE).await;
        }
    }
}

/// Watches everything from the first revision on, from one member after the other, and notes what it
/// was shown: a key, and at which revision.
async fn observe(number: usize, endpoints: Vec<String>, shared: Arc<Shared>) -> Vec<(i64, String)> {
    let (mut seen, mut next) = (Vec::new(), 1);
    for url in endpoints.iter().cycle().skip(number) {
        let Ok(mut stream) = WatchStream::open(&channel(url)).await else {
            sleep(PAUSE).await;
            continue;
        };
        stream.create(watcher_of_all(next)).await;
        loop {
            let last = shared.last.load(Ordering::SeqCst);
            if last > 0 && next > last {
                return seen;
            }
            let Some(Ok(response)) = stream.message_within(IDLE).await else { break };
            assert!(!response.canceled, "a watcher is cancelled: {response:?}");
            for event in &response.events {
                let pair = event.kv.as_ref().unwrap();
                assert!(pair.mod_revision >= next, "{} again", pair.mod_revision);
                seen.push((pair.mod_revision, String::from_utf8(pair.key.to_vec()).unwrap()));
            }
            // A revision comes whole, in one response.
            if let Some(event) = response.events.last() {
                next = event.kv.as_ref().unwrap().mod_revision + 1;
            }
        }
    }
    seen
}

/// Restarts all members in turn, so many times, under load, and judges.
async fn roll(rounds: usize) {
    let mut cluster = Cluster::start(3).await;
    let endpoints: Vec<String> = (0..3).map(|index| cluster.endpoint(index)).collect();
    let shared = Arc::<Shared>::default();
    let (mut requests, mut watchers) = (JoinSet::new(), JoinSet::new());
    for number in 0..CLIENTS {
        let mut clients = Vec::new();
        for url in &endpoints {
            clients.push(connect(std::slice::from_ref(url)).await);
        }
        let (endpoints, shared) = (endpoints.clone(), Arc::clone(&shared));
        requests.spawn(Requests { number, endpoints, clients, at: number % 3, shared }.run());
    }
    for number in 0..WATCHERS {
        watchers.spawn(observe(number, endpoints.clone(), Arc::clone(&shared)));
    }
    let started = Instant::now();
    for _ in 0..rounds {
        for index in 0..3 {
            advance(&shared).await;
            cluster.member(index).terminate().await;
            let ended = cluster.member(index).ended().await;
            assert_eq!(ended.code(), Some(0), "{ended}");
            advance(&shared).await;
            cluster.member(index).restart().await;
            cluster.leader().await;
        }
    }
    advance(&shared).await;
    shared.stop.store(true, Ordering::SeqCst);
    let counted = within("the end of all requests", SOON, requests.join_all()).await;
    let counted = BTreeMap::from_iter(counted);
    let elapsed = started.elapsed();

    let mut client = cluster.client_of_all().await;
    let last = client.get("end", None).await.unwrap().header().unwrap().revision();
    shared.last.store(last, Ordering::SeqCst);
    // Something must come for those who wait for the last revision.
    client.put("end", "v", None).await.unwrap();
    let seen = within("the end of all watchers", SOON, watchers.join_all()).await;
    let answered = shared.answered.load(Ordering::SeqCst);
    eprintln!(
        "{rounds} rounds in {elapsed:?}: {answered} requests, {} repeated, the slowest took {:?}; {:?}",
        shared.repeated.load(Ordering::SeqCst),
        shared.slowest.lock().unwrap(),
        shared.reasons.lock().unwrap(),
    );
    assert_eq!(*shared.failed.lock().unwrap(), BTreeMap::new(), "failed for good");
    judge_effects(&mut client, &counted).await;
    judge_watchers(&seen, last);
}

/// Lets a second's worth of requests be answered.
async fn advance(shared: &Shared) {
    let goal = shared.answered.load(Ordering::SeqCst) + u64::from(PER_SECOND);
    eventually("requests to get on", SOON, async || {
        (shared.answered.load(Ordering::SeqCst) >= goal).then_some(())
    })
    .await;
}

/// Every key was put once, and every counter as often as its client counted.
async fn judge_effects(client: &mut Client, counted: &BTreeMap<String, i64>) {
    let versions = async |client: &mut Client, prefix: &str| -> BTreeMap<String, i64> {
        let answer = client.get(prefix, Some(GetOptions::new().with_prefix())).await.unwrap();
        let pairs = answer.kvs().iter();
        pairs.map(|pair| (pair.key_str().unwrap().to_owned(), pair.version())).collect()
    };
    assert_eq!(&versions(client, "c/").await, counted, "counted and acknowledged");
    let unique = versions(client, "u/").await;
    let doubled: Vec<_> = unique.iter().filter(|(_, version)| **version != 1).collect();
    assert!(doubled.is_empty(), "put more than once: {doubled:?}");
    let all = counted.values().sum::<i64>();
    assert_eq!(i64::try_from(unique.len()).unwrap(), all, "puts that are missing");
}

/// Every watcher was shown the same, each change once, in order, and no revision was left out.
fn judge_watchers(seen: &[Vec<(i64, String)>], last: i64) {
    for seen in seen {
        let shown: Vec<_> = seen.iter().filter(|(revision, _)| *revision <= last).collect();
        assert!(shown.is_sorted_by_key(|(revision, _)| *revision), "out of order");
        let distinct: BTreeSet<_> = shown.iter().collect();
        assert_eq!(distinct.len(), shown.len(), "a change was shown twice");
        let revisions: BTreeSet<i64> = shown.iter().map(|(revision, _)| *revision).collect();
        let all: BTreeSet<i64> = (2..=last).collect();
        let missing: Vec<_> = all.difference(&revisions).take(10).collect();
        assert!(missing.is_empty(), "revisions that were not shown: {missing:?}");
    }
}

/// One rolling restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_doubles_and_hides_nothing() {
    roll(1).await;
}

/// Many of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn rolling_restarts_fail_double_and_hide_nothing() {
    roll(20).await;
}
