//! [`Hub`]: where what happens meets those who watch.
//!
//! The applier leaves each revision in the hub's inbox and rings; it waits for nobody. *Fanning out*
//! takes revisions from there to the [`Board`], which finds who wants them, and wakes their streams.
//! *Fetching* (`fetch.rs`) reads history for those whom memory cannot serve. Each is done in bounded steps by
//! whoever drives the hub: a task and a thread in a member, the test or the simulator elsewhere.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::Waker,
};

use tokio::sync::watch;

use crate::{
    types::{
        Event, Revision,
        limits::{
            WATCH_FAR_REVISIONS, WATCH_HISTORY_BYTES_MAX, WATCH_MATCHES_MAX,
            WATCH_RECENT_BYTES_MAX, WATCH_RECENT_REVISIONS_MAX,
        },
    },
    watch::{
        Create, WatchId,
        archive::Archive,
        board::{Board, Bounds, Seat},
        mailbox::Mailbox,
        recorded::{Batch, Recorded, payload_bytes},
        watchers::Whose,
    },
};

/// Revisions that are matched in one step.
const STEP_REVISIONS: usize = 128;
/// Events matched and watchers woken under one hold of the board, and one revision more.
const STEP_WORK: usize = 16_384;
/// Watchers that leave under one hold of the board.
const STEP_WATCHERS: usize = 256;

/// The recent revisions of one member, and its watchers.
#[derive(Debug)]
pub struct Hub {
    inbox: Mutex<Inbox>,
    /// What the inbox says of these, for those who only read.
    newest: AtomicI64,
    compacted: AtomicI64,
    /// Rings with each new revision.
    current: watch::Sender<Revision>,
    /// Revisions go to the board in order: one step at a time.
    stepping: Mutex<()>,
    board: RwLock<Board>,
    archive: Archive,
    awaited: Mutex<Awaited>,
    opened: AtomicU64,
    streams: AtomicU64,
    /// Those within this process, each with one watcher.
    own_streams: AtomicU64,
    delivered: AtomicU64,
    inbox_max: Bounds,
}

/// What was published and is not matched yet. Nobody holds its lock but for moments.
#[derive(Debug)]
struct Inbox {
    /// The board is to start over at this revision before it takes the batches.
    start_over: Option<Revision>,
    batches: VecDeque<Published>,
    events: usize,
    bytes: usize,
    /// Let go of; freed by whoever fans out, not by the applier.
    discarded: Vec<VecDeque<Published>>,
}

#[derive(Debug)]
struct Published {
    revision: Revision,
    events: Vec<Event>,
    bytes: usize,
}

/// One step's share of what was published.
struct Step {
    start_over: Option<Revision>,
    batches: Vec<Published>,
    more: bool,
    _discarded: Vec<VecDeque<Published>>,
}

/// The streams that wait for the board to come to a revision, by that and their number.
type Awaited = BTreeMap<(Revision, u64), Arc<Mailbox>>;

/// What goes on in a hub for clients, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open streams.
    pub streams: u64,
    /// Watchers of all streams.
    pub watchers: u64,
    /// Watchers that were not told everything yet: they have just been woken, their client does not
    /// take what it is sent, or they read history.
    pub behind: u64,
    /// Events that were published and are not matched with the watchers yet.
    pub pending: u64,
    /// Events that watchers were sent, since the start.
    pub delivered: u64,
}

impl Hub {
    /// The hub of a member whose store stands at `current` and is compacted up to `compacted`.
    #[must_use]
    pub fn new(current: Revision, compacted: Revision) -> Self {
        let bounds = Bounds {
            revisions: WATCH_RECENT_REVISIONS_MAX,
            bytes: WATCH_RECENT_BYTES_MAX,
            matches: WATCH_MATCHES_MAX,
            far: WATCH_FAR_REVISIONS,
        };
        Self::bounded(current, compacted, bounds)
    }

    /// The hub of a new store, with room for so many revisions.
    #[cfg(test)]
    pub(crate) fn keeping(revisions: usize) -> Self {
        let bounds = Bounds { revisions, bytes: usize::MAX, matches: usize::MAX, far: i64::MAX };
        Self::bounded(Revision::FIRST, Revision::NEVER_COMPACTED, bounds)
    }

