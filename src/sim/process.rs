//! [`Process`]: the running part of a member, with the workers around its replica.
//!
//! The replica, the applier and the log writer's step are those of a real member. What stands here
//! in for its threads is a queue for each of them, and a time that each piece of work takes.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::sync::oneshot;

use crate::{
    node::{
        Applier, ApplyTask, Input, LogTask, Metrics, Opened, Output, Replica, Settings, Shared,
        carry_out_log,
        ports::{LogStore, StateStore},
    },
    raft::{ConfigChange, Position},
    sim::{
        checks::Violation,
        config::Planted,
        disk::{Disk, SimLog, SimStore},
        schedule::{Event, Life},
        turnover::Step,
        work::{appended, applied, change, early},
        world::Context,
    },
    state::{Command, RevokeCause, meta},
    types::{BootNumber, Fault, Index, MemberId, Term},
};

/// Log tasks that a step takes at most, as in a real member.
const LOG_TASKS_PER_STEP_MAX: usize = 256;

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
    /// Whether the last thing applied was a checkpoint.
    installed_last: bool,
    /// The streams of others that it has heard of.
    heard: BTreeSet<u64>,
    ending: Ending,
}

/// How far a process has come that ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// It is written down that its member lost something, and so it is about to end.
    Soon,
    Now,
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
    /// Whether `event` waits for its end.
    fn holds_up(&self, event: &Event) -> bool {
        match self.part {
            Part::Process => true,
            Part::Driver => matches!(event, Event::Round(_) | Event::Tick(_)),
            Part::Applier => matches!(event, Event::Applied(_)),
            Part::LogWriter => matches!(event, Event::LogWritten(_)),
        }
    }
}

