//! What the threads of a member and its callers share.

use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
};

use tokio::sync::watch;

use crate::{
    lease::Lessor,
    node::{
        Clock, Error, Metrics, Settings,
        applier::known_leases,
        compactor::Compactor,
        pending::Pending,
        ports::{FenceStore, Greeting, OwnedView, StateStore},
        quota::Quota,
        renewals,
        slow::SlowApplies,
    },
    state::{Alarm, AlarmKind, Level, Membership, meta},
    types::{Fault, Index, MemberId, Revision, Term, limits},
    watch::Hub,
};

/// What the threads of a member and its callers share. Each figure has one writer.
pub struct Shared {
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) hub: Arc<Hub>,
    pub(super) pending: Pending,
    pub(super) quota: Quota,
    pub(super) compactor: Compactor,
    pub(super) renewals: renewals::Queue,
    pub(super) slow_applies: SlowApplies,
    lessor: Mutex<Lessor>,
    applied: AtomicU64,
    committed: AtomicU64,
    /// The last entry of the batch that is being committed to the state; 0 between batches.
    storing: AtomicU64,
    term: AtomicU64,
    /// Readers of history check it after reading, because garbage below it may be gone by then.
    compacted: AtomicI64,
    leader: watch::Sender<Option<MemberId>>,
    membership: watch::Sender<Arc<Membership>>,
    /// Beside the membership, because every call asks for it.
    learner: AtomicBool,
    /// Whether the alarm CORRUPT names this member.
    corrupt: AtomicBool,
    /// What all members understand.
    level: AtomicU32,
    stopped: watch::Sender<Option<Stop>>,
    fenced: AtomicBool,
    fence_store: OnceLock<Arc<dyn FenceStore>>,
    greeting: Mutex<Greeting>,
}

/// Why a member stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It was asked to.
    Asked,
    /// It was removed from the cluster, for good.
    Removed,
    /// Its disk or data is bad.
    Fault(Fault),
}

impl Shared {
    /// The shared part of a member whose state is in `store`.
    pub fn new(
        settings: Settings,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
        store: Arc<dyn StateStore>,
    ) -> Result<Arc<Self>, Fault> {
        let view = store.view()?;
        let (stored, (applied, _)) = (meta::store(&*view)?, meta::applied(&*view)?);
        let mut lessor = Lessor::new(settings.request_timeout(), settings.lease_ttl_min());
        lessor.load(known_leases(&*view)?);
        let (membership, member) = (meta::membership(&*view)?, settings.member);
        drop(view);
        let quota = Quota::new(member, settings.quota_backend_bytes, store.disk_space()?);
        let shared = Self {
            lessor: Mutex::new(lessor),
            settings,
            metrics,
            clock,
            store,
            hub: Arc::new(Hub::new(stored.revision, stored.compacted)),
            pending: Pending::default(),
            quota,
            compactor: Compactor::new(),
            renewals: renewals::Queue::default(),
            slow_applies: SlowApplies::default(),
            applied: AtomicU64::new(applied.0),
            committed: AtomicU64::new(applied.0),
            storing: AtomicU64::new(0),
            term: AtomicU64::new(0),
            compacted: AtomicI64::new(stored.compacted.0),
            leader: watch::Sender::new(None),
            learner: AtomicBool::new(membership.is_learner(member)),
            membership: watch::Sender::new(Arc::new(membership)),
            corrupt: AtomicBool::new(false),
            level: AtomicU32::new(0),
            stopped: watch::Sender::new(None),
            fenced: AtomicBool::new(false),
            fence_store: OnceLock::new(),
            greeting: Mutex::default(),
        };
        shared.take_numbers(&stored);
        shared.show_quota();
        Ok(Arc::new(shared))
    }

    /// Takes over the numbers of the state as last committed.
    pub(super) fn take_numbers(&self, stored: &meta::Store) {
        self.quota.applied(stored);
        let corrupt = Alarm { member: self.settings.member, kind: AlarmKind::Corrupt };
        if self.level.swap(stored.level.0, Ordering::AcqRel) != stored.level.0 {
            tracing::info!("all members understand {}", stored.level);
        }
        self.corrupt.store(stored.alarms.contains(&corrupt), Ordering::Release);
    }

    /// What all members understand.
    pub(super) fn level(&self) -> Level {
        Level(self.level.load(Ordering::Acquire))
    }

    /// Whether the alarm CORRUPT names this member.
    pub(super) fn is_corrupt(&self) -> bool {
        self.corrupt.load(Ordering::Acquire)
    }

    /// Whether it names some member.
    pub(super) fn is_named_corrupt(&self, member: MemberId) -> bool {
        self.quota.is_raised(Alarm { member, kind: AlarmKind::Corrupt })
    }

    pub(super) fn view(&self) -> Result<OwnedView, Fault> {
        self.store.view()
    }