    /// A hub with bounds of its own on how much it keeps.
    pub(super) fn bounded(current: Revision, compacted: Revision, bounds: Bounds) -> Self {
        let inbox = Inbox {
            start_over: None,
            batches: VecDeque::new(),
            events: 0,
            bytes: 0,
            discarded: Vec::new(),
        };
        Self {
            inbox: Mutex::new(inbox),
            newest: AtomicI64::new(current.0),
            compacted: AtomicI64::new(compacted.0),
            current: watch::Sender::new(current),
            stepping: Mutex::new(()),
            board: RwLock::new(Board::new(current, bounds)),
            archive: Archive::new(WATCH_HISTORY_BYTES_MAX),
            awaited: Mutex::default(),
            opened: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            own_streams: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            inbox_max: bounds,
        }
    }

    /// Takes in the events of the next revisions and rings once. They are to be readable already,
    /// and the requests that made them not yet answered.
    ///
    /// When the board cannot keep up by far, what it has not taken is let go, and everybody reads
    /// history instead.
    pub fn publish(&self, batches: impl IntoIterator<Item = (Revision, Vec<Event>)>) {
        let mut inbox = self.inbox();
        let is_behind = !inbox.batches.is_empty();
        let mut current = self.current();
        for (revision, events) in batches {
            assert_eq!(revision, current.next(), "revisions are published one by one");
            inbox.push(revision, events);
            current = revision;
        }
        let Bounds { revisions, bytes, matches, far: _ } = self.inbox_max;
        let is_full =
            inbox.batches.len() > revisions || inbox.bytes > bytes || inbox.events > matches;
        // What comes at once is taken at once, whatever its size, by a board that keeps up.
        if is_behind && is_full {
            inbox.start_over(current);
        }
        self.newest.store(current.0, Ordering::Release);
        drop(inbox);
        self.current.send_if_modified(|seen| std::mem::replace(seen, current) != current);
    }

    /// Notes that history below `revision` is gone for readers. It must be told before any of that
    /// history is really deleted: whoever reads history asks again afterwards.
    pub fn compacted(&self, revision: Revision) {
        self.compacted.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// Starts over after the store was replaced by a newer one from another member. Watchers go
    /// on where they were, from history.
    pub fn reset(&self, current: Revision, compacted: Revision) {
        let mut inbox = self.inbox();
        let before = self.current();
        assert!(before <= current, "revision {before} falls back to {current}");
        self.compacted(compacted);
        inbox.start_over(current);
        self.newest.store(current.0, Ordering::Release);
        drop(inbox);
        self.current.send_replace(current);
    }

    /// The last revision published.
    #[must_use]
    pub fn current(&self) -> Revision {
        Revision(self.newest.load(Ordering::Acquire))
    }

    /// The revision below which history is gone.
    #[must_use]
    pub fn compacted_revision(&self) -> Revision {
        Revision(self.compacted.load(Ordering::Acquire))
    }

    /// Rings with each new revision: there is something to fan out.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Revision> {
        self.current.subscribe()
    }

    /// Rings when a stream needs history: there is something to fetch.
    #[must_use]
    pub fn wants(&self) -> watch::Receiver<u64> {
        self.archive.wants()
    }

    /// Matches some of what was published with the watchers, and wakes their streams. True when
    /// there is more.
    pub fn fan_out(&self) -> bool {
        let one = self.stepping.lock().expect("no step was left half done");
        let step = self.inbox().take();
        let mut wakers = Vec::new();
        if let Some(revision) = step.start_over {
            self.board_mut().start_over(revision, &mut wakers);
        }
        let batches = step.batches.into_iter().map(|published| {
            let recorded = published.events.into_iter().map(Recorded::new).collect();
            (published.revision, recorded)
        });
        let batches: Vec<(Revision, Batch)> = batches.collect();
        let mut batches = batches.into_iter().peekable();
        while batches.peek().is_some() {
            // Streams get the board in between when there is much to do.
            let mut board = self.board_mut();
            let mut work = 0;
            while work < STEP_WORK
                && let Some((revision, events)) = batches.next()
            {
                work += board.take_in(revision, events, &mut wakers);
            }
        }
        let matched = self.board().matched();
        let mut awaited = self.awaited();
        while let Some(stream) = awaited.first_entry()
            && stream.key().0 <= matched
        {
            wakers.extend(stream.remove().post_reached());
        }
        drop(awaited);
        drop(one);
        wakers.into_iter().for_each(Waker::wake);
        step.more
    }

