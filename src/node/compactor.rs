//! Rids the disk of what compactions gave up, on a thread of its own.
//!
//! Compact costs nothing in the foreground: garbage goes when the engine rewrites the files that
//! hold it, which it does as writes touch them. Files that no write touches any more keep theirs.
//! So the compactor has them rewritten: when a client asks for it and waits, when an operator asks
//! for it, and by itself when too much has gathered or the member
//! has run out of space. It goes in steps, whose pace is the store's affair, with a short rest after
//! each, so that the engine's own work gets its turn.
//!
//! Whoever asks shares the work with whoever asked before. It goes on when they leave, ends when the
//! member stops, and is begun anew after a crash, as far as it was due by itself: how much garbage
//! there is, the stored numbers tell.

use std::{
    ops::ControlFlow,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    node::{
        Error, Handle, RequestError,
        clock::unix_seconds,
        metrics::seconds,
        ports::Reclaim,
        shared::{Shared, gauge},
    },
    state::{Answer, Command, Refused},
    types::{Fault, Identity, Revision, limits},
};

/// How often the compactor looks whether too much garbage has gathered.
const PERIOD: Duration = Duration::from_secs(1);
/// The rest after a step.
const REST: Duration = Duration::from_millis(100);
/// How long it waits for room on the disk before it looks again.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(5);

/// What the compactor is asked to do, and how far it is.
#[derive(Debug)]
pub(super) struct Compactor {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    /// Up to which revision history is gone from disk.
    forgotten: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Wanted {
    /// Up to which revision history is to be gone.
    history: Revision,
    everything: bool,
    stop: bool,
}

/// Why the compactor wakes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wake {
    Asked(Reclaim),
    Period,
    Stop,
}

impl Compactor {
    pub(super) fn new() -> Self {
        let none = Revision::NEVER_COMPACTED;
        Self {
            wanted: Mutex::new(Wanted { history: none, everything: false, stop: false }),
            changed: Condvar::new(),
            forgotten: watch::Sender::new(none),
        }
    }

    /// Ends the thread after the step it is at.
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn ask_for_history(&self, revision: Revision) {
        let mut wanted = self.lock();
        wanted.history = wanted.history.max(revision);
        self.changed.notify_all();
    }

    fn ask_for_everything(&self) {
        self.lock().everything = true;
        self.changed.notify_all();
    }

    /// Up to which revision somebody wants history to be gone.
    fn wanted_history(&self) -> Revision {
        self.lock().history
    }

    /// Waits until there is something to do. What it returns counts as begun.
    fn wake(&self) -> Wake {
        let mut wanted = self.lock();
        let mut waited = false;
        loop {
            if wanted.stop {
                return Wake::Stop;
            }
            if std::mem::take(&mut wanted.everything) {
                return Wake::Asked(Reclaim::Everything);
            }
            if wanted.history > *self.forgotten.borrow() {
                return Wake::Asked(Reclaim::History);
            }
            if waited {
                return Wake::Period;
            }
            let (guard, timeout) =
                self.changed.wait_timeout(wanted, PERIOD).unwrap_or_else(PoisonError::into_inner);
            (wanted, waited) = (guard, timeout.timed_out());
        }
    }

