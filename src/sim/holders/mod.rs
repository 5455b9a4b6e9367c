//! [`Holders`]: clients that hold leases, and what they are told.
//!
//! A holder takes a lease, puts keys on it, renews it a while, and then revokes it or falls silent.
//! It does not wait for one answer before it asks for the next thing, so that renewals race grants,
//! attachments and revocations; and now and then it asks for what is gone. Whatever it is told of a
//! grant or a renewal promises that the lease lives for its time to live from the moment it asked.
//! That is checked whenever somebody says that the lease is gone, and at the end against the time at
//! which the deletion of its keys was first applied.

mod lease;
mod wish;

use std::collections::BTreeMap;

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    lease::Renewal,
    node::{Error, Input},
    sim::{
        checks::Violation,
        config::Planted,
        member::Member,
        plan,
        process::Process,
        schedule::{Event, Life},
        world::Context,
    },
    state::{Answer, Command, Refused, RevokeCause},
    types::{Index, LeaseId, MemberId, Millis, Revision, Seconds},
};

use self::wish::Wish;
pub use self::{
    lease::{End, Lease},
    wish::Effect,
};

type Members = BTreeMap<MemberId, Member>;
type Outcome = oneshot::Receiver<Result<Result<Answer, Refused>, Error>>;

/// After this time, in microseconds, a holder no longer waits for an answer.
const PATIENCE: u64 = 7_000_000;
/// When the first holders begin, in microseconds: there may be a leader by then.
const BEGIN: u64 = 1_000_000;

/// Clients that hold leases.
#[derive(Debug, Default)]
pub struct Holders {
    holders: Vec<Holder>,
    leases: BTreeMap<LeaseId, Lease>,
    /// What waits for an answer, by the member that was asked.
    calls: BTreeMap<MemberId, Vec<Call>>,
    /// What holders were told of their keys, and as of which revision.
    effects: Vec<(Revision, Effect)>,
    renewed: u64,
}

#[derive(Debug, Default)]
struct Holder {
    lease: Option<LeaseId>,
    renewals_left: u64,
    calls: usize,
}

#[derive(Debug)]
struct Call {
    holder: u64,
    lease: LeaseId,
    at: Life,
    asked: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Grant(Outcome),
    Wish(Wish, Outcome),
    Revoke(Outcome),
    /// Waits for leadership to be confirmed, with the time on the clock of the leader when asked.
    Renewal(Millis, oneshot::Receiver<()>),
    /// The end of the lease is on its way, and is waited for.
    Ending(Millis),
    /// Has the log forget how long the lease had left.
    Clearing(Millis, Outcome),
}

impl Holders {
    /// The holders of a world, each with a first turn soon.
    pub fn new(ctx: &mut Context) -> Self {
        let holding = ctx.config.holding.clone();
        for number in 0..holding.holders {
            let (shortest, longest) = holding.turn;
            // Those that take their turns together begin together.
            let spread = if shortest == longest { 0 } else { ctx.rng.below(shortest) };
            ctx.schedule.after(BEGIN + spread, Event::HolderTurn(number));
        }
        let holders = (0..holding.holders).map(|_| Holder::default()).collect();
        Self { holders, ..Self::default() }
    }

    /// Every lease that somebody asked for.
    #[must_use]
    pub fn leases(&self) -> &BTreeMap<LeaseId, Lease> {
        &self.leases
    }

    /// What holders were told of their keys.
    #[must_use]
    pub fn effects(&self) -> &[(Revision, Effect)] {
        &self.effects
    }

    /// Renewals that were acknowledged.
    #[must_use]
    pub fn renewed(&self) -> u64 {
        self.renewed
    }

