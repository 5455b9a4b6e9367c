//! [`Command`]: everything the log can say, and [`Response`]: what comes of it.
//!
//! Values here are already checked and complete: keys are not empty, a lease id is chosen, a time
//! to live is raised to the minimum. Whatever must be drawn or timed was decided before proposing.

use bytes::Bytes;

use crate::{
    state::{Level, Member},
    types::{
        Identity, Index, Key, KeyRange, KeyValue, LeaseId, MemberId, RequestId, Revision, Seconds,
        Term,
    },
};

/// A command, who asks for it, and the name it is answered under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The name under which its proposer waits for the outcome.
    pub id: RequestId,
    /// On whose behalf.
    pub identity: Identity,
    /// What to do.
    pub command: Command,
}

/// Everything the log can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Stores a value under a key.
    Put(Put),
    /// Deletes the keys of a range.
    DeleteRange(DeleteRange),
    /// Compares, then carries out one of two lists of operations.
    Txn(Txn),
    /// Gives up the history below a revision.
    Compact(Revision),
    /// Creates a lease.
    LeaseGrant {
        /// Chosen by the client or by the member that took the request.
        id: LeaseId,
        /// Time to live, not below the cluster's minimum.
        ttl: Seconds,
    },
    /// Ends a lease and deletes the keys attached to it.
    LeaseRevoke {
        /// The lease.
        id: LeaseId,
        /// Who ends it.
        cause: RevokeCause,
    },
    /// Records how long silent leases have left; zero seconds clear the record.
    LeaseCheckpoint {
        /// The leases.
        leases: Vec<(LeaseId, Seconds)>,
        /// What the proposer knew: a lease that an entry after this one granted is passed over,
        /// unless its record is to be cleared.
        known: Index,
    },
    /// Tells a member's name, its client addresses, and what its program understands.
    PublishMember {
        /// The member.
        id: MemberId,
        /// Its name.
        name: String,
        /// Where clients reach it.
        client_urls: Vec<String>,
        /// What it understands.
        level: Level,
    },
    /// Changes who the members are.
    ChangeMembers(MemberChange),
    /// Raises or clears an alarm.
    Alarm(AlarmCommand),
}

/// A change of who the members are. All but [`Update`](Self::Update) also change who decides, and
/// stand in an entry of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A member joins.
    Add {
        /// Its id, new for ever.
        id: MemberId,
        /// Where members reach it; no other member's.
        peer_urls: Vec<String>,
        /// Whether it is to receive the log without a vote.
        learner: bool,
        /// With so many learners already, a further one is refused.
        learners_max: u32,
    },
    /// A member leaves. Its id never comes back.
    Remove(MemberId),
    /// A learner is given a vote.
    Promote(MemberId),
    /// A member is reached elsewhere.
    Update {
        /// The member.
        id: MemberId,
        /// Where members reach it from now on; no other member's.
        peer_urls: Vec<String>,
    },
}

/// Who ends a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeCause {
    /// A client asked for it.
    Client,
    /// Its time ran out, on the clock of the leader of this term. Refused when the entry stands in
    /// the log under another term.
    Expiry {
        /// The term.
        term: Term,
        /// What the proposer knew: a lease that an entry after this one granted, after one of the
        /// same id had ended, is another lease.
        known: Index,
    },
}

/// What to store under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: Key,
    /// Its new value; unused with `ignore_value`.
    pub value: Bytes,
    /// The lease to attach it to; `None` detaches it. Unused with `ignore_lease`.
    pub lease: Option<LeaseId>,
    /// Whether the answer carries the pair before.
    pub prev_kv: bool,
    /// Keep the value; the key must live.
    pub ignore_value: bool,
    /// Keep the lease; the key must live.
    pub ignore_lease: bool,
}

/// Which keys to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRange {
    /// The keys.
    pub range: KeyRange,
    /// Whether the answer carries the pairs before.
    pub prev_kv: bool,
}

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The keys.
    pub range: KeyRange,
    /// As of which revision; see [`crate::state::mvcc::range`] for numbers below 1.
    pub revision: i64,
    /// Pairs to return at most; 0 or less: all.
    pub limit: i64,
    /// In which order.
    pub sort: Sort,
    /// Leave the values out.
    pub keys_only: bool,
    /// Only count.
    pub count_only: bool,
    /// Bounds on the pairs' revisions.
    pub filter: RevisionFilter,
}

