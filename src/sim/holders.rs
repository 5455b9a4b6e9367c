//! [`Holders`]: clients that hold leases, and the promise that no lease ends early.
//!
//! A holder takes a lease, attaches a key to it, renews it a while, and then revokes it or falls
//! silent. Whatever it is told of a grant or a renewal promises that the lease lives for its time
//! to live from the moment it asked. That is checked whenever somebody says that the lease is gone,
//! and at the end against the time at which the deletion of its key was first applied.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::{
    lease::Renewal,
    node::{Error, Input},
    sim::{
        checks::Violation,
        member::Member,
        plan,
        schedule::{Event, Life},
        world::Context,
    },
    state::{Answer, Command, Refused, RevokeCause},
    types::{LeaseId, MemberId, Millis, Revision, Seconds},
};

type Members = BTreeMap<MemberId, Member>;

/// Clocks run up to half a percent fast, and round.
const CLOCK_SLACK_PER_MILLE: u64 = 990;
/// Holders look after their lease this often, in microseconds.
const TURN: u64 = 400_000;
/// After so many turns without an answer a holder asks again.
const PATIENCE: u64 = 4;

/// Clients that hold leases.
#[derive(Debug, Default)]
pub struct Holders {
    holders: Vec<Holder>,
    leases: BTreeMap<LeaseId, Lease>,
}

#[derive(Debug, Default)]
struct Holder {
    lease: Option<LeaseId>,
    attached: bool,
    renewals_left: u64,
    waiting: Option<Waiting>,
    waited: u64,
}

/// What is known of a lease from outside.
#[derive(Debug)]
struct Lease {
    ttl: Seconds,
    /// When it was asked for something that was granted: from then on it lives for its `ttl`.
    promised: Vec<Promise>,
    revoked: bool,
}

/// A grant or renewal that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Promise {
    asked: u64,
    answered: u64,
}

#[derive(Debug)]
struct Waiting {
    at: Life,
    asked: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Outcome(oneshot::Receiver<Result<Result<Answer, Refused>, Error>>),
    /// With the time on the clock of the leader that was asked.
    Renewal(Millis, oneshot::Receiver<()>),
}

impl Holders {
    /// A few holders, each with a first turn soon.
    pub fn new(ctx: &mut Context) -> Self {
        let count = ctx.rng.below(4);
        for number in 0..count {
            let delay = ctx.rng.below(TURN) + 1_000_000;
            ctx.schedule.after(delay, Event::HolderTurn(number));
        }
        let holders = (0..count).map(|_| Holder::default()).collect();
        Self { holders, leases: BTreeMap::new() }
    }

    /// A holder looks after its lease.
    pub fn turn(&mut self, number: u64, members: &mut Members, ctx: &mut Context) {
        ctx.schedule.after(TURN, Event::HolderTurn(number));
        let next_id = LeaseId(i64::try_from(self.leases.len() + 1).expect("leases are few"));
        let Some(holder) = at(&mut self.holders, number) else { return };
        holder.waited += 1;
        if holder.waiting.is_some() && holder.waited < PATIENCE {
            return;
        }
        holder.waited = 0;
        holder.waiting = match holder.lease {
            None => {
                let ttl = Seconds(i64::try_from(ctx.rng.between(3, 5)).expect("a few seconds"));
                let lease = Lease { ttl, promised: Vec::new(), revoked: false };
                self.leases.insert(next_id, lease);
                let renewals_left = ctx.rng.below(20);
                *holder = Holder { lease: Some(next_id), renewals_left, ..Holder::default() };
                submit(Command::LeaseGrant { id: next_id, ttl }, members, ctx)
            }
            // Its grant or the attachment of its key is lost or refused; a new one is simpler.
            Some(_) if !holder.attached => {
                holder.lease = None;
                None
            }
            Some(id) if holder.renewals_left > 0 => {
                holder.renewals_left -= 1;
                ctx.note(&[15, number, id.0.unsigned_abs()], format_args!("renewing lease {id}"));
                ask_renewal(members, ctx)
            }
            Some(id) => {
                holder.lease = None;
                if ctx.rng.chance(500) {
                    self.leases.get_mut(&id).expect("every lease is noted").revoked = true;
                    submit(Command::LeaseRevoke { id, cause: RevokeCause::Client }, members, ctx);
                }
                None // from here on it is all the same
            }
        };
    }

