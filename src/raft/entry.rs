//! What stands in the log, and what is remembered beside it.

use bytes::Bytes;
use raft_rs::eraftpb::EntryType;

use crate::{
    raft::change,
    types::{Fault, Index, MemberId, Term},
};

/// A record of the log as the raft library defines it. The one type of the library that leaves
/// this room: the log's storage hands it to its engine and back without looking into it, which
/// spares a copy and a second format.
pub use raft_rs::eraftpb::Entry as LogEntry;

/// A change of the configuration: of one member at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// This member has a vote from now on, whether it was a learner or nobody.
    AddVoter(MemberId),
    /// This member receives the log.
    AddLearner(MemberId),
    /// This member is none any more.
    Remove(MemberId),
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Requests; none in a new leader's first entry.
    Requests(Bytes),
    /// A change of the configuration, and the request for it.
    Change(ConfigChange, Bytes),
}

/// Whether an entry changes the configuration.
#[must_use]
pub fn is_change(entry: &LogEntry) -> bool {
    entry.get_entry_type() != EntryType::EntryNormal
}

/// What an entry carries.
///
/// # Errors
///
/// A fault, when this version does not know that kind of entry.
pub fn payload(entry: &LogEntry) -> Result<Payload, Fault> {
    let change = match entry.get_entry_type() {
        EntryType::EntryNormal => return Ok(Payload::Requests(entry.data.clone())),
        EntryType::EntryConfChangeV2 => change::decode(&entry.data),
        EntryType::EntryConfChange => None,
    };
    match change {
        Some(change) => Ok(Payload::Change(change, entry.context.clone())),
        None => Err(Fault::new(format!("entry {} is of an unknown kind", entry.index))),
    }
}

/// What a member must remember beside its log: synced before any message that rests on it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term this member has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<MemberId>,
    /// How far it knows the log to be committed.
    pub commit: Index,
}

impl HardState {
    /// The same, with everything up to `index` known to be committed.
    #[must_use]
    pub fn committed_to(self, index: Index) -> Self {
        Self { commit: self.commit.max(index), ..self }
    }
}

pub use crate::types::Position;

/// What a log store holds when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogState {
    /// The hard state as last synced.
    pub hard_state: HardState,
    /// The last entry that was dropped from the front of the log.
    pub truncated: Position,
    /// The last entry, or `truncated` when there is none.
    pub last: Position,
    /// First entry of every run of equal terms after `truncated`, ascending.
    pub term_runs: Vec<Position>,
    /// Bytes of the entries' data.
    pub bytes: u64,
}

/// One write to the log: entries, hard state, or both, synced as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogWrite {
    /// Entries to append. The first may lie inside the log: everything from there on is replaced.
    pub entries: Vec<LogEntry>,
    /// The hard state, when it changed.
    pub hard_state: Option<HardState>,
}

/// Who decides and who only listens, as the raft library keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Voters {
    /// Members whose votes count.
    pub voters: Vec<MemberId>,
    /// Members that only receive the log.
    pub learners: Vec<MemberId>,
    /// In a joint configuration, the voters of the old one.
    pub voters_outgoing: Vec<MemberId>,
    /// In a joint configuration, voters that become learners when it is left.
    pub learners_next: Vec<MemberId>,
    /// Whether a joint configuration is left by itself.
    pub auto_leave: bool,
}