/// The order of a read's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// Up, down, or as the keys come.
    pub order: SortOrder,
    /// By what.
    pub target: SortTarget,
}

/// Up, down, or as the keys come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// As the keys come; with a target other than the key it means ascending.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// What a read's answer is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision of creation.
    Create,
    /// The revision of the last change.
    Mod,
    /// The value.
    Value,
}

/// Inclusive bounds on revisions; 0 switches one off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevisionFilter {
    /// Smallest revision of the last change.
    pub min_mod: i64,
    /// Largest revision of the last change.
    pub max_mod: i64,
    /// Smallest revision of creation.
    pub min_create: i64,
    /// Largest revision of creation.
    pub max_create: i64,
}

/// Comparisons, and what to do when all hold and when one does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Then.
    pub success: Vec<Op>,
    /// Else.
    pub failure: Vec<Op>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A read.
    Range(Range),
    /// A put.
    Put(Put),
    /// A delete.
    DeleteRange(DeleteRange),
    /// A transaction within.
    Txn(Txn),
}

/// A comparison; over a range it must hold for every key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys.
    pub range: KeyRange,
    /// How.
    pub relation: Relation,
    /// What of the pair, and with what.
    pub operand: Operand,
}

/// How two values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equal,
    /// The stored one is greater.
    Greater,
    /// The stored one is less.
    Less,
    /// Not the same.
    NotEqual,
    /// A relation this version does not know by number; holds always, as in etcd, unless the
    /// key is missing and its value is asked for.
    Unknown(i32),
}

/// What of a pair is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The version.
    Version(i64),
    /// The revision of creation.
    Create(i64),
    /// The revision of the last change.
    Mod(i64),
    /// The value.
    Value(Bytes),
    /// The lease, 0 for none.
    Lease(i64),
    /// A target this version does not know by number; compares as equal, as in etcd.
    Unknown(i32),
}

/// What to do with an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmCommand {
    /// Raise it or clear it.
    pub active: bool,
    /// The alarm.
    pub alarm: Alarm,
}

/// A member in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Who.
    pub member: MemberId,
    /// What.
    pub kind: AlarmKind,
}

/// The kinds of trouble an alarm tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// Out of space.
    NoSpace,
    /// Its data differ from the others'.
    Corrupt,
}

/// What came of a command, with the store's revision after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The revision after the command.
    pub revision: Revision,
    /// What the command gives back.
    pub response: Response,
}

/// What a command gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Of a put.
    Put(PutResponse),
    /// Of a delete.
    DeleteRange(DeleteRangeResponse),
    /// Of a transaction.
    Txn(TxnResponse),
    /// Of a compaction.
    Compact,
    /// Of a grant, with the time to live in force.
    LeaseGrant(LeaseId, Seconds),
    /// Of a revocation.
    LeaseRevoke,
    /// Of a checkpoint.
    LeaseCheckpoint,
    /// Of publishing a member.
    PublishMember,
    /// Of a change of the members: all of them after it, ascending by id.
    Members(Vec<Member>),
    /// Of an alarm command: the alarms it raised or cleared.
    Alarm(Vec<Alarm>),
}

/// Of a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResponse {
    /// The pair before, if asked for and alive.
    pub prev: Option<KeyValue>,
}

/// Of a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// How many keys were deleted.
    pub deleted: i64,
    /// The pairs before, if asked for, in key order.
    pub prevs: Vec<KeyValue>,
}

/// Of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResponse {
    /// The pairs.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut pairs off.
    pub more: bool,
    /// Live keys in the range at the revision read, whatever the limit and the filters.
    pub count: i64,
}

/// Of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResponse {
    /// Whether all comparisons held.
    pub succeeded: bool,
    /// One for each operation of the branch taken.
    pub results: Vec<OpResponse>,
}

/// Of one operation of a transaction, with the revision its own header shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResponse {
    /// Of a read.
    Range(Revision, RangeResponse),
    /// Of a put.
    Put(Revision, PutResponse),
    /// Of a delete.
    DeleteRange(Revision, DeleteRangeResponse),
    /// Of a transaction within, whose header is all zero.
    Txn(TxnResponse),
}
