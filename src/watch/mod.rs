//! Fan-out: every revision of the store to every watcher that asked for it.
//!
//! The applier publishes each revision's events to the [`Hub`], which keeps the recent ones in
//! memory and never waits. A watcher is a cursor, never a queue of copies: [`Watchers`], the
//! watchers of one client stream, are woken, find what is new, and read from the hub when the
//! stream has room. Whoever falls behind the hub's memory reads history from the store.
//!
//! Promised to each watcher: the revisions from its start on that touch its range, in order, each
//! once, each whole, none left out; or, when compaction took what it still needed, a last word that
//! says so. A manual progress answer follows every event up to its revision, of all watchers of
//! the stream. One that catches up never holds up the others of its stream.
//!
//! Nothing here reads a clock, a file or a socket; of tokio there is one channel, which wakes the
//! streams. Responses are values of the domain: their encoding, and the splitting of large ones, is
//! the face's. Absent for now: encodings shared between watchers, and groups of equal watchers
//! across streams; each stream matches for itself.

mod catch_up;
mod delivery;
mod hub;
mod matcher;
mod request;
mod watcher;
mod watchers;

#[cfg(test)]
mod tests;

pub use catch_up::{History, Limits, Read, read_view};
pub use hub::{Hub, Recent};
pub use request::{Create, Filter, Kind, Refusal, Response, WatchId};
pub use watchers::{Polled, Watchers};
