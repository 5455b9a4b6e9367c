//! From the board and from history to the responses of one stream.
//!
//! A poll serves the watchers that are awake in turn, one response each, while there is room. One
//! that was told everything is parked; one that needs history waits aside for it, so that it never
//! holds the others up. The board is held meanwhile: nothing is matched in between, so that what is
//! parked has missed nothing, and what is told of progress is true.

use std::{sync::Arc, task::Waker};

use crate::{
    types::{
        Revision,
        limits::{
            WATCH_CATCH_UP_BYTES_MAX, WATCH_CHUNK_BYTES, WATCH_FRAGMENTED_BYTES_MAX,
            WATCH_PIECE_BYTES_MAX, WATCH_RESPONSE_REVISIONS_MAX,
        },
    },
    watch::{
        Delivery, Kind, Limits, Response, Sink, WatchId, Watchers,
        archive::Piece,
        board::{Board, Seat},
        parking::MemberId,
        recorded::{Recorded, Shown},
        watchers::{State, Watcher},
    },
};

/// Watchers that a poll serves at most before others get the thread.
const SERVED_PER_POLL: usize = 4_096;

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Nothing is left to do. The waker is called when there is.
    Idle,
    /// Something is: poll again, when there is room.
    More,
}

/// What a poll works with.
struct Turn<'a> {
    board: &'a Board,
    compacted: Revision,
    /// The piece of history used last.
    piece: Option<Arc<Piece>>,
    to_park: Vec<MemberId>,
    /// Of watchers that compaction overtook.
    lost: Vec<Seat>,
    delivered: usize,
}

impl Watchers {
    /// Hands to the sink what is ready, as long as it has room. Watchers take turns, a response
    /// each.
    pub fn poll(&mut self, waker: &Waker, sink: &mut impl Sink) -> Polled {
        let hub = Arc::clone(&self.hub);
        let board = hub.board();
        self.collect();
        let mut turn = Turn {
            board: &board,
            compacted: hub.compacted_revision(),
            piece: None,
            to_park: Vec::new(),
            lost: Vec::new(),
            delivered: 0,
        };
        self.take_turns(&mut turn, sink);
        board.park(&turn.to_park);
        hub.note_delivered(turn.delivered);
        let lost = turn.lost;
        let told = if self.awake.is_empty() {
            self.tell_progress(board.matched(), sink)
        } else {
            self.stalled_at = board.matched();
            false
        };
        drop(board);
        hub.leave(lost);
        self.want_history();
        if told && self.mailbox.rest(waker) { Polled::Idle } else { Polled::More }
    }

    /// Takes in what others have told this stream.
    fn collect(&mut self) {
        let first = self.awake.len();
        if self.mailbox.collect(&mut self.awake) {
            self.wanted = false;
            self.awake.extend(self.waiting.drain(..));
        }
        for id in self.awake.range(first..) {
            // Whoever is not there any more, or awake already, is passed over in its turn.
            if let Some(watcher) = self.watchers.get_mut(id)
                && matches!(watcher.state, State::Parked | State::Waiting)
            {
                watcher.state = State::Awake;
            }
        }
    }

    fn take_turns(&mut self, turn: &mut Turn<'_>, sink: &mut impl Sink) {
        for _ in 0..SERVED_PER_POLL {
            if !sink.has_room() {
                break;
            }
            let Some(id) = self.awake.pop_front() else { break };
            let Some(watcher) = self.watchers.get_mut(&id) else { continue };
            if watcher.state != State::Awake {
                continue;
            }
            if turn.board.forgotten(watcher.seat.group) < watcher.next {
                let together = watcher.next <= self.stalled_at;
                watcher.serve_from_memory(id, together, turn, sink);
            } else if watcher.next < turn.compacted {
                turn.lost.push(watcher.seat);
                sink.say(self.lose(id, turn.compacted));
                continue;
            } else {
                if !turn.piece.as_ref().is_some_and(|piece| piece.covers(watcher.next)) {
                    turn.piece = self.hub.archive().piece(watcher.next);
                }
                watcher.serve_from_history(id, turn, sink);
            }
            match watcher.state {
                State::Awake => self.awake.push_back(id),
                State::Waiting => self.waiting.push(id),
                State::Parked | State::Lost => {}
            }
        }
    }

    /// Asks for the oldest history that a watcher waits for: those that need newer one are served on
    /// the way.
    fn want_history(&mut self) {
        if self.wanted || self.waiting.is_empty() {
            return;
        }
        let watchers = self.waiting.iter().filter_map(|id| self.watchers.get(id));
        let oldest = watchers.min_by_key(|watcher| watcher.next);
        if let Some(watcher) = oldest {
            let bytes = watcher.limits().bytes.max(WATCH_PIECE_BYTES_MAX);
            self.hub.archive().want(watcher.next, bytes, &self.mailbox);
            self.wanted = true;
        }
    }

