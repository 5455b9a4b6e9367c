//! Clients that put, delete and attach to leases, several keys at a time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, PutOptions, Txn, TxnOp};
use tokio::{task::JoinSet, time::sleep};

use super::{Dice, SOON};
use crate::harness::{connect, eventually, within};

const WRITERS: usize = 6;
/// Keys below each of the prefixes.
const KEYS: usize = 20;
/// What all keys begin with.
const PREFIXES: [&str; 3] = ["a/", "b/", "c/"];
/// Operations of one request.
const OPERATIONS_MAX: usize = 10;
/// Short, so that leases run out on the way.
const TTL_SECONDS: i64 = 2;

/// What clients were told.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// For each request that was answered and put something: the revision, the value that all its
    /// puts have and nobody else's, and how many keys it put.
    pub(super) acknowledged: Vec<(i64, String, usize)>,
    /// Requests whose outcome nobody knows.
    pub(super) unknown: usize,
}

/// Clients at work.
pub(super) struct Writers {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
    journal: Mutex<Journal>,
}

impl Writers {
    pub(super) fn start(endpoints: &[String], seed: u64) -> Self {
        let shared = Arc::<Shared>::default();
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                number,
                dice: Dice::new(seed ^ u64::try_from(number).unwrap() << 32),
                at: number % endpoints.len(),
                endpoints: endpoints.to_vec(),
                lease: None,
                shared: Arc::clone(&shared),
            };
            tasks.spawn(writer.run());
        }
        Self { shared, tasks }
    }

    /// Waits until so many more requests are answered.
    pub(super) async fn advance(&self, requests: usize) {
        let answered = || self.shared.answered.load(Ordering::SeqCst);
        let goal = answered() + requests;
        eventually("writers to get on", SOON, async || (answered() >= goal).then_some(())).await;
    }

    /// Ends all clients, and returns what they were told.
    pub(super) async fn stop(self) -> Journal {
        self.shared.stop.store(true, Ordering::SeqCst);
        within("the end of all writers", SOON, self.tasks.join_all()).await;
        std::mem::take(&mut *self.shared.journal.lock().unwrap())
    }
}

struct Writer {
    number: usize,
    dice: Dice,
    at: usize,
    endpoints: Vec<String>,
    lease: Option<i64>,
    shared: Arc<Shared>,
}

impl Writer {
    async fn run(mut self) {
        let mut client = self.connect().await;
        for step in 0_usize.. {
            if self.shared.stop.load(Ordering::SeqCst) {
                return;
            }
            if self.step(step, &mut client).await.is_none() {
                sleep(Duration::from_millis(20)).await;
                self.at = (self.at + 1) % self.endpoints.len();
                client = self.connect().await;
            }
        }
    }

    async fn connect(&self) -> Client {
        connect(std::slice::from_ref(&self.endpoints[self.at])).await
    }

    /// One request, or none with which to go on here.
    async fn step(&mut self, step: usize, client: &mut Client) -> Option<()> {
        match self.lease {
            None if self.dice.below(4) == 0 => {
                self.lease = Some(client.lease_grant(TTL_SECONDS, None).await.ok()?.id());
            }
            Some(lease) if self.dice.below(50) == 0 => {
                self.lease = None;
                client.lease_revoke(lease).await.ok()?;
            }
            None | Some(_) => {}
        }

        let value = format!("{}-{step}", self.number);
        let (operations, puts) = self.operations(&value);
        match client.txn(Txn::new().and_then(operations)).await {
            Ok(answer) => {
                let revision = answer.header().unwrap().revision();
                if puts > 0 {
                    let mut journal = self.shared.journal.lock().unwrap();
                    journal.acknowledged.push((revision, value, puts));
                }
                self.shared.answered.fetch_add(1, Ordering::SeqCst);
                Some(())
            }
            // The lease has run out, or was granted by nobody who is still there.
            Err(error) if error.to_string().contains("lease not found") => {
                self.lease = None;
                Some(())
            }
            Err(_) => {
                self.shared.journal.lock().unwrap().unknown += 1;
                None
            }
        }
    }

    /// Operations on different keys, and how many of them put.
    fn operations(&mut self, value: &str) -> (Vec<TxnOp>, usize) {
        let count = 1 + self.dice.below(OPERATIONS_MAX);
        let (first, mut puts) = (self.dice.below(PREFIXES.len() * KEYS), 0);
        let operation = |number: usize| {
            // A step without a common factor with the number of keys meets each of them once.
            let place = (first + number * 7) % (PREFIXES.len() * KEYS);
            let key = format!("{}{:02}", PREFIXES[place % PREFIXES.len()], place / PREFIXES.len());
            let kind = self.dice.below(10);
            if kind < 3 {
                return TxnOp::delete(key, None);
            }
            puts += 1;
            let lease = self.lease.filter(|_| kind == 3);
            TxnOp::put(key, value, lease.map(|lease| PutOptions::new().with_lease(lease)))
        };
        let operations = (0..count).map(operation).collect();
        (operations, puts)
    }
}
