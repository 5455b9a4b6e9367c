//! The log as the raft library sees it: its newest entries in memory, older ones read on demand.
//!
//! The library asks for entries and terms while it steps, on a thread that must not wait for a
//! disk. So the tail that is not yet synced or applied, and a budget of entries before it, stay in
//! memory, and a short table of term runs answers every `term()`. Entries before the tail are asked
//! for with a [`Fetch`] where the library can wait, and read in place where it cannot, which
//! happens only while a member starts.

use std::{cell::RefCell, collections::VecDeque, sync::Arc};

use bytes::Bytes;
use raft_rs::{
    Error, GetEntriesContext, RaftState, Storage, StorageError,
    eraftpb::{ConfState, HardState as RaftHardState, Snapshot},
    util::limit_size,
};

use crate::{
    raft::{HardState, LogEntry, LogState, Position, Voters},
    types::{Fault, Index, MemberId, Term, limits},
};

/// Reads entries that are on disk.
pub trait ReadLog: Send + Sync {
    /// Entries `low <= index < high`, at least one and no more than fit in `bytes_max`.
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<LogEntry>, Fault>;
}

/// What the library wants to continue with once a fetch is done.
#[derive(Debug)]
pub struct FetchTicket {
    pub(super) low: Index,
    pub(super) context: GetEntriesContext,
}

/// Entries to read from disk for a member that lags.
#[derive(Debug)]
pub struct Fetch {
    /// The first index.
    pub low: Index,
    /// One past the last index.
    pub high: Index,
    /// Bytes to read at most.
    pub bytes_max: u64,
    /// Handed back with the entries.
    pub ticket: FetchTicket,
}

/// The library's view of the log.
pub(super) struct RaftLog {
    tail: RefCell<Tail>,
    reader: Arc<dyn ReadLog>,
}

struct Tail {
    hard_state: HardState,
    conf: ConfState,
    truncated: Position,
    last: Index,
    /// First entry of each run of equal terms after `truncated`, ascending.
    runs: VecDeque<Position>,
    /// The entries up to `last`, contiguous, in memory.
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Entries read for a lagging member, until it was sent them.
    fetched: Vec<LogEntry>,
    wanted: Vec<Fetch>,
    /// Where fetches begin that are wanted or under way; none is asked for twice.
    fetching: Vec<Index>,
    snapshot: SnapshotState,
}

enum SnapshotState {
    None,
    Wanted,
    Prepared(Box<Snapshot>),
}

impl RaftLog {
    pub(super) fn new(state: &LogState, voters: &Voters, reader: Arc<dyn ReadLog>) -> Self {
        let tail = Tail {
            hard_state: state.hard_state,
            conf: conf_to_raft(voters),
            truncated: state.truncated,
            last: state.last.index,
            runs: state.term_runs.iter().copied().collect(),
            entries: VecDeque::new(),
            bytes: 0,
            fetched: Vec::new(),
            wanted: Vec::new(),
            fetching: Vec::new(),
            snapshot: SnapshotState::None,
        };
        Self { tail: RefCell::new(tail), reader }
    }

    /// Takes entries in, before they are synced. The first may replace a suffix of the log.
    pub(super) fn append(&self, entries: &[LogEntry]) {
        self.tail.borrow_mut().append(entries);
    }

    /// Lets go of memory for entries up to `index`, oldest first, as far as the budget is exceeded.
    pub(super) fn shrink(&self, index: Index) {
        self.tail.borrow_mut().shrink(index);
    }

    /// Forgets the entries up to and with `to`.
    pub(super) fn truncate(&self, to: Position) {
        self.tail.borrow_mut().truncate(to);
    }

    /// Who decides.
    #[cfg(test)]
    pub(super) fn voters(&self) -> Voters {
        conf_from_raft(&self.tail.borrow().conf)
    }

    /// Says who decides from now on.
    pub(super) fn set_conf(&self, conf: ConfState) {
        self.tail.borrow_mut().conf = conf;
    }

    /// Starts the log anew after a snapshot.
    pub(super) fn reset(&self, to: Position, conf: ConfState) {
        let mut tail = self.tail.borrow_mut();
        tail.truncated = to;
        tail.last = to.index;
        tail.runs.clear();
        tail.entries.clear();
        tail.bytes = 0;
        tail.forget_wanted(|_| true);
        tail.conf = conf;
    }

    /// The term of the entry at `index`, if it is known.
    pub(super) fn term_of(&self, index: Index) -> Option<Term> {
        self.tail.borrow().term(index)
    }

    /// The last entry that was dropped from the front.
    pub(super) fn truncated(&self) -> Position {
        self.tail.borrow().truncated
    }

    /// What to read from disk.
    pub(super) fn take_fetches(&self) -> Vec<Fetch> {
        std::mem::take(&mut self.tail.borrow_mut().wanted)
    }

