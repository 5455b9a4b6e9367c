//! Load that runs beside a story, and what can be said of it afterwards: no request failed for good,
//! none had an effect twice although each was repeated without looking, and watchers that go from member
//! to member were shown everything, once, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, Compare, CompareOp, Error, GetOptions, Txn, TxnOp};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::harness::{
    connect, eventually,
    streams::{WatchStream, channel, watcher_of_all},
    within,
};

const SOON: Duration = Duration::from_secs(120);
const CLIENTS: usize = 50;
/// All of them together send so many requests a second, where the machine allows it.
pub(crate) const PER_SECOND: u32 = 1_000;
/// A request that is repeated for so long has failed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(15);
/// Keys that are read at a time.
const PAGE_KEYS: i64 = 10_000;
/// Before the next member is asked.
const PAUSE: Duration = Duration::from_millis(20);
/// A member that cannot be reached for so long is passed over.
const CONNECT: Duration = Duration::from_secs(2);
const WATCHERS: usize = 3;
/// A watcher that hears nothing for so long goes elsewhere.
const IDLE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Shared {
    /// Whom requests are sent to.
    endpoints: Mutex<Vec<String>>,
    stop: AtomicBool,
    answered: AtomicU64,
    repeated: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    /// Why requests were repeated.
    reasons: Mutex<BTreeMap<String, u64>>,
    slowest: Mutex<Duration>,
    /// Set when no further revision will come.
    last: AtomicI64,
    /// Each request looks whether it was carried out before.
    guarded: AtomicBool,
}

impl Shared {
    /// A member, the next one for the next number.
    fn endpoint(&self, at: usize) -> String {
        let endpoints = self.endpoints.lock().unwrap();
        endpoints[at % endpoints.len()].clone()
    }
}

/// Clients and watchers that go on until they are told to end.
pub(crate) struct Load {
    shared: Arc<Shared>,
    requests: JoinSet<(String, i64)>,
    watchers: JoinSet<Vec<(i64, String)>>,
    started: Instant,
}

impl Load {
    /// Load on these members. `guarded`: a request looks whether it was carried out before, as it
    /// must where members are killed, which answer nobody.
    pub(crate) fn start(endpoints: Vec<String>, guarded: bool) -> Self {
        let shared = Arc::<Shared>::default();
        *shared.endpoints.lock().unwrap() = endpoints;
        shared.guarded.store(guarded, Ordering::SeqCst);
        let (mut requests, mut watchers) = (JoinSet::new(), JoinSet::new());
        for number in 0..CLIENTS {
            let shared = Arc::clone(&shared);
            requests.spawn(Requests { number, at: number, client: None, shared }.run());
        }
        for number in 0..WATCHERS {
            watchers.spawn(observe(number, Arc::clone(&shared)));
        }
        Self { shared, requests, watchers, started: Instant::now() }
    }

    /// Whom requests go to from now on, where a client turns to another member.
    pub(crate) fn goes_to(&self, endpoints: Vec<String>) {
        *self.shared.endpoints.lock().unwrap() = endpoints;
    }

    /// Lets a second's worth of requests be answered.
    pub(crate) async fn advance(&self) {
        let goal = self.shared.answered.load(Ordering::SeqCst) + u64::from(PER_SECOND);
        eventually("requests to get on", SOON, async || {
            (self.shared.answered.load(Ordering::SeqCst) >= goal).then_some(())
        })
        .await;
    }

    /// Ends it and judges: nothing failed, was lost, was done twice or was not shown.
    pub(crate) async fn judge(self, client: &mut Client) {
        let Self { shared, requests, watchers, started } = self;
        shared.stop.store(true, Ordering::SeqCst);
        let counted = within("the end of all requests", SOON, requests.join_all()).await;
        let counted = BTreeMap::from_iter(counted);
        let last = client.get("end", None).await.unwrap().header().unwrap().revision();
        shared.last.store(last, Ordering::SeqCst);
        // Something must come for those who wait for the last revision.
        client.put("end", "v", None).await.unwrap();
        let seen = within("the end of all watchers", SOON, watchers.join_all()).await;
        eprintln!(
            "{} requests in {:?}, {} repeated, the slowest took {:?}; {:?}",
            shared.answered.load(Ordering::SeqCst),
            started.elapsed(),
            shared.repeated.load(Ordering::SeqCst),
            shared.slowest.lock().unwrap(),
            shared.reasons.lock().unwrap(),
        );
        assert_eq!(*shared.failed.lock().unwrap(), BTreeMap::new(), "failed for good");
        judge_effects(client, &counted).await;
        judge_watchers(&seen, last);
    }
}