    /// Looks whether holders that asked a member were answered.
    pub fn poll(
        &mut self,
        member: MemberId,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        for holder in &mut self.holders {
            let Some(waiting) = holder.waiting.take_if(|w| w.at.member == member) else { continue };
            let Some(id) = holder.lease else { continue };
            let lease = self.leases.get_mut(&id).expect("every lease is noted");
            let now = ctx.schedule.now();
            match waiting.what {
                What::Outcome(mut outcome) => match outcome.try_recv() {
                    Ok(Ok(Ok(_))) if lease.promised.is_empty() => {
                        lease.promise(waiting.asked, now);
                        holder.waiting = submit(plan::attach(id), members, ctx);
                    }
                    Ok(Ok(Ok(_))) => holder.attached = true,
                    Ok(Ok(Err(refused))) => {
                        lease.gone(id, now, &refused.to_string())?;
                        holder.lease = None;
                    }
                    Err(oneshot::error::TryRecvError::Empty) => {
                        let what = What::Outcome(outcome);
                        holder.waiting = Some(Waiting { what, ..waiting });
                    }
                    Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => {}
                },
                What::Renewal(clock, mut woken) => match woken.try_recv() {
                    Ok(()) => {
                        let process = members.get(&member).and_then(Member::process);
                        match process.and_then(|process| process.shared.renew(id, clock)) {
                            Some(Renewal::Renewed(_)) => lease.promise(waiting.asked, now),
                            Some(Renewal::Unknown | Renewal::Revoking) => {
                                lease.gone(id, now, "its renewal found it gone")?;
                                holder.lease = None;
                            }
                            // It asks again another time.
                            Some(Renewal::Checkpointed) | None => {}
                        }
                    }
                    Err(oneshot::error::TryRecvError::Empty) => {
                        let what = What::Renewal(clock, woken);
                        holder.waiting = Some(Waiting { what, ..waiting });
                    }
                    Err(oneshot::error::TryRecvError::Closed) => {}
                },
            }
        }
        Ok(())
    }

    /// Nobody looks after any lease from now on.
    pub fn fall_silent(&mut self) {
        self.holders.clear();
    }

    /// Checks the end of a lease, as the store's history tells it, against what was promised.
    pub fn check_end(
        &self,
        id: LeaseId,
        revision: Revision,
        applied: u64,
    ) -> Result<(), Violation> {
        let lease = self.leases.get(&id);
        let lease = lease.ok_or_else(|| Violation(format!("nobody asked for lease {id}")))?;
        lease.gone(id, applied, &format!("its key was deleted at revision {revision}"))
    }
}

impl Lease {
    fn promise(&mut self, asked: u64, answered: u64) {
        self.promised.push(Promise { asked, answered });
    }

    /// Somebody said at `now` that the lease is gone.
    fn gone(&self, id: LeaseId, now: u64, said: &str) -> Result<(), Violation> {
        let life = self.ttl.to_millis().0 * CLOCK_SLACK_PER_MILLE;
        let broken = self.promised.iter().find(|p| p.answered < now && now < p.asked + life);
        match broken.filter(|_| !self.revoked) {
            Some(promise) => Err(Violation(format!(
                "lease {id} of {} s ended early: {said} at {now}, it was renewed at {}",
                self.ttl.0, promise.asked
            ))),
            None => Ok(()),
        }
    }
}

/// Has a command proposed by any running member.
fn submit(command: Command, members: &mut Members, ctx: &mut Context) -> Option<Waiting> {
    let running: Vec<MemberId> =
        members.values().filter(|m| m.process().is_some()).map(Member::id).collect();
    if running.is_empty() {
        return None;
    }
    let member = members.get_mut(ctx.rng.pick(&running))?;
    let process = member.process()?;
    let at = process.life();
    let (sequence, outcome) = process.shared.submit(command).ok()?;
    member.post(Input::Proposal(sequence), ctx);
    Some(Waiting { at, asked: ctx.schedule.now(), what: What::Outcome(outcome) })
}

/// Asks whoever takes itself for the leader to confirm that, as a renewal begins.
fn ask_renewal(members: &mut Members, ctx: &mut Context) -> Option<Waiting> {
    let leads = |m: &Member| m.process().is_some_and(|p| p.shared.leadership().1 == Some(m.id()));
    let leaders: Vec<MemberId> = members.values().filter(|m| leads(m)).map(Member::id).collect();
    if leaders.is_empty() {
        return None;
    }
    let leader = members.get_mut(ctx.rng.pick(&leaders))?;
    let process = leader.process()?;
    let (at, clock) = (process.life(), process.shared.now());
    let (waiter, woken) = oneshot::channel();
    leader.post(Input::Read(waiter), ctx);
    Some(Waiting { at, asked: ctx.schedule.now(), what: What::Renewal(clock, woken) })
}

fn at(holders: &mut [Holder], number: u64) -> Option<&mut Holder> {
    holders.get_mut(usize::try_from(number).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lease may end after its time, or when it was revoked, and not before.
    #[test]
    fn an_early_end_is_found() {
        let mut lease = Lease { ttl: Seconds(3), promised: Vec::new(), revoked: false };
        lease.promise(1_000_000, 1_100_000);
        let id = LeaseId(1);
        assert!(lease.gone(id, 3_900_000, "").is_err());
        assert!(lease.gone(id, 4_100_000, "").is_ok());
        assert!(lease.gone(id, 1_050_000, "").is_ok(), "nobody had been told by then");
        lease.revoked = true;
        assert!(lease.gone(id, 3_900_000, "").is_ok());
    }
}
