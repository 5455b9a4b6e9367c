//! What the member itself wants in the log: what its lease clock found, and history to be given up.
//!
//! It goes before all other requests, one entry at a time: the next one is proposed when the last is
//! applied. So under load leases still end on time, others' requests get in between, and a
//! leader that is replaced leaves little behind. Entries are small while there are other requests,
//! which wait for what is applied before them.

use bytes::Bytes;

use crate::{
    lease::Due,
    node::replica::Replica,
    raft::Role,
    state::{Command, Request, RevokeCause, codec},
    types::{Identity, Index, Millis, RequestId, Revision, Term, limits},
};

/// After so many ticks at which others had the lease clock, it is waited for.
const MISSES_MAX: u32 = 3;

/// The member's own requests, as a group that waits or that is on its way.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// To be proposed.
    waiting: Bytes,
    /// The entry that the last ones stand in.
    proposed: Index,
    /// Up to where history is to be given up with the next ones.
    compaction: Option<Revision>,
    /// When others had requests last.
    others: Option<Millis>,
    /// Whether the lease clock may have more.
    more: bool,
    /// How often the lease clock was not free.
    misses: u32,
}

impl Own {
    /// What waits to be proposed.
    pub(super) fn waiting(&self) -> &Bytes {
        &self.waiting
    }

    /// What waited stands in the log at `index`, perhaps with requests of others.
    pub(super) fn proposed(&mut self, index: Index, others: Option<Millis>) {
        self.others = others.or(self.others);
        if !self.waiting.is_empty() {
            self.waiting = Bytes::new();
            self.proposed = index;
        }
    }

    fn are_under_way(&self, applied: Index) -> bool {
        !self.waiting.is_empty() || applied < self.proposed
    }
}

impl Replica {
    /// Notes how far the store is, and what of its history is due to be given up.
    pub(super) fn look_at_history(&mut self, now: Millis) {
        if self.auto_compactor.is_due(now) {
            let (revision, compacted) = (self.shared.hub.current(), self.shared.compacted());
            let leads = self.core.role() == Role::Leader;
            self.own.compaction = self.auto_compactor.look(now, leads, revision, compacted);
        }
    }

    /// Goes on with what the lease clock had more of.
    pub(super) fn go_on_with_leases(&mut self, now: Millis) {
        if self.own.more {
            self.look_at_leases(now);
        }
    }

    /// Lets the end of leases that ran out wait to be proposed, and how long silent ones have left.
    pub(super) fn look_at_leases(&mut self, now: Millis) {
        let leads = self.core.role() == Role::Leader;
        if !leads || self.own.are_under_way(self.applied.index) {
            return;
        }
        let term = self.core.term();
        // Read first, so that the clock knows at least that much.
        let known = self.shared.applied();
        let Some(due) = self.ask_lessor(now, term) else { return };
        self.own.more = due.more;
        let cause = RevokeCause::Expiry { term, known };
        let expiries = due.expired.into_iter().map(|id| Command::LeaseRevoke { id, cause });
        let mut requests: Vec<_> = expiries.map(|command| self.own_request(command)).collect();
        if !due.silent.is_empty() {
            requests.push(self.own_request(Command::LeaseCheckpoint { leases: due.silent, known }));
        }
        if let Some(revision) = self.own.compaction.take() {
            requests.push(self.own_request(Command::Compact(revision)));
        }
        if !requests.is_empty() {
            self.own.waiting = codec::encode_group(&requests);
        }
    }

    fn ask_lessor(&mut self, now: Millis, term: Term) -> Option<Due> {
        let mut lessor = match self.shared.try_lessor() {
            Some(lessor) => lessor,
            // When others are at it, the next tick will do; but not for ever.
            None if self.own.misses < MISSES_MAX => {
                self.own.misses += 1;
                return None;
            }
            None => self.shared.lessor(),
        };
        self.own.misses = 0;
        let runs = lessor.term() == Some(term);
        let heartbeat = self.shared.settings.heartbeat;
        let keys_max = if self.own.others.is_some_and(|at| now.since(at) < heartbeat) {
            limits::LEASE_KEYS_AMONG_OTHERS_MAX
        } else {
            limits::LEASE_KEYS_PER_ENTRY_MAX
        };
        runs.then(|| lessor.due(now, keys_max))
    }

    /// A process that was paused could not hear renewals: its lease clock stood still for so long.
    pub(super) fn notice_pause(&mut self, now: Millis) {
        let pause = now.since(self.awake);
        self.awake = now;
        if pause > self.shared.settings.election_timeout && self.core.role() == Role::Leader {
            tracing::warn!(
                pause_ms = pause.0,
                "the process was paused; leases live so much longer"
            );
            self.shared.lessor().postpone(pause);
        }
    }

    fn own_request(&self, command: Command) -> Request {
        let settings = &self.shared.settings;
        let sequence = self.shared.pending.next_sequence();
        Request {
            id: RequestId { member: settings.member, boot: settings.boot, sequence },
            identity: Identity::anonymous(),
            command,
        }
    }
}