    pub(super) fn lessor(&self) -> MutexGuard<'_, Lessor> {
        self.lessor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease clock, unless somebody has it now: for the driver, which waits for nobody.
    pub(super) fn try_lessor(&self) -> Option<MutexGuard<'_, Lessor>> {
        match self.lessor.try_lock() {
            Ok(lessor) => Some(lessor),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Which batch is being committed, by its last entry: nobody is answered until that is done.
    pub(super) fn storing(&self) -> Option<Index> {
        let last = self.storing.load(Ordering::Relaxed);
        (last != 0).then_some(Index(last))
    }

    pub(super) fn set_storing(&self, last: Option<Index>) {
        self.storing.store(last.map_or(0, |last| last.0), Ordering::Relaxed);
    }

    pub(super) fn applied(&self) -> Index {
        Index(self.applied.load(Ordering::Acquire))
    }

    pub(super) fn set_applied(&self, index: Index) {
        self.applied.store(index.0, Ordering::Release);
        self.metrics.proposals_applied.set(gauge(index.0));
    }

    pub(super) fn committed(&self) -> Index {
        Index(self.committed.load(Ordering::Acquire))
    }

    pub(super) fn set_committed(&self, index: Index) {
        self.committed.store(index.0, Ordering::Release);
        self.metrics.proposals_committed.set(gauge(index.0));
    }

    /// Sends writes away while this member leads and far more is committed than applied here. One that
    /// follows lags when it has just started, and catches up: what waits there is bounded anyway.
    pub(super) fn check_apply_lag(&self) -> Result<(), Error> {
        let lag = self.committed().0.saturating_sub(self.applied().0);
        let leads = self.leader() == Some(self.settings.member);
        if leads && lag > limits::APPLY_LAG_ENTRIES_MAX {
            return Err(Error::TooManyRequests);
        }
        Ok(())
    }

    pub(super) fn term(&self) -> Term {
        Term(self.term.load(Ordering::Acquire))
    }

    pub(super) fn set_term(&self, term: Term) {
        self.term.store(term.0, Ordering::Release);
    }

    /// The revision below which readers may no longer trust what they read.
    pub(super) fn compacted(&self) -> Revision {
        Revision(self.compacted.load(Ordering::Acquire))
    }

    pub(super) fn set_compacted(&self, revision: Revision) {
        self.compacted.store(revision.0, Ordering::Release);
    }

    pub(super) fn leader(&self) -> Option<MemberId> {
        *self.leader.borrow()
    }

    pub(super) fn watch_leader(&self) -> watch::Receiver<Option<MemberId>> {
        self.leader.subscribe()
    }

    pub(super) fn set_leader(&self, leader: Option<MemberId>) {
        if self.leader.send_if_modified(|known| std::mem::replace(known, leader) != leader) {
            self.metrics.has_leader.set(i64::from(leader.is_some()));
            self.metrics.is_leader.set(i64::from(leader == Some(self.settings.member)));
            if leader.is_some() {
                self.metrics.leader_changes_seen.inc();
            }
        }
    }

    /// Who the members are by what is applied here.
    pub(super) fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership.borrow())
    }

    pub(super) fn watch_membership(&self) -> watch::Receiver<Arc<Membership>> {
        self.membership.subscribe()
    }

    /// Whether this member has no vote.
    pub(super) fn is_learner(&self) -> bool {
        self.learner.load(Ordering::Acquire)
    }

    pub(super) fn set_membership(&self, membership: Membership) {
        self.learner.store(membership.is_learner(self.settings.member), Ordering::Release);
        self.membership.send_if_modified(|known| {
            let changed = **known != membership;
            if changed {
                *known = Arc::new(membership);
            }
            changed
        });
    }

    /// Whether this member lost something and is not whole since.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Sends requests away while this member is fenced.
    pub(super) fn refuse_if_fenced(&self) -> Result<(), Error> {
        if self.is_fenced() { Err(Error::Fenced) } else { Ok(()) }
    }

    pub(super) fn set_fenced(&self, fenced: bool) {
        self.fenced.store(fenced, Ordering::Release);
        self.metrics.fenced.set(i64::from(fenced));
    }

    pub(super) fn fence_store(&self) -> Result<&Arc<dyn FenceStore>, Fault> {
        self.fence_store.get().ok_or_else(|| Fault::new("nothing keeps this member fenced"))
    }

    pub(super) fn set_fence_store(&self, store: &Arc<dyn FenceStore>) {
        // A replica is made once.
        let _ = self.fence_store.set(Arc::clone(store));
    }

    pub(super) fn greeting(&self) -> Greeting {
        *self.greeting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_greeting(&self, greeting: Greeting) {
        *self.greeting.lock().unwrap_or_else(PoisonError::into_inner) = greeting;
    }

    /// Why the member has stopped, if it has.
    pub(super) fn why_stopped(&self) -> watch::Ref<'_, Option<Stop>> {
        self.stopped.borrow()
    }

    pub(super) fn watch_stopped(&self) -> watch::Receiver<Option<Stop>> {
        self.stopped.subscribe()
    }

    /// Stops the member; only the first reason counts. Waiting requests fail.
    pub(super) fn stop(&self, stop: Stop) {
        let error = match &stop {
            Stop::Asked | Stop::Removed => Error::Stopped,
            Stop::Fault(fault) => Error::Fault(fault.clone()),
        };
        let first = self.stopped.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(stop.clone());
            }
            first
        });
        if first {
            if let Stop::Fault(fault) = &stop {
                tracing::error!(member = %self.settings.member, "member stops: {fault}");
            }
            self.pending.stop(error);
            self.compactor.stop();
        }
    }
}

/// A figure as gauges count it.
pub(super) fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
