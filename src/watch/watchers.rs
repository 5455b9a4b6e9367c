//! [`Watchers`]: the watchers of one client stream.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    types::{Revision, limits::WATCHERS_PER_STREAM_MAX},
    watch::{
        Create, Hub, Kind, Refusal, Response, WatchId, apart::Apart, board::Seat, mailbox::Mailbox,
        roster::Roster,
    },
};

/// The watchers of one client stream, and what they have been told.
///
/// Requests are answered one by one, in the order of the calls. What happens in the store comes out
/// of [`poll`](Self::poll), which the stream's owner calls when it is woken or has room again.
/// Responses must be sent in the order in which they come. With this value the watchers are gone
/// from the hub.
#[derive(Debug)]
pub struct Watchers {
    pub(super) hub: Arc<Hub>,
    /// Tells this stream from others of the hub.
    number: u64,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) watchers: Roster<Watcher>,
    /// The next id to give to a watcher whose client chose none.
    next_id: WatchId,
    /// Watchers that may have something to come, in the order in which they are served. An id whose
    /// watcher is not awake means nothing.
    pub(super) awake: VecDeque<WatchId>,
    /// Watchers that need history, by the first revision that they need.
    pub(super) waiting: BTreeSet<(Revision, WatchId)>,
    /// History is being read for one of them.
    pub(super) wanted: bool,
    /// Watchers of single keys that need only the past of these.
    pub(super) apart: Apart,
    /// When the stream had no room, the hub stood here: what waited may travel together.
    pub(super) stalled_at: Revision,
    /// Watchers that start after their registration; those for whom there was nothing yet are removed
    /// late.
    pub(super) futures: BTreeSet<(Revision, WatchId)>,
    /// Who asked to be told of progress from time to time.
    notified: BTreeSet<WatchId>,
    /// Who is to be told of it now.
    pub(super) due: BTreeSet<WatchId>,
    /// The client asked how far the stream has come and was not answered: where the hub stood when
    /// it asked first, and when it asked last.
    pub(super) asked: Option<(Revision, Revision)>,
    /// The hub will say when it has come to this revision.
    awaited: Option<Revision>,
    /// How many watchers are lost and not cancelled yet.
    lost: usize,
    /// Whose it is.
    pub(super) whose: Whose,
}

/// Whose watchers these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// A client's. They are counted.
    Client,
    /// Of this process: one, which is not counted.
    Own,
}

/// One watcher of a stream.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) seat: Seat,
    /// Everything below that it wants was delivered, or is not its own.
    pub(super) next: Revision,
    pub(super) state: State,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    /// It starts at `next`, which may be yet to come.
    pub(super) is_ahead: bool,
    /// Whether it was sent events since the last tick of the stream's progress ticker.
    pub(super) told_since_tick: bool,
    /// It was created with a start in history that was compacted already.
    pub(super) started_too_early: bool,
    /// More happened to its key than is read for it alone.
    pub(super) is_busy: bool,
}

/// What a watcher waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For its group to have something: it was told everything.
    Parked,
    /// For its turn.
    Awake,
    /// For history.
    Waiting,
    /// For the past of its key.
    Apart,
    /// For nothing: compaction took what it needed. The id is kept until the client cancels it.
    Lost,
}

