//! [`Member`]: a member of the cluster, running or crashed, with the workers around its replica.
//!
//! What it does while it runs is its [`Process`]; what is left when it does not is its disk.

use std::sync::Arc;

use crate::{
    node::{
        Fencing, Input, Opened, carry_out_log, open,
        ports::{LogStore, StateStore},
    },
    raft::{Position, Voters},
    sim::{
        checks::Violation,
        config::Planted,
        disk::{LogFault, SimLog, SimStore},
        process::{Part, Pause, Process, carry_out_chore},
        schedule::{Event, Life},
        world::Context,
    },
    state::{Command, ConfState, RevokeCause, lease, meta, testing::inconsistencies},
    types::{Fault, Index, MemberId, Seconds},
};

/// Of a thousand looks of a housekeeper, after how many the whole state is looked through.
const INSPECTIONS: u64 = 50;

/// A member of the cluster.
pub struct Member {
    id: MemberId,
    boot: u64,
    log: Arc<SimLog>,
    store: Arc<SimStore>,
    process: Option<Process>,
    /// Whether it is added to a cluster that exists, instead of being one of its first members.
    joins: bool,
}

impl Member {
    /// A member that never ran.
    #[must_use]
    pub fn new(id: MemberId, fault: LogFault) -> Self {
        let (log, store) = (Arc::new(SimLog::new(fault)), Arc::new(SimStore::default()));
        Self { id, boot: 0, log, store, process: None, joins: false }
    }

    /// A member that never ran, and gets its first state from the others.
    #[must_use]
    pub fn joining(id: MemberId, fault: LogFault) -> Self {
        Self { joins: true, ..Self::new(id, fault) }
    }

    /// Whether it has a state: one that joins begins without.
    #[must_use]
    pub fn has_state(&self) -> bool {
        let view = self.store.view();
        view.is_ok_and(|view| matches!(meta::cluster(&*view), Ok(Some(_))))
    }

    /// Who decides, by its state.
    #[must_use]
    pub fn conf(&self) -> Option<ConfState> {
        if self.has_state() { meta::conf_state(&*self.store.view().ok()?).ok() } else { None }
    }

    /// Whether its state says that it was removed.
    #[must_use]
    pub fn was_removed(&self) -> bool {
        let membership = self.store.view().and_then(|view| meta::membership(&*view));
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
        &self.store
    }

    /// Its process, if it runs.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Starts it on what its disk holds.
    pub fn start(&mut self, ctx: &mut Context) -> Result<(), Violation> {
        self.boot += 1;
        let life = Life { member: self.id, boot: self.boot };
        let broken = |fault: Fault| Violation(format!("{} cannot start: {fault}", self.id));
        let fencing = Fencing::none(self.id);
        let opened = if self.joins && !self.has_state() {
            let (voters, applied) = (Voters::default(), Position::default());
            Opened { log: self.log.load().map_err(broken)?, voters, applied, fencing }
        } else {
            let opened =
                open(&*self.log, &*self.store, &ctx.config.initial(), fencing).map_err(broken)?;
            ctx.agreement.applied(self.id, opened.applied, self.store.hash())?;
            let conf = self.conf().unwrap_or_default();
            ctx.configurations.applied(self.id, opened.applied.index, &conf)?;
            opened
        };
        let process = Process::new(life, &opened, &self.log, &self.store, ctx);
        self.process = Some(process.map_err(broken)?);
        ctx.note(
            &[1, self.id.0, self.boot, opened.applied.index.0],
            format_args!(
                "{} starts for the {}. time, applied {}, log ends at {}",
                self.id, self.boot, opened.applied.index, opened.log.last.index
            ),
        );
        Ok(())
    }

    /// The process dies, and what its disk had not synced is gone. A write that was under way may
    /// have reached the disk, in part or whole.
    pub fn crash(&mut self, ctx: &mut Context) {
        let Some(process) = self.process.take() else { return };
        let mut step = process.into_log_step();
        let written = ctx.rng.below(step.len() as u64 + 1);
        step.truncate(usize::try_from(written).unwrap_or(usize::MAX));
        // Nobody hears of it; a fault here would have shown at the next step anyway.
        let _ = carry_out_log(&*self.log, step);
        self.log.crash();
        self.store.crash();
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
                let output = process.round(&self.store, ctx)?;
                let fault = process.hand_out(output, &self.store, ctx);
                fault.map_err(faulty)?;
                process.check_leadership(ctx)
            }
            Event::Tick(life) => {
                process.post(Input::Tick, ctx);
                ctx.schedule.after(process.tick(), Event::Tick(life));
                Ok(())
            }
            Event::LogWritten(_) => process.finish_log_step(&self.log, &self.store, ctx),
            Event::Applied(_) => process.finish_apply_task(&self.store, ctx),
            Event::ChoreDone(_, chore) => {
                let planted = ctx.config.planted;
                let input = carry_out_chore(&self.store, chore, planted).map_err(faulty)?;
                process.post(input, ctx);
                Ok(())
            }
            Event::Housekeeping(life) => {
                if ctx.rng.chance(ctx.config.flush_permille) {
                    self.store.flush().map_err(faulty)?;
                }
                let input = self.store.flushed().map(Input::Flushed).map_err(faulty)?;
                process.post(input, ctx);
                ctx.schedule.after(ctx.config.housekeeping, Event::Housekeeping(life));
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
        let view = self.store.view().map_err(|fault| Violation(fault.to_string()))?;
        let wrong = inconsistencies(&*view).map_err(|fault| Violation(fault.to_string()))?;
        match wrong.first() {
            Some(first) => Err(Violation(format!("the state of {}: {first}", self.id))),
            None => Ok(()),
        }
    }

    /// Has the log forget how long silent leases have left.
    fn forget_checkpoints(&mut self, ctx: &mut Context) -> Result<(), Violation> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let view = self.store.view().map_err(|fault| Violation(fault.to_string()))?;
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
        let view = self.store.view().map_err(|fault| Violation(fault.to_string()))?;
        let (index, term) = meta::applied(&*view).map_err(|fault| Violation(fault.to_string()))?;
        Ok(Position { index, term })
    }
}
