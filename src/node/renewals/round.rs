//! One round: all open leases of some batches, renewed together.

use std::{future::Future, time::Duration};

use tokio::{select, task::yield_now, time::timeout};

use super::queue::{Batch, KeptAlive};
use crate::{
    lease::Renewal,
    node::{Error, Handle, TimeoutCause, metrics, ports::Renewed},
    types::{LeaseId, MemberId, Millis, limits},
};

/// How long the leases of a round wait for one that may exist and is not known here yet.
const CATCH_UP: Duration = Duration::from_millis(100);

/// What came of a round.
pub(super) struct Round {
    /// Whether it was this member's clock that was asked.
    pub(super) here: bool,
    pub(super) batches: Vec<Batch>,
    pub(super) result: Result<(), Error>,
    /// Leases whose remaining time the log must forget before they can be renewed.
    pub(super) checkpointed: Vec<LeaseId>,
}

/// A round on this member's own clock.
pub(super) async fn here(node: Handle, mut batches: Vec<Batch>) -> Round {
    let mut checkpointed = Vec::new();
    let renew = async {
        let asked = node.confirm_clock().await?;
        // What was acknowledged to anybody is committed, and this member, which leads, knows that.
        let committed = node.shared().committed();
        let certain = node.shared().applied() >= committed;
        let uncertain = renew_all(&node, asked, certain, &mut batches, &mut checkpointed).await?;
        // It may have been granted by what is not applied here yet. Others do not wait for it long.
        if uncertain && matches!(timeout(CATCH_UP, node.read_barrier()).await, Ok(Ok(()))) {
            renew_all(&node, asked, true, &mut batches, &mut checkpointed).await?;
        }
        // Who hears of a renewal counts from then; too much of its time must not have passed.
        if node.now().since(asked) >= node.settings().election_timeout {
            return Err(Error::TimedOut(TimeoutCause::Unknown));
        }
        Ok(())
    };
    let result = while_led_by(&node, node.member_id(), renew).await;
    Round { here: true, batches, result, checkpointed }
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
    Round { here: false, batches, result, checkpointed: Vec::new() }
}

/// The leases that nothing is known of yet, in their order.
fn open(batches: &mut [Batch]) -> impl Iterator<Item = &mut KeptAlive> {
    batches.iter_mut().flat_map(|batch| &mut batch.leases).filter(|kept| kept.is_open())
}

/// Renews all open leases. Unless it is `certain` that one which is unknown does not exist, it stays
/// open; returns whether there are such.
async fn renew_all(
    node: &Handle,
    asked: Millis,
    certain: bool,
    batches: &mut [Batch],
    checkpointed: &mut Vec<LeaseId>,
) -> Result<bool, Error> {
    let mut leases = open(batches);
    let mut uncertain = false;
    loop {
        let part = renew_some(node, asked, certain, &mut leases, checkpointed)?;
        uncertain |= part.uncertain;
        if !part.more {
            return Ok(uncertain);
        }
        // The applier needs the clock too, and others this thread.
        yield_now().await;
    }
}

/// What came of as many leases as the clock is held for at a time.
struct Part {
    more: bool,
    uncertain: bool,
}

fn renew_some<'a>(
    node: &Handle,
    asked: Millis,
    certain: bool,
    leases: &mut impl Iterator<Item = &'a mut KeptAlive>,
    checkpointed: &mut Vec<LeaseId>,
) -> Result<Part, Error> {
    let (mut renewed, mut unknown, mut seen) = (0, 0, 0);
    let mut uncertain = false;
    let mut lessor = node.shared().lessor();
    for kept in leases.take(limits::RENEWALS_PER_LOCK_MAX) {
        seen += 1;
        match lessor.renew(kept.lease, asked).map_err(|_| Error::NotLeader)? {
            Renewal::Renewed(ttl) => {
                kept.renewed = Renewed::For(ttl);
                renewed += 1;
            }
            Renewal::Unknown if certain => {
                kept.renewed = Renewed::Unknown;
                unknown += 1;
            }
            Renewal::Unknown => uncertain = true,
            Renewal::Checkpointed => checkpointed.push(kept.lease),
            Renewal::Revoking => {}
        }
    }
    drop(lessor);
    let figures = &node.shared().metrics;
    figures.leases_renewed.inc_by(renewed);
    figures.leases_not_found.inc_by(unknown);
    figures.renewals_per_lock.observe(metrics::size(seen));
    Ok(Part { more: seen == limits::RENEWALS_PER_LOCK_MAX, uncertain })
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
