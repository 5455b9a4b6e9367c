//! What breaks while a world runs, and how it is repaired.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    node::Input,
    sim::{
        checks::configurations::Configuration,
        member::Member,
        network::Quality,
        process::{Part, Pause},
        rollback,
        scene::Breakage,
        schedule::Event,
        turnover::Step,
        workload::Workload,
        world::Context,
    },
    types::MemberId,
};

type Members = BTreeMap<MemberId, Member>;

/// Breaks or repairs something, drawn by chance, and says when the next thing does.
pub fn strike(members: &mut Members, workload: &mut Workload, ctx: &mut Context) {
    let breakage = ctx.config.breaking.draw(&mut ctx.rng);
    let (shortest, longest) = ctx.config.breaking.interval;
    if ctx.is_undisturbed {
        ctx.schedule.after(longest, Event::Fault);
        return;
    }
    let any = *ctx.rng.pick(&ctx.roster);
    if let Some(member) = members.get(&any) {
        rollback::copy(member, ctx);
    }
    let leader = leader(members);
    match (breakage, leader) {
        (Breakage::Crash, _) => crash(any, members, workload, ctx),
        (Breakage::CrashAll, _) => {
            for member in ctx.roster.clone() {
                crash(member, members, workload, ctx);
            }
        }
        (Breakage::CrashLeader, Some(leader)) => crash(leader, members, workload, ctx),
        (Breakage::Isolate, _) => isolate(any, ctx),
        (Breakage::IsolateLeader, Some(leader)) => isolate(leader, ctx),
        (Breakage::CutSome, _) => cut_some_directions(ctx),
        (Breakage::HandOver, Some(leader)) => hand_over(leader, members, ctx),
        (Breakage::Pause, _) => pause(any, members, ctx),
        (Breakage::PauseLeader, Some(leader)) => pause(leader, members, ctx),
        (Breakage::PauseAll, _) => pause_all(members, ctx),
        (Breakage::LoseExpiries, _) => {
            let until = ctx.schedule.now() + ctx.rng.between(50_000, 3_000_000);
            ctx.note(&[20, until], format_args!("expiries are lost until {until}"));
            ctx.expiries_lost_until = until;
        }
        (Breakage::Heal, _) => {
            ctx.note(&[10], format_args!("the network is whole again"));
            ctx.network.heal();
        }
        (
            Breakage::CrashLeader
            | Breakage::IsolateLeader
            | Breakage::HandOver
            | Breakage::PauseLeader,
            None,
        ) => {}
    }
    let next = ctx.rng.between(shortest, longest);
    ctx.schedule.after(next, Event::Fault);
}

/// The leader crashes, and comes back soon.
pub fn crash_leader(members: &mut Members, workload: &mut Workload, ctx: &mut Context) {
    if let Some(leader) = leader(members) {
        crash(leader, members, workload, ctx);
    }
}

/// A member crashes at a step of a change, or of an installation.
pub fn crash_at(
    (member, step): (MemberId, Step),
    members: &mut Members,
    workload: &mut Workload,
    ctx: &mut Context,
) {
    if members.get(&member).is_some_and(|member| member.process().is_some()) {
        ctx.note(&[23, member.0], format_args!("{member} crashes at the step {step:?}"));
        if let Some(count) = ctx.turnover.crashes.get_mut(step.place()) {
            *count += 1;
        }
        crash(member, members, workload, ctx);
    }
}

/// Some of the members are away from now on, crashed or cut off, so that the others still decide.
pub fn take_away(members: &mut Members, workload: &mut Workload, ctx: &mut Context) {
    for member in ctx.roster.clone() {
        if ctx.rng.chance(400) && survives(member, members, ctx) {
            ctx.away.insert(member);
            ctx.turnover.away += 1;
            if ctx.rng.chance(500) {
                isolate(member, ctx);
            } else {
                stop(member, members, workload, ctx);
            }
        }
    }
}

/// Whether everybody else could still decide, by what each of them takes for the configuration.
fn survives(without: MemberId, members: &Members, ctx: &Context) -> bool {
    let is_here =
        |id: &MemberId| *id != without && !ctx.lost.contains(id) && !ctx.away.contains(id);
    let here: BTreeSet<MemberId> = ctx.roster.iter().copied().filter(is_here).collect();
    let mut confs: Vec<Configuration> = Vec::new();
    for id in &here {
        let Some(conf) = members.get(id).and_then(Member::conf) else { continue };
        let voters = conf.voters.into_iter().collect();
        confs.push(Configuration { voters, ..Configuration::default() });
    }
    confs.push(ctx.configurations.newest().clone());
    confs.iter().all(|conf| conf.has_majority(&here))
}