    /// Tells of progress, to whom it is due and to who asked for the whole stream. True when nothing
    /// is left to be told now.
    fn tell_progress(&mut self, matched: Revision, sink: &mut impl Sink) -> bool {
        while sink.has_room() {
            let Some(id) = self.due.pop_first() else { break };
            let watcher = self.watchers.get(&id).expect("cancelled watchers are not due");
            if watcher.has_reached(matched) && !watcher.told_since_tick {
                sink.say(Response { id, revision: matched, kind: Kind::Progress });
            }
        }
        if !self.can_answer(matched) {
            return self.due.is_empty();
        }
        if !sink.has_room() {
            return false;
        }
        self.asked = None;
        sink.say(Response { id: WatchId::NONE, revision: matched, kind: Kind::Progress });
        true
    }
}

impl Watcher {
    /// Serves a watcher what memory holds for it: a revision, or, after a stall, several together.
    fn serve_from_memory(
        &mut self,
        id: WatchId,
        together: bool,
        turn: &mut Turn<'_>,
        sink: &mut impl Sink,
    ) {
        let revisions = if together { WATCH_RESPONSE_REVISIONS_MAX } else { 1 };
        let limits = Limits { revisions, bytes: WATCH_CHUNK_BYTES };
        let mut entries = turn.board.entries(self.seat.group, self.next);
        let mut taken = Taken::new(limits);
        let mut all = true;
        for (revision, events) in entries.by_ref() {
            let events = events.map(|event| event.shown(self.prev_kv, turn.compacted));
            if !taken.take(events) {
                all = false;
                break;
            }
            self.next = revision.next();
        }
        if all {
            self.state = State::Parked;
            turn.to_park.push(self.seat.member);
        }
        if let Some(last) = taken.last() {
            self.deliver(id, last, &taken.events, turn, sink);
        }
    }

    /// Serves a watcher out of a piece of history; without the piece it has to wait for it.
    fn serve_from_history(&mut self, id: WatchId, turn: &mut Turn<'_>, sink: &mut impl Sink) {
        let piece = turn.piece.clone().filter(|piece| piece.covers(self.next));
        let (Some(piece), Some((extent, filter))) = (piece, turn.board.wants(self.seat.group))
        else {
            self.state = State::Waiting;
            return;
        };
        let mut taken = Taken::new(self.limits());
        let mut selected = piece.select(extent, filter, self.next).peekable();
        self.next = loop {
            let Some(revision) = selected.peek().map(|event| event.revision()) else {
                break piece.read_to().next();
            };
            let batch = std::iter::from_fn(|| {
                selected.next_if(|event: &&Recorded| event.revision() == revision)
            });
            if !taken.take(batch.map(|event| event.shown(self.prev_kv, turn.compacted))) {
                break revision;
            }
        };
        if !taken.events.is_empty() {
            let matched = turn.board.matched();
            self.deliver(id, matched, &taken.events, turn, sink);
        }
    }

    fn deliver(
        &mut self,
        id: WatchId,
        revision: Revision,
        events: &[Shown<'_>],
        turn: &mut Turn<'_>,
        sink: &mut impl Sink,
    ) {
        self.told_since_tick = true;
        turn.delivered += events.len();
        sink.deliver(Delivery { id, revision, fragment: self.fragment, events });
    }

    /// How much history it gets at once.
    fn limits(&self) -> Limits {
        let bytes =
            if self.fragment { WATCH_FRAGMENTED_BYTES_MAX } else { WATCH_CATCH_UP_BYTES_MAX };
        Limits { revisions: WATCH_RESPONSE_REVISIONS_MAX, bytes }
    }

    /// Whether it was sent everything up to a revision, and has started by then.
    fn has_reached(&self, revision: Revision) -> bool {
        self.state == State::Parked && self.start <= revision && self.next <= revision.next()
    }
}

/// What goes into one response: whole revisions, within limits, but at least one.
struct Taken<'a> {
    limits: Limits,
    events: Vec<Shown<'a>>,
    revisions: usize,
    bytes: usize,
}

impl<'a> Taken<'a> {
    fn new(limits: Limits) -> Self {
        Self { limits, events: Vec::new(), revisions: 0, bytes: 0 }
    }

    /// Takes the events of one more revision if they fit.
    fn take(&mut self, events: impl Iterator<Item = Shown<'a>>) -> bool {
        let before = self.events.len();
        if before > 0 && self.revisions >= self.limits.revisions {
            return false;
        }
        let mut bytes = self.bytes;
        self.events.extend(events.inspect(|event| bytes += event.len()));
        if before > 0 && bytes > self.limits.bytes {
            self.events.truncate(before);
            return false;
        }
        self.bytes = bytes;
        self.revisions += usize::from(self.events.len() > before);
        true
    }

    fn last(&self) -> Option<Revision> {
        self.events.last().map(|event| event.event().id.revision)
    }
}
