//! [`Member`]: a member of the cluster, running or crashed, with the workers around its replica.
//!
//! The replica, the applier and the log writer's step are those of a real member. What stands here
//! in for its threads is a queue for each of them, and a time that each piece of work takes.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    node::{
        Applier, ApplyTask, Chore, Input, LogTask, Metrics, Opened, Output, Replica, Settings,
        Shared, carry_out_log, open,
        ports::{LogStore, StateStore},
    },
    raft::Position,
    sim::{
        checks::Violation,
        config::Planted,
        disk::{LogFault, SimLog, SimStore},
        schedule::{Event, Life},
        world::Context,
    },
    state::{Command, RevokeCause, lease, meta, testing::inconsistencies},
    types::{BootNumber, Fault, Index, MemberId, Seconds, Term},
};

/// Log tasks that a step takes at most, as in a real member.
const LOG_TASKS_PER_STEP_MAX: usize = 256;
/// Of a thousand looks of a housekeeper, after how many the whole state is looked through.
const INSPECTIONS: u64 = 50;

/// A member of the cluster.
pub struct Member {
    id: MemberId,
    boot: u64,
    log: Arc<SimLog>,
    store: Arc<SimStore>,
    process: Option<Process>,
}

/// The running process of a member.
pub struct Process {
    /// What its threads and callers share.
    pub shared: Arc<Shared>,
    life: Life,
    replica: Replica,
    applier: Applier,
    inbox: Vec<Input>,
    round_is_due: bool,
    log_waiting: VecDeque<LogTask>,
    log_step: Vec<LogTask>,
    apply_waiting: VecDeque<ApplyTask>,
    apply_task: Option<ApplyTask>,
    tick: u64,
    pause: Option<Pause>,
    /// The term and the leader as last noted.
    seen: (Term, Option<MemberId>),
}

/// What of a member stands still. Its clock goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole process, as a stopped one.
    Process,
    /// The thread that drives consensus.
    Driver,
    /// The thread that applies.
    Applier,
    /// The thread that writes the log.
    LogWriter,
}

/// A pause of a member.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// What stands still.
    pub part: Part,
    /// Until when, in microseconds.
    pub until: u64,
    /// Whether what is sent to it meanwhile is lost; else it waits.
    pub deaf: bool,
}

impl Pause {
    fn holds_up(&self, event: &Event) -> bool {
        match self.part {
            Part::Process => true,
            Part::Driver => matches!(event, Event::Round(_) | Event::Tick(_)),
            Part::Applier => matches!(event, Event::Applied(_)),
            Part::LogWriter => matches!(event, Event::LogWritten(_)),
        }
    }
}

