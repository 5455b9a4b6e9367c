//! [`Ready`]: what the core asks the shell to do, and in which order.

use bytes::Bytes;

use crate::{
    raft::{LogEntry, LogWrite, Position},
    types::{Index, MemberId},
};

/// What the core asks for after a round of input. In this order: send `messages`; write `write`;
/// once it is synced call `RaftCore::persisted` and send `after_sync`; apply `committed`.
#[derive(Debug, Default)]
pub struct Ready {
    /// Names this round to `RaftCore::persisted`. Rounds are persisted in order.
    pub number: u64,
    /// Leave at once.
    pub messages: Vec<Outgoing>,
    /// To be written.
    pub write: LogWrite,
    /// Whether the write must be synced before this round counts as persisted. Without it only the
    /// commit index moved, which may be written with any later write.
    pub must_sync: bool,
    /// Leave when the write is synced, and not before: they promise what it holds.
    pub after_sync: Vec<Outgoing>,
    /// The log and the state start anew after this entry.
    pub snapshot: Option<Position>,
    /// To be applied, in order. They are persisted already.
    pub committed: Vec<LogEntry>,
    /// Read requests whose index is known now.
    pub reads: Vec<ReadState>,
}

/// A message to another member.
#[derive(Debug)]
pub struct Outgoing {
    /// To whom.
    pub to: MemberId,
    /// The encoded message.
    pub bytes: Bytes,
    /// Set when the message announces a snapshot, which travels before it.
    pub snapshot: Option<SnapshotToSend>,
}

/// The snapshot that a message announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotToSend {
    /// The entry it was made after.
    pub position: Position,
    /// What was handed in with `RaftCore::put_snapshot`.
    pub data: Bytes,
}

/// A read request may be answered from any state that has applied `index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// The context the request was made with.
    pub context: Bytes,
    /// What must be applied.
    pub index: Index,
}
