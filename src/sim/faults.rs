//! What breaks while a world runs, and how it is repaired.

use std::collections::BTreeMap;

use crate::{
    node::Input,
    sim::{member::Member, network::Quality, schedule::Event, workload::Workload, world::Context},
    types::MemberId,
};

type Members = BTreeMap<MemberId, Member>;

/// Breaks or repairs something, drawn by chance, and says when the next thing does.
pub fn strike(members: &mut Members, workload: &mut Workload, ctx: &mut Context) {
    match ctx.rng.below(100) {
        0..25 => {
            let member = *ctx.rng.pick(&ctx.config.members);
            crash(member, members, workload, ctx);
        }
        25..45 => {
            if let Some(leader) = leader(members) {
                crash(leader, members, workload, ctx);
            }
        }
        45..52 => {
            for member in ctx.config.members.clone() {
                crash(member, members, workload, ctx);
            }
        }
        52..67 => {
            let member = *ctx.rng.pick(&ctx.config.members);
            isolate(member, ctx);
        }
        67..75 => {
            if let Some(leader) = leader(members) {
                isolate(leader, ctx);
            }
        }
        75..85 => cut_some_directions(ctx),
        85..90 => {
            if let Some(leader) = leader(members) {
                ctx.note(&[16, leader.0], format_args!("{leader} hands leadership over"));
                let leader = members.get_mut(&leader).expect("members never go");
                leader.post(Input::HandOver(None), ctx);
            }
        }
        _ => {
            ctx.note(&[10], format_args!("the network is whole again"));
            ctx.network.heal();
        }
    }
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let next = ctx.rng.between(timeout / 4, ctx.config.fault_interval_max);
    ctx.schedule.after(next, Event::Fault);
}

/// Repairs everything: from now on nothing breaks any more.
pub fn repair(ctx: &mut Context) {
    ctx.note(&[11], format_args!("everything is repaired"));
    ctx.network.heal();
    ctx.network.set_quality(Quality::GOOD);
}

/// The member that takes itself for the leader of the newest term.
fn leader(members: &Members) -> Option<MemberId> {
    let leaders = members.iter().filter_map(|(id, member)| {
        let (term, leader) = member.process()?.shared.leadership();
        (leader == Some(*id)).then_some((term, *id))
    });
    leaders.max().map(|(_, id)| id)
}

fn crash(member: MemberId, members: &mut Members, workload: &mut Workload, ctx: &mut Context) {
    let Some(crashed) = members.get_mut(&member).filter(|m| m.process().is_some()) else { return };
    crashed.crash(ctx);
    ctx.crashes += 1;
    workload.crashed(member, ctx);
    let timeout = ctx.config.election_timeout.0 * 1_000;
    let down = ctx.rng.between(timeout / 20, timeout * 3);
    ctx.schedule.after(down, Event::Restart(member));
}

fn isolate(member: MemberId, ctx: &mut Context) {
    ctx.note(&[8, member.0], format_args!("{member} is cut off"));
    for other in ctx.config.members.clone() {
        ctx.network.cut(member, other);
        ctx.network.cut(other, member);
    }
}

/// Cuts some directions of some links, so that members may hear whom they cannot answer.
fn cut_some_directions(ctx: &mut Context) {
    for from in ctx.config.members.clone() {
        for to in ctx.config.members.clone() {
            if from != to && ctx.rng.chance(300) {
                ctx.note(&[9, from.0, to.0], format_args!("{from} no longer reaches {to}"));
                ctx.network.cut(from, to);
            }
        }
    }
}
