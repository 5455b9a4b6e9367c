//! Reads of a running member, whose log and state are in memory.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    node::{
        Bounds, Error, Fencing, Handle, Initial, Metrics, MonotonicClock, RequestError, Settings,
        Sink, Slot, Threads, open,
        ports::{Asked, Checkpoint, Frame, Hashed, Peers, Promotion, Renewed, Span, TimeLeft},
        start,
        tests::disk::{MemoryLog, MemoryStore},
    },
    state::{
        Command, Member, Membership, Op, OpResponse, Range, Refused, RevisionFilter, Sort,
        SortOrder, SortTarget, Txn, mvcc,
        schema::cur,
        testing::{get, put, txn},
    },
    types::{
        BootNumber, ClusterId, Identity, Key, KeyRange, KeyValue, LeaseId, MemberId, Millis,
        Revision, limits::LARGE_READS_MAX,
    },
};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

/// Nobody else.
struct Alone;

impl Peers for Alone {
    fn send(&self, _: Vec<(MemberId, Frame)>) {}

    fn send_snapshot(&self, _: MemberId, _: Checkpoint, _: Bytes) {}

    fn set_members(&self, _: &Membership) {}

    fn connected_for(&self, _: MemberId) -> Option<Duration> {
        None
    }

    fn renew(&self, _: MemberId, _: Vec<LeaseId>) -> Asked<Vec<Renewed>> {
        Box::pin(async { Err(Error::NoLeader) })
    }

    fn time_left(&self, _: MemberId, _: LeaseId) -> Asked<Option<TimeLeft>> {
        Box::pin(async { Err(Error::NoLeader) })
    }

    fn promote(&self, _: MemberId, _: MemberId) -> Asked<Promotion> {
        Box::pin(async { Err(Error::NoLeader) })
    }

    fn state_hash(&self, _: MemberId, _: Span) -> Asked<Option<Hashed>> {
        Box::pin(async { Ok(None) })
    }
}

/// A member alone, on threads. Dropped, it stops.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    threads: Option<Threads>,
}

impl Running {
    /// With so many keys, each at a revision of its own.
    pub(crate) async fn with_keys(keys: usize) -> Self {
        let member = Self::start(Arc::default(), Arc::default());
        let puts = (0..keys).map(|number| member.propose(put(&name(number))));
        futures_util::future::join_all(puts).await;
        member
    }

    /// On this log and state.
    pub(super) fn start(log: Arc<MemoryLog>, store: Arc<MemoryStore>) -> Self {
        let first = Member { id: MemberId(1), ..Member::default() };
        let initial = Initial::Founding { cluster: ClusterId(7), members: vec![first] };
        let opened = open(&*log, &*store, &initial, Fencing::none(MemberId(1))).unwrap();
        let settings = Settings {
            heartbeat: Millis(10),
            election_timeout: Millis(100),
            ..Settings::new(ClusterId(7), MemberId(1), BootNumber(1))
        };
        let clock = Arc::new(MonotonicClock::default());
        let (handle, threads) =
            start(settings, Metrics::default(), clock, &opened, log, store, Arc::new(Alone))
                .unwrap();
        Self { handle, threads: Some(threads) }
    }

    pub(crate) async fn propose(&self, command: impl Into<Command>) {
        self.handle.propose(Identity::anonymous(), command.into()).await.unwrap();
    }

    /// What the state room answers.
    fn expected(&self, range: &Range) -> (Vec<KeyValue>, bool, i64) {
        let read = mvcc::range(&*self.handle.view().unwrap(), range).unwrap();
        (read.kvs, read.more, read.count)
    }

