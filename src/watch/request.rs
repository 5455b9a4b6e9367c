//! What a stream asks for, and what it is told.

use std::fmt;

use crate::{
    types::{Event, EventKind, KeyRange, Revision},
    watch::recorded::Shown,
};

/// Names a watcher on its stream. Clients may choose one, negative ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub i64);

impl WatchId {
    /// Stands where no watcher is meant: in refusals, and in progress answers for all of them.
    pub const NONE: Self = Self(-1);
}

impl fmt::Display for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A watcher to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// The keys to watch.
    pub range: KeyRange,
    /// The first revision to deliver; 0 is the one after the registration.
    pub start: Revision,
    /// Which events to leave out.
    pub filter: Filter,
    /// Whether events carry the pair before.
    pub prev_kv: bool,
    /// Whether large responses may be split.
    pub fragment: bool,
    /// Whether to tell of progress when nothing happens.
    pub progress_notify: bool,
    /// The id, when the client chose one.
    pub id: Option<WatchId>,
}

/// Which events a watcher does not want.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletes out.
    pub no_delete: bool,
}

impl Filter {
    /// Whether the event passes.
    #[must_use]
    pub fn passes(self, event: &Event) -> bool {
        match event.kind {
            EventKind::Put(_) => !self.no_put,
            EventKind::Delete(..) => !self.no_delete,
        }
    }
}

/// Why a watcher was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The start revision is negative.
    NegativeStart,
    /// No key can be in the range.
    EmptyRange,
    /// The id chosen by the client is in use.
    DuplicateId,
    /// The stream has as many watchers as it may have.
    TooManyWatchers,
}

/// One answer on a watch stream, other than events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The watcher it is about, or [`WatchId::NONE`].
    pub id: WatchId,
    /// What the header shows; 0 when a watcher ends by compaction.
    pub revision: Revision,
    /// What it says.
    pub kind: Kind,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The watcher was created; with a start of 0 it shows what comes after the header's revision.
    Created,
    /// The watcher was not created.
    Refused(Refusal),
    /// The watcher was cancelled, as asked.
    Canceled,
    /// The watcher cannot go on: history below this revision is gone, and it needed some.
    Compacted(Revision),
    /// Everything up to the header's revision has been delivered.
    Progress,
}

/// What happened: all events that a watcher wants of one revision or of several.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Whom it is for.
    pub id: WatchId,
    /// What the header shows.
    pub revision: Revision,
    /// Whether the client takes it in several pieces.
    pub fragment: bool,
    /// In order, never empty.
    pub events: &'a [Shown<'a>],
}

/// Where the responses of a stream go, in order.
pub trait Sink {
    /// Whether there is room for one more response.
    fn has_room(&self) -> bool;

    /// Takes a response that has no events.
    fn say(&mut self, response: Response);

    /// Takes events.
    fn deliver(&mut self, delivery: Delivery<'_>);
}
