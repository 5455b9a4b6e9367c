//! [`Handle`]: the only door to a member, from above and from the side.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    node::{
        Error, RequestError, Settings, Stop, TimeoutCause,
        driver::Mailbox,
        figures::Kind,
        membership::config_change,
        ports::{
            Asked, CheckpointId, Frame, Greeting, Hashed, Inbox, OwnedView, Peers, Promotion,
            Renewed, Span, StageId, StateStore, TimeLeft,
        },
        sentry::Sentry,
        shared::Shared,
        task::Input,
    },
    raft::Progress,
    state::{Answer, Command, Membership, Request, codec},
    types::{
        ClusterId, Fault, Identity, Incarnation, Index, LeaseId, MemberId, Millis, RequestId,
        Revision, Seconds, Term, limits,
    },
    watch::Hub,
};

/// The only door to a member. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    mailbox: Mailbox,
    peers: Arc<dyn Peers>,
    leases_named: AtomicU64,
    large_reads: Arc<Semaphore>,
    slow_reads: Arc<Semaphore>,
    state_hashes: Arc<Semaphore>,
    retiring: watch::Sender<bool>,
}

/// What a member knows of its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who leads, as far as known.
    pub leader: Option<MemberId>,
    /// The current term.
    pub term: Term,
    /// Up to where the log is known to be committed.
    pub committed: Index,
    /// Up to where it is applied here.
    pub applied: Index,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("member", &self.member_id()).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>, mailbox: Mailbox, peers: Arc<dyn Peers>) -> Self {
        let inner = Inner {
            shared,
            mailbox,
            peers,
            leases_named: AtomicU64::new(0),
            large_reads: Arc::new(Semaphore::new(limits::LARGE_READS_MAX)),
            slow_reads: Arc::new(Semaphore::new(limits::SLOW_READS_MAX)),
            state_hashes: Arc::new(Semaphore::new(1)),
            retiring: watch::Sender::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.settings().cluster
    }

    /// This member.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        self.settings().member
    }

    /// What the member was told at its start.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.shared().settings
    }

    /// Has a command agreed on and applied, and returns what came of it on this member.
    ///
    /// # Errors
    ///
    /// A refusal by the state, or why there is no outcome. After [`Error::TimedOut`],
    /// [`Error::Stopped`] and [`Error::Fault`] the command may still take effect; after the others it
    /// certainly does not.
    pub async fn propose(
        &self,
        identity: Identity,
        command: Command,
    ) -> Result<Answer, RequestError> {
        let shared = self.shared();
        shared.refuse_if_fenced()?;
        shared.check_apply_lag()?;
        self.ensure_understood(&command)?;
        let sequence = shared.pending.next_sequence();
        let settings = self.settings();
        let id = RequestId { member: settings.member, boot: settings.boot, sequence };
        let (kind, begun) = (Kind::of(&command), shared.clock.now_micros());
        let change = config_change(&command);
        let chunk = codec::encode_group(&[Request { id, identity, command }]);
        if chunk.len() > settings.request_bytes_max {
            return Err(Error::TooLarge(chunk.len()).into());
        }
        let outcome = shared.pending.wait(sequence, chunk, change)?;
        let mut waiting = Waiting { shared, sequence, ended: false };
        self.offer(Input::Proposal(sequence))?;

        let timeout = Duration::from_millis(settings.request_timeout().0);
        let outcome = tokio::time::timeout(timeout, outcome).await;
        waiting.ended = outcome.is_ok();
        let result = match outcome {
            Ok(Ok(outcome)) => outcome.map_err(RequestError::from),
            Ok(Err(_)) => Err(Error::Stopped.into()),
            Err(_) => Err(Error::TimedOut(waiting.timeout_cause()).into()),
        };
        drop(waiting);
        if result.is_err() {
            shared.metrics.proposals_failed.inc();
        }
        let took = shared.clock.now_micros().saturating_sub(begun);
        shared.metrics.figures.asked(kind, matches!(result, Ok(Ok(_))), took);
        result?.map_err(RequestError::from)
    }

    /// How far each member has come, as the leader knows.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`] when this member does not lead.
    pub async fn progress(&self) -> Result<Vec<Progress>, Error> {
        let (waiter, told) = oneshot::channel();
        self.offer(Input::Progress(waiter))?;
        let told = self.in_time(async { told.await.map_err(|_| self.why_dropped()) }).await?;
        if told.is_empty() { Err(Error::NotLeader) } else { Ok(told) }
    }

    /// Who the members are by what is applied here.
    #[must_use]
    pub fn membership(&self) -> Arc<Membership> {
        self.shared().membership()
    }

    /// The same, with news of every change.
    #[must_use]
    pub fn watch_membership(&self) -> watch::Receiver<Arc<Membership>> {
        self.shared().watch_membership()
    }

    /// Whether this member receives the log and has no vote.
    #[must_use]
    pub fn is_learner(&self) -> bool {
        self.shared().is_learner()
    }

    /// Returns when this member's state shows every write that was acknowledged, by whichever
    /// member, before the call.
    ///
    /// # Errors
    ///
    /// When no quorum confirmed the leader within the request timeout, or the member stops.
    pub async fn read_barrier(&self) -> Result<(), Error> {
        self.when_confirmed(Input::Read).await
    }

    /// Returns when a quorum has confirmed the leader that this member knew of at the call. The
    /// state here may be behind.
    ///
    /// # Errors
    ///
    /// As [`read_barrier`](Self::read_barrier).
    pub(super) async fn leader_barrier(&self) -> Result<(), Error> {
        self.when_confirmed(Input::Confirm).await
    }

    async fn when_confirmed(&self, ask: fn(oneshot::Sender<()>) -> Input) -> Result<(), Error> {
        self.shared().refuse_if_fenced()?;
        let (waiter, woken) = oneshot::channel();
        self.offer(ask(waiter))?;
        // When the member stops, the driver ends and drops all waiters.
        let told = self.in_time(async { woken.await.map_err(|_| self.why_dropped()) }).await;
        if told.is_err() {
            self.shared().metrics.figures.failed_rounds.inc();
        }
        told
    }

    /// The state as of the last applied batch. That of a fenced member may be older than what it
    /// served before: it is for the member itself.
    ///
    /// # Errors
    ///
    /// A fault of the disk.
    pub fn view(&self) -> Result<OwnedView, Error> {
        self.guarded(|store| store.view())
    }

    /// The same for a reader of very many records.
    pub(super) fn bulk_view(&self) -> Result<OwnedView, Error> {
        self.guarded(|store| store.bulk_view())
    }

    pub(super) fn guarded(
        &self,
        view: impl FnOnce(&dyn StateStore) -> Result<OwnedView, Fault>,
    ) -> Result<OwnedView, Error> {
        let shared = self.shared();
        if let Some(Stop::Fault(fault)) = &*shared.why_stopped() {
            return Err(fault.clone().into());
        }
        if shared.applied() == Index(0) {
            return Err(Error::NoLeader); // it has just joined, and no state has come yet
        }
        let view = view(&*shared.store).inspect_err(|fault| self.stop_for(fault))?;
        Ok(Box::new(Sentry::new(view, Arc::clone(shared))))
    }

    /// The newest revision that watchers here have been told of.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared().hub.current()
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.shared().term()
    }

    /// What the member knows of its cluster.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = self.shared();
        Status {
            leader: shared.leader(),
            term: shared.term(),
            committed: shared.committed(),
            applied: shared.applied(),
        }
    }

    /// Follows who leads, as far as known.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Option<MemberId>> {
        self.shared().watch_leader()
    }

    /// Where watchers of this member learn of changes.
    #[must_use]
    pub fn watch_hub(&self) -> &Arc<Hub> {
        &self.shared().hub
    }

    /// The shortest time to live of a lease.
    #[must_use]
    pub fn lease_minimum_ttl(&self) -> Seconds {
        self.settings().lease_ttl_min()
    }

    /// All leases this member knows of, which may be behind. On the leader by the time that each has
    /// left, the shortest first; elsewhere in no order.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseId> {
        let (mut leases, leads) = {
            let lessor = self.shared().lessor();
            (lessor.deadlines().collect::<Vec<_>>(), lessor.is_primary())
        };
        if leads {
            leases.sort_unstable();
        }
        leases.into_iter().map(|(_, id)| id).collect()
    }

    /// A positive lease id that no other start of any member gives: drawn from member, start and a
    /// counter. One a client has chosen itself may be the same; then the grant is refused.
    #[must_use]
    pub fn new_lease_id(&self) -> LeaseId {
        let settings = self.settings();
        let count = self.inner.leases_named.fetch_add(1, Ordering::Relaxed);
        let start = settings.member.0.rotate_left(32) ^ (settings.boot.0 << 40);
        let id = (start ^ count) & (u64::MAX >> 1);
        LeaseId(i64::try_from(id.max(1)).expect("the highest bit is cleared"))
    }

    /// The time on the member's monotonic clock.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.shared().clock.now()
    }

    /// Whether the member runs.
    #[must_use]
    pub fn serving(&self) -> bool {
        self.shared().why_stopped().is_none()
    }

    /// Whether the member lost part of what it had written and is not whole since: it serves nobody.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.shared().is_fenced()
    }

    /// Resolves when the member stops.
    pub async fn stopped(&self) -> Stop {
        let mut stopped = self.shared().watch_stopped();
        match stopped.wait_for(Option::is_some).await {
            Ok(stop) => stop.clone().unwrap_or(Stop::Asked),
            Err(_) => Stop::Asked,
        }
    }

    /// Hands leadership over, if this member leads, and waits for it at most an election timeout.
    /// Returns whether another member leads now.
    pub async fn hand_over(&self, to: Option<MemberId>) -> bool {
        let member = self.member_id();
        let mut leader = self.leadership();
        if *leader.borrow() != Some(member) {
            return leader.borrow().is_some();
        }
        if self.offer(Input::HandOver(to)).is_err() {
            return false;
        }
        let timeout = Duration::from_millis(self.settings().election_timeout.0);
        let other = leader.wait_for(|leader| leader.is_some_and(|leader| leader != member));
        matches!(tokio::time::timeout(timeout, other).await, Ok(Ok(_)))
    }

    /// Says that the member is about to stop: whoever waits for others had better end now, while
    /// it can still clean up.
    pub fn retire(&self) {
        self.inner.retiring.send_replace(true);
    }

    /// Resolves when the member is about to stop, or has stopped.
    pub async fn retiring(&self) {
        let mut retiring = self.inner.retiring.subscribe();
        tokio::select! {
            _ = retiring.wait_for(|retiring| *retiring) => {}
            _ = self.stopped() => {}
        }
    }

    /// Stops the member; its threads end soon after.
    pub fn shutdown(&self) {
        self.inner.mailbox.post(Input::Stop);
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(super) fn peers(&self) -> &Arc<dyn Peers> {
        &self.inner.peers
    }

    /// Places for large answers.
    pub(super) fn large_reads(&self) -> &Arc<Semaphore> {
        &self.inner.large_reads
    }

    pub(super) fn slow_reads(&self) -> &Arc<Semaphore> {
        &self.inner.slow_reads
    }

    /// The place for the checksum that is made for a comparison: each reads the whole state.
    pub(super) fn state_hashes(&self) -> &Arc<Semaphore> {
        &self.inner.state_hashes
    }

    /// Bounds what may take long by the request timeout.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let timeout = Duration::from_millis(self.settings().request_timeout().0);
        match tokio::time::timeout(timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut(TimeoutCause::Unknown)),
        }
    }

    pub(super) fn offer(&self, input: Input) -> Result<(), Error> {
        self.inner.mailbox.offer(input)
    }

    /// Why a read was sent away: the member stops, or too many wait.
    fn why_dropped(&self) -> Error {
        if self.serving() { Error::TooManyRequests } else { Error::Stopped }
    }

    /// Stops the member because of a record that makes no sense, whoever came upon it. A fault that
    /// is only a race with a compaction is none.
    pub fn stop_for(&self, fault: &Fault) {
        self.shared().stop(Stop::Fault(fault.clone()));
    }
}