    /// What a read answers, and whether it was a large one.
    async fn listed(&self, range: &Range) -> ((Vec<KeyValue>, bool, i64), bool) {
        let read = self.handle.list(range.clone(), false, Pairs::default).await.unwrap();
        ((read.sink.0, read.more, read.count), read.slot.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown();
        let _ = self.threads.take().map(Threads::join);
    }
}

/// The pairs of the records.
#[derive(Debug, Default)]
struct Pairs(Vec<KeyValue>);

impl Sink for Pairs {
    fn take(&mut self, record: &[u8]) {
        self.0.push(cur::decode(&Bytes::copy_from_slice(record)).unwrap());
    }
}

fn name(number: usize) -> String {
    format!("key-{number:05}")
}

fn all() -> Range {
    Range { range: KeyRange::From(Key::MIN), ..get("k").0 }
}

/// Reads answer what the state room answers, on whichever thread and in however many attempts.
#[tokio::test]
async fn reads_of_every_weight_answer_the_same() {
    let member = Running::with_keys(2_500).await;
    let by_mod = Sort { order: SortOrder::Descend, target: SortTarget::Mod };
    let one = get(&name(7)).0;
    let small = KeyRange::prefix(Key::new("key-001").unwrap());
    for (range, large) in [
        (one.clone(), false),
        (Range { revision: 3, ..one }, false),
        (all(), true),
        (Range { range: small.clone(), ..all() }, false),
        (Range { limit: 1_000, ..all() }, false),
        (Range { limit: 1_001, ..all() }, true),
        (Range { count_only: true, ..all() }, false),
        (Range { sort: by_mod, limit: 3, ..all() }, true),
        (Range { sort: by_mod, range: small.clone(), limit: 3, ..all() }, false),
        (Range { filter: RevisionFilter { min_mod: 2_000, ..Default::default() }, ..all() }, true),
        (Range { revision: 2_000, ..all() }, true),
        (Range { revision: 2_000, limit: 10, ..all() }, false),
        (Range { revision: 2_000, count_only: true, ..all() }, false),
        (Range { keys_only: true, ..all() }, true),
    ] {
        assert_eq!(member.listed(&range).await, (member.expected(&range), large), "{range:?}");
    }
}

/// A few records that are large make a large read.
#[tokio::test]
async fn large_values_make_a_large_read() {
    let member = Running::with_keys(0).await;
    let value = "v".repeat(600_000);
    for name in ["a", "b"] {
        member.propose(put(name).value(&value)).await;
    }
    assert_eq!(member.listed(&all()).await, (member.expected(&all()), true));
    let first = Range { limit: 1, ..all() };
    assert_eq!(member.listed(&first).await, (member.expected(&first), false));
}

/// A part ends at its bounds, says which key comes next, and counts only when asked to.
#[tokio::test]
async fn parts_end_at_their_bounds() {
    let member = Running::with_keys(30).await;
    let record = cur::encode(&member.expected(&all()).0[0]).len();
    let part = async |range, counted, keys, bytes| {
        let bounds = Bounds { keys, bytes };
        let part = member.handle.list_part(range, counted, bounds, Pairs::default()).await.unwrap();
        assert_eq!(usize::try_from(part.taken).unwrap(), part.sink.0.len());
        (part.taken, part.next, part.more, part.count)
    };
    let next = |number| Some(Key::new(name(number)).unwrap());
    let limited = Range { limit: 10, ..all() };

    assert_eq!(part(all(), true, 10, usize::MAX).await, (10, next(10), false, 30));
    assert_eq!(part(all(), false, usize::MAX, record * 3).await, (3, next(3), false, 0));
    assert_eq!(part(all(), true, 5, 0).await, (1, next(1), false, 30));
    assert_eq!(part(all(), true, 30, usize::MAX).await, (30, None, false, 30));
    assert_eq!(part(limited.clone(), true, 10, usize::MAX).await, (10, None, true, 30));
    assert_eq!(part(limited, true, 9, usize::MAX).await, (9, next(9), false, 30));
}

/// There is a place for so many large answers; the next waits until one of them is gone.
#[tokio::test]
async fn large_answers_wait_for_a_place() {
    let member = Running::with_keys(1_100).await;
    let list = || member.handle.list(all(), true, Pairs::default);
    let mut held = Vec::new();
    for _ in 0..LARGE_READS_MAX {
        held.push(list().await.unwrap());
    }

    let mut waits = Box::pin(list());
    assert!(timeout(Duration::from_millis(50), &mut waits).await.is_err());
    assert!(member.handle.list(get("key-00001").0, true, Pairs::default).await.is_ok());
    held.pop();
    assert!(timeout(SOON, waits).await.unwrap().is_ok());
}

/// A place is not held for ever by a client that does not take its answer.
#[tokio::test]
async fn a_place_is_free_again_in_time() {
    let places = Arc::new(Semaphore::new(1));
    let permit = Arc::clone(&places).acquire_owned().await.unwrap();
    let slot = Slot::new(permit, Duration::from_millis(20));

    let free = timeout(SOON, Arc::clone(&places).acquire_owned()).await.unwrap().unwrap();
    drop(slot);

    let slot = Slot::new(free, SOON * 100);
    assert_eq!(places.available_permits(), 0);
    drop(slot);
    assert!(timeout(SOON, places.acquire()).await.unwrap().is_ok());
}

/// A sink that compacts the store while it is read.
#[derive(Debug)]
struct Compacting(Handle);

impl Sink for Compacting {
    fn take(&mut self, _: &[u8]) {
        self.0.shared().set_compacted(Revision(40));
    }
}

/// History that is compacted while it is read does not count; what is newest does.
#[tokio::test]
async fn history_compacted_under_a_read_does_not_count() {
    let member = Running::with_keys(50).await;
    let handle = &member.handle;
    let compacting = || Compacting(handle.clone());
    let bounds = Bounds { keys: 3, bytes: usize::MAX };
    let refused = |at| RequestError::from(Refused::Compacted(Revision(at)));

    for limit in [0, 5] {
        handle.shared().set_compacted(Revision::NEVER_COMPACTED);
        let old = Range { revision: 30, limit, ..all() };
        assert_eq!(handle.list(old.clone(), true, compacting).await.unwrap_err(), refused(30));
        handle.shared().set_compacted(Revision::NEVER_COMPACTED);
        let part = handle.list_part(old, false, bounds, compacting()).await;
        assert_eq!(part.unwrap_err(), refused(30));
    }
    let one = Range { revision: 30, ..get(&name(3)).0 };
    handle.shared().set_compacted(Revision::NEVER_COMPACTED);
    assert_eq!(handle.list(one.clone(), true, compacting).await.unwrap_err(), refused(30));
    let txn = txn().then(Op::Range(one)).0;
    assert_eq!(handle.read_txn(txn, true).await.unwrap_err(), refused(30));
    assert!(handle.list(all(), true, compacting).await.is_ok());
}

/// A transaction that reads much is answered as one that reads little; and what the branch taken
/// asks for is refused by that name, whatever the other branch asks for.
#[tokio::test]
async fn transactions_of_every_weight_answer_the_same() {
    let member = Running::with_keys(1_500).await;
    let short = Range { limit: 3, ..all() };
    for range in [get(&name(7)).0, short, all(), Range { revision: 900, ..all() }] {
        let txn = txn().then(Op::Range(range.clone())).0;
        let (_, response) = member.handle.read_txn(txn, true).await.unwrap();
        let [OpResponse::Range(_, read)] = &response.results[..] else { panic!("{response:?}") };
        assert_eq!((read.kvs.clone(), read.more, read.count), member.expected(&range));
    }

    member.handle.shared().set_compacted(Revision(40));
    let at = |revision| Op::Range(Range { revision, ..get(&name(7)).0 });
    let txn = Txn { failure: vec![at(5)], ..txn().then(at(9_999)).0 };
    let refused = member.handle.read_txn(txn, true).await.unwrap_err();
    assert_eq!(refused, RequestError::from(Refused::FutureRevision(Revision(9_999))));
}

/// A gate that is open or not.
#[derive(Default)]
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    /// Waits on a thread that may.
    fn pass(&self) {
        let open = self.0.lock().unwrap();
        let (_open, waited) = self.1.wait_timeout_while(open, SOON, |open| !*open).unwrap();
        assert!(!waited.timed_out());
    }
}

