//! [`Lessor`]: one leader's private clock of all leases.

use std::collections::BTreeMap;

use crate::{
    lease::queue::Deadlines,
    types::{LeaseId, Millis, Seconds, Term},
};

/// The lease clock of one member. It runs while the member leads and knows nothing otherwise.
///
/// The list given to [`promote`](Self::promote) and the changes told afterwards must follow the
/// order in which the log is applied: a lease is known from its grant to its end, without a moment
/// in between in which a renewal would be told that there is no such lease.
#[derive(Debug)]
pub struct Lessor {
    /// After this span a lease that was handed out as expired and is not gone is handed out again.
    retry: Millis,
    /// The term in which the member leads, if it does.
    term: Option<Term>,
    leases: BTreeMap<LeaseId, Clock>,
    /// Every lease stands here exactly once, under its `due`.
    deadlines: Deadlines,
}

/// The time of one lease.
#[derive(Clone, Copy, Debug)]
struct Clock {
    granted: Seconds,
    /// Until when it lives.
    deadline: Millis,
    /// When it is looked at next: at its deadline, or when its revocation is tried again.
    due: Millis,
    /// A revocation is on its way; from here on it cannot be renewed.
    revoking: bool,
    /// The log holds a remaining time that a new leader would start from.
    checkpointed: bool,
}

/// What came of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It lives on for this time to live.
    Renewed(Seconds),
    /// There is no such lease.
    Unknown,
    /// Its time ran out and its revocation is on its way. The answer is that there is no such
    /// lease, but only once that is true: the caller waits until it is gone.
    Revoking,
    /// The log holds a remaining time of it that a new leader would start from. It is not renewed
    /// before that record is cleared: the caller has it cleared and asks again.
    Checkpointed,
}

/// How long a lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeft {
    /// Whole seconds, cut towards zero; below zero when its revocation is late.
    pub left: Seconds,
    /// The time to live it was granted.
    pub granted: Seconds,
}

/// This member does not lead, so it has no lease clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a primary lessor")]
pub struct NotPrimary;

impl Lessor {
    /// A lessor of a member that does not lead. `retry` bounds how long a revocation may take
    /// before it is proposed again; the request timeout fits.
    #[must_use]
    pub fn new(retry: Millis) -> Self {
        Self { retry, term: None, leases: BTreeMap::new(), deadlines: Deadlines::default() }
    }

    /// Starts the clock: the member leads in `term` and has applied everything from before it.
    ///
    /// Each lease, given as its id, granted time to live and checkpointed remaining time, gets
    /// that remaining time, or else its whole time to live, and `extension` on top. The extension
    /// (an election timeout) makes up for renewals that could not be sent while nobody led.
    pub fn promote(
        &mut self,
        now: Millis,
        extension: Millis,
        term: Term,
        leases: impl IntoIterator<Item = (LeaseId, Seconds, Option<Seconds>)>,
    ) {
        self.demote();
        self.term = Some(term);
        for (id, granted, remaining) in leases {
            let deadline = now + remaining.unwrap_or(granted).to_millis() + extension;
            self.start(id, granted, deadline, remaining.is_some());
        }
    }

    /// Stops the clock: the member leads no more.
    pub fn demote(&mut self) {
        self.term = None;
        self.leases.clear();
        self.deadlines.clear();
    }

    /// Whether the clock runs.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.term.is_some()
    }

    /// The term under which expiries are to be proposed, while the clock runs.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.term
    }

    /// A grant was applied at `now`.
    pub fn granted(&mut self, id: LeaseId, ttl: Seconds, now: Millis) {
        if self.is_primary() {
            self.gone(id);
            self.start(id, ttl, now + ttl.to_millis(), false);
        }
    }

    /// The end of a lease was applied.
    pub fn gone(&mut self, id: LeaseId) {
        if let Some(clock) = self.leases.remove(&id) {
            self.deadlines.remove(clock.due, id);
        }
    }

    /// A checkpoint of a lease was applied; zero seconds cleared it. The running clock is not
    /// touched, for it knows better.
    pub fn checkpointed(&mut self, id: LeaseId, remaining: Seconds) {
        if let Some(clock) = self.leases.get_mut(&id) {
            clock.checkpointed = remaining > Seconds(0);
        }
    }

    /// Renews a lease for its whole time to live from `now`, the moment at which the request
    /// arrived. A deadline never moves backwards.
    ///
    /// A lease whose time had run out by then is not revived, even if nobody has looked yet.
    pub fn renew(&mut self, id: LeaseId, now: Millis) -> Result<Renewal, NotPrimary> {
        if !self.is_primary() {
            return Err(NotPrimary);
        }
        let Some(clock) = self.leases.get_mut(&id) else {
            return Ok(Renewal::Unknown);
        };
        if clock.revoking || clock.deadline <= now {
            return Ok(Renewal::Revoking);
        }
        if clock.checkpointed {
            return Ok(Renewal::Checkpointed);
        }

        let deadline = clock.deadline.max(now + clock.granted.to_millis());
        self.deadlines.reschedule(clock.due, deadline, id);
        clock.deadline = deadline;
        clock.due = deadline;
        Ok(Renewal::Renewed(clock.granted))
    }

    /// How long a lease has left, or `None` when there is no such lease.
    pub fn time_left(&self, id: LeaseId, now: Millis) -> Result<Option<TimeLeft>, NotPrimary> {
        if !self.is_primary() {
            return Err(NotPrimary);
        }
        Ok(self.leases.get(&id).map(|clock| TimeLeft {
            left: whole_seconds_between(now, clock.deadline),
            granted: clock.granted,
        }))
    }

    /// At most `max` leases whose time has run out, the longest overdue first. From here on they
    /// count as being revoked; one that is not gone after the retry span is handed out again.
    pub fn expired(&mut self, now: Millis, max: usize) -> Vec<LeaseId> {
        let mut expired = Vec::new();
        while expired.len() < max {
            let Some(id) = self.deadlines.pop_due(now) else { break };
            let clock = self.leases.get_mut(&id).expect("every queued lease is known");
            clock.revoking = true;
            // At least a millisecond ahead, so that a round ends.
            clock.due = now + self.retry.max(Millis(1));
            self.deadlines.insert(clock.due, id);
            expired.push(id);
        }
        expired
    }

    /// When [`expired`](Self::expired) has something to say next, if ever.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        self.deadlines.first_due()
    }

    fn start(&mut self, id: LeaseId, granted: Seconds, deadline: Millis, checkpointed: bool) {
        let clock = Clock { granted, deadline, due: deadline, revoking: false, checkpointed };
        let before = self.leases.insert(id, clock);
        assert!(before.is_none(), "lease {id} is started twice");
        self.deadlines.insert(deadline, id);
    }
}

/// The whole seconds from `now` to `deadline`, cut towards zero.
fn whole_seconds_between(now: Millis, deadline: Millis) -> Seconds {
    let ahead = i64::try_from(deadline.since(now).0 / 1_000).unwrap_or(i64::MAX);
    let behind = i64::try_from(now.since(deadline).0 / 1_000).unwrap_or(i64::MAX);
    Seconds(ahead - behind)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