    /// A holder looks after its lease.
    pub fn turn(&mut self, number: u64, members: &mut Members, ctx: &mut Context) {
        let (shortest, longest) = ctx.config.holding.turn;
        let delay = ctx.rng.between(shortest, longest);
        ctx.schedule.after(delay, Event::HolderTurn(number));
        let Some(holder) = at(&mut self.holders, number) else { return };
        if holder.calls >= ctx.config.holding.calls_max {
            return;
        }
        match holder.lease {
            None => self.take_lease(number, members, ctx),
            Some(id) if holder.renewals_left > 0 => {
                holder.renewals_left -= 1;
                self.renew(number, id, members, ctx);
                if ctx.rng.chance(ctx.config.holding.moves) {
                    let wish = Wish::draw(&ctx.config, self.newest(), &mut ctx.rng);
                    self.wish(number, id, wish, members, ctx);
                }
                self.ask_for_the_gone(number, members, ctx);
            }
            Some(id) if ctx.config.holding.again => {
                holder.lease = None;
                if ctx.rng.chance(300) {
                    self.lease(id).revoke(ctx.schedule.now());
                    let command = Command::LeaseRevoke { id, cause: RevokeCause::Client };
                    self.submit(number, id, command, What::Revoke, members, ctx);
                    // A renewal may meet the revocation on its way.
                    self.renew(number, id, members, ctx);
                }
            }
            Some(_) => {}
        }
    }

    fn take_lease(&mut self, number: u64, members: &mut Members, ctx: &mut Context) {
        let id = LeaseId(self.newest().0 + 1);
        let (shortest, longest) = ctx.config.holding.ttl;
        let ttl = Seconds(i64::try_from(ctx.rng.between(shortest, longest)).expect("it is short"));
        let (fewest, most) = ctx.config.holding.renewals;
        let renewals_left = ctx.rng.between(fewest, most);
        self.leases.insert(id, Lease::new(ttl, ctx.schedule.now()));
        if let Some(holder) = at(&mut self.holders, number) {
            holder.lease = Some(id);
            holder.renewals_left = renewals_left;
        }
        ctx.note(
            &[18, number, id.0.unsigned_abs()],
            format_args!("holder {number} asks for lease {id} of {} s", ttl.0),
        );
        self.submit(number, id, Command::LeaseGrant { id, ttl }, What::Grant, members, ctx);
        if ctx.rng.chance(ctx.config.holding.moves) {
            self.renew(number, id, members, ctx);
        }
    }

    /// Now and then somebody asks for a lease that is said to be gone.
    fn ask_for_the_gone(&mut self, number: u64, members: &mut Members, ctx: &mut Context) {
        if !ctx.rng.chance(ctx.config.holding.moves / 4) {
            return;
        }
        let id = LeaseId(i64::try_from(ctx.rng.below(self.leases.len() as u64) + 1).unwrap_or(1));
        if self.leases.get(&id).is_some_and(Lease::is_told_gone) {
            self.renew(number, id, members, ctx);
            let wish = Wish::Attach(plan::held_key(id, 0));
            self.wish(number, id, wish, members, ctx);
        }
    }

    fn wish(
        &mut self,
        number: u64,
        id: LeaseId,
        wish: Wish,
        members: &mut Members,
        ctx: &mut Context,
    ) {
        let command = wish.command(id, ctx.config.holding.keys);
        let what = |outcome| What::Wish(wish, outcome);
        self.submit(number, id, command, what, members, ctx);
    }

    /// Has a command proposed by any running member.
    fn submit(
        &mut self,
        number: u64,
        id: LeaseId,
        command: Command,
        what: impl FnOnce(Outcome) -> What,
        members: &mut Members,
        ctx: &mut Context,
    ) {
        let running = |m: &&Member| m.process().is_some();
        let running: Vec<MemberId> = members.values().filter(running).map(Member::id).collect();
        if running.is_empty() {
            return;
        }
        let Some(member) = members.get_mut(ctx.rng.pick(&running)) else { return };
        if let Some((at, outcome)) = propose(member, command, ctx) {
            self.wait(Call {
                holder: number,
                lease: id,
                at,
                asked: ctx.schedule.now(),
                what: what(outcome),
            });
        }
    }

