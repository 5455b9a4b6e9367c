//! [`Operator`]: somebody who adds members, gives them votes, and removes them, one after the other.
//!
//! It is careful as the checks of a cluster demand of it: a change is asked for only when a majority of
//! those who decide after it runs, and when a majority of those who decide has heard of the change
//! before. A change that nobody answers is asked for again, until somebody says that it has happened. A
//! machine whose member was removed is switched off a while later, if the member has not ended by then.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::{
    node::{Error, Input},
    sim::{
        checks::{Violation, configurations::Configuration},
        faults,
        member::Member,
        rng::Rng,
        schedule::{Event, Life},
        world::Context,
    },
    state::{Answer, Command, MemberChange, Refused},
    types::MemberId,
};

type Members = BTreeMap<MemberId, Member>;
type Outcome = oneshot::Receiver<Result<Result<Answer, Refused>, Error>>;

/// Members with a vote, at most.
const VOTERS_MAX: usize = 5;
/// Members without, at most.
const LEARNERS_MAX: u32 = 2;
/// After this time, in microseconds, the operator no longer waits for an answer.
const PATIENCE: u64 = 7_000_000;
/// A machine is switched off at most so long, in microseconds, after its member was removed.
const OFF_WITHIN: u64 = 5_000_000;
/// So long, in microseconds, a member that went on alone has that on disk.
const ALONE_FOR: u64 = 1_500_000;
/// A new machine is up at most so long, in microseconds, after its member was asked for.
const UP_WITHIN: u64 = 2_000_000;

/// Somebody who changes who the members are.
#[derive(Debug)]
pub struct Operator {
    rng: Rng,
    /// The id that was given last.
    last: MemberId,
    asked: Option<Asked>,
    /// Whether a member that was removed is to be replaced.
    owes: bool,
    finishes: bool,
    /// While two members become one nothing else may break: if the one that leaves ends before the
    /// other has heard that it may go on alone, there is no majority for good. That is so with every
    /// cluster of this kind, and nobody has two members for long.
    careful: Option<Careful>,
}

#[derive(Debug)]
struct Asked {
    change: MemberChange,
    call: Option<Call>,
    attempts: u64,
}

/// Two members become one.
#[derive(Debug)]
struct Careful {
    stays: MemberId,
    leaves: MemberId,
    /// Since when the one that stays goes on alone.
    alone: Option<u64>,
}

#[derive(Debug)]
struct Call {
    at: Life,
    since: u64,
    outcome: Outcome,
}

impl Operator {
    /// The operator of a world, with a first turn soon if it does anything.
    pub fn new(ctx: &mut Context) -> Self {
        if ctx.config.has_operator() {
            ctx.schedule.after(1_000_000, Event::OperatorTurn);
        }
        let last = ctx.roster.iter().copied().max().unwrap_or_default();
        let rng = ctx.config.chance(4);
        Self { rng, last, asked: None, owes: false, finishes: false, careful: None }
    }

