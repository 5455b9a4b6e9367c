//! What goes into the replica and what comes out of it.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    node::ports::{Checkpoint, CheckpointId, Frame, Greeting, StageId},
    raft::{
        ConfigChange, Fetch, FetchTicket, HardState, LogEntry, LogWrite, Position, Progress,
        ProposeError,
    },
    state::ConfState,
    types::{Fault, Incarnation, MemberId, Term},
};

/// Everything that can happen to a replica.
#[derive(Debug)]
pub enum Input {
    /// A heartbeat interval has passed.
    Tick,
    /// A member sent a frame, in this incarnation.
    Frame(MemberId, Incarnation, Frame),
    /// A member opened a stream to this one.
    Greeting(MemberId, Greeting),
    /// A member sent a checkpoint, now staged here, and the message that announces it.
    Snapshot {
        /// Who sent it.
        from: MemberId,
        /// Where it waits.
        stage: StageId,
        /// The announcing message.
        message: Bytes,
    },
    /// A request waits under this sequence number to be proposed.
    Proposal(u64),
    /// A read waits to be told that the state here is recent enough.
    Read(oneshot::Sender<()>),
    /// Somebody waits to be told that the leader was confirmed, whatever is applied here by then.
    Confirm(oneshot::Sender<()>),
    /// Rounds up to this number are synced.
    Persisted(u64),
    /// Entries were read from disk for a lagging member.
    Fetched(FetchTicket, Vec<LogEntry>),
    /// Somebody waits to be told how far each member has come; nothing when this one does not lead.
    Progress(oneshot::Sender<Vec<Progress>>),
    /// The state has applied the log up to here, and maybe who the members are has changed.
    Applied(Position, Option<Changed>),
    /// A received checkpoint is the state now.
    Installed(Position),
    /// The state's files hold the log up to here.
    Flushed(Position),
    /// A checkpoint was made for a lagging member, or could not be.
    CheckpointMade(Result<(Checkpoint, ConfState), Fault>),
    /// Messages to a member get lost.
    Unreachable(MemberId),
    /// A checkpoint was sent, or could not be.
    SnapshotSent {
        /// To whom.
        to: MemberId,
        /// The checkpoint, released by now.
        id: CheckpointId,
        /// Whether it arrived.
        arrived: bool,
    },
    /// Leadership is to be handed to this member, or to whoever is best.
    HandOver(Option<MemberId>),
    /// It is written down that the member is fenced.
    FenceRaised,
    /// It is written down that the member is whole.
    FenceLifted,
    /// The member is to stop.
    Stop,
}

/// What a batch of entries changed about the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The changes of the configuration, in order.
    pub changes: Vec<ConfigChange>,
    /// Who decides by the state, as of the end of the batch.
    pub conf: ConfState,
}

/// Everything a replica wants done after a round of input.
#[derive(Debug, Default)]
pub struct Output {
    /// Frames to send.
    pub sends: Vec<(MemberId, Frame)>,
    /// Checkpoints to send, each with its announcing message.
    pub snapshots: Vec<(MemberId, Checkpoint, Bytes)>,
    /// For the log writer, in order.
    pub log: Vec<LogTask>,
    /// For the applier, in order.
    pub apply: Vec<ApplyTask>,
    /// For the housekeeper.
    pub chores: Vec<Chore>,
    /// Staged checkpoints that are not needed.
    pub dropped_stages: Vec<StageId>,
    /// Checkpoints that nobody came for.
    pub released_checkpoints: Vec<CheckpointId>,
    /// Who the members are, or where, has changed.
    pub members_changed: bool,
    /// This member's data are bad.
    pub fault: Option<Fault>,
}

/// Work on the log.
#[derive(Debug)]
pub enum LogTask {
    /// Write a round, and when it is synced send what rests on it.
    Write {
        /// The round.
        number: u64,
        /// What to write.
        write: LogWrite,
        /// Whether the round counts as persisted only when synced.
        must_sync: bool,
        /// What rests on it.
        after_sync: Vec<(MemberId, Frame)>,
    },
    /// Start the log anew after an installed snapshot, and then send what rests on it.
    Reset {
        /// The round.
        number: u64,
        /// The last entry the snapshot holds.
        to: Position,
        /// The hard state to remember.
        hard_state: HardState,
        /// What rests on it.
        after_sync: Vec<(MemberId, Frame)>,
    },
    /// Drop entries up to and with this one.
    Truncate(Position),
    /// Read entries for a lagging member.
    Fetch(Fetch),
}

/// Work on the state.
#[derive(Debug)]
pub enum ApplyTask {
    /// Apply committed entries.
    Entries(Vec<LogEntry>),
    /// Make a staged checkpoint the state.
    Install(StageId, Position),
    /// Start the lease clock: this member leads, and has applied an entry of its term.
    Promote(Term),
}

/// Slow work on the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Bring the state to disk.
    Flush,
    /// Make a checkpoint to send.
    Checkpoint,
    /// Write down that the member is fenced, under an incarnation above this one.
    RaiseFence(Incarnation),
    /// Write down that the member is whole.
    LiftFence,
}

/// What became of an attempt to propose requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// They stand in the leader's log.
    Accepted,
    /// They do not, and never will by this attempt.
    Refused,
}

impl Proposed {
    /// What the core made of it.
    pub(super) fn of(result: Result<(), ProposeError>) -> Self {
        match result {
            Ok(()) => Self::Accepted,
            Err(ProposeError::NotLeader | ProposeError::Full) => Self::Refused,
        }
    }
}
