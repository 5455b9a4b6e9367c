//! [`KeyPiece`]: the past of some single keys.
//!
//! A watcher of one key that is far behind wants little of a long history. What happened to its key
//! is read apart from all else, so that it costs what the key has, and not what happened meanwhile.

use crate::{
    types::{Event, Key, Revision},
    watch::recorded::Recorded,
};

/// What happened to some keys, each from a revision of its own on.
#[derive(Debug)]
pub(super) struct KeyPiece {
    /// In the order of keys.
    keys: Vec<KeyPast>,
    /// Everything up to here was read.
    read_to: Revision,
    /// With the pairs before.
    prev_kv: bool,
}

/// What happened to a key.
#[derive(Debug)]
struct KeyPast {
    key: Key,
    from: Revision,
    /// In order. None when it is so much that it had better be read with all else.
    events: Option<Vec<Recorded>>,
}

/// What a watcher finds in a piece.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// These events, in order, and no others.
    Events(&'a [Recorded]),
    /// That its key has too many.
    TooMany,
    /// Nothing: neither its key nor that nothing happened to it.
    Nothing,
}

impl KeyPiece {
    /// A piece of what was read of the first of these keys, which come in order.
    pub(super) fn new(
        keys: Vec<(Key, Revision)>,
        read: Vec<Option<Vec<Event>>>,
        read_to: Revision,
        prev_kv: bool,
    ) -> Self {
        let keys = keys.into_iter().zip(read).map(|((key, from), events)| {
            let recorded = |events: Vec<_>| events.into_iter().map(Recorded::new).collect();
            KeyPast { key, from, events: events.map(recorded) }
        });
        Self { keys: keys.collect(), read_to, prev_kv }
    }

    /// The last revision that was read.
    pub(super) fn read_to(&self) -> Revision {
        self.read_to
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let events = self.keys.iter().flat_map(|past| &past.events).flatten();
        let keys = self.keys.iter().map(|past| size_of::<KeyPast>() + past.key.as_bytes().len());
        events.map(Recorded::bytes).chain(keys).sum()
    }

    /// What happened to a key from a revision on, for who asks for the pairs before or does not.
    pub(super) fn find(&self, key: &[u8], next: Revision, prev_kv: bool) -> Found<'_> {
        if prev_kv && !self.prev_kv {
            return Found::Nothing;
        }
        let at = self.keys.binary_search_by(|past| past.key.as_bytes().cmp(key));
        let past = at.ok().and_then(|at| self.keys.get(at));
        match past.filter(|past| past.from <= next && next <= self.read_to) {
            Some(KeyPast { events: Some(events), .. }) => {
                let first = events.partition_point(|recorded| recorded.revision() < next);
                Found::Events(events.get(first..).unwrap_or_default())
            }
            Some(KeyPast { events: None, .. }) => Found::TooMany,
            None => Found::Nothing,
        }
    }
}
