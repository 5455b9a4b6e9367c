//! [`Lease`]: what is known of a lease from outside, and the promise that it does not end early.

use crate::{
    sim::checks::Violation,
    types::{DeleteReason, LeaseId, Revision, Seconds},
};

/// By how many thousandths of the time that passes a clock may run fast.
const DRIFT_PER_MILLE: u64 = 5;
/// Clocks show whole milliseconds.
const ROUNDING: u64 = 2_000;

/// What is known of a lease from outside. Times are microseconds.
#[derive(Debug)]
pub struct Lease {
    /// What it was asked for with.
    pub ttl: Seconds,
    /// What was acknowledged: from the moment each was asked for, the lease lives for its `ttl`.
    promised: Vec<Promise>,
    /// When a client wanted it gone.
    revoked: Option<u64>,
    /// When somebody was told that it is gone, although it had been granted.
    told_gone: Option<u64>,
    /// The last moment at which somebody did what may count as a sign of life.
    touched: u64,
}

/// A grant or renewal that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Promise {
    asked: u64,
    answered: u64,
}

/// An end of a lease, as the history of its keys tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The lease.
    pub lease: LeaseId,
    /// The revision at which its keys went.
    pub revision: Revision,
    /// Why.
    pub reason: DeleteReason,
}

impl Lease {
    /// A lease that is asked for at `now`.
    #[must_use]
    pub fn new(ttl: Seconds, now: u64) -> Self {
        Self { ttl, promised: Vec::new(), revoked: None, told_gone: None, touched: now }
    }

    /// How long it lives at least, from the moment its last renewal was asked for.
    #[must_use]
    pub fn life_min(&self) -> u64 {
        (self.ttl.to_millis().0 * 1_000_000 / (1_000 + DRIFT_PER_MILLE)).saturating_sub(ROUNDING)
    }

    /// How long it lives at most after that, while the leader stays.
    #[must_use]
    pub fn life_max(&self) -> u64 {
        self.ttl.to_millis().0 * 1_000_000 / (1_000 - DRIFT_PER_MILLE) + ROUNDING
    }

    /// Whether it was certainly granted.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        !self.promised.is_empty()
    }

    /// Whether somebody was told that it is gone.
    #[must_use]
    pub fn is_told_gone(&self) -> bool {
        self.told_gone.is_some()
    }

    /// Something that was asked for at `asked` was done with it, so it was there.
    pub fn used(&self, id: LeaseId, asked: u64) -> Result<(), Violation> {
        match self.told_gone.filter(|gone| *gone < asked) {
            Some(gone) => Err(Violation(format!(
                "lease {id} was said to be gone at {gone}, and was there after {asked}"
            ))),
            None => Ok(()),
        }
    }

    /// Whether it was renewed, not only granted.
    #[must_use]
    pub fn was_renewed(&self) -> bool {
        self.promised.len() > 1
    }

    /// When the last renewal was asked for that was acknowledged.
    #[must_use]
    pub fn renewed(&self) -> Option<u64> {
        self.promised.iter().map(|promise| promise.asked).max()
    }

    /// The last moment at which somebody did what may count as a sign of life.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touched
    }

    /// Somebody does at `now` what may count as a sign of life.
    pub fn touch(&mut self, now: u64) {
        self.touched = self.touched.max(now);
    }

    /// A client wants it gone.
    pub fn revoke(&mut self, now: u64) {
        self.revoked.get_or_insert(now);
    }

    /// Something that was asked for at `asked` was acknowledged.
    pub fn promise(&mut self, id: LeaseId, asked: u64, now: u64) -> Result<(), Violation> {
        self.used(id, asked)?;
        self.promised.push(Promise { asked, answered: now });
        Ok(())
    }

    /// Somebody who asked at `asked` was told at `now` that there is no such lease.
    pub fn gone(&mut self, id: LeaseId, asked: u64, now: u64, said: &str) -> Result<(), Violation> {
        self.ran_out(id, asked, now, said)?;
        if self.promised.iter().any(|promise| promise.answered < asked) {
            self.told_gone.get_or_insert(now);
        }
        Ok(())
    }

    /// Somebody who asked at `asked` was told at `now` that its time is over.
    pub fn ran_out(&self, id: LeaseId, asked: u64, now: u64, said: &str) -> Result<(), Violation> {
        // A promise that was made meanwhile may be younger than the answer.
        let known = self.promised.iter().filter(|promise| promise.answered < asked);
        let broken = known.max_by_key(|promise| promise.asked);
        match broken.filter(|p| now < p.asked + self.life_min() && self.revoked.is_none()) {
            Some(promise) => Err(self.early(id, now, promise, said)),
            None => Ok(()),
        }
    }

    /// Its keys were deleted, which a member had first applied at `applied`.
    pub fn ended(&self, end: &End, applied: u64) -> Result<(), Violation> {
        let id = end.lease;
        match end.reason {
            DeleteReason::Expired => {
                // Whenever it was acknowledged: nothing is promised of what is gone.
                let broken = self.promised.iter().max_by_key(|promise| promise.asked);
                match broken.filter(|promise| applied < promise.asked + self.life_min()) {
                    Some(promise) => {
                        let said = format!("it ran out at revision {}", end.revision);
                        Err(self.early(id, applied, promise, &said))
                    }
                    None => Ok(()),
                }
            }
            DeleteReason::Revoked if self.revoked.is_some_and(|asked| asked <= applied) => Ok(()),
            DeleteReason::Revoked | DeleteReason::Client => Err(Violation(format!(
                "nobody revoked lease {id}, which ended at revision {}",
                end.revision
            ))),
        }
    }

    fn early(&self, id: LeaseId, now: u64, promise: &Promise, said: &str) -> Violation {
        Violation(format!(
            "lease {id} of {} s ended early: {said} at {now}, it was renewed at {}",
            self.ttl.0, promise.asked
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LeaseId = LeaseId(1);

    fn promised() -> Lease {
        let mut lease = Lease::new(Seconds(3), 0);
        lease.promise(ID, 1_000_000, 1_100_000).unwrap();
        lease
    }

    fn end(reason: DeleteReason) -> End {
        End { lease: ID, revision: Revision(7), reason }
    }

    /// A lease may end after its time, or when it was revoked, and not before.
    #[test]
    fn an_early_end_is_found() {
        let mut lease = promised();
        assert!(lease.gone(ID, 1_200_000, 3_900_000, "").is_err());
        assert!(lease.gone(ID, 1_050_000, 1_150_000, "").is_ok(), "it may not have been granted");
        assert!(!lease.is_told_gone());
        assert!(lease.ended(&end(DeleteReason::Expired), 3_900_000).is_err());
        assert!(lease.ended(&end(DeleteReason::Expired), 4_100_000).is_ok());
        assert!(lease.ended(&end(DeleteReason::Revoked), 4_100_000).is_err());
        lease.revoke(2_000_000);
        assert!(lease.ended(&end(DeleteReason::Revoked), 2_100_000).is_ok());
        assert!(lease.ended(&end(DeleteReason::Expired), 3_900_000).is_err(), "it did not run out");
        assert!(lease.gone(ID, 1_200_000, 3_900_000, "").is_ok());
    }

    /// A lease that was said to be gone is not renewed by a call made later.
    #[test]
    fn a_lease_that_rises_again_is_found() {
        let mut lease = promised();
        lease.gone(ID, 4_200_000, 4_300_000, "").unwrap();
        assert!(lease.promise(ID, 4_250_000, 4_400_000).is_ok(), "it was asked for before");
        assert!(lease.promise(ID, 4_350_000, 4_400_000).is_err());
    }
}