/// A client with requests of its own, one at a time.
struct Requests {
    number: usize,
    at: usize,
    client: Option<Client>,
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

    /// Puts a key of its own, and its counter. Nothing looks whether that was done before, but for
    /// requests that are guarded.
    async fn put(&mut self, put: u64, apart: bool) {
        let (own, counter) = (format!("u/{}/{put}", self.number), self.counter());
        let value = put.to_string();
        let guarded = self.shared.guarded.load(Ordering::SeqCst);
        if apart && !guarded {
            for key in [own, counter] {
                self.repeat(|mut client| {
                    let (key, value) = (key.clone(), value.clone());
                    async move { client.put(key, value, None).await.map(drop) }
                })
                .await;
            }
            return;
        }
        let new = Compare::version(own.clone(), CompareOp::Equal, 0);
        let puts = [TxnOp::put(own, value.clone(), None), TxnOp::put(counter, value, None)];
        let txn = Txn::new().when(guarded.then_some(new).into_iter().collect::<Vec<_>>());
        let txn = txn.and_then(puts);
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
            let reason = match self.client().await {
                Some(client) => match request(client).await {
                    Ok(answer) => return Some(answer),
                    Err(Error::GRpcStatus(status)) => {
                        format!("{:?}: {}", status.code(), status.message())
                    }
                    Err(other) => other.to_string(),
                },
                None => "cannot be reached".to_owned(),
            };
            *self.shared.reasons.lock().unwrap().entry(reason.clone()).or_default() += 1;
            self.shared.repeated.fetch_add(1, Ordering::SeqCst);
            if Instant::now() >= deadline {
                *self.shared.failed.lock().unwrap().entry(reason).or_default() += 1;
                return None;
            }
            (self.at, self.client) = (self.at + 1, None);
            sleep(PAUSE).await;
        }
    }

    /// Whom it talks to.
    async fn client(&mut self) -> Option<Client> {
        if self.client.is_none() {
            let url = self.shared.endpoint(self.at);
            self.client = timeout(CONNECT, connect(&[url])).await.ok();
        }
        self.client.clone()
    }
}

/// Watches everything from the first revision on, from one member after the other, and notes what it
/// was shown: a key, and at which revision.
async fn observe(number: usize, shared: Arc<Shared>) -> Vec<(i64, String)> {
    let (mut seen, mut next) = (Vec::new(), 1);
    for at in number.. {
        let Ok(mut stream) = WatchStream::open(&channel(&shared.endpoint(at))).await else {
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

/// Every key was put once, and every counter as often as its client counted.
async fn judge_effects(client: &mut Client, counted: &BTreeMap<String, i64>) {
    assert_eq!(&versions(client, "c/", "c0").await, counted, "counted and acknowledged");
    let unique = versions(client, "u/", "u0").await;
    let doubled: Vec<_> = unique.iter().filter(|(_, version)| **version != 1).collect();
    assert!(doubled.is_empty(), "put more than once: {doubled:?}");
    let all = counted.values().sum::<i64>();
    assert_eq!(i64::try_from(unique.len()).unwrap(), all, "puts that are missing");
}

/// The versions of all keys from `first` up to `end`, in pages, for a client takes no answer of all.
async fn versions(client: &mut Client, first: &str, end: &str) -> BTreeMap<String, i64> {
    let (mut found, mut from) = (BTreeMap::new(), first.to_owned());
    loop {
        let page = GetOptions::new().with_range(end).with_limit(PAGE_KEYS).with_keys_only();
        let answer = client.get(from.as_str(), Some(page)).await.unwrap();
        let pairs = answer.kvs().iter();
        found.extend(pairs.map(|pair| (pair.key_str().unwrap().to_owned(), pair.version())));
        match answer.kvs().last() {
            Some(last) if answer.more() => from = format!("{}\0", last.key_str().unwrap()),
            Some(_) | None => return found,
        }
    }
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
