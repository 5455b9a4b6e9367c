//! From the hub and from history to the responses of one stream.
//!
//! Two steps, apart from each other. *Scanning* matches new revisions against all watchers of the
//! stream and only notes who has something to come; it is cheap, and done even when the stream has
//! no room, so that a stalled stream does not make its idle watchers read history. *Serving* takes
//! the watchers that are behind in turn, one response each, and reads what they need.

use crate::{
    types::{
        Event, Revision,
        limits::{
            WATCH_FRAGMENTED_BYTES_MAX, WATCH_RESPONSE_BYTES_MAX, WATCH_RESPONSE_REVISIONS_MAX,
        },
    },
    watch::{
        History, Hub, Kind, Limits, Polled, Read, Recent, Response, WatchId, Watchers,
        catch_up::Piece,
        hub::event_bytes,
        watcher::{Position, Span, Taken, Watcher},
    },
};

/// Revisions that are scanned under one hold of the hub's lock.
const SCAN_REVISIONS: usize = 256;

/// What serving one watcher brought.
enum Served {
    /// Something to send.
    Response(Response),
    /// Nothing of what it looked through was for it.
    Nothing,
    /// It needs history, and this poll has read its share.
    Later,
}

/// One poll's share of work that others wait for.
struct Share<'a, H> {
    hub: &'a Hub,
    history: &'a H,
    /// What the hub said when the poll began.
    compacted: Revision,
    /// A poll reads history once, so that requests and other streams get their turn.
    may_read: bool,
}

impl Watchers {
    /// Matches what is new in the hub, and returns at most `budget` responses; fewer when they are
    /// large.
    ///
    /// With a budget of zero it only matches. Watchers take turns, a response each. A poll reads
    /// history at most once; when more is needed it says so in [`Polled::more`]. After an error the
    /// stream is to be ended: the watcher it hit has lost its turn. A poll in which no watcher finds
    /// anything takes the hub's lock once.
    pub fn poll<H: History>(
        &mut self,
        hub: &Hub,
        history: &H,
        budget: usize,
    ) -> Result<Polled, H::Error> {
        self.scan(hub);
        let mut responses = Vec::new();
        if !self.turns.is_empty() {
            let compacted = hub.compacted_revision();
            let share = Share { hub, history, compacted, may_read: true };
            self.take_turns(share, budget, &mut responses)?;
        }
        if self.turns.is_empty() {
            self.piece = None;
        } else {
            self.stalled_at = self.scanned;
        }
        self.tell_progress(budget, &mut responses);
        let more = !self.turns.is_empty() || !self.due.is_empty() || self.progress_asked;
        Ok(Polled { responses, more })
    }

    /// Serves the watchers that are behind in turn, as far as the share goes.
    fn take_turns<H: History>(
        &mut self,
        mut share: Share<'_, H>,
        budget: usize,
        responses: &mut Vec<Response>,
    ) -> Result<(), H::Error> {
        // How many in a row had to be put off: when all were, nothing is left to do.
        let mut put_off = 0;
        let mut bytes = 0;
        while responses.len() < budget
            && bytes < WATCH_RESPONSE_BYTES_MAX
            && put_off < self.turns.len()
        {
            let Some((_, id)) = self.turns.pop_first() else { break };
            match self.serve(id, &mut share)? {
                Served::Response(response) => {
                    bytes += response_bytes(&response);
                    responses.push(response);
                    put_off = 0;
                }
                Served::Nothing => put_off = 0,
                Served::Later => put_off += 1,
            }
        }
        Ok(())
    }

    /// Matches the revisions that are new in the hub. The work of a revision that no watcher wants
    /// is a lookup per event.
    pub(super) fn scan(&mut self, hub: &Hub) {
        loop {
            match hub.recent(self.scanned.next(), Revision(i64::MAX), SCAN_REVISIONS) {
                Recent::Batches(batches) => {
                    let all = batches.len() < SCAN_REVISIONS;
                    for (revision, events) in batches {
                        for event in events.iter() {
                            self.note(event);
                        }
                        self.scanned = revision;
                    }
                    if all {
                        break;
                    }
                }
                Recent::Evicted => self.miss_up_to(hub.current()),
            }
        }
    }

