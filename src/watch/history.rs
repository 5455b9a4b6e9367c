//! [`History`]: where the past is read that is no longer in memory.

use crate::{
    state::{ApplyError, Refused, View, meta, mvcc},
    types::{Event, Fault, Revision},
};

/// Where history is read: the store of this member, as it is when it is asked.
pub trait History {
    /// Why it cannot be read now.
    type Error;

    /// The events of the revisions `from..=to`, or of the first of them within the limits.
    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Self::Error>;
}

/// How much history to read at once. At least one revision is read, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Revisions at most.
    pub revisions: usize,
    /// Bytes of events at most.
    pub bytes: usize,
}

/// What a reader of history gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Events of whole revisions.
    Piece {
        /// In order.
        events: Vec<Event>,
        /// The last revision that was read to its end.
        read_to: Revision,
    },
    /// History begins at this revision, after the one asked for.
    Compacted(Revision),
}

/// Reads history out of a view of the store.
pub fn read_view(
    view: &dyn View,
    from: Revision,
    to: Revision,
    limits: Limits,
) -> Result<Read, Fault> {
    match mvcc::events(view, from, to, limits.revisions, limits.bytes) {
        Ok(history) => Ok(Read::Piece { events: history.events, read_to: history.read_to }),
        Err(ApplyError::Refused(Refused::Compacted(_))) => {
            Ok(Read::Compacted(meta::compacted(view)?))
        }
        Err(ApplyError::Refused(refused)) => {
            Err(Fault::new(format!("history from revision {from} to {to} is refused: {refused}")))
        }
        Err(ApplyError::Fault(fault)) => Err(fault),
    }
}
