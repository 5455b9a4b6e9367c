//! Protobuf to domain values and back: the edge at which input is checked.
//!
//! A function of this folder either returns a value that cannot be wrong any more, or says in an
//! [`Invalid`] what makes no sense about the request. The checks come in etcd's order, because a
//! request with two mistakes must get the same answer from both. Nothing here looks at the state:
//! what depends on it (does the lease live, is the revision compacted) is refused further down.
//!
//! Fields that this version does not know, and numbers of enums that it does not know, are taken
//! as etcd takes them.

pub mod cluster;
pub mod cost;
pub mod kv;
pub mod lease;
pub mod maintenance;
mod puts;
pub mod recipes;
pub mod txn;
pub mod watch;

use crate::types::Seconds;

/// Why a request makes no sense, whatever the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A key is needed, and it is empty.
    #[error("key is empty")]
    KeyNotProvided,
    /// A put that keeps the value brings one.
    #[error("a value is given together with ignore_value")]
    ValueProvided,
    /// A put that keeps the lease brings one.
    #[error("a lease is given together with ignore_lease")]
    LeaseProvided,
    /// The order or the target of a sort has a number that does not exist.
    #[error("sort order {order} by target {target} does not exist")]
    SortOption {
        /// The number of the order.
        order: i32,
        /// The number of the target.
        target: i32,
    },
    /// A list of a transaction is longer than what is left of the budget at its level.
    #[error("a list of {given} in a transaction is longer than the {left} left")]
    TooManyOps {
        /// The length of the longest list.
        given: usize,
        /// How many were left.
        left: usize,
    },
    /// Transactions are nested deeper than this.
    #[error("transactions nest deeper than {0} levels")]
    TooDeep(usize),
    /// A transaction may put a key twice, or put and delete it.
    #[error("a transaction may change a key twice")]
    DuplicateKey,
    /// An operation of a transaction is of no kind.
    #[error("an operation of a transaction is of no known kind")]
    OpWithoutKind,
    /// A range to be streamed asks for an order other than that of the keys.
    #[error("a streamed range comes in the order of its keys only")]
    StreamSorted,
    /// A range to be streamed asks for bounds on revisions.
    #[error("a streamed range cannot be filtered by revisions")]
    StreamFiltered,
    /// The time to live of a lease is above the largest allowed.
    #[error("a time to live of {} s is too large", .0.0)]
    TtlTooLarge(Seconds),
    /// A request about a leadership names none.
    #[error("no leadership is named")]
    LeaderNotProvided,
    /// A member is to be reached under no URL, or under one that is none.
    #[error("the urls of a member are invalid")]
    MemberUrls,
    /// The version to go back to is none.
    #[error("the version to go back to is no version")]
    DowngradeFormat,
    /// The version to go back to is not the one before that of the cluster.
    #[error("the version to go back to is not the one before")]
    DowngradeTarget,
    /// The metadata `client-api-version` is not UTF-8.
    #[error("client-api-version is not UTF-8")]
    ClientApiVersion,
}