impl Process {
    /// A process on what its disk holds.
    pub fn new(
        life: Life,
        opened: &Opened,
        Disk { log, store, .. }: &Disk,
        ctx: &mut Context,
    ) -> Result<Self, Fault> {
        let mut settings = Settings::new(ctx.config.cluster(), life.member, BootNumber(life.boot));
        ctx.config.apply_to(&mut settings);
        let tick = settings.heartbeat.0 * 1_000_000 / ctx.clock_speed(life.member);
        let clock = Arc::new(ctx.clock(life.member));
        let shared = Shared::new(settings, Metrics::default(), clock, store.clone())?;
        let reader: Arc<dyn LogStore> = log.clone();
        let replica =
            Replica::new(shared.clone(), &opened.log, &opened.voters, opened.applied, reader)?
                .with_fencing(&opened.fencing);
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
            installed_last: false,
            heard: BTreeSet::new(),
            ending: Ending::No,
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

    pub(super) fn held_up(&self, now: u64) -> Option<&Pause> {
        self.pause.as_ref().filter(|pause| now < pause.until)
    }

    /// What becomes of leases that ran out before the replica looks: in some worlds nobody hears of
    /// them for a while.
    pub(super) fn meddle(&mut self, ctx: &mut Context) {
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
    pub(super) fn propose(&mut self, command: Command, ctx: &mut Context) {
        if let Ok((sequence, _)) = self.shared.submit(command) {
            self.post(Input::Proposal(sequence), ctx);
        }
    }

    /// Which start of which member it is.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether nothing of this stream has come before.
    pub(super) fn hears_first_of(&mut self, stream: u64) -> bool {
        self.heard.insert(stream)
    }

    /// It ends as soon as it hears that the fence is up.
    pub(super) fn is_to_end(&mut self) {
        self.ending = Ending::Soon;
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ending == Ending::Now
    }

    pub(super) fn post(&mut self, input: Input, ctx: &mut Context) {
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

    /// Takes in what came, and looks whether consensus counts whom the state names.
    pub(super) fn round(&mut self, store: &SimStore, ctx: &Context) -> Result<Output, Violation> {
        self.round_is_due = false;
        let now = self.shared.now();
        for input in std::mem::take(&mut self.inbox) {
            self.replica.handle(now, input);
        }
        // One that does not hear of its own removal is found by what it does.
        if ctx.config.has_operator() && ctx.config.planted != Planted::RemovedLead {
            self.check_counted(store, ctx)?;
        }
        Ok(self.replica.finish_round(now))
    }

    fn check_counted(&mut self, store: &SimStore, ctx: &Context) -> Result<(), Violation> {
        let (told, mut progress) = oneshot::channel();
        self.replica.handle(self.shared.now(), Input::Progress(told));
        match progress.try_recv() {
            Ok(progress) if !progress.is_empty() => {
                let index = applied(store)?;
                ctx.configurations.counted(self.life.member, index, &progress)
            }
            // It does not lead.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Its log step under way, when it dies.
    pub(super) fn into_log_step(self) -> Vec<LogTask> {
        self.log_step
    }

    pub(super) fn set_pause(&mut self, pause: Pause) {
        self.pause = Some(pause);
    }

    pub(super) fn tick(&self) -> u64 {
        self.tick
    }

    /// Gives every worker its part.
    pub(super) fn hand_out(
        &mut self,
        output: Output,
        store: &SimStore,
        ctx: &mut Context,
    ) -> Result<(), Fault> {
        for (to, frame) in output.sends {
            ctx.send(self.life, self.shared.speaks_as(), to, frame);
        }
        for (to, checkpoint, message) in output.snapshots {
            ctx.send_checkpoint(self.life, to, checkpoint, message);
        }
        self.log_waiting.extend(output.log);
        self.start_log_step(ctx);
        for task in &output.apply {
            self.note_step(task, ctx);
        }
        self.apply_waiting.extend(output.apply);
        self.start_apply_task(ctx);
        for chore in output.chores {
            let delay = ctx.disk_delay();
            ctx.schedule.after(delay, Event::ChoreDone(self.life, chore));
        }
        output.dropped_stages.into_iter().for_each(|stage| store.stage_drop(stage));
        output.released_checkpoints.into_iter().for_each(|id| store.checkpoint_release(id));
        match output.fault {
            Some(_) if self.ending == Ending::Soon => {
                self.ending = Ending::Now;
                Ok(())
            }
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn start_log_step(&mut self, ctx: &mut Context) {
        if self.log_step.is_empty() && !self.log_waiting.is_empty() {
            let count = self.log_waiting.len().min(LOG_TASKS_PER_STEP_MAX);
            self.log_step = self.log_waiting.drain(..count).collect();
            let delay = ctx.disk_delay();
            ctx.schedule.after(delay, Event::LogWritten(self.life));
        }
    }

    /// Committed changes and checkpoints are about to be applied.
    fn note_step(&self, task: &ApplyTask, ctx: &mut Context) {
        match task {
            ApplyTask::Entries(entries) if entries.iter().any(|e| change(e).is_some()) => {
                ctx.reached(self.life.member, Step::Committed);
            }
            ApplyTask::Install(..) => ctx.reached(self.life.member, Step::Received),
            ApplyTask::Entries(_) | ApplyTask::Promote(_) => {}
        }
    }

    pub(super) fn finish_log_step(
        &mut self,
        log: &SimLog,
        store: &SimStore,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let member = self.life.member;
        let step = std::mem::take(&mut self.log_step);
        let changes: Vec<ConfigChange> = appended(&step).filter_map(change).collect();
        let done = carry_out_log(log, step);
        let done = done.map_err(|fault| Violation(format!("{member} stops: {fault}")))?;
        if !changes.is_empty() {
            ctx.reached(member, Step::Appended);
            ctx.configurations.pending(member, log.changes_after(ctx.configurations.front()))?;
        }
        if ctx.config.planted == Planted::EarlyChanges {
            for change in changes {
                let input = early(change, store)?;
                self.post(input, ctx);
            }
        }
        for (to, frame) in done.sends {
            ctx.send(self.life, self.shared.speaks_as(), to, frame);
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

    pub(super) fn finish_apply_task(
        &mut self,
        store: &SimStore,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
        let member = self.life.member;
        let Some(task) = self.apply_task.take() else { return Ok(()) };
        if let ApplyTask::Entries(entries) = &task {
            for entry in entries {
                ctx.agreement.committed(member, entry)?;
                ctx.configurations.committed(entry)?;
            }
        }
        let installs = matches!(task, ApplyTask::Install(..));
        if installs {
            ctx.installed_checkpoints += 1;
            ctx.turnover.in_a_row += u64::from(self.installed_last);
            ctx.reached(member, Step::Installed);
        }
        self.installed_last = installs;
        let input = self.applier.carry_out(task);
        let mut input = input.map_err(|fault| Violation(format!("{member} stops: {fault}")))?;
        if let Some(Input::Applied(position, _) | Input::Installed(position)) = &input {
            let hash = store.hash();
            ctx.agreement.applied(member, *position, hash)?;
            let view = store.view().map_err(|fault| Violation(fault.to_string()))?;
            let conf = meta::conf_state(&*view).map_err(|fault| Violation(fault.to_string()))?;
            ctx.configurations.applied(member, position.index, &conf)?;
            ctx.chronicle.record(&*view)?;
            ctx.note_applied(self.shared.watch_hub().current());
            ctx.note(
                &[3, member.0, position.index.0, hash],
                format_args!("{member} has applied {}, state {hash:x}", position.index),
            );
        }
        if let Some(Input::Applied(_, Some(changed))) = &mut input {
            if !changed.changes.is_empty() {
                ctx.reached(member, Step::Applied);
            }
            if ctx.config.planted == Planted::RemovedAreCounted {
                changed.changes.retain(|change| !matches!(change, ConfigChange::Remove(_)));
            }
            if ctx.config.planted == Planted::RemovedLead {
                changed.changes.retain(|change| *change != ConfigChange::Remove(member));
            }
        }
        if let Some(input) = input {
            self.post(input, ctx);
        }
        self.start_apply_task(ctx);
        Ok(())
    }

    pub(super) fn check_leadership(
        &mut self,
        disk: &Disk,
        ctx: &mut Context,
    ) -> Result<(), Violation> {
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
            self.check_not_removed(term, disk, ctx)?;
            let now = ctx.schedule.now();
            ctx.led_at.entry(term).or_insert(now);
        }
        Ok(())
    }

    /// Who was removed leads no more once it has applied that, and in no later term without it.
    fn check_not_removed(&self, term: Term, disk: &Disk, ctx: &Context) -> Result<(), Violation> {
        let member = self.life.member;
        let Some(removal) = ctx.configurations.removal(member) else { return Ok(()) };
        let knows = applied(&disk.store)? >= removal.index;
        if knows || (term > removal.term && !disk.log.has(removal)) {
            let Position { index, .. } = removal;
            return Err(Violation(format!(
                "{member} leads in term {term}, but entry {index} has removed it"
            )));
        }
        Ok(())
    }
}
