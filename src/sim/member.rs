//! [`Member`]: a member of the cluster, running or crashed, with the workers around its replica.
//!
//! What it does while it runs is its [`Process`]; what is left when it does not is its disk.

use std::sync::Arc;

use crate::{
    node::{Chore, Input, Opened, carry_out_log, ports::StateStore},
    raft::Position,
    sim::{
        checks::Violation,
        config::Planted,
        disk::{Disk, Kept, Loss, SimIdentity, SimLog, SimStore},
        process::{Part, Pause, Process},
        rollback::Lost,
        schedule::{Event, Life},
        start::{self, Starting},
        work::carry_out_chore,
        world::Context,
    },
    state::{Command, ConfState, RevokeCause, lease, meta, testing::inconsistencies},
    types::{BootNumber, Fault, Index, MemberId, Seconds},
};

/// Of a thousand looks of a housekeeper, after how many the whole state is looked through.
const INSPECTIONS: u64 = 50;
/// Of a thousand starts in worlds in which logs lose something, how many end when the start stands in
/// the log, and not yet in the identity.
const STARTS_CUT_SHORT: u64 = 30;

/// A member of the cluster.
pub struct Member {
    id: MemberId,
    /// How often somebody tried to start it.
    starts: u64,
    disk: Disk,
    process: Option<Process>,
    /// Whether it is added to a cluster that exists, instead of being one of its first members.
    joins: bool,
    /// What its log has lost, until it is whole again.
    lost: Option<Lost>,
}

impl Member {
    /// A member that never ran.
    #[must_use]
    pub fn new(id: MemberId, planted: Planted) -> Self {
        let disk = Disk {
            log: Arc::new(SimLog::new(planted.log_fault())),
            store: Arc::new(SimStore::default()),
            identity: Arc::new(SimIdentity::new(planted == Planted::Unfenced)),
        };
        Self { id, starts: 0, disk, process: None, joins: false, lost: None }
    }

    /// A member that never ran, and gets its first state from the others.
    #[must_use]
    pub fn joining(id: MemberId, planted: Planted) -> Self {
        Self { joins: true, ..Self::new(id, planted) }
    }

    /// Whether it has a state: one that joins begins without.
    #[must_use]
    pub fn has_state(&self) -> bool {
        let view = self.disk.store.view();
        view.is_ok_and(|view| matches!(meta::cluster(&*view), Ok(Some(_))))
    }

    /// Who decides, by its state.
    #[must_use]
    pub fn conf(&self) -> Option<ConfState> {
        if self.has_state() { meta::conf_state(&*self.disk.store.view().ok()?).ok() } else { None }
    }

    /// Whether its state says that it was removed.
    #[must_use]
    pub fn was_removed(&self) -> bool {
        let membership = self.disk.store.view().and_then(|view| meta::membership(&*view));
        membership.is_ok_and(|membership| membership.is_removed(self.id))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// Its state.
    #[must_use]
    pub fn store(&self) -> &Arc<SimStore> {
        &self.disk.store
    }

    /// All that is left of it when it does not run.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The process of this life, if it runs.
    pub fn process_of(&mut self, life: Life) -> Option<&mut Process> {
        self.process.as_mut().filter(|process| process.life() == life)
    }

    /// Whether its process has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.process.as_ref().is_some_and(Process::has_ended)
    }

    /// Its log has lost something.
    pub fn has_lost(&mut self, lost: Lost) {
        self.lost = Some(lost);
    }

