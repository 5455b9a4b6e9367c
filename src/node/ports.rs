//! What a member needs from the world: a log, a state store, and the other members.
//!
//! The rooms `storage` and `transport` fulfil these traits with engines and sockets, the simulator
//! with memory. Nothing here is async: a call either works on this member's disk, on a thread
//! made for it, or hands something over and returns.

use std::{future::Future, ops::ControlFlow, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    node::Error,
    raft::{HardState, LogEntry, LogState, LogWrite, Position, ReadLog},
    state::View,
    types::{Fault, Incarnation, Index, LeaseId, MemberId, Revision, Seconds, Term},
};

/// What a store is asked to write, who the members are, and what they say of themselves: part of the
/// port, for whoever fulfils it without knowing the state.
pub use crate::{
    node::fence::Greeting,
    state::{ConfState, Member, Membership, Writes},
};

/// The raft log on disk.
pub trait LogStore: Send + Sync {
    /// What the log holds; called once, at start.
    fn load(&self) -> Result<LogState, Fault>;

    /// Entries `low <= index < high`, at least one and no more than fit in `bytes_max`. The range
    /// lies within the log.
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<LogEntry>, Fault>;

    /// Writes and syncs, as one unit. When it returns, a crash loses nothing of it.
    fn write(&self, write: LogWrite) -> Result<(), Fault>;

    /// Drops the entries up to and with `to`. It may take effect later, and a crash may undo it.
    fn truncate(&self, to: Position) -> Result<(), Fault>;

    /// Empties the log, which from now on begins after `to`: in one synced unit with `hard_state`.
    fn reset(&self, to: Position, hard_state: HardState) -> Result<(), Fault>;

    /// Bytes that were written to files since the log was opened, as far as that is counted.
    fn written_bytes(&self) -> u64 {
        0
    }
}

/// A log store as the raft room reads it.
pub(super) struct ReadFrom(pub(super) Arc<dyn LogStore>);

impl ReadLog for ReadFrom {
    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<LogEntry>, Fault> {
        self.0.entries(low, high, bytes_max)
    }
}

/// A view that can be kept and sent to another thread.
pub type OwnedView = Box<dyn View + Send + Sync>;

/// A copy of the whole state as of one applied index, to be sent to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Names it on this member.
    pub id: CheckpointId,
    /// The entry it was made after, as recorded inside it.
    pub applied: Position,
}

/// Names a checkpoint of this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointId(pub u64);

/// Names a checkpoint of another member that is being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageId(pub u64);

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Its name, without any folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

/// What the state takes of its file system, and what is left there. In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Taken by the state's files.
    pub used: u64,
    /// Left for this process.
    pub free: u64,
    /// The size of the file system.
    pub total: u64,
}

/// What the files of a state are to be rid of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reclaim {
    /// The history that was compacted.
    History,
    /// That, and whatever else replaced or deleted records have left.
    Everything,
}

/// Called between the steps of long work; `Break` ends it.
pub type Between<'a> = dyn FnMut() -> ControlFlow<()> + 'a;

/// The replicated state on disk.
pub trait StateStore: Send + Sync {
    /// The state as of the last commit.
    fn view(&self) -> Result<OwnedView, Fault>;

    /// The same for a reader of very many records, which are not to take the place of others in
    /// caches.
    fn bulk_view(&self) -> Result<OwnedView, Fault> {
        self.view()
    }

    /// How many views are being read.
    fn open_views(&self) -> u64 {
        0
    }

    /// The same for a reader that takes long: history that is given up meanwhile stays in it, and the
    /// engine is not kept from dropping it elsewhere. Slow; for a thread that may wait.
    fn frozen_view(&self) -> Result<OwnedView, Fault> {
        self.bulk_view()
    }

    /// Commits the writes as one unit. It need not survive a crash by itself: the log replays it.
    fn commit(&self, writes: Writes) -> Result<(), Fault>;

    /// How far the state on disk would have applied the log if the process ended now.
    fn flushed(&self) -> Result<Position, Fault>;

    /// Brings everything committed to disk. Slow; for a thread that may wait.
    fn flush(&self) -> Result<(), Fault>;

    /// Allows the engine to drop history that `compacted` gave up. To be called after the commit of
    /// that compaction and after the mark that readers check was raised, because it takes history
    /// away under views that exist. It takes effect once that commit is on disk.
    fn set_compacted(&self, compacted: Revision);