    /// Notes an event with the watchers that want it.
    fn note(&mut self, event: &Event) {
        let revision = event.id.revision;
        for id in self.matcher.matching(event.key()) {
            let watcher = self.watchers.get_mut(&id).expect("the matcher knows live watchers only");
            if !watcher.accepts(event) {
                continue;
            }
            match &mut watcher.position {
                Position::Behind(span) => span.last = revision,
                Position::Synced => {
                    let turn = self.next_turn;
                    self.next_turn += 1;
                    let span = Span { next: revision, last: revision, turn, catching_up: false };
                    watcher.position = Position::Behind(span);
                    self.turns.insert(turn, id);
                }
                Position::Lost => {}
            }
        }
    }

    /// The hub forgot revisions before they were matched: whoever may want them reads history.
    fn miss_up_to(&mut self, current: Revision) {
        let mut fallen = Vec::new();
        for (id, watcher) in &mut self.watchers {
            let missed = watcher.missed(self.scanned, current);
            match &mut watcher.position {
                Position::Synced => fallen.extend(missed.map(|span| (*id, span))),
                Position::Behind(span) => span.last = current,
                Position::Lost => {}
            }
        }
        for (id, span) in fallen {
            self.fall_behind(id, span, true);
        }
        self.scanned = current;
    }

    /// Serves the watcher whose turn it is: it loses its turn, and gets a new one if it is behind
    /// after that.
    fn serve<H: History>(
        &mut self,
        id: WatchId,
        share: &mut Share<'_, H>,
    ) -> Result<Served, H::Error> {
        let watcher = self.watchers.get(&id).expect("only watchers of the stream have turns");
        let Position::Behind(span) = watcher.position else {
            unreachable!("watcher {id} has a turn without being behind")
        };
        if span.catching_up && span.next < share.compacted {
            return Ok(Served::Response(self.lose(id, share.compacted)));
        }

        let together = span.catching_up || span.next <= self.stalled_at;
        let limits = limits(watcher, together);
        match share.hub.recent(span.next, span.last, WATCH_RESPONSE_REVISIONS_MAX) {
            Recent::Batches(batches) => {
                let through = batches.last().map_or(span.last, |(revision, _)| *revision);
                let batches = batches.iter().map(|(revision, events)| (*revision, &**events));
                let taken = watcher.take(batches, limits, share.compacted);
                Ok(self.advance(id, span, taken, through))
            }
            Recent::Evicted => {
                let span = Span { catching_up: true, ..span };
                self.serve_history(id, span, share)
            }
        }
    }

    /// Serves a watcher from history.
    fn serve_history<H: History>(
        &mut self,
        id: WatchId,
        span: Span,
        share: &mut Share<'_, H>,
    ) -> Result<Served, H::Error> {
        let watcher = self.watchers.get(&id).expect("only watchers of the stream have turns");
        let limits = limits(watcher, true);
        let piece = match self.piece.take().filter(|piece| piece.covers(span.next)) {
            Some(piece) => piece,
            None if share.may_read => {
                share.may_read = false;
                match read(share, span, limits)? {
                    Attempt::Piece(piece) => piece,
                    Attempt::Lost(compacted) => {
                        return Ok(Served::Response(self.lose(id, compacted)));
                    }
                    Attempt::Again => return Ok(self.serve_later(id, span)),
                }
            }
            None => return Ok(self.serve_later(id, span)),
        };

        let through = piece.read_to.min(span.last);
        let taken = watcher.take(piece.batches(span.next, through), limits, share.compacted);
        // Kept for others, and for what did not fit.
        let wanted = !self.turns.is_empty() || taken.stopped_at.is_some();
        self.piece = wanted.then_some(piece);
        Ok(self.advance(id, span, taken, through))
    }