    /// Asks whoever takes itself for the leader to confirm that, as a renewal begins. One that
    /// stands still would read its clock only when it goes on.
    fn renew(&mut self, number: u64, id: LeaseId, members: &mut Members, ctx: &mut Context) {
        let now = ctx.schedule.now();
        let leads = |m: &Member| {
            let process = m.process().filter(|process| !process.is_paused(now));
            process.is_some_and(|p| p.shared.leadership().1 == Some(m.id()))
        };
        let leaders: Vec<MemberId> =
            members.values().filter(|m| leads(m)).map(Member::id).collect();
        if leaders.is_empty() {
            return;
        }
        let Some(leader) = members.get_mut(ctx.rng.pick(&leaders)) else { return };
        let Some(process) = leader.process() else { return };
        let (at, clock) = (process.life(), process.shared.now());
        ctx.note(
            &[15, number, id.0.unsigned_abs()],
            format_args!("holder {number} renews lease {id} at {}", leader.id()),
        );
        let (waiter, woken) = oneshot::channel();
        leader.post(Input::Read(waiter), ctx);
        let what = What::Renewal(clock, woken);
        self.wait(Call { holder: number, lease: id, at, asked: now, what });
    }

    fn wait(&mut self, call: Call) {
        if let Some(holder) = at(&mut self.holders, call.holder) {
            holder.calls += 1;
        }
        self.calls.entry(call.at.member).or_default().push(call);
    }

    /// Looks whether calls to a member have come to something.
    pub fn poll(
        &mut self,
        member: MemberId,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let Some(calls) = self.calls.get_mut(&member).map(std::mem::take) else { return Ok(()) };
        for call in calls {
            if let Some(holder) = at(&mut self.holders, call.holder) {
                holder.calls -= 1;
            }
            let alive = members.get(&member).and_then(Member::process).map(Process::life);
            let given_up = ctx.schedule.now() - call.asked > PATIENCE;
            if alive == Some(call.at)
                && !given_up
                && let Some(call) = self.look(call, members, ctx)?
            {
                self.wait(call);
            }
        }
        Ok(())
    }

