//! [`Figures`]: how much was asked, applied and read, by kind, and how long it took.
//!
//! They are counted where requests come by, so with atomic additions alone. Who shows them gives
//! them names; see `server`.

use std::{array, sync::Arc};

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use crate::{
    node::{Handle, ports::Promotion},
    state::{Command, LeaseChange, OpResponse, Response, RevokeCause, TxnResponse},
    types::{Distribution, Event, EventKind, distribution::doubling},
};

/// Bounds of what takes from 0.1 ms to a minute, in microseconds; etcd's.
static WORK_MICROS: [u64; 20] = doubling(100);
/// Bounds of whole requests, in microseconds: those of etcd, 1 ms to 8 s, and three below.
static REQUEST_MICROS: [u64; 17] = doubling(125);
/// Bounds of checksums, in microseconds; etcd's: 10 ms to 5 min.
static HASH_MICROS: [u64; 16] = doubling(10_000);
/// Bounds of work on files in the background, in microseconds; etcd's, and one more: 0.1 s to 27 min.
static LONG_MICROS: [u64; 15] = doubling(100_000);
/// Bounds of checkpoints, in microseconds; etcd's of its snapshots: 10 ms to 22 min, and three below.
static CHECKPOINT_MICROS: [u64; 21] = doubling(1_250);
/// Bounds of times to live, in seconds; etcd's: one to 97 days.
static TTL_SECONDS: [u64; 24] = doubling(1);

/// What is asked of the log. The names are those of etcd's labels, where etcd has one.
pub const KINDS: [&str; KIND_COUNT] = [
    "Put",
    "DeleteRange",
    "Txn",
    "Compaction",
    "LeaseGrant",
    "LeaseRevoke",
    "LeaseCheckpoint",
    "Alarm",
    "ClusterMemberAttrSet",
    "ConfChange",
];
const KIND_COUNT: usize = 10;

/// The place in [`KINDS`] of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(usize);

impl Kind {
    pub(super) fn of(command: &Command) -> Self {
        Self(match command {
            Command::Put(_) => 0,
            Command::DeleteRange(_) => 1,
            Command::Txn(_) => 2,
            Command::Compact(_) => 3,
            Command::LeaseGrant { .. } => 4,
            Command::LeaseRevoke { .. } => 5,
            Command::LeaseCheckpoint { .. } => 6,
            Command::Alarm(_) => 7,
            Command::PublishMember { .. } => 8,
            Command::ChangeMembers(_) => 9,
        })
    }
}

/// Durations of what went well, and of what did not, in microseconds.
#[derive(Clone, Debug)]
pub struct Durations {
    /// Of what went well.
    pub succeeded: Arc<Distribution>,
    /// Of what did not.
    pub failed: Arc<Distribution>,
}

impl Durations {
    fn new(bounds: &'static [u64]) -> Self {
        let new = || Arc::new(Distribution::new(bounds));
        Self { succeeded: new(), failed: new() }
    }

    pub(super) fn observe(&self, succeeded: bool, micros: u64) {
        if succeeded { &self.succeeded } else { &self.failed }.observe(micros);
    }
}

/// How much was asked, applied and read. Clones share it.
#[derive(Clone, Debug)]
pub struct Figures {
    /// From a proposal to its outcome, by kind.
    pub asked: [Durations; KIND_COUNT],
    /// The work of applying, by kind.
    pub applied: [Durations; KIND_COUNT],
    /// From a read to its answer.
    pub read: Durations,
    /// From a transaction that only reads to its answer.
    pub read_txn: Durations,
    /// The work of reading a range.
    pub ranged: Durations,
    /// Rounds for reads that were not answered in time, or answered after that.
    pub slow_rounds: Counter,
    /// Reads that came to nothing because no leader was confirmed.
    pub failed_rounds: Counter,
    /// Heartbeats that left late, while this member leads.
    pub late_heartbeats: Counter,
    /// Learners that were given a vote by this member, as leader.
    pub promoted: Counter,
    /// Learners that were not.
    pub not_promoted: Family<[(&'static str, &'static str); 1], Counter>,
    /// 1 while a checkpoint is being made the state.
    pub installing: Gauge,
    /// Checksums of everything, in microseconds.
    pub hash: Arc<Distribution>,
    /// Checksums at a revision, in microseconds.
    pub hash_at: Arc<Distribution>,
    /// Bytes written to the log's files.
    pub log_bytes: Gauge,
    /// 1 while files are being rid of all that was given up.
    pub defragmenting: Gauge,
    /// How long that took, in microseconds.
    pub defragmented: Arc<Distribution>,
    /// How long it took to rid files of compacted history, in microseconds.
    pub compacted: Arc<Distribution>,
    /// When that was done last, in seconds of the calendar.
    pub compacted_at: Gauge,
    /// How long it took to make a checkpoint, in microseconds.
    pub checkpoints: Arc<Distribution>,
    /// What was done to keys and leases.
    pub done: Done,
}