impl Member {
    /// A member that never ran.
    #[must_use]
    pub fn new(id: MemberId, fault: LogFault) -> Self {
        let (log, store) = (Arc::new(SimLog::new(fault)), Arc::new(SimStore::default()));
        Self { id, boot: 0, log, store, process: None }
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
        let opened = open(&*self.log, &*self.store, &ctx.config.initial()).map_err(broken)?;
        ctx.agreement.applied(self.id, opened.applied, self.store.hash())?;
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
        let mut step = process.log_step;
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
        process.pause = Some(pause);
        ctx.pauses += 1;
        let ms = (pause.until - now) / 1_000;
        ctx.note(
            &[19, self.id.0, pause.until],
            format_args!("the {:?} of {} stands still for {ms} ms", pause.part, self.id),
        );
        if pause.part == Part::Process && ctx.config.planted == Planted::StaleExpiries {
            ctx.schedule.after(pause.until - now, Event::StaleExpiries(process.life));
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
                let output = process.round();
                let fault = process.hand_out(output, &self.store, ctx);
                fault.map_err(faulty)?;
                process.check_leadership(ctx)
            }
            Event::Tick(life) => {
                process.post(Input::Tick, ctx);
                ctx.schedule.after(process.tick, Event::Tick(life));
                Ok(())
            }
            Event::LogWritten(_) => process.finish_log_step(&self.log, ctx).map_err(faulty),
            Event::Applied(_) => process.finish_apply_task(&self.store, ctx),
            Event::ChoreDone(_, chore) => {
                let input = carry_out_chore(&self.store, chore).map_err(faulty)?;
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

impl Process {
    fn new(
        life: Life,
        opened: &Opened,
        log: &Arc<SimLog>,
        store: &Arc<SimStore>,
        ctx: &mut Context,
    ) -> Result<Self, Fault> {
        let mut settings = Settings::new(ctx.config.cluster(), life.member, BootNumber(life.boot));
        ctx.config.apply_to(&mut settings);
        let tick = settings.heartbeat.0 * 1_000_000 / ctx.clock_speed(life.member);
        let clock = Arc::new(ctx.clock(life.member));
        let shared = Shared::new(settings, Metrics::default(), clock, store.clone())?;
        let reader: Arc<dyn LogStore> = log.clone();
        let replica =
            Replica::new(shared.clone(), &opened.log, &opened.voters, opened.applied, reader)?;
        let applier = Applier::new(shared.clone(), opened.applied);
        let start = ctx.rng.below(tick);
        ctx.schedule.after(start, Event::Tick(life));
        ctx.schedule.after(start + 1_000_000, Event::Housekeeping(life));
        let mut process = Self {
            shared,
            life,
            replica,
            applier,
            inbox: Vec::new(),
            round_is_due: false,
            log_waiting: VecDeque::new(),
            log_step: Vec::new(),
            apply_waiting: VecDeque::new(),
            apply_task: None,
            tick,
            pause: None,
            seen: (Term(0), None),
        };
        process.order_round(ctx);
        Ok(process)
    }

    /// Until when it cannot carry on with `event`, if it cannot now.
    #[must_use]
    pub fn holds_up(&self, event: &Event, now: u64) -> Option<u64> {
        self.held_up(now).filter(|pause| pause.holds_up(event)).map(|pause| pause.until)
    }

    /// Whether the whole process stands still.
    #[must_use]
    pub fn is_paused(&self, now: u64) -> bool {
        self.held_up(now).is_some_and(|pause| pause.part == Part::Process)
    }

    /// Whether what is sent to it is lost.
    #[must_use]
    pub fn is_deaf(&self, now: u64) -> bool {
        self.held_up(now).is_some_and(|pause| pause.part == Part::Process && pause.deaf)
    }

    fn held_up(&self, now: u64) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| now < pause.until)
    }

    /// What becomes of leases that ran out before the replica looks: in some worlds nobody hears of
    /// them for a while.
    fn meddle(&mut self, ctx: &mut Context) {
        if ctx.loses_expiries() {
            ctx.lost_expiries += self.shared.take_expired().len() as u64;
        } else if ctx.config.planted == Planted::ExpiriesInLine {
            let (term, _) = self.shared.leadership();
            for id in self.shared.take_expired() {
                let cause = RevokeCause::Expiry { term, known: Index(u64::MAX) };
                self.propose(Command::LeaseRevoke { id, cause }, ctx);
            }
        }
    }

    /// Proposes as clients do.
    fn propose(&mut self, command: Command, ctx: &mut Context) {
        if let Ok((sequence, _)) = self.shared.submit(command) {
            self.post(Input::Proposal(sequence), ctx);
        }
    }

    /// Which start of which member it is.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    fn post(&mut self, input: Input, ctx: &mut Context) {
        self.inbox.push(input);
        self.order_round(ctx);
    }

    /// What comes in until the round shares it.
    fn order_round(&mut self, ctx: &mut Context) {
        if !self.round_is_due {
            self.round_is_due = true;
            let delay = ctx.rng.below(ctx.config.round_delay_max) + 1;
            ctx.schedule.after(delay, Event::Round(self.life));
        }
    }

    fn round(&mut self) -> Output {
        self.round_is_due = false;
        let now = self.shared.now();
        for input in std::mem::take(&mut self.inbox) {
            self.replica.handle(now, input);
        }
        self.replica.finish_round(now)
    }

