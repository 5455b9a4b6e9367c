//! [`Lessor`]: one member's private clock of all leases.

use crate::{
    lease::{
        table::{Lease, Table},
        wheel::Wheel,
    },
    types::{LeaseId, Millis, Seconds, Term, limits},
};

/// The lease clock of one member. It knows all leases, and it runs while the member leads.
///
/// The leases given to [`load`](Self::load) and the changes told afterwards must follow the order in
/// which the log is applied: a lease is known from its grant to its end, without a moment in between
/// in which a renewal would be told that there is no such lease.
#[derive(Debug)]
pub struct Lessor {
    /// After this span a lease that was handed out as expired and is not gone is handed out again.
    retry: Millis,
    /// The shortest time to live.
    minimum: Seconds,
    /// The term in which the member leads, if it does.
    term: Option<Term>,
    leases: Table,
    /// While the clock runs, every lease stands here exactly once, when it is to be looked at: not
    /// after its deadline and its next checkpoint, or when its revocation is tried again.
    wheel: Wheel,
}

/// A lease as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: LeaseId,
    /// Time to live as granted.
    pub granted: Seconds,
    /// What was left at its checkpoint, if it has one.
    pub remaining: Option<Seconds>,
    /// How many keys are attached.
    pub keys: u32,
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

/// What the clock wants proposed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Leases whose time has run out.
    pub expired: Vec<LeaseId>,
    /// Leases that nobody renewed for a while, and how long each has left, at least a second.
    pub silent: Vec<(LeaseId, Seconds)>,
    /// Whether there may be more.
    pub more: bool,
}

/// This member does not lead, so its lease clock does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a primary lessor")]
pub struct NotPrimary;

impl Lessor {
    /// A lessor of a member that does not lead, without leases. `retry` bounds how long a revocation
    /// may take before it is proposed again; the request timeout fits. A time to live below
    /// `minimum` is raised to it: whoever granted it may have had a smaller one.
    #[must_use]
    pub fn new(retry: Millis, minimum: Seconds) -> Self {
        let (leases, wheel) = (Table::default(), Wheel::default());
        Self { retry, minimum, term: None, leases, wheel }
    }

    /// Starts over with these leases: those of a state that was opened or installed. The clock stops.
    pub fn load(&mut self, leases: impl IntoIterator<Item = Known>) {
        *self = Self::new(self.retry, self.minimum);
        for Known { id, granted, remaining, keys } in leases {
            let (granted, remaining) = (granted.max(self.minimum), remaining.unwrap_or(Seconds(0)));
            self.leases.insert(Lease { remaining, keys, ..Lease::new(id, granted) });
        }
    }

    /// Starts the clock: the member leads in `term` and has applied everything from before it.
    ///
    /// Each lease gets its checkpointed remaining time, or else its whole time to live, and
    /// `extension` on top. The extension (an election timeout) makes up for renewals that could not
    /// be sent while nobody led.
    pub fn promote(&mut self, now: Millis, extension: Millis, term: Term) {
        self.term = Some(term);
        self.wheel = Wheel::starting(now);
        for number in 0..self.leases.numbers() {
            if self.leases.is_used(number) {
                let lease = self.leases.lease_mut(number);
                let checkpointed = lease.remaining > Seconds(0);
                let left = if checkpointed { lease.remaining } else { lease.granted };
                lease.deadline = now + left.to_millis() + extension;
                lease.heard = now;
                lease.revoking = false;
                lease.checkpointing = false;
                let next = next_look(lease);
                self.wheel.insert(&mut self.leases, number, next);
            }
        }
    }

    /// Stops the clock: the member leads no more.
    pub fn demote(&mut self) {
        self.term = None;
        self.wheel = Wheel::default();
    }