impl Inbox for Handle {
    fn greeting(&self) -> Greeting {
        self.shared().greeting()
    }

    fn greeted(&self, from: MemberId, greeting: Greeting) {
        self.inner.mailbox.post(Input::Greeting(from, greeting));
    }

    fn deliver(&self, from: MemberId, incarnation: Incarnation, frame: Frame) {
        // Too much waits: dropped, as the network might have done.
        let _ = self.offer(Input::Frame(from, incarnation, frame));
    }

    fn deliver_snapshot(&self, from: MemberId, message: Bytes, stage: StageId) {
        self.inner.mailbox.post(Input::Snapshot { from, stage, message });
    }

    fn report_unreachable(&self, member: MemberId) {
        let _ = self.offer(Input::Unreachable(member));
    }

    fn report_snapshot(&self, to: MemberId, id: CheckpointId, arrived: bool) {
        self.inner.mailbox.post(Input::SnapshotSent { to, id, arrived });
    }

    fn renew_here(&self, leases: Vec<LeaseId>) -> Asked<Vec<Renewed>> {
        self.renew_for_member(leases)
    }

    fn time_left_here(&self, lease: LeaseId) -> Asked<Option<TimeLeft>> {
        let handle = self.clone();
        Box::pin(async move { Handle::time_left_here(&handle, lease).await })
    }

    fn promote_here(&self, learner: MemberId) -> Asked<Promotion> {
        self.promote_if_leader(learner)
    }

    fn report_removed(&self, by: MemberId) {
        tracing::warn!(peer = %by, "told that this member was removed from the cluster");
        // The sender is of the same cluster, and a removal is for good: its word is enough.
        self.shared().stop(Stop::Removed);
    }

    fn state_hash_here(&self, span: Span) -> Asked<Option<Hashed>> {
        Box::pin(self.clone().hash_for_member(span))
    }
}

/// A request that waits; when its caller leaves, it is forgotten.
struct Waiting<'a> {
    shared: &'a Shared,
    sequence: u64,
    /// Nothing waits any more.
    ended: bool,
}

impl Waiting<'_> {
    fn timeout_cause(&self) -> TimeoutCause {
        match self.shared.leader() {
            None => TimeoutCause::NoLeader,
            Some(_) => TimeoutCause::Unknown,
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.pending.forget(self.sequence);
        }
    }
}
