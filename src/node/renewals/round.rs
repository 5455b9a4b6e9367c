//! One round: all open leases of some batches, renewed together.

use std::{collections::BTreeMap, future::Future};

use tokio::{select, task::yield_now};

use super::queue::{Batch, KeptAlive};
use crate::{
    lease::Renewal,
    node::{Error, Handle, TimeoutCause, metrics, ports::Renewed, shared::Shared},
    types::{Index, LeaseId, MemberId, Millis, limits},
};

/// What came of a round.
pub(super) struct Round {
    /// What this member's clock did not know, if that was asked.
    pub(super) here: Option<Unknown>,
    pub(super) batches: Vec<Batch>,
    pub(super) result: Result<(), Error>,
    /// Leases whose remaining time the log must forget before they can be renewed.
    pub(super) checkpointed: Vec<LeaseId>,
}

/// A round on this member's own clock.
pub(super) async fn here(node: Handle, mut batches: Vec<Batch>, mut unknown: Unknown) -> Round {
    let mut checkpointed = Vec::new();
    let renew = async {
        let asked = node.confirm_clock().await?;
        unknown.look(node.shared());
        let mut leases = open(&mut batches);
        while renew_some(&node, asked, &mut leases, &mut checkpointed, &mut unknown)? {
            // The applier needs the clock too, and others this thread.
            yield_now().await;
        }
        // Who hears of a renewal counts from then; too much of its time must not have passed.
        if node.now().since(asked) >= node.settings().election_timeout {
            return Err(Error::TimedOut(TimeoutCause::Unknown));
        }
        Ok(())
    };
    let result = while_led_by(&node, node.member_id(), renew).await;
    Round { here: Some(unknown), batches, result, checkpointed }
}

/// A round on the clock of another member.
pub(super) async fn there(node: Handle, leader: MemberId, mut batches: Vec<Batch>) -> Round {
    let asked: Vec<LeaseId> = open(&mut batches).map(|kept| kept.lease).collect();
    let count = asked.len();
    let result = match while_led_by(&node, leader, node.peers().renew(leader, asked)).await {
        Ok(answers) if answers.len() == count => {
            open(&mut batches).zip(answers).for_each(|(kept, renewed)| kept.renewed = renewed);
            Ok(())
        }
        Ok(_) => Err(Error::TimedOut(TimeoutCause::Unknown)),
        Err(error) => Err(error),
    };
    Round { here: None, batches, result, checkpointed: Vec::new() }
}

/// The leases that nothing is known of yet, in their order.
fn open(batches: &mut [Batch]) -> impl Iterator<Item = &mut KeptAlive> {
    batches.iter_mut().flat_map(|batch| &mut batch.leases).filter(|kept| kept.is_open())
}

/// Leases that this member's clock does not know, although somebody may: it lags in applying what is
/// committed, as their grants may be.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    /// When it is certain that there is no such lease: once this entry is applied.
    since: BTreeMap<LeaseId, Index>,
    committed: Index,
    applied: Index,
}

impl Unknown {
    /// Looks how far this member is. It leads, so it knows of all that was acknowledged to anybody.
    fn look(&mut self, shared: &Shared) {
        self.committed = shared.committed();
        self.applied = shared.applied();
        if self.since.len() > limits::RENEWALS_PER_ROUND_MAX {
            self.since.clear(); // nobody asks for them any more, or too many do
        }
    }

    /// Whether a lease that the clock does not know does not exist.
    fn is_certain(&mut self, lease: LeaseId) -> bool {
        if self.applied >= self.committed {
            return true;
        }
        let certain = *self.since.entry(lease).or_insert(self.committed) <= self.applied;
        if certain {
            self.since.remove(&lease);
        }
        certain
    }
}

/// Renews the next leases, as many as the clock is held for at a time. Returns whether there may be
/// more.
fn renew_some<'a>(
    node: &Handle,
    asked: Millis,
    leases: &mut impl Iterator<Item = &'a mut KeptAlive>,
    checkpointed: &mut Vec<LeaseId>,
    unknown: &mut Unknown,
) -> Result<bool, Error> {
    let (mut renewed, mut not_found, mut seen) = (0, 0, 0);
    let mut lessor = node.shared().lessor();
    for kept in leases.take(limits::RENEWALS_PER_LOCK_MAX) {
        seen += 1;
        match lessor.renew(kept.lease, asked).map_err(|_| Error::NotLeader)? {
            Renewal::Renewed(ttl) => {
                kept.renewed = Renewed::For(ttl);
                renewed += 1;
            }
            Renewal::Unknown if unknown.is_certain(kept.lease) => {
                kept.renewed = Renewed::Unknown;
                not_found += 1;
            }
            // It is asked for again.
            Renewal::Unknown | Renewal::Revoking => {}
            Renewal::Checkpointed => checkpointed.push(kept.lease),
        }
    }
    drop(lessor);
    let figures = &node.shared().metrics;
    figures.leases_renewed.inc_by(renewed);
    figures.leases_not_found.inc_by(not_found);
    figures.renewals_per_lock.observe(metrics::size(seen));
    Ok(seen == limits::RENEWALS_PER_LOCK_MAX)
}

/// Does some work that is worth nothing once `leader` is not known to lead any more.
async fn while_led_by<T>(
    node: &Handle,
    leader: MemberId,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut known = node.leadership();
    select! {
        result = work => result,
        _ = known.wait_for(|known| *known != Some(leader)) => Err(Error::LeaderChanged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LeaseId = LeaseId(0xa);

    /// That there is no such lease is certain once what was committed at the first look is applied,
    /// however much was committed since.
    #[test]
    fn an_unknown_lease_is_certain_after_a_while() {
        let at = |since, applied, committed| Unknown {
            since,
            committed: Index(committed),
            applied: Index(applied),
        };
        assert!(at(BTreeMap::new(), 7, 7).is_certain(A));
        let mut unknown = at(BTreeMap::new(), 5, 7);
        assert!(!unknown.is_certain(A));
        let mut unknown = at(unknown.since, 6, 20);
        assert!(!unknown.is_certain(A));
        let mut unknown = at(unknown.since, 7, 30);
        assert!(unknown.is_certain(A));
        assert!(unknown.since.is_empty());
    }
}