    /// Gives a watcher that needs history another turn.
    fn serve_later(&mut self, id: WatchId, span: Span) -> Served {
        self.fall_behind(id, (span.next, span.last), true);
        Served::Later
    }

    /// Moves a watcher's cursor past what it took, or looked at in vain, up to `through`.
    fn advance(&mut self, id: WatchId, span: Span, taken: Taken, through: Revision) -> Served {
        let next = taken.stopped_at.unwrap_or(through.next());
        assert!(span.next < next, "watcher {id} does not move on from revision {next}");
        if next <= span.last {
            self.fall_behind(id, (next, span.last), span.catching_up);
        }
        let watcher = self.watchers.get_mut(&id).expect("only watchers of the stream move");
        if next > span.last {
            watcher.position = Position::Synced;
        }
        let Some(last) = taken.events.last() else { return Served::Nothing };

        watcher.told_since_tick = true;
        let revision = if span.catching_up { self.scanned } else { last.id.revision };
        let kind = Kind::Events { events: taken.events, fragment: watcher.fragment };
        Served::Response(Response { id, revision, kind })
    }

    /// Tells of progress, to whom it is due and to who asked for the whole stream.
    fn tell_progress(&mut self, budget: usize, responses: &mut Vec<Response>) {
        while responses.len() < budget {
            let Some(id) = self.due.pop_first() else { break };
            let watcher = self.watchers.get(&id).expect("cancelled watchers are not due");
            let synced = watcher.position == Position::Synced && watcher.start <= self.scanned;
            if synced && !watcher.told_since_tick {
                responses.push(Response { id, revision: self.scanned, kind: Kind::Progress });
            }
        }
        if !self.progress_asked || !self.turns.is_empty() || responses.len() >= budget {
            return;
        }

        self.progress_asked = false;
        while self.futures.first().is_some_and(|(start, _)| *start <= self.scanned) {
            self.futures.pop_first();
        }
        if !self.watchers.is_empty() && self.futures.is_empty() && self.lost == 0 {
            let id = WatchId::NONE;
            responses.push(Response { id, revision: self.scanned, kind: Kind::Progress });
        }
    }
}

/// The bytes of a response's events.
fn response_bytes(response: &Response) -> usize {
    match &response.kind {
        Kind::Events { events, .. } => events.iter().map(event_bytes).sum(),
        Kind::Created | Kind::Refused(_) | Kind::Canceled | Kind::Compacted(_) | Kind::Progress => {
            0
        }
    }
}

/// How much of what it needs a watcher gets at once: a revision, or `together` many.
fn limits(watcher: &Watcher, together: bool) -> Limits {
    let revisions = if together { WATCH_RESPONSE_REVISIONS_MAX } else { 1 };
    let bytes =
        if watcher.fragment { WATCH_FRAGMENTED_BYTES_MAX } else { WATCH_RESPONSE_BYTES_MAX };
    Limits { revisions, bytes }
}

/// What came of reading history.
enum Attempt {
    Piece(Piece),
    /// What is needed lies below this compacted revision.
    Lost(Revision),
    /// It does not count and must be tried again.
    Again,
}

/// Reads a piece of history.
///
/// Compaction may drop history from under a reader. So what was read, or that it failed, counts
/// only if the hub has not heard of a compaction since before the store was asked.
fn read<H: History>(share: &Share<'_, H>, span: Span, limits: Limits) -> Result<Attempt, H::Error> {
    let read = share.history.read(span.next, span.last, limits);
    let compacted = share.hub.compacted_revision();
    if span.next < compacted {
        return Ok(Attempt::Lost(compacted));
    }
    if compacted != share.compacted {
        return Ok(Attempt::Again);
    }
    Ok(match read? {
        Read::Piece { events, read_to } => {
            Attempt::Piece(Piece { from: span.next, read_to, events })
        }
        Read::Compacted(compacted) => Attempt::Lost(compacted),
    })
}
