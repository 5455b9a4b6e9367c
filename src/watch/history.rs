//! [`History`]: where the past is read that is no longer in memory.

use crate::{
    state::{ApplyError, Refused, View, meta, mvcc},
    types::{Event, Fault, Key, Revision},
};

/// Where history is read: the store of this member, as it is when it is asked.
pub trait History {
    /// Why it cannot be read now.
    type Error;

    /// The events of the revisions `from..=to`, or of the first of them within the limits.
    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Self::Error>;

    /// What happened to single keys up to `to`, each from a revision of its own on, or to the first
    /// of them within the limits. The keys come in order, each once. The pairs before are read only
    /// if they are asked for.
    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        prev_kv: bool,
        limits: Limits,
    ) -> Result<ReadKeys, Self::Error>;
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

/// What a reader of the history of single keys gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadKeys {
    /// The events of keys.
    Keys {
        /// Of the first of the keys, in their order; `None` where one has more than the limits allow.
        keys: Vec<Option<Vec<Event>>>,
        /// The last revision that was read.
        read_to: Revision,
    },
    /// History begins at this revision, after one of those asked for.
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
        Err(error) => compacted(view, error).map(Read::Compacted),
    }
}

/// Reads the history of single keys out of a view of the store.
pub fn read_keys_of_view(
    view: &dyn View,
    keys: &[(Key, Revision)],
    to: Revision,
    prev_kv: bool,
    limits: Limits,
) -> Result<ReadKeys, Fault> {
    match mvcc::events_of_keys(view, keys, to, prev_kv, limits.revisions, limits.bytes) {
        Ok(history) => Ok(ReadKeys::Keys { keys: history.keys, read_to: history.read_to }),
        Err(error) => compacted(view, error).map(ReadKeys::Compacted),
    }
}

/// Where history begins that could not be read from further back.
fn compacted(view: &dyn View, error: ApplyError) -> Result<Revision, Fault> {
    match error {
        ApplyError::Refused(Refused::Compacted(_)) => meta::compacted(view),
        ApplyError::Refused(refused) => Err(Fault::new(format!("history is refused: {refused}"))),
        ApplyError::Fault(fault) => Err(fault),
    }
}