/// A sink that waits at a gate with its first record, and tells when it is gone.
struct Gated {
    gate: Arc<Gate>,
    taken: Arc<AtomicUsize>,
    gone: Arc<Gate>,
}

impl Sink for Gated {
    fn take(&mut self, _: &[u8]) {
        if self.taken.fetch_add(1, Ordering::SeqCst) == 0 {
            self.gate.pass();
        }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        self.gone.open();
    }
}

/// When nobody waits for a large read any more, it ends with the record it is at.
#[tokio::test]
async fn a_read_ends_when_nobody_waits_for_it() {
    let member = Running::with_keys(1_500).await;
    let (gate, gone, taken) = (Arc::<Gate>::default(), Arc::<Gate>::default(), Arc::default());
    let bounds = Bounds { keys: usize::MAX, bytes: usize::MAX };
    let sink =
        Gated { gate: Arc::clone(&gate), taken: Arc::clone(&taken), gone: Arc::clone(&gone) };

    let mut read = Box::pin(member.handle.list_part(all(), false, bounds, sink));
    assert!(timeout(Duration::from_millis(1), &mut read).await.is_err());
    drop(read);
    gate.open();
    gone.pass();

    assert!(taken.load(Ordering::SeqCst) <= 1, "{taken:?} records were taken");
}
