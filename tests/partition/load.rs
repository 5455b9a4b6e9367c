//! Clients at work: some that stay with a member, some that go from one to the next.
//!
//! With each member there is one that writes, one that reads, one that reads what the member itself
//! knows, and one that asks now and then and waits long for the answer: so a member that wakes up, or
//! is heard again, finds reads from the time before.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use quorate::{
    proto::etcdserverpb::kv_client::KvClient,
    sim::history::{Fate, KeyId, Operation, ValueId},
    types::MemberId,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

use crate::{
    client::{Ask, Client, KEYS},
    harness::{eventually_or, streams::channel, within},
};

/// How long things may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// How long an ordinary client waits for an answer, and one that waits long.
const PATIENCE: Duration = Duration::from_millis(500);
const LONG_PATIENCE: Duration = Duration::from_secs(25);
/// What lies between two requests of a client.
const PACE: Duration = Duration::from_millis(20);
const LONG_PACE: Duration = Duration::from_millis(250);
/// Clients that go from one member to the next.
const ROVERS: usize = 2;

#[derive(Clone, Copy)]
enum Role {
    Writer,
    Reader,
    Serializable,
    Rover,
}

/// A sequence that looks random and is the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u8) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u8::try_from((self.0 >> 11) % u64::from(bound)).unwrap()
    }

    fn key(&mut self) -> KeyId {
        KeyId(self.below(KEYS))
    }

    fn ask(&mut self, role: Role) -> Ask {
        let key = self.key();
        match role {
            Role::Writer => match self.below(8) {
                0..4 => Ask::Put(key),
                4..6 => Ask::Swap(key),
                6 => Ask::Remove(key),
                _ => Ask::Pair(key, KeyId((key.0 + 1) % KEYS)),
            },
            Role::Reader if self.below(3) == 0 => Ask::List { serializable: false },
            Role::Reader => Ask::Get { key, serializable: false },
            Role::Serializable if self.below(3) == 0 => Ask::List { serializable: true },
            Role::Serializable => Ask::Get { key, serializable: true },
            Role::Rover => {
                let role = [Role::Writer, Role::Writer, Role::Reader, Role::Serializable];
                let role = role[usize::from(self.below(4))];
                self.ask(role)
            }
        }
    }
}

/// Clients at work on keys of their own.
pub(crate) struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

struct Shared {
    prefix: String,
    start: Instant,
    stop: AtomicBool,
    values: AtomicU64,
    clients: AtomicU64,
    journal: Mutex<Vec<Operation>>,
    members: Vec<KvClient<Channel>>,
}

impl Load {
    /// Starts clients whose keys begin with `prefix`.
    pub(crate) fn start(urls: &[String], prefix: &str) -> Self {
        let shared = Arc::new(Shared {
            prefix: prefix.to_owned(),
            start: Instant::now(),
            stop: AtomicBool::new(false),
            values: AtomicU64::new(1),
            clients: AtomicU64::new(1),
            journal: Mutex::default(),
            members: urls.iter().map(|url| KvClient::new(channel(url))).collect(),
        });
        let mut tasks = JoinSet::new();
        for place in 0..urls.len() {
            for role in [Role::Writer, Role::Reader, Role::Serializable] {
                tasks.spawn(work(Arc::clone(&shared), role, place));
            }
            tasks.spawn(ask_patiently(Arc::clone(&shared), place));
        }
        for rover in 0..ROVERS {
            tasks.spawn(work(Arc::clone(&shared), Role::Rover, rover));
        }
        Self { shared, tasks }
    }

