//! Logs that lose what they had synced while their members do not run.
//!
//! An older copy is put back, the log is gone, cannot be read, or its end is cut. The identity stays, and
//! so does the state. One member at a time has lost something: while another one is fenced, too, neither
//! has all the answers that it needs, and both wait for an operator.
//!
//! Absent on purpose: a copy of the same start, and a cut end with votes in it, or with entries that no
//! majority of the others holds. Nothing that the member still has tells such a log from a whole one, so no
//! member can be expected to notice. A cut end that the others hold ([`Loss::CutUnseen`]) is noticed by
//! the leader, or does no harm.

use std::collections::BTreeMap;

use crate::{
    node::ports::StateStore,
    raft::Position,
    sim::{disk::Loss, member::Member, world::Context},
    types::{Index, MemberId, Millis},
};

type Members = BTreeMap<MemberId, Member>;

/// Of a thousand copies, how many take the place of the one before.
const COPIED_ANEW: u64 = 150;

/// What a log has lost.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// How.
    pub loss: Loss,
    /// Where it ended before.
    pub end: Position,
    /// Whether the member knows.
    pub is_known: bool,
}

/// What came of logs that lost something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollbacks {
    /// How many did, by the place of each [`Loss`].
    pub taken: [u64; Loss::ALL.len()],
    /// Fences that a start put up.
    pub raised: u64,
    /// Fences that a member put up while it ran, because others told it.
    pub told: u64,
    /// Members that were whole again.
    pub lifted: u64,
    /// Losses that nobody noticed, and that were made good.
    pub unnoticed: u64,
    /// Starts that came while the member was fenced already.
    pub fenced_starts: u64,
    /// Members that were not whole when nothing broke any more.
    pub left_to_heal: u64,
    /// How long these took.
    pub whole_after: Millis,
}

/// Somebody copies a member's log, if the world has it that logs are put back.
pub fn copy(member: &Member, ctx: &mut Context) {
    if ctx.config.rollbacks == 0 {
        return;
    }
    let log = &member.disk().log;
    // One that is kept for a while is of an earlier start by then.
    if !log.has_copy() || ctx.rng.chance(COPIED_ANEW) {
        log.copy();
        ctx.note(&[28, member.id().0], format_args!("the log of {} is copied", member.id()));
    }
}

/// A member that has just crashed may lose a part of its log.
pub fn strike(id: MemberId, members: &mut Members, ctx: &mut Context) {
    if ctx.config.rollbacks == 0 || !ctx.is_open || !ctx.rng.chance(ctx.config.rollbacks) {
        return;
    }
    let others: Vec<&Member> = members.values().filter(|member| member.id() != id).collect();
    if others.len() < 2 || others.iter().any(|it| !it.is_whole() || it.has_unseen_loss()) {
        return;
    }
    let loss = *ctx.rng.pick(&Loss::ALL);
    let Some(member) = members.get(&id) else { return };
    let (end, _) = member.disk().log.on_disk();
    let done = match loss {
        Loss::PutBack => member.disk().log.put_back(member.disk().identity.found().boot),
        Loss::Gone | Loss::Unopened | Loss::Unread => {
            member.disk().log.lose(loss);
            true
        }
        Loss::Cut => cut(member, ctx),
        Loss::CutUnseen => member.is_whole() && cut_unseen(id, members, ctx),
    };
    if !done {
        return;
    }
    ctx.note(&[29, id.0, loss.place() as u64], format_args!("the log of {id} is lost: {loss:?}"));
    if let Some(count) = ctx.rollbacks.taken.get_mut(loss.place()) {
        *count += 1;
    }
    if let Some(member) = members.get_mut(&id) {
        member.has_lost(Lost { loss, end, is_known: false });
    }
}

/// Cuts the log's end so that an entry is missing of which the log itself knows that it was committed.
fn cut(member: &Member, ctx: &mut Context) -> bool {
    let log = &member.disk().log;
    let (first, (last, hard_state)) = (log.first_cut(), log.on_disk());
    let committed = hard_state.commit.min(last.index);
    if committed <= first {
        return false;
    }
    log.cut_after(Index(ctx.rng.between(first.0, committed.0 - 1)));
    true
}

/// Cuts the log's end if a majority of all members, without this one, has what is cut.
fn cut_unseen(id: MemberId, members: &Members, ctx: &mut Context) -> bool {
    let Some(member) = members.get(&id) else { return false };
    let log = &member.disk().log;
    let (last, hard_state) = log.on_disk();
    let flushed = member.store().flushed().map_or(last.index, |position| position.index);
    let first = log.first_cut().max(hard_state.commit).max(flushed);
    let has = |other: &&Member| other.id() != id && other.disk().log.has_on_disk(last);
    if last.index <= first || members.values().filter(has).count() <= members.len() / 2 {
        return false;
    }
    log.cut_after(Index(ctx.rng.between(first.0, last.index.0 - 1)));
    true
}