    /// Whether a change is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.asked.is_some() || self.careful.is_some()
    }

    /// From now on only members that lost their disks are removed.
    pub fn finish(&mut self) {
        self.finishes = true;
    }

    /// The operator looks at the cluster.
    pub fn turn(&mut self, members: &mut Members, ctx: &mut Context) -> Result<(), Violation> {
        let (shortest, longest) = ctx.config.operator_turn;
        ctx.schedule.after(self.rng.between(shortest, longest), Event::OperatorTurn);
        ctx.is_changing = self.is_busy();
        if let Some(asked) = self.asked.take() {
            self.asked = self.follow_up(asked, members, ctx)?;
        } else if self.careful.is_some() {
            self.take_care(members, ctx);
        } else if (ctx.is_open || self.finishes)
            && let Some(change) = self.decide(members, ctx)
        {
            ctx.is_changing = true;
            self.prepare(&change, members, ctx);
            self.asked = self.ask(Asked { change, call: None, attempts: 0 }, members, ctx);
        }
        Ok(())
    }

    /// Waits until one of two members goes on alone, and has that on disk.
    fn take_care(&mut self, members: &Members, ctx: &mut Context) {
        let Some(careful) = &mut self.careful else { return };
        let now = ctx.schedule.now();
        let conf = members.get(&careful.stays).and_then(Member::conf);
        let is_alone = conf.is_some_and(|conf| conf.voters == [careful.stays]);
        let since = *careful.alone.get_or_insert(now);
        if !is_alone {
            careful.alone = None;
        } else if now - since > ALONE_FOR {
            ctx.schedule.after(self.rng.below(OFF_WITHIN), Event::SwitchOff(careful.leaves));
            ctx.is_undisturbed = false;
            self.careful = None;
        }
    }

    /// Looks what became of a change, and asks for it again if nobody can say.
    fn follow_up(
        &mut self,
        mut asked: Asked,
        members: &mut Members,
        ctx: &mut Context,
    ) -> Result<Option<Asked>, Violation> {
        if let Some(call) = &mut asked.call {
            let lives = members.get(&call.at.member).and_then(Member::process);
            let gone = lives.is_none_or(|process| process.life() != call.at)
                || ctx.schedule.now() - call.since > PATIENCE;
            match call.outcome.try_recv() {
                Ok(Ok(Ok(_))) => {
                    self.done(&asked.change, ctx);
                    return Ok(None);
                }
                Ok(Ok(Err(refused)))
                    if asked.attempts > 1 && has_happened(&asked.change, &refused) =>
                {
                    self.done(&asked.change, ctx);
                    return Ok(None);
                }
                Ok(Ok(Err(refused))) => {
                    return Err(Violation(format!("{:?} was refused: {refused}", asked.change)));
                }
                Ok(Err(_)) | Err(TryRecvError::Closed) => asked.call = None,
                Err(TryRecvError::Empty) if gone => asked.call = None,
                Err(TryRecvError::Empty) => return Ok(Some(asked)),
            }
        }
        Ok(self.ask(asked, members, ctx))
    }

    fn ask(&mut self, mut asked: Asked, members: &mut Members, ctx: &mut Context) -> Option<Asked> {
        let serves = |m: &&Member| m.process().is_some() && m.has_state();
        let serving: Vec<MemberId> = members.values().filter(serves).map(Member::id).collect();
        if serving.is_empty() {
            return Some(asked);
        }
        let id = *self.rng.pick(&serving);
        let member = members.get_mut(&id)?;
        let process = member.process()?;
        let at = process.life();
        if let Ok((sequence, outcome)) =
            process.shared.submit(Command::ChangeMembers(asked.change.clone()))
        {
            asked.attempts += 1;
            ctx.turnover.asked_again += u64::from(asked.attempts > 1);
            ctx.note(
                &[21, id.0, asked.attempts],
                format_args!("the operator asks {id} for {:?}", asked.change),
            );
            asked.call = Some(Call { at, since: ctx.schedule.now(), outcome });
            member.post(Input::Proposal(sequence), ctx);
        }
        Some(asked)
    }

    /// Before it is asked for, the machine of a new member is set up; what could go wrong with two members is kept away.
    fn prepare(&mut self, change: &MemberChange, members: &mut Members, ctx: &mut Context) {
        let conf = ctx.configurations.newest().clone();
        let leader = faults::leader(members);
        ctx.turnover.leaders_removed +=
            u64::from(leader.is_some_and(|leader| *change == MemberChange::Remove(leader)));
        match change {
            MemberChange::Add { id, .. } => {
                members.insert(*id, Member::joining(*id, ctx.config.planted));
                ctx.roster.push(*id);
                let delay = self.rng.below(UP_WITHIN);
                ctx.schedule.after(delay, Event::Restart(*id));
            }
            MemberChange::Remove(id) if conf.voters.len() == 2 && conf.voters.contains(id) => {
                let stays = conf.voters.iter().copied().find(|voter| voter != id);
                self.careful = stays.map(|stays| Careful { stays, leaves: *id, alone: None });
                ctx.is_undisturbed = true;
                ctx.network.heal();
            }
            MemberChange::Remove(_) | MemberChange::Promote(_) | MemberChange::Update { .. } => {}
        }
    }

    /// A change has happened.
    fn done(&mut self, change: &MemberChange, ctx: &mut Context) {
        ctx.note(&[22], format_args!("the operator hears that {change:?} has happened"));
        match change {
            MemberChange::Add { .. } => ctx.turnover.added += 1,
            MemberChange::Promote(_) => ctx.turnover.promoted += 1,
            MemberChange::Remove(id) => {
                ctx.turnover.removed += 1;
                self.owes = self.rng.chance(500);
                if self.careful.is_none() {
                    let delay = self.rng.below(OFF_WITHIN);
                    ctx.schedule.after(delay, Event::SwitchOff(*id));
                }
            }
            MemberChange::Update { .. } => {}
        }
    }

    /// What is to be changed next, if that may be now.
    fn decide(&mut self, members: &Members, ctx: &Context) -> Option<MemberChange> {
        let conf = ctx.configurations.newest().clone();
        let knows = |id: &MemberId| {
            let known = members.get(id).and_then(Member::conf);
            known.is_some_and(|known| known.voters.iter().eq(&conf.voters))
        };
        let know: BTreeSet<MemberId> = conf.voters.iter().copied().filter(knows).collect();
        if !conf.has_majority(&know) {
            return None;
        }
        let change = self.draw(&conf, members, ctx)?;
        let mut next = conf.clone();
        match &change {
            MemberChange::Add { id, learner: false, .. } | MemberChange::Promote(id) => {
                next.voters.insert(*id);
            }
            MemberChange::Remove(id) => {
                next.voters.remove(id);
            }
            MemberChange::Add { .. } | MemberChange::Update { .. } => {}
        }
        let (one, two) = (next.voters.len() == 1, conf.voters.len() == 2);
        let runs = |id: &MemberId| {
            let member = members.get(id).filter(|member| member.has_state());
            let process = member.and_then(Member::process);
            process.is_some_and(|p| !(one && two) || p.held_up(ctx.schedule.now()).is_none())
        };
        if one && two && !conf.voters.iter().all(runs) {
            return None;
        }
        let running: BTreeSet<MemberId> = next.voters.iter().copied().filter(runs).collect();
        next.has_majority(&running).then_some(change)
    }

    fn draw(
        &mut self,
        conf: &Configuration,
        members: &Members,
        ctx: &Context,
    ) -> Option<MemberChange> {
        if let Some(lost) = conf.ids().find(|id| ctx.lost.contains(id)) {
            self.owes = true;
            return Some(MemberChange::Remove(lost));
        }
        if self.finishes {
            return None;
        }
        let ready = conf.learners.iter().copied().find(|id| is_ready(*id, members, ctx));
        let (voters, learners) = (conf.voters.len(), conf.learners.len() as u64);
        if let Some(ready) = ready.filter(|_| voters < VOTERS_MAX && self.rng.chance(500)) {
            return Some(MemberChange::Promote(ready));
        }
        let grows = self.owes || self.rng.below(VOTERS_MAX as u64 + 1) >= voters as u64;
        if grows {
            let learner = voters == VOTERS_MAX || self.rng.chance(500);
            if learner && learners >= u64::from(LEARNERS_MAX) {
                return None;
            }
            self.owes = false;
            self.last = MemberId(self.last.0 + 1);
            return Some(MemberChange::Add {
                id: self.last,
                peer_urls: vec![format!("http://{}", self.last)],
                learner,
                learners_max: LEARNERS_MAX,
            });
        }
        let leader = faults::leader(members).filter(|leader| conf.voters.contains(leader));
        let leaves = leader.filter(|_| self.rng.chance(400));
        let ids: Vec<MemberId> = conf.ids().collect();
        let leaves = leaves.unwrap_or_else(|| *self.rng.pick(&ids));
        let only = voters == 1 && conf.voters.contains(&leaves);
        (!only).then_some(MemberChange::Remove(leaves))
    }
}

/// Whether a learner has nine tenths of what is committed, as a promotion demands.
fn is_ready(id: MemberId, members: &Members, ctx: &Context) -> bool {
    let member = members.get(&id).filter(|member| member.process().is_some());
    let applied = member.and_then(|member| member.applied().ok());
    applied.is_some_and(|applied| applied.index.0 * 10 >= ctx.configurations.front().0 * 9)
}

/// Whether a refusal says that an earlier attempt took effect.
fn has_happened(change: &MemberChange, refused: &Refused) -> bool {
    match change {
        MemberChange::Add { .. } => matches!(refused, Refused::MemberExists(_)),
        MemberChange::Remove(_) => *refused == Refused::MemberNotFound,
        MemberChange::Promote(_) => matches!(refused, Refused::NotALearner(_)),
        MemberChange::Update { .. } => false,
    }
}
