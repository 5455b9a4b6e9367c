//! What the primitives make possible: written with leases, transactions, reads and watches of
//! [`Handle`](crate::node::Handle), and with nothing else.
//!
//! [`Locks`] and [`Elections`] are the same thing twice: a [line](mod@line) of keys, first come,
//! first served. Whoever has the oldest key has the lock, or leads. Each waiter follows the one right
//! before it, so a key that goes wakes one waiter. Nothing here polls.
//!
//! Promised: a call that fails, or whose client leaves, leaves no lease behind that was granted for
//! it, and no key while the cluster answers. A key on the caller's own lease is taken away once: later
//! its owner may have asked again and have been given it. If that fails, it goes with the lease. What a waiter costs is a task and a cursor; how many there are is bounded by the calls that
//! connections may have.
//!
//! Absent on purpose: any state beside keys and leases, and mutual exclusion by itself. A holder that
//! is paused for longer than its lease lives does not know that it holds nothing; what it then writes
//! must be guarded by the create revision of its key.

mod election;
mod error;
mod line;
mod lock;
mod session;
#[cfg(test)]
mod tests;

pub use self::{
    election::{Elected, Elections, Leadership, Observer, Shown},
    error::Error,
    lock::{Locked, Locks},
    session::OwnLease,
};

pub(crate) use self::{
    line::propose,
    session::{Session as CallLease, see_through},
};