    /// Takes entries that were read; they serve the next question for them. Those that were
    /// replaced while they were being read are of no use.
    pub(super) fn put_fetched(&self, low: Index, entries: Vec<LogEntry>) {
        let mut tail = self.tail.borrow_mut();
        tail.fetching.retain(|fetching| *fetching != low);
        let current =
            entries.iter().all(|entry| tail.term(Index(entry.index)) == Some(Term(entry.term)));
        tail.fetched = if current { entries } else { Vec::new() };
    }

    /// Forgets the entries that were read: whoever they were for has taken them, or will ask again.
    pub(super) fn drop_fetched(&self) {
        self.tail.borrow_mut().fetched.clear();
    }

    /// Whether the library asked for a snapshot that is not prepared.
    pub(super) fn wants_snapshot(&self) -> bool {
        matches!(self.tail.borrow().snapshot, SnapshotState::Wanted)
    }

    /// Hands in a snapshot to answer with, or says that none could be made.
    pub(super) fn put_snapshot(&self, prepared: Option<(Position, &Voters, Bytes)>) {
        let mut tail = self.tail.borrow_mut();
        tail.snapshot = match prepared {
            None => SnapshotState::None,
            Some((position, voters, data)) => {
                let mut snapshot = Snapshot::default();
                snapshot.mut_metadata().index = position.index.0;
                snapshot.mut_metadata().term = position.term.0;
                snapshot.mut_metadata().set_conf_state(conf_to_raft(voters));
                snapshot.data = data;
                SnapshotState::Prepared(Box::new(snapshot))
            }
        };
    }
}

