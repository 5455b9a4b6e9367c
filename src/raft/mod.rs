//! Consensus: ticks, messages, proposals and read requests in; a [`Ready`] out.
//!
//! [`RaftCore`] is the raft library behind a door of our own. It keeps the library's message types
//! inside this room (messages travel as bytes), refuses input on which the library would abort,
//! and states in [`Ready`] what must be sent, persisted and applied, and in which order: messages
//! of a leader leave at once, those of a follower after the sync they rest on (raft thesis, 10.2.1).
//!
//! Nothing here reads a clock or draws a random number, and nothing waits: entries that are no
//! longer in memory are asked for through [`RaftCore::take_fetches`] and handed in when they were read.
//!
//! Absent on purpose: where members are found, and what entries mean. Proposals sent to a follower are
//! not passed on here either, because the library would drop them without a word; the node does it.

mod change;
mod core;
mod entry;
mod fence;
mod guard;
mod log;
mod logger;
mod message;
mod ready;
#[cfg(test)]
mod scripts;
mod succession;
#[cfg(test)]
mod tests;

pub use self::{
    change::{Progress, change_entry},
    core::{CoreConfig, ProposeError, RaftCore, Role},
    entry::{
        ConfigChange, HardState, LogEntry, LogState, LogWrite, Payload, Position, Voters,
        is_change, payload,
    },
    guard::StepError,
    log::{Fetch, FetchTicket, ReadLog},
    ready::{Outgoing, ReadState, Ready, SnapshotToSend},
};