    /// Checks on the engine's background work; an error there is a fault of this member.
    fn check(&self) -> Result<(), Fault>;

    /// What the state takes of its file system, and what is left there.
    fn disk_space(&self) -> Result<DiskSpace, Fault>;

    /// Logical bytes that compactions gave up and that may still take room: all since the files were
    /// last rid of it. A crash in the middle of that forgets that it was begun.
    fn garbage(&self) -> Result<u64, Fault>;

    /// Rids the files of what was given up by the time of the call, in steps and at a pace that
    /// leaves the processors to others, and returns the revision up to which history is gone.
    /// `None`: it was ended between two steps, by `between` or because another state was installed.
    /// Slow; for a thread of its own, and one call at a time.
    fn reclaim(&self, what: Reclaim, between: &mut Between<'_>) -> Result<Option<Revision>, Fault>;

    /// Ends the engine's background work, a step of [`StateStore::reclaim`] included. Only when
    /// nothing is going to be written any more.
    fn interrupt(&self);

    /// Makes a checkpoint of the state as last committed, and tells who decides by it. It is kept
    /// until released.
    fn checkpoint(&self) -> Result<(Checkpoint, ConfState), Fault>;

    /// The files of a checkpoint.
    fn checkpoint_files(&self, id: CheckpointId) -> Result<Vec<CheckpointFile>, Fault>;

    /// At most `len_max` bytes of one of its files from `offset`; empty at its end.
    fn checkpoint_read(
        &self,
        id: CheckpointId,
        file: &str,
        offset: u64,
        len_max: usize,
    ) -> Result<Bytes, Fault>;

    /// Deletes a checkpoint; releasing one that is gone does nothing.
    fn checkpoint_release(&self, id: CheckpointId);

    /// Opens an empty place to receive a checkpoint in.
    fn stage(&self) -> Result<StageId, Fault>;

    /// Appends to a file of a staged checkpoint; `offset` must be its length so far.
    fn stage_write(&self, id: StageId, file: &str, offset: u64, data: &[u8]) -> Result<(), Fault>;

    /// Deletes a staged checkpoint; dropping one that is gone or installed does nothing.
    fn stage_drop(&self, id: StageId);

    /// Makes a staged checkpoint the state, in one durable step: a crash leaves the old state or
    /// the new one. Views taken before go on showing the old one. Returns what it had applied.
    fn install(&self, id: StageId) -> Result<Position, Fault>;
}

/// Where it is kept whether the member is fenced (see [`crate::node::Fencing`]).
pub trait FenceStore: Send + Sync {
    /// Remembers that the member is fenced, under a new incarnation above its own and `above`.
    /// Durable when it returns.
    fn raise(&self, above: Incarnation) -> Result<Incarnation, Fault>;

    /// Remembers that the member is whole. Durable when it returns.
    fn lift(&self) -> Result<(), Fault>;
}

/// A message to another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message of the raft library, encoded.
    Raft(Bytes),
    /// Requests for the leader of `term`, and for no other.
    Forward {
        /// Named again in the answer.
        ticket: u64,
        /// The term in which the receiver must lead.
        term: Term,
        /// The encoded group of requests.
        group: Bytes,
    },
    /// What became of a forwarded group.
    ForwardAnswer {
        /// The forward's ticket.
        ticket: u64,
        /// Proposed, or not and never.
        accepted: bool,
    },
    /// A fenced member asks for the term.
    Question {
        /// Named again in the answer.
        start: u64,
    },
    /// The answer to a fenced member.
    Answer {
        /// The start that asked.
        start: u64,
        /// The term of who answers.
        term: Term,
        /// What is committed, when who answers leads and has committed in its term.
        committed: Option<Index>,
    },
    /// The incarnation of the receiver is over: it had written more than it has now.
    Over {
        /// The next one must be above this one.
        newest: Incarnation,
        /// The newest start of the receiver that is known, to which this is no news.
        start: u64,
    },
}

/// The other members. Calls return at once.
pub trait Peers: Send + Sync {
    /// Sends frames, those to one member in order. A frame is dropped when its member is unknown,
    /// away, or its queue is full.
    fn send(&self, frames: Vec<(MemberId, Frame)>);