    /// What goes on, in numbers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let (all, parked) = self.board().watchers();
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let watchers = number(all).saturating_sub(self.own_streams.load(Ordering::Relaxed));
        Figures {
            streams: self.streams.load(Ordering::Relaxed),
            watchers,
            behind: number(all - parked).min(watchers),
            pending: number(self.inbox().events),
            delivered: self.delivered.load(Ordering::Relaxed),
        }
    }

    pub(super) fn board(&self) -> RwLockReadGuard<'_, Board> {
        self.board.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// A stream was opened. It is given a number.
    pub(super) fn stream_opened(&self, whose: Whose) -> u64 {
        self.streams_of(whose).fetch_add(1, Ordering::Relaxed);
        self.opened.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn stream_closed(&self, whose: Whose) {
        self.streams_of(whose).fetch_sub(1, Ordering::Relaxed);
    }

    fn streams_of(&self, whose: Whose) -> &AtomicU64 {
        match whose {
            Whose::Client => &self.streams,
            Whose::Own => &self.own_streams,
        }
    }

    /// Tells a stream when the board has come to a revision at which it is not yet. The caller holds
    /// the board.
    pub(super) fn await_revision(&self, revision: Revision, stream: u64, mailbox: &Arc<Mailbox>) {
        self.awaited().insert((revision, stream), Arc::clone(mailbox));
    }

    /// A stream does not wait for a revision any more.
    pub(super) fn await_no_more(&self, revision: Revision, stream: u64) {
        self.awaited().remove(&(revision, stream));
    }

    pub(super) fn note_delivered(&self, events: usize) {
        self.delivered.fetch_add(u64::try_from(events).unwrap_or(0), Ordering::Relaxed);
    }

    /// Adds a watcher: parked, unless it starts in the past. The registration falls between two
    /// revisions: the one that is returned, which is current, and the next, which will be matched
    /// with the watcher.
    pub(super) fn register(
        &self,
        create: &Create,
        mailbox: &Arc<Mailbox>,
        watcher: WatchId,
    ) -> (Seat, Revision) {
        // What is past had better be history than come out of the inbox as if it were new.
        if self.has_published() {
            self.fan_out();
        }
        let mut board = self.board_mut();
        let seat = board.join(&create.range, create.filter, mailbox, watcher);
        // The board can only be at or before it, as long as it is held.
        let current = self.current();
        if create.start == Revision(0) || create.start > current {
            board.park(&[seat]);
        }
        (seat, current)
    }

    /// Takes watchers away.
    pub(super) fn leave(&self, seats: impl IntoIterator<Item = Seat>) {
        let mut seats = seats.into_iter().peekable();
        while seats.peek().is_some() {
            let mut board = self.board_mut();
            seats.by_ref().take(STEP_WATCHERS).for_each(|seat| board.leave(seat));
        }
    }

    /// Whether there is something to fan out.
    fn has_published(&self) -> bool {
        let inbox = self.inbox();
        !inbox.batches.is_empty() || inbox.start_over.is_some()
    }

    /// The locks are free of torn states even if a caller's iterator panicked: each step leaves
    /// what it holds whole.
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board_mut(&self) -> RwLockWriteGuard<'_, Board> {
        self.board.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn push(&mut self, revision: Revision, events: Vec<Event>) {
        let bytes = events.iter().map(payload_bytes).sum();
        self.events += events.len();
        self.bytes += bytes;
        self.batches.push_back(Published { revision, events, bytes });
    }

    /// Lets go of what was not taken.
    fn start_over(&mut self, current: Revision) {
        self.discarded.push(std::mem::take(&mut self.batches));
        (self.events, self.bytes) = (0, 0);
        self.start_over = Some(current);
    }

    /// The next step's share.
    fn take(&mut self) -> Step {
        let share = self.batches.len().min(STEP_REVISIONS);
        let batches: Vec<_> = self.batches.drain(..share).collect();
        for published in &batches {
            self.events -= published.events.len();
            self.bytes -= published.bytes;
        }
        Step {
            start_over: self.start_over.take(),
            batches,
            more: !self.batches.is_empty(),
            _discarded: std::mem::take(&mut self.discarded),
        }
    }
}