impl Tail {
    fn first_in_memory(&self) -> u64 {
        self.last.0 + 1 - self.entries.len() as u64
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.truncated.index {
            return Some(self.truncated.term);
        }
        if index < self.truncated.index || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|run| run.index <= index);
        self.runs.get(after.checked_sub(1)?).map(|run| run.term)
    }

    fn append(&mut self, entries: &[LogEntry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.truncated.index.0 && first.index <= self.last.0 + 1,
            "entry {} does not join a log that ends at {}",
            first.index,
            self.last
        );
        while self.entries.back().is_some_and(|entry| entry.index >= first.index) {
            let dropped = self.entries.pop_back().expect("there is a last entry");
            self.bytes -= entry_bytes(&dropped);
        }
        while self.runs.back().is_some_and(|run| run.index.0 >= first.index) {
            self.runs.pop_back();
        }
        let from = first.index;
        if self.last.0 >= from {
            self.forget_wanted(|fetch| fetch.high.0 > from);
        }
        let mut last_term = self.runs.back().map_or(self.truncated.term, |run| run.term);
        for entry in entries {
            let position = Position { index: Index(entry.index), term: Term(entry.term) };
            if position.term != last_term || self.runs.is_empty() {
                self.runs.push_back(position);
                last_term = position.term;
            }
            self.bytes += entry_bytes(entry);
            self.entries.push_back(entry.clone());
            self.last = position.index;
        }
    }

    fn shrink(&mut self, index: Index) {
        while self.bytes > limits::LOG_CACHE_BYTES_MAX
            && self.entries.front().is_some_and(|entry| entry.index <= index.0)
        {
            let dropped = self.entries.pop_front().expect("there is a first entry");
            self.bytes -= entry_bytes(&dropped);
        }
    }

    fn truncate(&mut self, to: Position) {
        if to.index <= self.truncated.index || to.index > self.last {
            return;
        }
        let rest = self.term(to.index.next());
        while self.entries.front().is_some_and(|entry| entry.index <= to.index.0) {
            let dropped = self.entries.pop_front().expect("there is a first entry");
            self.bytes -= entry_bytes(&dropped);
        }
        while self.runs.front().is_some_and(|run| run.index <= to.index) {
            self.runs.pop_front();
        }
        let starts_later = self.runs.front().is_none_or(|run| run.index > to.index.next());
        if let (Some(term), true) = (rest, starts_later) {
            self.runs.push_front(Position { index: to.index.next(), term });
        }
        self.truncated = to;
        self.forget_wanted(|fetch| fetch.low <= to.index);
    }

    /// Forgets what was read, and fetches that no longer lie in the log.
    fn forget_wanted(&mut self, gone: impl Fn(&Fetch) -> bool) {
        self.fetched.clear();
        for fetch in self.wanted.extract_if(.., |fetch| gone(fetch)) {
            self.fetching.retain(|low| *low != fetch.low);
        }
    }

    fn want(&mut self, low: Index, high: Index, bytes_max: u64, context: GetEntriesContext) {
        if !self.fetching.contains(&low) {
            self.fetching.push(low);
            let ticket = FetchTicket { low, context };
            self.wanted.push(Fetch { low, high, bytes_max, ticket });
        }
    }

    fn in_memory(&self, low: u64, high: u64) -> Vec<LogEntry> {
        let skip = usize::try_from(low - self.first_in_memory()).unwrap_or(usize::MAX);
        let take = usize::try_from(high - low).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip).take(take).cloned().collect()
    }

    fn take_fetched(&mut self, low: u64, high: u64) -> Option<Vec<LogEntry>> {
        if self.fetched.first()?.index != low {
            return None;
        }
        let mut entries = std::mem::take(&mut self.fetched);
        entries.retain(|entry| entry.index < high);
        Some(entries)
    }
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft_rs::Result<RaftState> {
        let tail = self.tail.borrow();
        Ok(RaftState::new(hard_state_to_raft(&tail.hard_state), tail.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> raft_rs::Result<Vec<LogEntry>> {
        let max_size = max_size.into();
        let mut tail = self.tail.borrow_mut();
        if low <= tail.truncated.index.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        assert!(
            high <= tail.last.0 + 1,
            "entries up to {high} of a log that ends at {}",
            tail.last
        );
        if low >= tail.first_in_memory() {
            let mut entries = tail.in_memory(low, high);
            limit_size(&mut entries, max_size);
            return Ok(entries);
        }
        if let Some(mut entries) = tail.take_fetched(low, high) {
            limit_size(&mut entries, max_size);
            return Ok(entries);
        }
        let high_on_disk = high.min(tail.first_in_memory());
        let bytes_max = max_size.unwrap_or(u64::MAX);
        if context.can_async() {
            tail.want(Index(low), Index(high_on_disk), bytes_max, context);
            return Err(Error::Store(StorageError::LogTemporarilyUnavailable));
        }
        drop(tail);
        self.read_in_place(low, high_on_disk, bytes_max)
    }

    fn term(&self, index: u64) -> raft_rs::Result<u64> {
        let tail = self.tail.borrow();
        match tail.term(Index(index)) {
            Some(term) => Ok(term.0),
            None if index < tail.truncated.index.0 => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft_rs::Result<u64> {
        Ok(self.tail.borrow().truncated.index.0 + 1)
    }

    fn last_index(&self) -> raft_rs::Result<u64> {
        Ok(self.tail.borrow().last.0)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft_rs::Result<Snapshot> {
        let mut tail = self.tail.borrow_mut();
        match std::mem::replace(&mut tail.snapshot, SnapshotState::Wanted) {
            SnapshotState::Prepared(snapshot)
                if snapshot.get_metadata().index >= request_index
                    && snapshot.get_metadata().index >= tail.truncated.index.0 =>
            {
                tail.snapshot = SnapshotState::None;
                Ok(*snapshot)
            }
            SnapshotState::Prepared(_) | SnapshotState::None | SnapshotState::Wanted => {
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

impl RaftLog {
    fn read_in_place(&self, low: u64, high: u64, max: u64) -> raft_rs::Result<Vec<LogEntry>> {
        self.reader
            .entries(Index(low), Index(high), max)
            .map_err(|fault| Error::Store(StorageError::Other(Box::new(fault))))
    }
}

pub(super) fn hard_state_to_raft(state: &HardState) -> RaftHardState {
    RaftHardState {
        term: state.term.0,
        vote: state.vote.map_or(0, |member| member.0),
        commit: state.commit.0,
        ..RaftHardState::default()
    }
}

pub(super) fn hard_state_from_raft(raft: &RaftHardState) -> HardState {
    HardState {
        term: Term(raft.term),
        vote: (raft.vote != 0).then_some(MemberId(raft.vote)),
        commit: Index(raft.commit),
    }
}

pub(super) fn conf_to_raft(voters: &Voters) -> ConfState {
    let numbers = |ids: &[MemberId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let mut conf = ConfState::default();
    conf.set_voters(numbers(&voters.voters));
    conf.set_learners(numbers(&voters.learners));
    conf.set_voters_outgoing(numbers(&voters.voters_outgoing));
    conf.set_learners_next(numbers(&voters.learners_next));
    conf.set_auto_leave(voters.auto_leave);
    conf
}

pub(super) fn conf_from_raft(conf: &ConfState) -> Voters {
    let ids = |numbers: &[u64]| {
        let mut ids: Vec<_> = numbers.iter().copied().map(MemberId).collect();
        ids.sort_unstable();
        ids
    };
    Voters {
        voters: ids(conf.get_voters()),
        learners: ids(conf.get_learners()),
        voters_outgoing: ids(conf.get_voters_outgoing()),
        learners_next: ids(conf.get_learners_next()),
        auto_leave: conf.get_auto_leave(),
    }
}

fn entry_bytes(entry: &LogEntry) -> usize {
    // What an entry costs beside its data: its own fields and its place in the queue.
    const FIXED: usize = 96;
    entry.data.len() + entry.context.len() + FIXED
}
