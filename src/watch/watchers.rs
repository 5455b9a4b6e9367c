//! [`Watchers`]: the watchers of one client stream.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    types::{Revision, limits::WATCHERS_PER_STREAM_MAX},
    watch::{
        Create, Hub, Kind, Refusal, Response, WatchId,
        catch_up::Piece,
        matcher::Matcher,
        watcher::{Position, Span, Watcher},
    },
};

/// The watchers of one client stream, and what they have been told.
///
/// Requests are answered one by one, in the order of the calls. What happens in the store comes out
/// of [`poll`](Self::poll), which the stream's owner calls when the hub's bell rang or the stream has
/// room again. Responses must be sent in the order in which they are returned.
#[derive(Debug)]
pub struct Watchers {
    pub(super) watchers: BTreeMap<WatchId, Watcher>,
    /// Every watcher that is not lost.
    pub(super) matcher: Matcher,
    /// Everything up to here was matched against every watcher.
    pub(super) scanned: Revision,
    /// The next id to give to a watcher whose client chose none.
    next_id: WatchId,
    /// The watchers that are behind, in the order in which they are served.
    pub(super) turns: BTreeMap<u64, WatchId>,
    pub(super) next_turn: u64,
    /// Watchers behind this revision were left waiting: their revisions may travel together.
    pub(super) stalled_at: Revision,
    /// The history read last, while somebody may need it.
    pub(super) piece: Option<Piece>,
    /// Watchers that start after the last revision scanned; those reached are removed late.
    pub(super) futures: BTreeSet<(Revision, WatchId)>,
    /// How many watchers are lost and not cancelled yet.
    pub(super) lost: usize,
    /// Who asked to be told of progress from time to time.
    notified: BTreeSet<WatchId>,
    /// Who is to be told of it now.
    pub(super) due: BTreeSet<WatchId>,
    /// Whether the client asked how far the stream has come, and was not answered.
    pub(super) progress_asked: bool,
}

/// What a poll brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// To be sent in this order.
    pub responses: Vec<Response>,
    /// Something is left to do: poll again when there is room, without waiting for the bell.
    pub more: bool,
}

impl Watchers {
    /// A stream without watchers.
    #[must_use]
    pub fn new(hub: &Hub) -> Self {
        Self {
            watchers: BTreeMap::new(),
            matcher: Matcher::default(),
            scanned: hub.current(),
            next_id: WatchId(0),
            turns: BTreeMap::new(),
            next_turn: 0,
            stalled_at: Revision(0),
            piece: None,
            futures: BTreeSet::new(),
            lost: 0,
            notified: BTreeSet::new(),
            due: BTreeSet::new(),
            progress_asked: false,
        }
    }

    /// Creates a watcher: the answer, of exactly one kind, says under which id or why not.
    ///
    /// The registration falls between two revisions: a watcher that starts "now" is shown
    /// everything after the revision in its answer's header, and nothing else.
    pub fn create(&mut self, hub: &Hub, create: Create) -> Response {
        self.scan(hub);
        let (id, kind) = match self.admit(&create) {
            Ok(id) => {
                self.insert(id, Watcher::new(create, self.scanned));
                (id, Kind::Created)
            }
            Err(refusal) => (WatchId::NONE, Kind::Refused(refusal)),
        };
        Response { id, revision: self.scanned, kind }
    }

    /// Cancels a watcher; there is no answer when the stream has none of this id. One that was
    /// lost to compaction is still there, and is answered for.
    pub fn cancel(&mut self, hub: &Hub, id: WatchId) -> Option<Response> {
        let watcher = self.watchers.remove(&id)?;
        match watcher.position {
            Position::Synced => {}
            Position::Behind(span) => {
                self.turns.remove(&span.turn);
            }
            Position::Lost => self.lost -= 1,
        }
        self.matcher.remove(id, &watcher.range);
        self.futures.remove(&(watcher.start, id));
        self.notified.remove(&id);
        self.due.remove(&id);
        Some(Response { id, revision: hub.current(), kind: Kind::Canceled })
    }

    /// The client asks how far the stream has come. The answer comes out of a poll, after
    /// everything up to its revision. There is none while a watcher starts in the future or is
    /// lost, or when there are no watchers: then nothing can be said about all of them.
    pub fn progress(&mut self) {
        self.progress_asked = true;
    }

    /// The stream's progress ticker ticked: whoever asked for it and was sent nothing since the
    /// last tick is told how far it has come, unless it is behind.
    pub fn tick(&mut self) {
        for id in &self.notified {
            let watcher = self.watchers.get_mut(id).expect("cancelled watchers are not notified");
            if !std::mem::take(&mut watcher.told_since_tick) {
                self.due.insert(*id);
            }
        }
    }

    /// How many watchers the stream has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether the stream has no watchers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Marks a watcher as behind and gives it a turn after all others.
    pub(super) fn fall_behind(
        &mut self,
        id: WatchId,
        (next, last): (Revision, Revision),
        catching_up: bool,
    ) {
        let turn = self.next_turn;
        self.next_turn += 1;
        let watcher = self.watchers.get_mut(&id).expect("only watchers of the stream fall behind");
        watcher.position = Position::Behind(Span { next, last, turn, catching_up });
        self.turns.insert(turn, id);
    }

    /// Ends a watcher that compaction overtook. The client is told once, and may still cancel it.
    pub(super) fn lose(&mut self, id: WatchId, compacted: Revision) -> Response {
        let watcher = self.watchers.get_mut(&id).expect("only watchers of the stream are lost");
        watcher.position = Position::Lost;
        self.lost += 1;
        self.matcher.remove(id, &watcher.range);
        self.notified.remove(&id);
        self.due.remove(&id);
        Response { id, revision: Revision(0), kind: Kind::Compacted(compacted) }
    }

    /// Checks a request, in the order that clients know, and finds the id.
    fn admit(&mut self, create: &Create) -> Result<WatchId, Refusal> {
        if create.start < Revision(0) {
            return Err(Refusal::NegativeStart);
        }
        if create.range.is_empty() {
            return Err(Refusal::EmptyRange);
        }
        if self.watchers.len() >= WATCHERS_PER_STREAM_MAX {
            return Err(Refusal::TooManyWatchers);
        }
        match create.id {
            Some(id) if self.watchers.contains_key(&id) => Err(Refusal::DuplicateId),
            Some(id) => Ok(id),
            None => Ok(self.free_id()),
        }
    }

    /// The next id that was never given out and is not in use.
    fn free_id(&mut self) -> WatchId {
        loop {
            let id = self.next_id;
            self.next_id = WatchId(id.0 + 1);
            if !self.watchers.contains_key(&id) {
                return id;
            }
        }
    }

    fn insert(&mut self, id: WatchId, watcher: Watcher) {
        self.matcher.insert(id, &watcher.range);
        if watcher.progress_notify {
            self.notified.insert(id);
        }
        if watcher.start > self.scanned {
            self.futures.insert((watcher.start, id));
        }
        let missed = watcher.missed(Revision(0), self.scanned);
        self.watchers.insert(id, watcher);
        if let Some(span) = missed {
            self.fall_behind(id, span, true);
        }
    }
}