    /// Looks whether a call has come to something; gives it back if not.
    fn look(
        &mut self,
        mut call: Call,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<Option<Call>, Violation> {
        match &mut call.what {
            What::Grant(outcome) | What::Wish(_, outcome) | What::Revoke(outcome) => {
                match outcome.try_recv() {
                    Ok(Ok(outcome)) => self.answered(&call, outcome, members, ctx)?,
                    Err(TryRecvError::Empty) => return Ok(Some(call)),
                    Ok(Err(_)) | Err(TryRecvError::Closed) => {}
                }
                Ok(None)
            }
            What::Renewal(clock, woken) => {
                let clock = *clock;
                match woken.try_recv() {
                    Ok(()) => self.confirmed(call, clock, members, ctx),
                    Err(TryRecvError::Empty)
                        if ctx.config.planted == Planted::UnconfirmedRenewals =>
                    {
                        self.confirmed(call, clock, members, ctx)
                    }
                    Err(TryRecvError::Empty) => Ok(Some(call)),
                    Err(TryRecvError::Closed) => Ok(None),
                }
            }
            What::Ending(clock) => {
                let clock = *clock;
                self.confirmed(call, clock, members, ctx)
            }
            What::Clearing(clock, outcome) => {
                let clock = *clock;
                match outcome.try_recv() {
                    Ok(Ok(_)) => self.confirmed(call, clock, members, ctx),
                    Err(TryRecvError::Empty) => Ok(Some(call)),
                    Ok(Err(_)) | Err(TryRecvError::Closed) => Ok(None),
                }
            }
        }
    }

    fn answered(
        &mut self,
        call: &Call,
        outcome: Result<Answer, Refused>,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let (id, now) = (call.lease, ctx.schedule.now());
        let lease = self.leases.get_mut(&id).expect("every lease is noted");
        match (&call.what, outcome) {
            (What::Grant(_), Ok(_)) => {
                lease.promise(id, call.asked, now)?;
                lease.touch(now);
                self.wish(call.holder, id, Wish::AttachAll, members, ctx);
            }
            (What::Revoke(_), Ok(_)) => lease.gone(id, call.asked, now, "it was revoked")?,
            (What::Wish(wish, _), Ok(answer)) => {
                if wish.needs_lease() {
                    lease.used(id, call.asked)?;
                }
                let keys = ctx.config.holding.keys;
                let effects = wish.effects(id, keys, &answer.response).into_iter();
                self.effects.extend(effects.map(|effect| (answer.revision, effect)));
            }
            (What::Wish(Wish::KeepLease(_), _), Err(Refused::KeyNotFound)) => {}
            (What::Wish(..) | What::Revoke(_), Err(Refused::LeaseNotFound(other)))
                if other == id =>
            {
                lease.gone(id, call.asked, now, "it was not found")?;
                self.forget(call);
            }
            (_, outcome) => {
                return Err(Violation(format!("lease {id}: {:?} came to {outcome:?}", call.what)));
            }
        }
        Ok(())
    }

    /// Renews a lease on the clock of a leader that was confirmed.
    fn confirmed(
        &mut self,
        call: Call,
        clock: Millis,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<Option<Call>, Violation> {
        let (id, now, asked) = (call.lease, ctx.schedule.now(), call.asked);
        let Some(leader) = members.get_mut(&call.at.member) else { return Ok(None) };
        let Some(process) = leader.process() else { return Ok(None) };
        let lease = self.leases.get_mut(&id).expect("every lease is noted");
        match process.shared.renew(id, clock) {
            Some(Renewal::Renewed(_)) => {
                lease.promise(id, asked, now)?;
                lease.touch(now);
                self.renewed += 1;
                Ok(None)
            }
            Some(Renewal::Unknown) => {
                lease.gone(id, asked, now, "its renewal found it gone")?;
                if lease.is_granted() {
                    self.forget(&call);
                }
                Ok(None)
            }
            Some(Renewal::Revoking) => {
                lease.ran_out(id, asked, now, "its renewal found its time over")?;
                Ok(Some(Call { what: What::Ending(clock), ..call }))
            }
            Some(Renewal::Checkpointed) if ctx.config.planted == Planted::UnclearedCheckpoints => {
                lease.promise(id, asked, now)?;
                Ok(None)
            }
            Some(Renewal::Checkpointed) => {
                lease.touch(now);
                let command =
                    Command::LeaseCheckpoint { leases: vec![(id, Seconds(0))], known: Index(0) };
                let cleared = propose(leader, command, ctx);
                Ok(cleared
                    .map(|(_, outcome)| Call { what: What::Clearing(clock, outcome), ..call }))
            }
            None => Ok(None), // it leads no more; the holder asks again another time
        }
    }

    /// A holder heard that its lease is gone.
    fn forget(&mut self, call: &Call) {
        if let Some(holder) = at(&mut self.holders, call.holder) {
            holder.lease.take_if(|id| *id == call.lease);
        }
    }

    /// Nobody looks after any lease from now on. What was asked for may still be answered, and by
    /// then count as a sign of life.
    pub fn fall_silent(&mut self, now: u64) {
        for call in std::mem::take(&mut self.calls).into_values().flatten() {
            self.lease(call.lease).touch(now);
        }
    }

    /// The lease that was asked for last; ids count from 1.
    fn newest(&self) -> LeaseId {
        self.leases.last_key_value().map_or(LeaseId(0), |(id, _)| *id)
    }

    fn lease(&mut self, id: LeaseId) -> &mut Lease {
        self.leases.get_mut(&id).expect("every lease is noted")
    }
}

/// Has a command proposed by a member.
fn propose(member: &mut Member, command: Command, ctx: &mut Context) -> Option<(Life, Outcome)> {
    let process = member.process()?;
    let at = process.life();
    let (sequence, outcome) = process.shared.submit(command).ok()?;
    member.post(Input::Proposal(sequence), ctx);
    Some((at, outcome))
}

fn at(holders: &mut [Holder], number: u64) -> Option<&mut Holder> {
    holders.get_mut(usize::try_from(number).ok()?)
}
