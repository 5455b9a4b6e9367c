//! One watcher: what it wants, and how far it has come.

use crate::{
    types::{Event, EventKind, KeyRange, Revision},
    watch::{Create, Filter, Limits, hub::event_bytes},
};

/// One watcher of a stream.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) range: KeyRange,
    /// As the client gave it, 0 for "from now on".
    pub(super) start: Revision,
    /// Nothing below this revision is its own.
    from: Revision,
    filter: Filter,
    prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) progress_notify: bool,
    /// Whether it was sent events since the last tick of the stream's progress ticker.
    pub(super) told_since_tick: bool,
    pub(super) position: Position,
}

/// How far a watcher has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Everything that the stream has looked through, and it wants, is delivered.
    Synced,
    /// Something is not.
    Behind(Span),
    /// Compaction took what it needed. The id is kept until the client cancels it.
    Lost,
}

/// What is not delivered: something in `next..=last`, and nothing after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first revision that may hold something for it.
    pub(super) next: Revision,
    /// The last one.
    pub(super) last: Revision,
    /// Its place in the order in which the watchers of the stream are served.
    pub(super) turn: u64,
    /// It started in the past, or the hub forgot what it needs, as opposed to waiting for room in
    /// the stream. Compaction ends such a watcher, for it may need what is gone.
    pub(super) catching_up: bool,
}

/// What a watcher takes of a run of revisions.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) events: Vec<Event>,
    /// The first revision with something for it that did not fit any more.
    pub(super) stopped_at: Option<Revision>,
}

impl Watcher {
    /// A watcher created when the stream had looked through everything up to `registered`. It has
    /// no position before that, and has seen nothing.
    pub(super) fn new(create: Create, registered: Revision) -> Self {
        let start = create.start;
        let from = if start == Revision(0) { registered.next() } else { start };
        Self {
            range: create.range,
            start,
            from,
            filter: create.filter,
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            progress_notify: create.progress_notify,
            told_since_tick: false,
            position: Position::Synced,
        }
    }

    /// What it may have missed of everything up to `last`, when nothing after `seen` was matched
    /// against it.
    pub(super) fn missed(&self, seen: Revision, last: Revision) -> Option<(Revision, Revision)> {
        let next = self.from.max(seen.next());
        (next <= last).then_some((next, last))
    }

    /// Whether an event that lies in its range is for it.
    pub(super) fn accepts(&self, event: &Event) -> bool {
        self.from <= event.id.revision && self.filter.passes(event)
    }

    /// Takes what it wants of whole revisions, within the limits; the first one with something for
    /// it is taken whatever its size. History below `compacted` is not shown.
    pub(super) fn take<'a>(
        &self,
        batches: impl Iterator<Item = (Revision, &'a [Event])>,
        limits: Limits,
        compacted: Revision,
    ) -> Taken {
        let mut taken = Taken::default();
        let (mut revisions, mut bytes) = (0, 0);
        for (revision, batch) in batches {
            let len_before = taken.events.len();
            let wanted = batch.iter().filter(|event| self.wants(event));
            for event in wanted.map(|event| self.shown(event, compacted)) {
                bytes += event_bytes(&event);
                taken.events.push(event);
            }
            if taken.events.len() == len_before {
                continue;
            }

            revisions += 1;
            if len_before > 0 && (revisions > limits.revisions || bytes > limits.bytes) {
                taken.events.truncate(len_before);
                taken.stopped_at = Some(revision);
                break;
            }
        }
        taken
    }

    fn wants(&self, event: &Event) -> bool {
        self.range.contains(event.key()) && self.accepts(event)
    }

    /// The event as this watcher sees it: with the pair before only if it asked for it, and only
    /// when the revision before is still kept and the key is not new.
    fn shown(&self, event: &Event, compacted: Revision) -> Event {
        let created = match &event.kind {
            EventKind::Put(kv) => kv.create_revision == kv.mod_revision,
            EventKind::Delete(..) => false,
        };
        let kept = event.id.revision > compacted;
        let prev = if self.prev_kv && kept && !created { event.prev.clone() } else { None };
        Event { id: event.id, kind: event.kind.clone(), prev }
    }
}
