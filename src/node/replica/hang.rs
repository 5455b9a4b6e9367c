//! A disk that does not answer.
//!
//! The driver waits for no disk, so a leader whose disk hangs would go on sending heartbeats, and
//! nobody would replace it, although nothing gets done: what is not in its own log it does not apply.
//! So each tick looks at what was handed to the disk first. When that is the same for an election
//! timeout, leadership goes to whoever has all of the log; when nobody has taken it half a timeout
//! later, this member stops leading. It does not stand for election before its disk answers.
//!
//! Time is counted in ticks, of which a pause of the process lets one pass: what happened to a disk
//! while nobody looked is no reason to give anything up.

use crate::{node::replica::Replica, raft::Role, types::Index};

/// A commit of the state may take so many election timeouts: it is as large as the requests in it,
/// and one that stalls behind RocksDB's own work would stall on the next leader as well.
const STATE_TIMEOUTS: usize = 3;

/// What the disk was seen to be busy with, tick by tick.
#[derive(Debug, Default)]
pub(super) struct Hang {
    log: Oldest,
    state: Oldest,
    inherited: Option<Index>,
    told: bool,
}

/// The oldest work that is not done, and for how many ticks it has been that.
#[derive(Debug, Default)]
struct Oldest {
    work: Option<u64>,
    ticks: usize,
}

impl Oldest {
    /// Takes a look; returns for how many ticks the same work has been under way.
    fn look(&mut self, work: Option<u64>) -> usize {
        self.ticks = if work.is_some() && self.work == work { self.ticks + 1 } else { 0 };
        self.work = work;
        self.ticks
    }
}

impl Hang {
    /// Whether the disk has not answered for so long that this member must not lead.
    pub(super) fn is_known(&self) -> bool {
        self.told
    }

    /// This member begins to lead: a commit that was under way before, here as with the leader
    /// before, is no reason to send leadership on.
    pub(super) fn led_anew(&mut self, storing: Option<Index>) {
        self.inherited = storing;
    }
}

impl Replica {
    /// Looks at the disk, once a tick, and draws the consequences.
    pub(super) fn look_at_disk(&mut self) {
        let log = self.hang.log.look(self.writing.oldest());
        let storing = self.shared.storing().filter(|last| self.hang.inherited != Some(*last));
        let state = self.hang.state.look(storing.map(|last| last.0));
        let timeout = self.shared.settings.election_ticks();
        let beyond = [log.checked_sub(timeout), state.checked_sub(STATE_TIMEOUTS * timeout)];
        let late = beyond.into_iter().flatten().max();
        self.tell_of_disk(late.is_some(), log >= timeout);
        let Some(late) = late else { return };
        if self.core.role() == Role::Leader && !self.core.is_single_voter() {
            self.give_up_leadership(late >= timeout.div_ceil(2));
        }
    }

    /// Hands leadership over, if somebody takes it, or lets go of it.
    fn give_up_leadership(&mut self, now: bool) {
        if now {
            tracing::warn!("nobody has taken over leadership; it is given up");
            self.core.step_down();
        } else if let Some(to) = self.core.best_successor() {
            // Again at each tick, for somebody else may be better by now. While it is the same
            // member nothing happens twice.
            self.core.transfer_leader(to);
        }
    }

    fn tell_of_disk(&mut self, hangs: bool, log: bool) {
        if std::mem::replace(&mut self.hang.told, hangs) == hangs {
            return;
        }
        self.shared.metrics.disk_hangs.set(i64::from(hangs));
        let (part, leads) = (if log { "log" } else { "state" }, self.core.role() == Role::Leader);
        if hangs {
            tracing::warn!(part, leads, "the disk has not answered for too long to lead with it");
        } else {
            tracing::info!("the disk answers again");
        }
    }
}
