//! Puts that are begun at a fixed rate, whatever became of those before.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};
use tonic::{Code, Status};

use super::journal::Journal;
use crate::{
    cli::{
        Error,
        bench::{call::Caller, keys::value},
    },
    proto::etcdserverpb::PutRequest,
};

/// Puts under way; a cluster that answers none for ten seconds is not measured any better by more.
const UNDER_WAY_MAX: usize = 20_000;
/// A member that does not answer for so long is given up, and the next one asked.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// A put that nobody took for so long has failed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);
/// Before the next member is asked when all of them are unavailable.
const PAUSE: Duration = Duration::from_millis(10);
/// How often those who wait for an acknowledgement look for it.
const LOOK_EVERY: Duration = Duration::from_millis(2);
const KEYS: u64 = 10_000;
const VALUE_BYTES: usize = 256;

/// Puts that go on until they are stopped.
pub(super) struct Writers {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

struct Shared {
    /// The connections to each member.
    callers: Vec<Vec<Caller>>,
    /// Puts that are under way, by their numbers, with when they were due.
    under_way: Mutex<BTreeMap<u64, Instant>>,
    journal: Mutex<Journal>,
    failures: Mutex<BTreeMap<String, u64>>,
    /// How often a member was unavailable and another one was asked.
    moved_on: AtomicU64,
}

impl Writers {
    pub(super) fn start(callers: Vec<Vec<Caller>>, rate: u64) -> Self {
        let shared = Arc::new(Shared {
            callers,
            under_way: Mutex::default(),
            journal: Mutex::default(),
            failures: Mutex::default(),
            moved_on: AtomicU64::new(0),
        });
        let running = tokio::spawn(begin(Arc::clone(&shared), rate));
        Self { shared, running }
    }

    /// Forgets what was acknowledged so far.
    pub(super) fn forget(&self) {
        lock(&self.shared.journal).forget();
    }

    /// Waits for an acknowledgement after this time.
    pub(super) async fn acknowledged_after(
        &self,
        time: Instant,
        limit: Duration,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        while lock(&self.shared.journal).newest().is_none_or(|newest| newest <= time) {
            if Instant::now() >= deadline {
                return Err(Error::failed("no put is acknowledged any more"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until every put that was due by then has come to an end; none takes for ever.
    pub(super) async fn ended_until(&self, time: Instant) {
        while lock(&self.shared.under_way).values().next().is_some_and(|due| *due <= time) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// The longest time without an acknowledgement, and the longest that a put took.
    pub(super) fn longest_between(&self, from: Instant, until: Instant) -> (Duration, Duration) {
        lock(&self.shared.journal).longest(from, until)
    }

    /// Begins nothing any more; what failed, and how often a put went on to another member.
    pub(super) fn stop(self) -> (BTreeMap<String, u64>, u64) {
        self.running.abort();
        let failures = std::mem::take(&mut *lock(&self.shared.failures));
        (failures, self.shared.moved_on.load(Ordering::Relaxed))
    }
}

/// Begins puts when they are due.
async fn begin(shared: Arc<Shared>, rate: u64) {
    let mut due = interval(Duration::from_nanos(1_000_000_000 / rate.max(1)));
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        let due = due.tick().await;
        {
            let mut under_way = lock(&shared.under_way);
            if under_way.len() >= UNDER_WAY_MAX {
                shared.failed("too many puts are under way".to_owned());
                continue;
            }
            under_way.insert(number, due);
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            match timeout(GIVE_UP_AFTER, shared.put(number)).await {
                Ok(Ok(())) => lock(&shared.journal).acknowledged(due, Instant::now()),
                Ok(Err(status)) => {
                    shared.failed(format!("{:?}: {}", status.code(), status.message()));
                }
                Err(_) => shared.failed("no answer in time".to_owned()),
            }
            lock(&shared.under_way).remove(&number);
        });
    }
}

impl Shared {
    /// Puts on one member, or on the next ones while those are unavailable.
    async fn put(&self, number: u64) -> Result<(), Status> {
        let key = Bytes::from(format!("bench/failover/{:06}", number % KEYS));
        let value = value(number, VALUE_BYTES);
        let request = PutRequest { key, value, ..PutRequest::default() };
        let first = usize::try_from(number).unwrap_or_default();
        for attempt in 0.. {
            let members = self.callers.iter().cycle().skip((first + attempt) % self.callers.len());
            let mut connections = members.take(1).flatten();
            // Not by the same remainder, or each member would use some connections only.
            let place = first / self.callers.len();
            let count = self.callers.first().map_or(1, Vec::len);
            let Some(caller) = connections.nth(place % count) else { break };
            let answer = timeout(ANSWER_WITHIN, caller.clone().call(&request, |_| Ok(()))).await;
            match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(status)) if status.code() != Code::Unavailable => return Err(status),
                Ok(Err(_)) | Err(_) => {
                    self.moved_on.fetch_add(1, Ordering::Relaxed);
                    if attempt % self.callers.len() == self.callers.len() - 1 {
                        sleep(PAUSE).await;
                    }
                }
            }
        }
        Err(Status::unavailable("there are no members"))
    }

    fn failed(&self, message: String) {
        *lock(&self.failures).entry(message).or_default() += 1;
    }
}

/// What is inside stays readable when whoever held it has panicked: the run has failed anyway.
fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
