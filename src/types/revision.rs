//! Revisions, key-value pairs and events: what a change is, as clients see it.

use std::fmt;

use bytes::Bytes;

use crate::types::{Key, LeaseId};

/// The store's revision: 1 when empty, then one more for each request that changes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of a store nobody has written to.
    pub const FIRST: Self = Self(1);
    /// The compacted mark of a store that was never compacted.
    pub const NEVER_COMPACTED: Self = Self(-1);

    /// The revision after this one. Clients may name the greatest number there is: none comes after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One change: the revision it belongs to, and its place among the changes of that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The revision all changes of the request share.
    pub revision: Revision,
    /// 0 for the first change of the request.
    pub sub: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.revision, self.sub)
    }
}

/// A key and what is stored under it, as of some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Key,
    /// Its value, any bytes.
    pub value: Bytes,
    /// The revision that created the key (anew after a delete).
    pub create_revision: Revision,
    /// The revision of the last change.
    pub mod_revision: Revision,
    /// Changes since creation, from 1.
    pub version: i64,
    /// The lease the key lives on, if any.
    pub lease: Option<LeaseId>,
}

/// Why a key was deleted. Stored with the event; clients of the etcd API do not see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteReason {
    /// A client deleted it.
    Client,
    /// A client revoked its lease.
    Revoked,
    /// Its lease ran out.
    Expired,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The key now has this value.
    Put(KeyValue),
    /// The key is gone.
    Delete(Key, DeleteReason),
}

/// A change and what stood there before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where in the order of all changes it stands.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// The pair as of the revision before this event's, if the key lived then and it is known.
    pub prev: Option<KeyValue>,
}

impl Event {
    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Key {
        match &self.kind {
            EventKind::Put(kv) => &kv.key,
            EventKind::Delete(key, _) => key,
        }
    }
}