    /// Whether it has all that it ever wrote, or what the others have in its place.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.lost.is_none() && !self.disk.identity.found().fenced
    }

    /// Whether its log has lost something, and nothing says so.
    #[must_use]
    pub fn has_unseen_loss(&self) -> bool {
        self.lost.is_some_and(|lost| lost.loss == Loss::CutUnseen && !lost.is_known)
    }

    /// Its process, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Starts it on what its disk holds.
    pub fn start(&mut self, ctx: &mut Context) -> Result<(), Violation> {
        self.starts += 1;
        let broken = |fault: Fault| Violation(format!("{} cannot start: {fault}", self.id));
        let joins = self.joins && !self.has_state();
        let starting = Starting { member: self.id, joins, start: self.starts };
        let before = self.disk.identity.found();
        let mut opened = start::open_disk(&self.disk, starting, ctx).map_err(broken)?;
        if ctx.config.planted == Planted::Unfenced {
            opened.fencing.fenced = false;
            self.lost = None;
        }
        self.check_fence(before, &opened, ctx)?;
        if self.has_state() {
            ctx.agreement.applied(self.id, opened.applied, self.disk.store.hash())?;
            let conf = self.conf().unwrap_or_default();
            ctx.configurations.applied(self.id, opened.applied.index, &conf)?;
        }
        let ends = ctx.config.rollbacks > 0 && ctx.is_open && ctx.rng.chance(STARTS_CUT_SHORT);
        let Some(BootNumber(boot)) = start::count(&self.disk, ends) else {
            ctx.note(&[30, self.id.0], format_args!("{} ends while it starts", self.id));
            ctx.schedule.after(100_000, Event::Restart(self.id));
            return Ok(());
        };
        let life = Life { member: self.id, boot };
        let broken = |fault: Fault| Violation(format!("{} cannot start: {fault}", self.id));
        let process = Process::new(life, &opened, &self.disk, ctx);
        self.process = Some(process.map_err(broken)?);
        ctx.links.begin(life);
        ctx.note(
            &[1, self.id.0, boot, opened.applied.index.0],
            format_args!(
                "{} starts for the {boot}. time, applied {}, log ends at {}, fenced: {}",
                self.id, opened.applied.index, opened.log.last.index, opened.fencing.fenced
            ),
        );
        Ok(())
    }

    /// A start puts the fence up when the log shows that it lost something, and only then.
    fn check_fence(
        &mut self,
        before: Kept,
        opened: &Opened,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let raised = opened.fencing.incarnation != before.incarnation;
        ctx.rollbacks.raised += u64::from(raised);
        ctx.rollbacks.fenced_starts += u64::from(before.fenced);
        match &mut self.lost {
            None if raised => {
                Err(Violation(format!("{} is fenced, but its log has lost nothing", self.id)))
            }
            Some(lost) if raised => {
                lost.is_known = true;
                Ok(())
            }
            Some(Lost { is_known: true, .. }) if !before.fenced => {
                Err(Violation(format!("{} forgot that it was fenced", self.id)))
            }
            Some(Lost { loss, is_known: false, .. }) if *loss != Loss::CutUnseen => Err(Violation(
                format!("{} starts as if its log were whole, but: {loss:?}", self.id),
            )),
            None | Some(_) => Ok(()),
        }
    }

    /// The member puts up the fence while it runs.
    fn is_told_of_loss(&mut self, ctx: &mut Context) -> Result<(), Violation> {
        ctx.note(&[31, self.id.0], format_args!("{} is told that it lost something", self.id));
        if let Some(process) = &mut self.process {
            process.is_to_end();
        }
        match &mut self.lost {
            Some(lost) => {
                ctx.rollbacks.told += 1;
                lost.is_known = true;
                Ok(())
            }
            None if ctx.config.planted == Planted::Unfenced => Ok(()),
            None => {
                let id = self.id;
                Err(Violation(format!("{id} is told that it lost something, and has not")))
            }
        }
    }

    /// Looks whether what was lost is made good.
    fn look_at_loss(&mut self, ctx: &mut Context) {
        let Some(lost) = self.lost else { return };
        let (last, _) = self.disk.log.on_disk();
        if lost.is_known && !self.disk.identity.found().fenced {
            ctx.note(&[32, self.id.0], format_args!("{} is whole again", self.id));
            ctx.rollbacks.lifted += 1;
            self.lost = None;
        } else if self.has_unseen_loss() && last.index >= lost.end.index {
            ctx.rollbacks.unnoticed += 1;
            self.lost = None;
        }
    }

    /// The process dies, and what its disk had not synced is gone. A write that was under way may
    /// have reached the disk, in part or whole.
    pub fn crash(&mut self, ctx: &mut Context) {
        let Some(process) = self.process.take() else { return };
        ctx.links.end(process.life());
        let mut step = process.into_log_step();
        let written = ctx.rng.below(step.len() as u64 + 1);
        step.truncate(usize::try_from(written).unwrap_or(usize::MAX));
        // Nobody hears of it; a fault here would have shown at the next step anyway.
        let _ = carry_out_log(&*self.disk.log, step);
        self.disk.log.crash();
        self.disk.store.crash();
        ctx.note(
            &[2, self.id.0, written],
            format_args!("{} crashes, {written} writes under way get to disk", self.id),
        );
    }

    /// Something of it stands still for a while, unless something does already.
    pub fn pause(&mut self, pause: Pause, ctx: &mut Context) {
        let now = ctx.schedule.now();
        let Some(process) = self.process.as_mut().filter(|p| p.held_up(now).is_none()) else {
            return;
        };
        process.set_pause(pause);
        ctx.pauses += 1;
        let ms = (pause.until - now) / 1_000;
        ctx.note(
            &[19, self.id.0, pause.until],
            format_args!("the {:?} of {} stands still for {ms} ms", pause.part, self.id),
        );
        if pause.part == Part::Process && ctx.config.planted == Planted::StaleExpiries {
            ctx.schedule.after(pause.until - now, Event::StaleExpiries(process.life()));
        }
    }

    /// Carries on with what `event` says has come due in its present life.
    pub fn handle(&mut self, event: Event, ctx: &mut Context) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let member = self.id;
        let faulty = |fault: Fault| Violation(format!("{member} stops: {fault}"));
        match event {
            Event::Round(_) => {
                process.meddle(ctx);
                let output = process.round(&self.disk.store, ctx)?;
                let fault = process.hand_out(output, &self.disk.store, ctx);
                fault.map_err(faulty)?;
                process.check_leadership(&self.disk, ctx)
            }
            Event::Tick(life) => {
                process.post(Input::Tick, ctx);
                ctx.schedule.after(process.tick(), Event::Tick(life));
                Ok(())
            }
            Event::LogWritten(_) => process.finish_log_step(&self.disk.log, &self.disk.store, ctx),
            Event::Applied(_) => process.finish_apply_task(&self.disk.store, ctx),
            Event::ChoreDone(_, chore) => {
                let planted = ctx.config.planted;
                let input = carry_out_chore(&self.disk, chore, planted).map_err(faulty)?;
                process.post(input, ctx);
                self.look_at_loss(ctx);
                if matches!(chore, Chore::RaiseFence(_)) {
                    self.is_told_of_loss(ctx)
                } else {
                    Ok(())
                }
            }
            Event::Housekeeping(life) => {
                if ctx.rng.chance(ctx.config.flush_permille) {
                    self.disk.store.flush().map_err(faulty)?;
                }
                let input = self.disk.store.flushed().map(Input::Flushed).map_err(faulty)?;
                process.post(input, ctx);
                ctx.schedule.after(ctx.config.housekeeping, Event::Housekeeping(life));
                self.look_at_loss(ctx);
                if ctx.config.planted == Planted::ForgottenCheckpoints {
                    self.forget_checkpoints(ctx)?;
                }
                if ctx.rng.chance(INSPECTIONS) { self.inspect() } else { Ok(()) }
            }
            Event::StaleExpiries(_) => {
                // As if an expiry did not name its term, or nobody looked at it.
                for id in process.shared.take_expired() {
                    let cause = RevokeCause::Client;
                    process.propose(Command::LeaseRevoke { id, cause }, ctx);
                }
                Ok(())
            }
            Event::Arrival { .. }
            | Event::CheckpointArrival { .. }
            | Event::ClientTurn(_)
            | Event::ClientTimeout(..)
            | Event::HolderTurn(_)
            | Event::ObserverTurn(_)
            | Event::Flood
            | Event::Compaction
            | Event::Fault
            | Event::OperatorTurn
            | Event::SwitchOff(_)
            | Event::Restart(_) => Ok(()), // the world's business
        }
    }

    /// Lets the replica hear of something, if the member runs.
    pub fn post(&mut self, input: Input, ctx: &mut Context) {
        if let Some(process) = &mut self.process {
            process.post(input, ctx);
        }
    }

    /// Looks whether its state makes sense.
    pub fn inspect(&self) -> Result<(), Violation> {
        if !self.has_state() {
            return Ok(());
        }
        let view = self.disk.store.view().map_err(|fault| Violation(fault.to_string()))?;
        let wrong = inconsistencies(&*view).map_err(|fault| Violation(fault.to_string()))?;
        match wrong.first() {
            Some(first) => Err(Violation(format!("the state of {}: {first}", self.id))),
            None => Ok(()),
        }
    }

    /// Has the log forget how long silent leases have left.
    fn forget_checkpoints(&mut self, ctx: &mut Context) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let view = self.disk.store.view().map_err(|fault| Violation(fault.to_string()))?;
        let leases = lease::list(&*view).map_err(|fault| Violation(fault.to_string()))?;
        let checkpointed = leases.iter().filter(|lease| lease.remaining.is_some());
        let cleared: Vec<_> = checkpointed.map(|lease| (lease.id, Seconds(0))).collect();
        if !cleared.is_empty() {
            process.propose(Command::LeaseCheckpoint { leases: cleared, known: Index(0) }, ctx);
        }
        Ok(())
    }

    /// Up to where its state has applied the log.
    pub fn applied(&self) -> Result<Position, Violation> {
        let view = self.disk.store.view().map_err(|fault| Violation(fault.to_string()))?;
        let (index, term) = meta::applied(&*view).map_err(|fault| Violation(fault.to_string()))?;
        Ok(Position { index, term })
    }
}
