//! From the board and from history to the responses of one stream.
//!
//! A poll serves the watchers that are awake in turn, one response each, while there is room. One
//! that was told everything is parked; one that needs history waits aside for it, so that it never
//! holds the others up. The board is held meanwhile: nothing is matched in between, so that what is
//! parked has missed nothing, and what is told of progress is true.

use std::{cell::Cell, sync::Arc, task::Waker};

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
        archive::{Archive, Piece},
        board::{Board, Seat},
        index::End,
        key_piece::{Found, KeyPiece},
        mailbox::Note,
        recorded::{Recorded, Shown},
        watchers::{State, Watcher, Whose},
    },
};

/// Watchers that a poll serves at most before others get the thread.
const SERVED_PER_POLL: usize = 4_096;

/// Events that a poll looks at in pieces of history, about, before others get the thread.
const LOOKED_PER_POLL: usize = 65_536;

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
    archive: &'a Archive,
    compacted: Revision,
    /// The piece of history used last.
    piece: Option<Arc<Piece>>,
    /// The past of single keys, while it is there.
    key_piece: Option<Arc<KeyPiece>>,
    /// Events of pieces that were looked at.
    looked: usize,
    to_park: Vec<Seat>,
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
        let mut turn = Turn {
            board: &board,
            archive: hub.archive(),
            compacted: hub.compacted_revision(),
            piece: None,
            key_piece: None,
            looked: 0,
            to_park: Vec::new(),
            lost: Vec::new(),
            delivered: 0,
        };
        self.collect(&mut turn);
        self.take_turns(&mut turn, sink);
        board.park(&turn.to_park);
        if self.whose == Whose::Client {
            hub.note_delivered(turn.delivered);
        }
        self.want_key_piece(&board);
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
    fn collect(&mut self, turn: &mut Turn<'_>) {
        let mail = self.mailbox.collect();
        for Note { watcher: id, next } in mail.ready {
            // Whoever is not there any more, or awake already, is passed over.
            if let Some(watcher) = self.watchers.get_mut(id)
                && watcher.state == State::Parked
            {
                watcher.state = State::Awake;
                let start = watcher.next;
                if watcher.advance(next) {
                    self.futures.remove(&(start, id));
                }
                self.awake.push_back(id);
            }
        }
        if mail.history {
            self.wanted = false;
            self.wake_waiting(turn);
        }
        if let Some(piece) = mail.key_piece {
            self.wake_apart(piece);
        }
        turn.key_piece = self.apart.piece();
    }

    /// Wakes those who find what they waited for, or that it is gone.
    fn wake_waiting(&mut self, turn: &mut Turn<'_>) {
        let Some((oldest, _)) = self.waiting.first() else { return };
        turn.piece = self.hub.archive().piece(*oldest);
        let covered = turn.piece.as_ref().map(|piece| piece.read_to().next());
        let end = covered.unwrap_or(turn.compacted).max(oldest.next());
        let later = self.waiting.split_off(&(end, WatchId(i64::MIN)));
        for (_, id) in std::mem::replace(&mut self.waiting, later) {
            if let Some(watcher) = self.watchers.get_mut(id) {
                watcher.state = State::Awake;
                self.awake.push_back(id);
            }
        }
    }

    fn take_turns(&mut self, turn: &mut Turn<'_>, sink: &mut impl Sink) {
        for _ in 0..SERVED_PER_POLL {
            if !sink.has_room() || turn.looked > LOOKED_PER_POLL {
                break;
            }
            let Some(id) = self.awake.pop_front() else { break };
            let Some(watcher) = self.watchers.get_mut(id) else { continue };
            if watcher.state != State::Awake {
                continue;
            }
            let is_forgotten = watcher.next <= turn.board.forgotten(watcher.seat.group);
            if watcher.started_too_early || (is_forgotten && watcher.next < turn.compacted) {
                turn.lost.push(watcher.seat);
                sink.say(self.lose(id, turn.compacted));
                continue;
            }
            let (was_ahead, start) = (watcher.is_ahead, watcher.next);
            if is_forgotten {
                watcher.serve_from_history(id, self.apart.len(), turn, sink);
            } else {
                let together = watcher.next <= self.stalled_at;
                watcher.serve_from_memory(id, together, turn, sink);
            }
            if was_ahead && !watcher.is_ahead {
                self.futures.remove(&(start, id));
            }
            match watcher.state {
                State::Awake => self.awake.push_back(id),
                State::Waiting => {
                    self.waiting.insert((watcher.next, id));
                }
                State::Apart => self.apart.insert(id),
                State::Parked | State::Lost => {}
            }
        }
    }

    /// Asks for the oldest history that a watcher waits for: those that need newer one are served on
    /// the way.
    fn want_history(&mut self) {
        if self.wanted {
            return;
        }
        let Some((next, id)) = self.waiting.first() else { return };
        let bytes = self.watchers.get(*id).map_or(0, |watcher| watcher.limits().bytes);
        self.hub.archive().want(*next, bytes.max(WATCH_PIECE_BYTES_MAX), &self.mailbox);
        self.wanted = true;
    }

    /// Tells of progress, to whom it is due and to who asked for the whole stream. True when nothing
    /// is left to be told now.
    fn tell_progress(&mut self, matched: Revision, sink: &mut impl Sink) -> bool {
        while sink.has_room() {
            let Some(id) = self.due.pop_first() else { break };
            let watcher = self.watchers.get(id).expect("cancelled watchers are not due");
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
        self.asked = self.asked.and_then(|(_, last)| (matched < last).then_some((last, last)));
        sink.say(Response { id: WatchId::NONE, revision: matched, kind: Kind::Progress });
        // Asks to be told when a later question can be answered.
        !self.can_answer(matched)
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
                self.advance(revision);
                all = false;
                break;
            }
        }
        if all {
            self.advance(turn.board.matched().next());
            self.state = State::Parked;
            turn.to_park.push(self.seat);
        }
        if let Some(last) = taken.last() {
            self.deliver(id, last, &taken.events, turn, sink);
        }
    }

    /// Serves a watcher out of the past of its key or out of a piece of history. Without either it
    /// has to wait, for the past of its key only if that is cheaper than what `others` share.
    fn serve_from_history(
        &mut self,
        id: WatchId,
        others: usize,
        turn: &mut Turn<'_>,
        sink: &mut impl Sink,
    ) {
        let (board, next) = (turn.board, self.next);
        let Some((extent, filter)) = board.wants(self.seat.group) else {
            self.state = State::Waiting;
            return;
        };
        let is_single = extent.end == End::Single && !self.is_busy;
        if let Some(key_piece) = turn.key_piece.clone().filter(|_| is_single) {
            match key_piece.find(extent.start, next, self.prev_kv) {
                Found::Events(past) => {
                    turn.looked += past.len();
                    let wanted = past.iter().filter(|event| filter.passes(event.event()));
                    self.serve_past(id, wanted, key_piece.read_to(), turn, sink);
                    return;
                }
                Found::TooMany => self.is_busy = true,
                Found::Nothing => {}
            }
        }
        if !turn.piece.as_ref().is_some_and(|piece| piece.covers(next)) {
            turn.piece = turn.archive.piece(next);
        }
        if let Some(piece) = turn.piece.clone() {
            let looked = Cell::new(0);
            let wanted = piece.select(extent, filter, next, &looked);
            self.serve_past(id, wanted, piece.read_to(), turn, sink);
            turn.looked += looked.get();
        } else {
            let behind = board.far_behind(next).and_then(|far| usize::try_from(far).ok());
            let is_apart = is_single && !self.is_busy && behind.is_some_and(|far| others < far / 4);
            self.state = if is_apart { State::Apart } else { State::Waiting };
        }
    }

    /// Serves a watcher the first of what it wants of the past, which is known up to `read_to`.
    fn serve_past<'p>(
        &mut self,
        id: WatchId,
        wanted: impl Iterator<Item = &'p Recorded>,
        read_to: Revision,
        turn: &mut Turn<'_>,
        sink: &mut impl Sink,
    ) {
        let mut wanted = wanted.peekable();
        let mut taken = Taken::new(self.limits());
        let next = loop {
            let Some(revision) = wanted.peek().map(|event| event.revision()) else {
                break read_to.next();
            };
            let batch = std::iter::from_fn(|| wanted.next_if(|event| event.revision() == revision));
            if !taken.take(batch.map(|event| event.shown(self.prev_kv, turn.compacted))) {
                break revision;
            }
        };
        self.advance(next);
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
        let next_max = if self.is_ahead { revision } else { revision.next() };
        self.state == State::Parked && self.next <= next_max
    }

    /// Everything that it wants below `next` was delivered, or is not its own. True when this tells
    /// that it has started, after it was ahead.
    fn advance(&mut self, next: Revision) -> bool {
        let goes_on = self.next < next;
        self.next = self.next.max(next);
        goes_on && std::mem::take(&mut self.is_ahead)
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
