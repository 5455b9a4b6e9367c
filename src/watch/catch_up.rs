//! History, for a watcher that needs what the hub no longer keeps.

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

/// A piece of history that the watchers of a stream share: those that catch up together need the
/// same one.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) from: Revision,
    pub(super) read_to: Revision,
    pub(super) events: Vec<Event>,
}

impl Piece {
    /// Whether a watcher that needs `next` is served by it.
    pub(super) fn covers(&self, next: Revision) -> bool {
        self.from <= next && next <= self.read_to
    }

    /// Its revisions `from..=to` that have events.
    pub(super) fn batches(
        &self,
        from: Revision,
        to: Revision,
    ) -> impl Iterator<Item = (Revision, &[Event])> {
        let start = self.events.partition_point(|event| event.id.revision < from);
        let end = self.events.partition_point(|event| event.id.revision <= to);
        let events = self.events.get(start..end).unwrap_or_default();
        let batches = events.chunk_by(|a, b| a.id.revision == b.id.revision);
        batches.filter_map(|batch| batch.first().map(|event| (event.id.revision, batch)))
    }
}