    /// The clock stood still for `pause`: what lives, lives so much longer.
    pub fn postpone(&mut self, pause: Millis) {
        if self.is_primary() {
            for lease in self.leases.iter_mut().filter(|lease| !lease.revoking) {
                lease.deadline = lease.deadline + pause;
                lease.heard = lease.heard + pause;
            }
        }
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

    /// How many leases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A grant was applied at `now`.
    pub fn granted(&mut self, id: LeaseId, ttl: Seconds, now: Millis) {
        let ttl = ttl.max(self.minimum);
        let lease = Lease { deadline: now + ttl.to_millis(), heard: now, ..Lease::new(id, ttl) };
        let number = self.leases.insert(lease);
        if self.is_primary() {
            self.wheel.insert(&mut self.leases, number, next_look(&lease));
        }
    }

    /// The end of a lease was applied.
    pub fn gone(&mut self, id: LeaseId) {
        if self.is_primary()
            && let Some(number) = self.leases.find(id)
        {
            self.wheel.remove(&mut self.leases, number);
        }
        self.leases.remove(id);
    }

    /// A key was attached to a lease.
    pub fn attached(&mut self, id: LeaseId) {
        if let Some(number) = self.leases.find(id) {
            let lease = self.leases.lease_mut(number);
            lease.keys = lease.keys.saturating_add(1);
        }
    }

    /// A key was detached from a lease.
    pub fn detached(&mut self, id: LeaseId) {
        if let Some(number) = self.leases.find(id) {
            let lease = self.leases.lease_mut(number);
            lease.keys = lease.keys.saturating_sub(1);
        }
    }

    /// A checkpoint of a lease was applied; zero seconds cleared it, but not one that is still on its
    /// way. The running clock is not touched, for it knows better.
    pub fn checkpointed(&mut self, id: LeaseId, remaining: Seconds) {
        if let Some(number) = self.leases.find(id) {
            let lease = self.leases.lease_mut(number);
            lease.remaining = remaining.max(Seconds(0));
            if remaining > Seconds(0) {
                lease.checkpointing = false;
            }
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
        let Some(number) = self.leases.find(id) else {
            return Ok(Renewal::Unknown);
        };
        let lease = self.leases.lease_mut(number);
        if lease.revoking || lease.deadline <= now {
            return Ok(Renewal::Revoking);
        }
        if lease.checkpointing || lease.remaining > Seconds(0) {
            return Ok(Renewal::Checkpointed);
        }
        lease.deadline = lease.deadline.max(now + lease.granted.to_millis());
        lease.heard = lease.heard.max(now);
        Ok(Renewal::Renewed(lease.granted))
    }

    /// How long a lease has left, or `None` when there is no such lease.
    pub fn time_left(&self, id: LeaseId, now: Millis) -> Result<Option<TimeLeft>, NotPrimary> {
        if !self.is_primary() {
            return Err(NotPrimary);
        }
        Ok(self.leases.find(id).map(|number| {
            let lease = self.leases.lease(number);
            TimeLeft { left: whole_seconds_between(now, lease.deadline), granted: lease.granted }
        }))
    }

    /// All leases: while the clock runs, with the deadline of each, and else in no order and with
    /// deadlines that mean nothing.
    pub fn deadlines(&self) -> impl Iterator<Item = (Millis, LeaseId)> {
        self.leases.iter().map(|(_, lease)| (lease.deadline, lease.id))
    }

    /// What is to be proposed at `now`: the end of leases whose time has run out, longest overdue
    /// first, up to the one with which `keys_max` keys are reached (a lease without keys counts as
    /// one); and checkpoints of at most so many silent leases. From here on the expired ones count
    /// as being revoked; one that is not gone after the retry span is handed out again.
    pub fn due(&mut self, now: Millis, keys_max: usize) -> Due {
        let mut due = Due { more: true, ..Due::default() };
        let mut steps = limits::LEASE_STEPS_MAX;
        let mut keys = 0;
        while keys < keys_max && due.silent.len() < keys_max {
            let Some(number) = self.wheel.pop(&mut self.leases, now, &mut steps) else {
                due.more = steps == 0;
                break;
            };
            let lease = self.leases.lease_mut(number);
            let next = if lease.revoking || lease.deadline <= now {
                lease.revoking = true;
                due.expired.push(lease.id);
                keys += usize::try_from(lease.keys.max(1)).unwrap_or(usize::MAX);
                // At least a millisecond ahead, so that a round ends.
                now + self.retry.max(Millis(1))
            } else {
                if checkpoint_due(lease).is_some_and(|due| due <= now) {
                    // It counts from now on: it must not be applied after a renewal it does not know.
                    lease.checkpointing = true;
                    lease.heard = now;
                    due.silent.push((lease.id, seconds_left(now, lease.deadline)));
                }
                next_look(lease)
            };
            self.wheel.insert(&mut self.leases, number, next);
        }
        due
    }
}

/// When a lease must be looked at.
fn next_look(lease: &Lease) -> Millis {
    checkpoint_due(lease).map_or(lease.deadline, |due| due.min(lease.deadline))
}

/// When a lease wants a checkpoint, if nobody renews it until then. A lease that does not live
/// longer than that wants none.
fn checkpoint_due(lease: &Lease) -> Option<Millis> {
    let silence = limits::LEASE_CHECKPOINT_AFTER;
    (lease.granted.to_millis() > silence).then(|| lease.heard + silence)
}

/// The seconds from `now` to `deadline`, rounded up: a checkpoint must not shorten a life.
fn seconds_left(now: Millis, deadline: Millis) -> Seconds {
    let left = deadline.since(now).0.div_ceil(1_000).max(1);
    Seconds(i64::try_from(left).unwrap_or(i64::MAX))
}

/// The whole seconds from `now` to `deadline`, cut towards zero.
fn whole_seconds_between(now: Millis, deadline: Millis) -> Seconds {
    let ahead = i64::try_from(deadline.since(now).0 / 1_000).unwrap_or(i64::MAX);
    let behind = i64::try_from(now.since(deadline).0 / 1_000).unwrap_or(i64::MAX);
    Seconds(ahead - behind)
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