    /// Streams a checkpoint and then the raft message that announces it. The outcome comes back as
    /// an input of the driver.
    fn send_snapshot(&self, to: MemberId, checkpoint: Checkpoint, message: Bytes);

    /// Tells who the members are, where they listen, and who was removed.
    fn set_members(&self, membership: &Membership);

    /// How long streams to and from a member have run without a break; `None` while there is none.
    fn connected_for(&self, member: MemberId) -> Option<Duration>;

    /// Renews leases on the clock of the member that is thought to lead, and says what came of each
    /// in turn. `Error::NotLeader` when it does not lead.
    fn renew(&self, leader: MemberId, leases: Vec<LeaseId>) -> Asked<Vec<Renewed>>;

    /// Asks the member that is thought to lead how long a lease has left: `None` when there is no
    /// such lease.
    fn time_left(&self, leader: MemberId, lease: LeaseId) -> Asked<Option<TimeLeft>>;

    /// Has the member that is thought to lead give a learner a vote. `Error::NotLeader` when it does
    /// not lead.
    fn promote(&self, leader: MemberId, learner: MemberId) -> Asked<Promotion>;

    /// Asks a member for the checksum of a part of its history, for as long as that takes. `None`:
    /// it cannot be compared now.
    fn state_hash(&self, member: MemberId, span: Span) -> Asked<Option<Hashed>>;
}

/// The answer of another member, or why there is none.
pub type Asked<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// What came of a lease whose renewal the leader was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// It lives on for this time to live.
    For(Seconds),
    /// There is no such lease.
    Unknown,
    /// Neither is certain yet; to be asked again.
    NotYet,
}

/// How long a lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Whole seconds; may be below zero while the lease is being revoked.
    pub left: Seconds,
    /// The time to live it was granted.
    pub granted: Seconds,
}

/// What came of a promotion that the leader was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// The member has a vote now.
    Done,
    /// There is no such member.
    NotFound,
    /// It had a vote before.
    NotALearner,
    /// It is too far behind.
    NotReady,
    /// Too few of the voters have ever started.
    NotEnoughStarted,
}

/// How checksums of a member's history are made; others do not compare with them.
pub use crate::state::hash::FORMULA as HASH_FORMULA;

/// A part of the store's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// What a reader of an older revision alone can see does not count.
    pub floor: Revision,
    /// What came later does not count.
    pub revision: Revision,
}

/// The checksum of a part of a member's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The checksum.
    pub hash: u32,
    /// Microseconds of work that it took.
    pub worked_micros: u64,
}

/// What the other members have for this one. Fulfilled by the node itself, for whoever carries its
/// messages; none of the calls waits.
pub trait Inbox: Send + Sync {
    /// What this member says of itself on a stream that it opens now.
    fn greeting(&self) -> Greeting;

    /// A member has opened a stream; its frames follow.
    fn greeted(&self, from: MemberId, greeting: Greeting);

    /// A frame of another member, in the order it sent them while a connection lasted, and the
    /// incarnation that its stream was opened under.
    fn deliver(&self, from: MemberId, incarnation: Incarnation, frame: Frame);

    /// A raft message that announces a snapshot, and the stage that holds the snapshot. Who takes
    /// it owns the stage: it installs or drops it.
    fn deliver_snapshot(&self, from: MemberId, message: Bytes, stage: StageId);

    /// Frames to this member may have been lost.
    fn report_unreachable(&self, member: MemberId);

    /// What became of a snapshot that was to be sent: exactly one report for each.
    fn report_snapshot(&self, to: MemberId, checkpoint: CheckpointId, ok: bool);

    /// Renews leases on this member's clock, and says what came of each in turn;
    /// `Error::NotLeader` when it does not lead.
    fn renew_here(&self, leases: Vec<LeaseId>) -> Asked<Vec<Renewed>>;

    /// How long a lease has left on this member's clock; `Error::NotLeader` when it does not lead.
    fn time_left_here(&self, lease: LeaseId) -> Asked<Option<TimeLeft>>;

    /// Gives a learner a vote; `Error::NotLeader` when this member does not lead.
    fn promote_here(&self, learner: MemberId) -> Asked<Promotion>;

    /// Another member says that this one was removed.
    fn report_removed(&self, by: MemberId);

    /// The checksum of a part of this member's history; `None` when it cannot be compared now.
    fn state_hash_here(&self, span: Span) -> Asked<Option<Hashed>>;
}