    /// Microseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.shared.now()
    }

    /// What clients did so far, of which `wanted` speaks.
    pub(crate) fn count(&self, wanted: impl Fn(&Operation) -> bool) -> usize {
        self.shared.journal.lock().unwrap().iter().filter(|op| wanted(op)).count()
    }

    /// When the first request that was called from `since` on and of which `wanted` speaks was
    /// answered.
    pub(crate) fn first_answer(
        &self,
        since: u64,
        wanted: impl Fn(&Operation) -> bool,
    ) -> Option<u64> {
        let journal = self.shared.journal.lock().unwrap();
        let late = journal.iter().filter(|op| op.called >= since && wanted(op));
        late.filter_map(Operation::returned).min()
    }

    /// Waits until clients were answered so many more writes, linearizable reads and serializable
    /// reads each by every one of these members. How long that took.
    pub(crate) async fn traffic(
        &self,
        members: &[usize],
        count: usize,
        limit: Duration,
    ) -> Duration {
        let since = self.now();
        let few = || {
            let kinds: [fn(&Operation) -> bool; 3] = [is_write, is_linearizable, is_serializable];
            let mut few = Vec::new();
            for place in members {
                let counts = kinds.map(|kind| {
                    self.count(|op| op.called >= since && kind(op) && is_done_by(op, *place))
                });
                if counts.iter().any(|found| *found < count) {
                    few.push((*place, counts));
                }
            }
            few
        };
        let what = || format!("{count} writes, reads, own reads; there are {:?}", few());
        eventually_or(what, limit, async || few().is_empty().then_some(())).await;
        Duration::from_micros(self.now() - since)
    }

    /// Ends all clients, and returns what they did.
    pub(crate) async fn stop(self) -> Vec<Operation> {
        self.shared.stop.store(true, Ordering::SeqCst);
        within("the end of all clients", SOON, self.tasks.join_all()).await;
        std::mem::take(&mut *self.shared.journal.lock().unwrap())
    }
}

/// Whether a member answered this.
pub(crate) fn is_done_by(op: &Operation, place: usize) -> bool {
    op.returned().is_some() && op.member == MemberId(u64::try_from(place).unwrap())
}

/// Whether this was a write, whatever came of it.
pub(crate) fn is_write(op: &Operation) -> bool {
    matches!(op.what, "put" | "swap" | "remove" | "pair")
}

/// Whether this changed something and was acknowledged.
pub(crate) fn is_acknowledged(op: &Operation) -> bool {
    is_write(op) && !op.wrote.is_empty() && op.returned().is_some()
}

pub(crate) fn is_linearizable(op: &Operation) -> bool {
    matches!(op.what, "get" | "list")
}

pub(crate) fn is_serializable(op: &Operation) -> bool {
    matches!(op.fate, Fate::Done { serializable: true, .. })
}

impl Shared {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    fn client(&self, patience: Duration) -> Client {
        let number = self.clients.fetch_add(1, Ordering::SeqCst);
        Client { number, prefix: self.prefix.clone(), patience, known: BTreeMap::new() }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    async fn call(&self, client: &mut Client, ask: Ask, place: usize, kv: &mut KvClient<Channel>) {
        let value = ValueId(self.values.fetch_add(1, Ordering::SeqCst));
        let operation = client.call(ask, value, place, kv, || self.now()).await;
        self.journal.lock().unwrap().push(operation);
    }
}

async fn work(shared: Arc<Shared>, role: Role, home: usize) {
    let mut client = shared.client(PATIENCE);
    let mut dice = Dice(client.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut members = shared.members.clone();
    let mut place = home;
    while !shared.stopped() {
        if matches!(role, Role::Rover) {
            place = usize::from(dice.below(u8::try_from(members.len()).unwrap()));
        }
        let ask = dice.ask(role);
        shared.call(&mut client, ask, place, &mut members[place]).await;
        sleep(PACE).await;
    }
}

async fn ask_patiently(shared: Arc<Shared>, place: usize) {
    let mut asked = JoinSet::new();
    let mut dice = Dice(0x51ab_0401);
    while !shared.stopped() {
        let (mut client, key) = (shared.client(LONG_PATIENCE), dice.key());
        let (shared, mut kv) = (Arc::clone(&shared), shared.members[place].clone());
        asked.spawn(async move {
            shared.call(&mut client, Ask::Get { key, serializable: false }, place, &mut kv).await;
        });
        sleep(LONG_PACE).await;
        while asked.try_join_next().is_some() {}
    }
    asked.join_all().await;
}
