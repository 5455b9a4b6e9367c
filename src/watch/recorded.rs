//! [`Recorded`]: an event in memory, with its encoding made once for all who are sent it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::types::{Event, EventKind, KeyValue, Revision};

/// What the tag, the lengths and the numbers of an event take on the wire, about.
const FRAME_BYTES: usize = 32;

/// An event and its encodings, one for watchers that ask for the pair before and one for those that
/// do not. Each is made by the first stream that needs it.
#[derive(Debug)]
pub(super) struct Recorded {
    event: Event,
    bare: OnceLock<Bytes>,
    whole: OnceLock<Bytes>,
}

/// The events of one revision.
pub(super) type Batch = Arc<[Recorded]>;

impl Recorded {
    pub(super) fn new(event: Event) -> Self {
        Self { event, bare: OnceLock::new(), whole: OnceLock::new() }
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    pub(super) fn revision(&self) -> Revision {
        self.event.id.revision
    }

    /// The event as a watcher sees it when history below `compacted` is not shown: with the pair
    /// before only if it asked for it, and only when the revision before is still kept and the key
    /// is not new.
    pub(super) fn shown(&self, prev_kv: bool, compacted: Revision) -> Shown<'_> {
        let created = match &self.event.kind {
            EventKind::Put(kv) => kv.create_revision == kv.mod_revision,
            EventKind::Delete(..) => false,
        };
        let whole = prev_kv && !created && self.revision() > compacted && self.event.prev.is_some();
        Shown { recorded: self, whole }
    }

    /// What it takes in memory, about: it may share its bytes with others, and be encoded later.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + 2 * payload_bytes(&self.event)
    }
}

/// One event as a watcher is shown it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    recorded: &'a Recorded,
    /// With the pair before.
    whole: bool,
}

impl<'a> Shown<'a> {
    /// What happened. The pair before may be there without being shown: see [`Shown::prev`].
    #[must_use]
    pub fn event(self) -> &'a Event {
        &self.recorded.event
    }

    /// The pair before, if this watcher is shown it.
    #[must_use]
    pub fn prev(self) -> Option<&'a KeyValue> {
        self.recorded.event.prev.as_ref().filter(|_| self.whole)
    }

    /// Its encoding, made by `encode` for the first who asks. All must bring the same function.
    pub fn encoded(self, encode: fn(&Event, Option<&KeyValue>) -> Bytes) -> &'a Bytes {
        let form = if self.whole { &self.recorded.whole } else { &self.recorded.bare };
        form.get_or_init(|| encode(self.event(), self.prev()))
    }

    /// Its length on the wire, about.
    pub(super) fn len(self) -> usize {
        FRAME_BYTES + payload(&self.recorded.event.kind, self.prev())
    }
}

/// The bytes of an event's keys and values.
pub(super) fn payload_bytes(event: &Event) -> usize {
    payload(&event.kind, event.prev.as_ref())
}

fn payload(kind: &EventKind, prev: Option<&KeyValue>) -> usize {
    let of = |kv: &KeyValue| kv.key.as_bytes().len() + kv.value.len();
    let now = match kind {
        EventKind::Put(kv) => of(kv),
        EventKind::Delete(key, _) => key.as_bytes().len(),
    };
    now + prev.map_or(0, of)
}