/// What was done to keys and leases by what is applied here.
#[derive(Clone, Debug)]
pub struct Done {
    /// Puts, those of transactions included.
    pub puts: Counter,
    /// Deletes of ranges and keys, those of transactions and leases included.
    pub deletes: Counter,
    /// Reads of ranges: by requests here, and within transactions.
    pub ranges: Counter,
    /// Transactions with other than one operation.
    pub txns: Counter,
    /// Bytes of keys and values put.
    pub put_bytes: Gauge,
    /// Leases granted.
    pub granted: Counter,
    /// Leases that ended.
    pub revoked: Counter,
    /// Leases that this member, as leader, ended because their time was over.
    pub expired: Counter,
    /// Times to live of granted leases, in seconds.
    pub ttls: Arc<Distribution>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            asked: array::from_fn(|_| Durations::new(&REQUEST_MICROS)),
            applied: array::from_fn(|_| Durations::new(&WORK_MICROS)),
            read: Durations::new(&REQUEST_MICROS),
            read_txn: Durations::new(&REQUEST_MICROS),
            ranged: Durations::new(&WORK_MICROS),
            slow_rounds: Counter::default(),
            failed_rounds: Counter::default(),
            late_heartbeats: Counter::default(),
            promoted: Counter::default(),
            not_promoted: Family::default(),
            installing: Gauge::default(),
            hash: Arc::new(Distribution::new(&HASH_MICROS)),
            hash_at: Arc::new(Distribution::new(&HASH_MICROS)),
            log_bytes: Gauge::default(),
            defragmenting: Gauge::default(),
            defragmented: Arc::new(Distribution::new(&LONG_MICROS)),
            compacted: Arc::new(Distribution::new(&LONG_MICROS)),
            compacted_at: Gauge::default(),
            checkpoints: Arc::new(Distribution::new(&CHECKPOINT_MICROS)),
            done: Done {
                puts: Counter::default(),
                deletes: Counter::default(),
                ranges: Counter::default(),
                txns: Counter::default(),
                put_bytes: Gauge::default(),
                granted: Counter::default(),
                revoked: Counter::default(),
                expired: Counter::default(),
                ttls: Arc::new(Distribution::new(&TTL_SECONDS)),
            },
        }
    }
}

impl Handle {
    /// How much was asked of this member, applied and read.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.shared().metrics.figures
    }

    /// How many requests of this member wait for their outcome.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared().pending.len()
    }

    /// How many views of the state are being read.
    #[must_use]
    pub fn open_views(&self) -> u64 {
        self.shared().store.open_views()
    }

    /// The time on the member's clock, in microseconds: for how long something took.
    pub(super) fn micros(&self) -> u64 {
        self.shared().clock.now_micros()
    }

    pub(super) fn micros_since(&self, then: u64) -> u64 {
        self.micros().saturating_sub(then)
    }
}

impl Figures {
    pub(super) fn asked(&self, kind: Kind, succeeded: bool, micros: u64) {
        if let Some(durations) = self.asked.get(kind.0) {
            durations.observe(succeeded, micros);
        }
    }

    pub(super) fn applied(&self, kind: Kind, succeeded: bool, micros: u64) {
        if let Some(durations) = self.applied.get(kind.0) {
            durations.observe(succeeded, micros);
        }
    }

    /// The leader has decided about a learner; the reasons are in etcd's words.
    pub(super) fn decided(&self, promotion: Promotion) {
        let reason = match promotion {
            Promotion::Done => {
                self.promoted.inc();
                return;
            }
            Promotion::NotALearner => "membership: can only promote a learner member",
            Promotion::NotFound => "membership: ID not found",
            Promotion::NotReady => {
                "etcdserver: can only promote a learner member which is in sync with leader"
            }
            Promotion::NotEnoughStarted => {
                "etcdserver: re-configuration failed due to not enough started members"
            }
        };
        self.not_promoted.get_or_create(&[("Reason", reason)]).inc();
    }
}

impl Done {
    /// A request was applied with this response; `ours`: this member had asked for it.
    pub(super) fn applied(
        &self,
        command: &Command,
        response: &Response,
        events: &[Event],
        ours: bool,
    ) {
        match (command, response) {
            (_, Response::Put(_)) => {
                self.puts.inc();
            }
            (_, Response::DeleteRange(_)) => {
                self.deletes.inc();
            }
            (_, Response::Txn(txn)) => self.txn(txn),
            (Command::LeaseRevoke { cause, .. }, Response::LeaseRevoke) => {
                self.deletes.inc_by(u64::try_from(events.len()).unwrap_or(u64::MAX));
                if ours && matches!(cause, RevokeCause::Expiry { .. }) {
                    self.expired.inc();
                }
            }
            _ => return,
        }
        let put_bytes: usize = events.iter().map(put_bytes).sum();
        if put_bytes > 0 {
            self.put_bytes.inc_by(i64::try_from(put_bytes).unwrap_or(i64::MAX));
        }
    }

    /// As etcd counts: a transaction of one operation is that operation.
    fn txn(&self, txn: &TxnResponse) {
        let mut count = Operations::default();
        count.add(txn);
        self.puts.inc_by(count.puts);
        self.deletes.inc_by(count.deletes);
        self.ranges.inc_by(count.ranges);
        if count.puts + count.deletes + count.ranges != 1 {
            self.txns.inc();
        }
    }

    pub(super) fn lease(&self, change: &LeaseChange) {
        match change {
            LeaseChange::Granted(_, ttl) => {
                self.granted.inc();
                self.ttls.observe(u64::try_from(ttl.0).unwrap_or(0));
            }
            LeaseChange::Gone(_) => {
                self.revoked.inc();
            }
            LeaseChange::Checkpointed(..) | LeaseChange::Attached(_) | LeaseChange::Detached(_) => {
            }
        }
    }
}

fn put_bytes(event: &Event) -> usize {
    match &event.kind {
        EventKind::Put(pair) => pair.key.as_bytes().len() + pair.value.len(),
        EventKind::Delete(..) => 0,
    }
}

#[derive(Debug, Default)]
struct Operations {
    puts: u64,
    deletes: u64,
    ranges: u64,
}

impl Operations {
    fn add(&mut self, txn: &TxnResponse) {
        for result in &txn.results {
            match result {
                OpResponse::Put(..) => self.puts += 1,
                OpResponse::DeleteRange(..) => self.deletes += 1,
                OpResponse::Range(..) => self.ranges += 1,
                OpResponse::Txn(within) => self.add(within),
            }
        }
    }
}
