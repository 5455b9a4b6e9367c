//! Clients that put, delete, compact, grant leases and run transactions until they are told to stop.

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{
    Client, Compare, CompareOp, LeaseGrantOptions, PutOptions, ResponseHeader, Txn, TxnOp,
};
use tokio::task::JoinSet;

use crate::{
    harness::{connect, eventually, within},
    journal::{Journal, Outcome},
};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// Longer than any test.
const TTL_SECONDS: i64 = 3_600;
/// Requests between two compactions, and how many revisions they leave.
const COMPACT_EVERY: usize = 50;
const COMPACT_LEAVES: i64 = 20;

/// What a client does once a request has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// It ends: there is nobody left to talk to.
    End,
    /// It goes on with the next member.
    GoOn,
}

/// Clients at work.
pub(crate) struct Load {
    writers: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    stop: AtomicBool,
    pause: AtomicBool,
    acknowledged: AtomicUsize,
    journal: Mutex<Journal>,
    endpoints: Vec<String>,
    after_failure: AfterFailure,
    value_len: usize,
}

impl Load {
    /// Starts so many clients, each of which puts keys of its own.
    pub(crate) fn start(
        endpoints: Vec<String>,
        writers: usize,
        value_len: usize,
        after_failure: AfterFailure,
    ) -> Self {
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            acknowledged: AtomicUsize::new(0),
            journal: Mutex::default(),
            endpoints,
            after_failure,
            value_len,
        });
        let mut set = JoinSet::new();
        for number in 0..writers {
            set.spawn(write(Arc::clone(&shared), number));
        }
        Self { writers: set, shared }
    }

    /// Requests that were answered so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until so many more requests are answered.
    pub(crate) async fn advance(&self, more: usize) {
        let goal = self.acknowledged() + more;
        eventually("clients to get on", SOON, async || (self.acknowledged() >= goal).then_some(()))
            .await;
    }

    /// Lets clients rest after the request at hand, or go on.
    pub(crate) fn pause(&self, pause: bool) {
        self.shared.pause.store(pause, Ordering::SeqCst);
    }

    /// What clients were told so far.
    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.shared.journal.lock().unwrap()
    }

    /// Ends all clients, and returns what they were told.
    pub(crate) async fn stop(mut self) -> Journal {
        self.shared.stop.store(true, Ordering::SeqCst);
        within("the end of all clients", SOON, async {
            while let Some(ended) = self.writers.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        std::mem::take(&mut *self.shared.journal.lock().unwrap())
    }
}

struct Writer {
    shared: Arc<Shared>,
    number: usize,
    client: Client,
    endpoint: usize,
}

async fn write(shared: Arc<Shared>, number: usize) {
    let endpoint = number % shared.endpoints.len();
    let client = connect(std::slice::from_ref(&shared.endpoints[endpoint])).await;
    let mut writer = Writer { shared, number, client, endpoint };
    let mut step = 0;
    while !writer.shared.stop.load(Ordering::SeqCst) {
        if writer.shared.pause.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        if writer.step(step).await.is_none() && !writer.go_on().await {
            return;
        }
        step += 1;
    }
}

impl Writer {
    /// One request; each key is put once in the life of the cluster.
    async fn step(&mut self, step: usize) -> Outcome {
        let key = |part: &str, step: usize| format!("w{}/{step:06}{part}", self.number);
        let value =
            format!("{:0>len$}", format!("{}-{step}", self.number), len = self.shared.value_len);
        if self.number == 0 && step % COMPACT_EVERY == COMPACT_EVERY - 1 {
            // Every other time the disk is to be rid of it as well, while all goes on.
            if step / COMPACT_EVERY % 2 == 1 {
                let _ = self.client.defragment().await;
            }
            return self.compact().await;
        }
        match step % 8 {
            // What was put two steps before.
            5 if step > 8 && self.is_put(&key("", step - 2)) => {
                self.delete(key("", step - 2)).await
            }
            6 => self.pair(key("a", step), key("b", step), value).await,
            7 => self.attach(key("", step), value, step).await,
            _ => self.put(key("", step), value, None).await,
        }
    }

    fn is_put(&self, key: &str) -> bool {
        self.shared.journal.lock().unwrap().was_acknowledged(key)
    }

    async fn put(&mut self, key: String, value: String, lease: Option<i64>) -> Outcome {
        let option = lease.map(|id| PutOptions::new().with_lease(id));
        let answer = self.client.put(key.as_str(), value.as_str(), option).await.ok();
        let outcome = answer.and_then(|answer| revision(answer.header()));
        self.note(outcome, |journal| journal.put(&key, &value, outcome))
    }

    async fn delete(&mut self, key: String) -> Outcome {
        let answer = self.client.delete(key.as_str(), None).await.ok();
        let outcome = answer.and_then(|answer| revision(answer.header()));
        self.note(outcome, |journal| journal.delete(&key, outcome))
    }

    async fn pair(&mut self, one: String, other: String, value: String) -> Outcome {
        let txn = Txn::new()
            .when([Compare::create_revision(one.as_str(), CompareOp::Equal, 0)])
            .and_then([
                TxnOp::put(one.as_str(), value.as_str(), None),
                TxnOp::put(other.as_str(), value.as_str(), None),
            ]);
        let answer = self.client.txn(txn).await.ok();
        let outcome = answer.and_then(|answer| {
            assert!(answer.succeeded(), "{one} was there before it was put");
            revision(answer.header())
        });
        self.note(outcome, |journal| journal.pair(&one, &other, &value, outcome))
    }

    async fn attach(&mut self, key: String, value: String, step: usize) -> Outcome {
        let id = i64::try_from(self.number * 1_000_000 + step).unwrap();
        let option = LeaseGrantOptions::new().with_id(id);
        let answer = self.client.lease_grant(TTL_SECONDS, Some(option)).await.ok();
        let outcome = answer.and_then(|answer| revision(answer.header()));
        self.note(outcome, |journal| journal.lease(id, outcome))?;
        self.put(key, value, Some(id)).await
    }

    async fn compact(&mut self) -> Outcome {
        let to = self.shared.journal.lock().unwrap().revision() - COMPACT_LEAVES;
        if to <= 1 {
            return Some(to);
        }
        let answer = self.client.compact(to, None).await;
        let outcome = answer.ok().and_then(|answer| revision(answer.header()));
        self.note(outcome, |journal| journal.compact(to, outcome))
    }

    fn note(&self, outcome: Outcome, write: impl FnOnce(&mut Journal)) -> Outcome {
        write(&mut self.shared.journal.lock().unwrap());
        if outcome.is_some() {
            self.shared.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        outcome
    }

    /// Turns to the next member, if that makes sense.
    async fn go_on(&mut self) -> bool {
        if self.shared.after_failure == AfterFailure::End {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.endpoint = (self.endpoint + 1) % self.shared.endpoints.len();
        let endpoint = &self.shared.endpoints[self.endpoint];
        self.client = connect(std::slice::from_ref(endpoint)).await;
        true
    }
}

fn revision(header: Option<&ResponseHeader>) -> Outcome {
    Some(header.unwrap().revision())
}
