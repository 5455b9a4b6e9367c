//! What the history of a run says of the clients of its leases and keys.

use crate::{
    sim::{
        checks::{Violation, leases, revisions::Survived},
        holders::{Holders, Lease},
        plan,
        scene::Scene,
        world::Context,
    },
    types::{DeleteReason, Event, EventKind},
};

/// How late, in microseconds, the end of a lease may be while a leader stands.
const LATE_MAX: u64 = 2_000_000;
/// By how much, in microseconds, a change of the leader may lengthen the life of a silent lease of
/// more than five minutes, besides the time without a leader: that long it is silent before its
/// remaining time is written down.
const SILENCE: u64 = 300_000_000;

/// What came of leases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Leases with keys that ran out.
    pub expired: u64,
    /// Leases with keys that were revoked.
    pub revoked: u64,
    /// Leases with keys that had once been renewed and ran out: how late the latest of them did, in
    /// microseconds, by a leader that stayed. Only looked at where the leader stays.
    pub late_max: u64,
}

/// By when, in microseconds, every lease has ended, if all fell silent before `led`, and a leader
/// has stood since then.
#[must_use]
pub fn last_end(ctx: &Context, led: u64) -> u64 {
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let ttl = ctx.config.ttl_max() * 1_000 / 995;
    // What was lost is proposed again after the time that a request may take.
    let again = if ctx.lost_expiries > 0 { 5_000_000 + timeout * 2 } else { 0 };
    led + ttl + timeout + again + LATE_MAX
}

/// Leases ended whole, for a reason, and not early; their keys went where their holders were told.
pub fn leases(holders: &Holders, history: &[Event], ctx: &Context) -> Result<Ended, Violation> {
    leases::check_effects(history, holders.effects())?;
    let mut ended = Ended::default();
    for end in leases::ends(history)? {
        let id = end.lease;
        let lease = holders.leases().get(&id);
        let lease = lease.ok_or_else(|| Violation(format!("nobody asked for lease {id}")))?;
        // Applied together with later ones it shows as the last of them.
        let applied = ctx.applied_at.range(end.revision..).next();
        let (_, applied) = applied.expect("what survived was applied");
        lease.ended(&end, *applied)?;
        if end.reason != DeleteReason::Expired {
            ended.revoked += 1;
            continue;
        }
        ended.expired += 1;
        match ctx.config.scene {
            Scene::LongLives => not_too_long(lease, *applied, ctx)
                .map_err(|what| Violation(format!("lease {id} {what}")))?,
            Scene::Overload => {
                let renewed = lease.renewed().filter(|_| lease.was_renewed());
                let due = renewed.map(|renewed| renewed + lease.life_max());
                let late = due.map_or(0, |due| applied.saturating_sub(due));
                ended.late_max = ended.late_max.max(late);
                if late > LATE_MAX {
                    return Err(Violation(format!("lease {id} ended {late} us late")));
                }
            }
            Scene::Everyday
            | Scene::Pauses
            | Scene::LeaderChanges
            | Scene::LostExpiries
            | Scene::Races
            | Scene::BulkExpiry
            | Scene::Members
            | Scene::Checkpoints
            | Scene::Losses
            | Scene::Rollbacks => {}
        }
    }
    Ok(ended)
}

/// A silent lease lives no longer than its time to live and what each change of the leader adds.
fn not_too_long(lease: &Lease, ended: u64, ctx: &Context) -> Result<(), String> {
    let from = lease.touched();
    let changes = ctx.led_at.values().filter(|at| (from..ended).contains(at)).count() as u64;
    let timeout = ctx.config.election_timeout.0 * 1_000;
    // A leader is missed after up to two timeouts, elected after as long, and extends by one.
    let bound = from + lease.life_max() + changes * (SILENCE + timeout * 6) + LATE_MAX;
    if ended > bound {
        return Err(format!(
            "of {} s ended at {ended}, was last heard of at {from}, and the leader changed {changes} times",
            lease.ttl.0
        ));
    }
    Ok(())
}

/// What clients changed, of everything that changed.
pub fn survived(history: &[Event]) -> Result<Survived, Violation> {
    let mut survived = Survived::new();
    for change in history.iter().filter(|change| !plan::is_foreign(change.key())) {
        let content = match &change.kind {
            EventKind::Put(kv) => plan::value_id(&kv.value).map(Some),
            EventKind::Delete(..) => Some(None),
        };
        let (key, content) = plan::key_id(change.key())
            .zip(content)
            .ok_or_else(|| Violation(format!("no client asked for {change:?}")))?;
        survived.entry(change.id.revision).or_default().insert(key, content);
    }
    Ok(survived)
}
