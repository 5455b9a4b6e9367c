//! Fan-out: every revision of the store to every watcher that asked for it, encoded once.
//!
//! The applier publishes each revision's events to the [`Hub`] and never waits. Watchers of equal
//! range and filter form a group across all streams. What was published is matched once with the
//! groups, off the apply thread; a watcher is a cursor on its group's entries, never a queue of
//! copies. [`Watchers`], the watchers of one client stream, are woken only by what is for them, and
//! take it when the stream has room. Whoever fell behind what memory holds reads history, in pieces
//! that all who catch up share.
//!
//! Promised to each watcher: the revisions from its start on that touch its range, in order, each
//! once, each whole, none left out; or, when compaction took what it still needed, a last word that
//! says so. A manual progress answer follows every event up to its revision, of all watchers of
//! the stream. One that catches up never holds up the others of its stream.
//!
//! Nothing here reads a clock, a file or a socket; of tokio there is one channel, a bell. Events are
//! handed on as values with a place for their encoding, which is the face's.

mod apart;
mod archive;
mod board;
mod fetch;
mod history;
mod hub;
mod index;
mod key_piece;
mod mailbox;
mod parking;
mod recorded;
mod request;
mod roster;
mod serve;
mod watchers;

#[cfg(test)]
mod tests;

pub use history::{History, Limits, Read, ReadKeys, read_keys_of_view, read_view};
pub use hub::{Figures, Hub};
pub use recorded::Shown;
pub use request::{Create, Delivery, Filter, Kind, Refusal, Response, Sink, WatchId};
pub use serve::Polled;
pub use watchers::Watchers;