    /// Rests, but not longer than the member runs. Returns whether it does.
    fn rest(&self, duration: Duration) -> ControlFlow<()> {
        let wanted = self.lock();
        let (wanted, _) = self
            .changed
            .wait_timeout_while(wanted, duration, |wanted| !wanted.stop)
            .unwrap_or_else(PoisonError::into_inner);
        if wanted.stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Notes how a piece of work ended.
    fn done(&self, what: Reclaim, forgotten: Option<Revision>) {
        match forgotten {
            Some(revision) => {
                self.forgotten.send_if_modified(|known| {
                    let further = revision > *known;
                    *known = (*known).max(revision);
                    further
                });
            }
            // It was put off, or another state was installed meanwhile: the work is still due.
            None if what == Reclaim::Everything => self.lock().everything = true,
            None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The compactor's thread.
pub(super) fn run(shared: &Shared) -> Result<(), Fault> {
    let mut waits_for_room = false;
    loop {
        let what = match shared.compactor.wake() {
            Wake::Stop => return Ok(()),
            Wake::Asked(what) => what,
            Wake::Period if is_due(shared)? => Reclaim::Everything,
            Wake::Period => continue,
        };
        if has_room(shared)? {
            waits_for_room = false;
            reclaim(shared, what)?;
            continue;
        }
        if !std::mem::replace(&mut waits_for_room, true) {
            tracing::warn!("too little room on the disk to rewrite files; waiting for more");
        }
        shared.compactor.done(what, None);
        let _stop_is_seen_next = shared.compactor.rest(WAIT_FOR_ROOM);
    }
}

/// Whether the disk has room for a step.
fn has_room(shared: &Shared) -> Result<bool, Fault> {
    let space = shared.store.disk_space()?;
    let needed = limits::RECLAIM_ROOM_BYTES.min(space.total / limits::RECLAIM_ROOM_SHARE);
    Ok(space.free >= needed)
}

/// Whether garbage is to be looked for without being asked.
pub(super) fn is_due(shared: &Shared) -> Result<bool, Fault> {
    let garbage = shared.store.garbage()?;
    shared.metrics.garbage_bytes.set(gauge(garbage));
    let settings = &shared.settings;
    // Whoever has run out of space waits for every byte.
    let needed = shared.quota.is_alarmed();
    let much = garbage >= settings.garbage_bytes_min && garbage >= shared.quota.size() / 2;
    Ok(garbage > 0 && (needed || much))
}

fn reclaim(shared: &Shared, what: Reclaim) -> Result<(), Fault> {
    let used = || shared.store.disk_space().map(|space| space.used);
    let (started, before) = (shared.clock.now_micros(), used()?);
    let since = |then: u64| shared.clock.now_micros().saturating_sub(then);
    shared.metrics.compaction_running.set(1);
    let figures = &shared.metrics.figures;
    figures.defragmenting.set(i64::from(what == Reclaim::Everything));
    let forgotten = shared.store.reclaim(what, &mut || {
        let rested = shared.compactor.rest(REST);
        match has_room(shared) {
            Ok(true) => rested,
            // Whoever asks next finds out why.
            Ok(false) | Err(_) => ControlFlow::Break(()),
        }
    })?;
    shared.metrics.compaction_running.set(0);
    figures.defragmenting.set(0);
    shared.compactor.done(what, forgotten);
    let Some(revision) = forgotten else { return Ok(()) };

    let (took, freed) = (since(started), before.saturating_sub(used()?));
    shared.metrics.compaction_seconds.observe(seconds(took));
    match what {
        Reclaim::Everything => figures.defragmented.observe(took),
        Reclaim::History => figures.compacted.observe(took),
    }
    figures.compacted_at.set(gauge(unix_seconds()));
    shared.metrics.compaction_freed_bytes.inc_by(freed);
    let took_ms = took / 1_000;
    tracing::info!(%revision, took_ms, freed_bytes = freed, "compacted history is gone from disk");
    Ok(())
}

impl Handle {
    /// Gives up the history below `revision`. With `physical` it returns only once this member's
    /// disk has forgotten it too, also when that revision was given up before.
    ///
    /// # Errors
    ///
    /// As [`Handle::propose`].
    pub async fn compact(
        &self,
        identity: Identity,
        revision: Revision,
        physical: bool,
    ) -> Result<Answer, RequestError> {
        let answer = self.propose(identity, Command::Compact(revision)).await;
        if physical {
            match &answer {
                Ok(_) => self.forgotten(revision).await?,
                Err(RequestError::Refused(Refused::Compacted(_))) => {
                    // What is to go still goes first, as in etcd.
                    let pending = self.shared().compactor.wanted_history();
                    self.forgotten(pending).await?;
                }
                Err(_) => {}
            }
        }
        answer
    }

    /// Asks for everything to go from this member's disk that was given up, and does not wait.
    pub fn reclaim_disk(&self) {
        self.shared().compactor.ask_for_everything();
    }

    async fn forgotten(&self, revision: Revision) -> Result<(), Error> {
        let compactor = &self.shared().compactor;
        let mut forgotten = compactor.forgotten.subscribe();
        compactor.ask_for_history(revision);
        let mut stopped = self.shared().watch_stopped();
        tokio::select! {
            _ = forgotten.wait_for(|forgotten| *forgotten >= revision) => Ok(()),
            _ = stopped.wait_for(Option::is_some) => Err(Error::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work is taken up until it is done, what was asked for last first, and then no more.
    #[test]
    fn work_is_due_until_it_is_done() {
        let compactor = Compactor::new();
        compactor.ask_for_history(Revision(5));
        compactor.ask_for_history(Revision(3));
        compactor.ask_for_everything();

        assert_eq!(compactor.wake(), Wake::Asked(Reclaim::Everything));
        compactor.done(Reclaim::Everything, None);
        assert_eq!(compactor.wake(), Wake::Asked(Reclaim::Everything));
        compactor.done(Reclaim::Everything, Some(Revision(4)));
        assert_eq!(compactor.wake(), Wake::Asked(Reclaim::History));
        compactor.done(Reclaim::History, None);
        assert_eq!(compactor.wake(), Wake::Asked(Reclaim::History));
        compactor.done(Reclaim::History, Some(Revision(5)));
        assert_eq!(*compactor.forgotten.borrow(), Revision(5));
        assert_eq!(compactor.wake(), Wake::Period);
    }

    /// A member that stops does not wait for a rest, nor for more work.
    #[test]
    fn a_stop_ends_rests_and_work() {
        let compactor = Compactor::new();
        assert!(compactor.rest(Duration::ZERO).is_continue());
        compactor.ask_for_everything();

        std::thread::scope(|scope| {
            let rest = scope.spawn(|| compactor.rest(WAIT_FOR_ROOM));
            compactor.stop();
            assert!(rest.join().unwrap().is_break());
        });
        assert_eq!(compactor.wake(), Wake::Stop);
    }
}