    /// Gives every worker its part.
    fn hand_out(
        &mut self,
        output: Output,
        store: &SimStore,
        ctx: &mut Context,
    ) -> Result<(), Fault> {
        for (to, frame) in output.sends {
            ctx.send(self.life.member, to, frame);
        }
        for (to, checkpoint, message) in output.snapshots {
            ctx.send_checkpoint(self.life, to, checkpoint, message);
        }
        self.log_waiting.extend(output.log);
        self.start_log_step(ctx);
        self.apply_waiting.extend(output.apply);
        self.start_apply_task(ctx);
        for chore in output.chores {
            let delay = ctx.disk_delay();
            ctx.schedule.after(delay, Event::ChoreDone(self.life, chore));
        }
        output.dropped_stages.into_iter().for_each(|stage| store.stage_drop(stage));
        output.released_checkpoints.into_iter().for_each(|id| store.checkpoint_release(id));
        output.fault.map_or(Ok(()), Err)
    }

    fn start_log_step(&mut self, ctx: &mut Context) {
        if self.log_step.is_empty() && !self.log_waiting.is_empty() {
            let count = self.log_waiting.len().min(LOG_TASKS_PER_STEP_MAX);
            self.log_step = self.log_waiting.drain(..count).collect();
            let delay = ctx.disk_delay();
            ctx.schedule.after(delay, Event::LogWritten(self.life));
        }
    }

    fn finish_log_step(&mut self, log: &SimLog, ctx: &mut Context) -> Result<(), Fault> {
        let done = carry_out_log(log, std::mem::take(&mut self.log_step))?;
        for (to, frame) in done.sends {
            ctx.send(self.life.member, to, frame);
        }
        done.inputs.into_iter().for_each(|input| self.post(input, ctx));
        self.start_log_step(ctx);
        Ok(())
    }

    fn start_apply_task(&mut self, ctx: &mut Context) {
        if self.apply_task.is_none() && !self.apply_waiting.is_empty() {
            self.apply_task = self.apply_waiting.pop_front();
            let delay = ctx.rng.below(ctx.config.apply_delay_max) + 1;
            ctx.schedule.after(delay, Event::Applied(self.life));
        }
    }

    fn finish_apply_task(&mut self, store: &SimStore, ctx: &mut Context) -> Result<(), Violation> {
        let member = self.life.member;
        let Some(task) = self.apply_task.take() else { return Ok(()) };
        if let ApplyTask::Entries(entries) = &task {
            for entry in entries {
                ctx.agreement.committed(member, entry)?;
            }
        }
        if matches!(task, ApplyTask::Install(..)) {
            ctx.installed_checkpoints += 1;
        }
        let input = self.applier.carry_out(task);
        let input = input.map_err(|fault| Violation(format!("{member} stops: {fault}")))?;
        if let Some(Input::Applied(position, _) | Input::Installed(position)) = &input {
            let hash = store.hash();
            ctx.agreement.applied(member, *position, hash)?;
            let view = store.view().map_err(|fault| Violation(fault.to_string()))?;
            ctx.chronicle.record(&*view)?;
            ctx.note_applied(self.shared.watch_hub().current());
            ctx.note(
                &[3, member.0, position.index.0, hash],
                format_args!("{member} has applied {}, state {hash:x}", position.index),
            );
        }
        if let Some(input) = input {
            self.post(input, ctx);
        }
        self.start_apply_task(ctx);
        Ok(())
    }

    fn check_leadership(&mut self, ctx: &mut Context) -> Result<(), Violation> {
        let (term, leader) = self.shared.leadership();
        if self.seen != (term, leader) {
            self.seen = (term, leader);
            let (member, leader) = (self.life.member, leader.map_or(0, |leader| leader.0));
            ctx.note(
                &[14, member.0, term.0, leader],
                format_args!("{member} is in term {term} under {leader}"),
            );
        }
        if leader == Some(self.life.member) {
            ctx.agreement.leads(self.life.member, term)?;
            let now = ctx.schedule.now();
            ctx.led_at.entry(term).or_insert(now);
        }
        Ok(())
    }
}

fn carry_out_chore(store: &SimStore, chore: Chore) -> Result<Input, Fault> {
    match chore {
        Chore::Flush => {
            store.flush()?;
            store.flushed().map(Input::Flushed)
        }
        Chore::Checkpoint => Ok(Input::CheckpointMade(store.checkpoint())),
    }
}