/// Repairs everything: from now on nothing breaks any more.
pub fn repair(ctx: &mut Context) {
    ctx.note(&[11], format_args!("everything is repaired"));
    ctx.network.heal();
    ctx.network.set_quality(Quality::GOOD);
    ctx.expiries_lost_until = 0;
}

/// The member that takes itself for the leader of the newest term.
pub fn leader(members: &Members) -> Option<MemberId> {
    let leaders = members.iter().filter_map(|(id, member)| {
        let (term, leader) = member.process()?.shared.leadership();
        (leader == Some(*id)).then_some((term, *id))
    });
    leaders.max().map(|(_, id)| id)
}

fn crash(member: MemberId, members: &mut Members, workload: &mut Workload, ctx: &mut Context) {
    if !stop(member, members, workload, ctx) {
        return;
    }
    // Whoever is about to be given a vote must be there to use it.
    let wiped = ctx.config.wipes > 0 && !ctx.is_changing && ctx.rng.chance(ctx.config.wipes);
    if wiped && survives(member, members, ctx) {
        ctx.note(&[24, member.0], format_args!("{member} has lost its disk"));
        ctx.lost.insert(member);
        ctx.turnover.wiped += 1;
        return;
    }
    rollback::strike(member, members, ctx);
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let down = ctx.rng.between(timeout / 20, timeout * 3);
    ctx.schedule.after(down, Event::Restart(member));
}

/// A process that has ended by itself is started again.
pub fn start_again(
    member: MemberId,
    members: &mut Members,
    workload: &mut Workload,
    ctx: &mut Context,
) {
    stop(member, members, workload, ctx);
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let down = ctx.rng.below(timeout) + 1;
    ctx.schedule.after(down, Event::Restart(member));
}

/// A process dies, for now. Tells whether there was one.
fn stop(
    member: MemberId,
    members: &mut Members,
    workload: &mut Workload,
    ctx: &mut Context,
) -> bool {
    let Some(stopped) = members.get_mut(&member).filter(|m| m.process().is_some()) else {
        return false;
    };
    stopped.crash(ctx);
    ctx.crashes += 1;
    workload.crashed(member, ctx);
    true
}

fn hand_over(leader: MemberId, members: &mut Members, ctx: &mut Context) {
    ctx.note(&[16, leader.0], format_args!("{leader} hands leadership over"));
    let leader = members.get_mut(&leader).expect("who leads exists");
    leader.post(Input::HandOver(None), ctx);
}

/// A member, or a thread of it, stands still: for a moment, for about an election, or for up to
/// three times as long as any lease lives without a renewal.
fn pause(member: MemberId, members: &mut Members, ctx: &mut Context) {
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let ttl = ctx.config.ttl_max();
    let (shortest, longest) =
        *ctx.rng.pick(&[(10_000, 200_000), (timeout / 2, timeout * 3), (ttl, ttl * 3)]);
    let part = *ctx.rng.pick(&[
        Part::Process,
        Part::Process,
        Part::Process,
        Part::Driver,
        Part::Applier,
        Part::LogWriter,
    ]);
    let now = ctx.schedule.now();
    let until = (now + ctx.rng.between(shortest, longest)).min(ctx.config.chaos);
    let deaf = ctx.rng.chance(500);
    if until > now {
        let Some(member) = members.get_mut(&member) else { return };
        member.pause(Pause { part, until, deaf }, ctx);
    }
}

/// All members stand still at once, as on a machine that is suspended, and go on about together.
fn pause_all(members: &mut Members, ctx: &mut Context) {
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let span = ctx.rng.between(timeout, ctx.config.ttl_max() * 2);
    for member in members.values_mut() {
        let until = (ctx.schedule.now() + span + ctx.rng.below(20_000)).min(ctx.config.chaos);
        if until > ctx.schedule.now() {
            member.pause(Pause { part: Part::Process, until, deaf: false }, ctx);
        }
    }
}

fn isolate(member: MemberId, ctx: &mut Context) {
    ctx.note(&[8, member.0], format_args!("{member} is cut off"));
    for other in ctx.roster.clone() {
        ctx.network.cut(member, other);
        ctx.network.cut(other, member);
    }
}

/// Cuts some directions of some links, so that members may hear whom they cannot answer.
fn cut_some_directions(ctx: &mut Context) {
    for from in ctx.roster.clone() {
        for to in ctx.roster.clone() {
            if from != to && ctx.rng.chance(300) {
                ctx.note(&[9, from.0, to.0], format_args!("{from} no longer reaches {to}"));
                ctx.network.cut(from, to);
            }
        }
    }
}