impl Watchers {
    /// A stream without watchers.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Self {
        Self::of(hub, Whose::Client)
    }

    /// The same for one watcher within this process: in no figure it counts as a client's.
    #[must_use]
    pub fn within(hub: &Arc<Hub>) -> Self {
        Self::of(hub, Whose::Own)
    }

    fn of(hub: &Arc<Hub>, whose: Whose) -> Self {
        Self {
            hub: Arc::clone(hub),
            number: hub.stream_opened(whose),
            mailbox: Arc::default(),
            watchers: Roster::new(),
            next_id: WatchId(0),
            awake: VecDeque::new(),
            waiting: BTreeSet::new(),
            wanted: false,
            apart: Apart::default(),
            stalled_at: Revision(0),
            futures: BTreeSet::new(),
            notified: BTreeSet::new(),
            due: BTreeSet::new(),
            asked: None,
            awaited: None,
            lost: 0,
            whose,
        }
    }

    /// Creates a watcher: the answer, of exactly one kind, says under which id or why not.
    ///
    /// The registration falls between two revisions: a watcher that starts "now" is shown
    /// everything after the revision in its answer's header, and nothing else.
    pub fn create(&mut self, create: Create) -> Response {
        match self.admit(&create) {
            Ok(id) => {
                let revision = self.insert(id, &create);
                Response { id, revision, kind: Kind::Created }
            }
            Err(refusal) => {
                let kind = Kind::Refused(refusal);
                Response { id: WatchId::NONE, revision: self.hub.current(), kind }
            }
        }
    }

    /// Cancels a watcher; there is no answer when the stream has none of this id. One that was
    /// lost to compaction is still there, and is answered for.
    pub fn cancel(&mut self, id: WatchId) -> Option<Response> {
        let watcher = self.watchers.remove(id)?;
        self.forget(id, &watcher);
        self.forget_idle_question();
        Some(Response { id, revision: self.hub.current(), kind: Kind::Canceled })
    }

    /// The client asks how far the stream has come. The answer comes out of a poll, as soon as
    /// everything up to its revision was delivered and every watcher has started. There is none
    /// when there are no watchers, or none that is not lost.
    pub fn progress(&mut self) {
        let current = self.hub.current();
        let first = self.asked.map_or(current, |(first, _)| first);
        self.asked = Some((first, current));
        self.forget_idle_question();
    }

    /// The stream's progress ticker ticked: whoever asked for it and was sent nothing since the
    /// last tick is told how far it has come, unless it is behind.
    pub fn tick(&mut self) {
        for id in &self.notified {
            let watcher = self.watchers.get_mut(*id).expect("cancelled watchers are not notified");
            if !std::mem::take(&mut watcher.told_since_tick) {
                self.due.insert(*id);
            }
        }
    }

    /// Whether a watcher asked to be told of progress, so that ticks mean something.
    #[must_use]
    pub fn wants_ticks(&self) -> bool {
        !self.notified.is_empty()
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

    /// Ends a watcher that compaction overtook, but for its seat. The client is told once, and may
    /// still cancel it.
    pub(super) fn lose(&mut self, id: WatchId, compacted: Revision) -> Response {
        if let Some(watcher) = self.watchers.get_mut(id) {
            watcher.state = State::Lost;
            self.lost += 1;
        }
        self.notified.remove(&id);
        self.due.remove(&id);
        self.forget_idle_question();
        Response { id, revision: Revision(0), kind: Kind::Compacted(compacted) }
    }

    /// Looks after the client's question how far the stream has come: whether it can be answered
    /// with `matched`, where the board is held, once nobody is awake. If not yet, the hub is asked to
    /// say when.
    pub(super) fn can_answer(&mut self, matched: Revision) -> bool {
        let Some((asked, _)) = self.asked else { return false };
        while self.futures.first().is_some_and(|(start, _)| *start <= matched) {
            self.futures.pop_first();
        }
        let started = self.futures.last().map_or(asked, |(start, _)| asked.max(*start));
        if matched < started {
            self.await_revision(started);
        }
        started <= matched && self.waiting.is_empty() && self.apart.is_empty()
    }

    /// Forgets the client's question when there is no watcher that it could be about.
    fn forget_idle_question(&mut self) {
        if self.watchers.len() == self.lost {
            self.asked = None;
        }
    }

    fn await_revision(&mut self, revision: Revision) {
        if self.awaited != Some(revision) {
            self.await_nothing();
            self.hub.await_revision(revision, self.number, &self.mailbox);
            self.awaited = Some(revision);
        }
    }

    fn await_nothing(&mut self) {
        if let Some(revision) = self.awaited.take() {
            self.hub.await_no_more(revision, self.number);
        }
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
            Some(id) if self.watchers.contains(id) => Err(Refusal::DuplicateId),
            Some(id) => Ok(id),
            None => Ok(self.free_id()),
        }
    }

    /// The next id that was never given out and is not in use.
    fn free_id(&mut self) -> WatchId {
        loop {
            let id = self.next_id;
            self.next_id = WatchId(id.0 + 1);
            if !self.watchers.contains(id) {
                return id;
            }
        }
    }

    /// Registers a watcher, and returns the revision after which it falls.
    fn insert(&mut self, id: WatchId, create: &Create) -> Revision {
        let (seat, registered) = self.hub.register(create, &self.mailbox, id);
        let start = create.start;
        if start > registered {
            self.futures.insert((start, id));
        }
        if create.progress_notify {
            self.notified.insert(id);
        }
        let past = Revision(0) < start && start <= registered;
        if past {
            self.awake.push_back(id);
        }
        let watcher = Watcher {
            seat,
            next: if start == Revision(0) { registered.next() } else { start },
            state: if past { State::Awake } else { State::Parked },
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            is_ahead: start > registered,
            told_since_tick: false,
            started_too_early: past && start < self.hub.compacted_revision(),
            is_busy: false,
        };
        self.watchers.insert(id, watcher);
        registered
    }

    fn forget(&mut self, id: WatchId, watcher: &Watcher) {
        match watcher.state {
            State::Lost => self.lost -= 1,
            State::Parked | State::Awake | State::Waiting | State::Apart => {
                self.hub.leave([watcher.seat]);
            }
        }
        self.waiting.remove(&(watcher.next, id));
        self.apart.forget(id);
        self.futures.remove(&(watcher.next, id));
        self.notified.remove(&id);
        self.due.remove(&id);
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.await_nothing();
        let watchers = std::mem::replace(&mut self.watchers, Roster::new()).into_values();
        self.hub.leave(
            watchers.filter(|watcher| watcher.state != State::Lost).map(|watcher| watcher.seat),
        );
        self.hub.stream_closed(self.whose);
    }
}

/// There may be a million, and this is most of what one takes.
const _: () = assert!(size_of::<Watcher>() <= 24);
