//! [`World`]: a cluster, its clients, its network and its time, run from a seed to a verdict.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    sim::{
        Options, Report,
        checks::{Violation, agreement::Agreement, configurations::Configurations},
        chronicle::{self, Chronicle},
        clock::SimClock,
        config::{Config, Planted},
        faults,
        flood::Flood,
        holders::Holders,
        judge::Ended,
        links::Links,
        member::Member,
        network::Network,
        observers::{Delivered, Observers},
        operator::Operator,
        rng::Rng,
        rollback::Rollbacks,
        schedule::{Event, Life, Schedule},
        trace::Trace,
        turnover::{Reached, Step, Turnover},
        workload::Workload,
    },
    types::{MemberId, Millis, Revision, Term},
};

/// Clocks of members begin somewhere up to here, in microseconds.
const ORIGIN_MAX: u64 = 3_600_000_000;
/// After this time, in microseconds, there is a leader that stays.
const SETTLED: u64 = 3_000_000;

/// What every part of a world needs of it.
pub struct Context {
    /// What the world is like.
    pub config: Config,
    /// Virtual time, and what happens when.
    pub schedule: Schedule,
    /// The same time, for the clocks of members.
    pub micros: Arc<AtomicU64>,
    /// The links between members.
    pub network: Network,
    /// The streams on them.
    pub links: Links,
    /// Chance.
    pub rng: Rng,
    /// What members have said.
    pub agreement: Agreement,
    /// Whether clients go on after an answer.
    pub is_open: bool,
    /// When each revision was first seen on some member; of several applied as one, the last.
    pub applied_at: BTreeMap<Revision, u64>,
    /// When each term was first seen to have a leader.
    pub led_at: BTreeMap<Term, u64>,
    /// Until when proposals are lost that would end leases which ran out.
    pub expiries_lost_until: u64,
    /// How many were.
    pub lost_expiries: u64,
    /// Pauses of members so far.
    pub pauses: u64,
    /// Everything that happened.
    pub chronicle: Chronicle,
    /// Crashes so far.
    pub crashes: u64,
    /// Checkpoints installed so far.
    pub installed_checkpoints: u64,
    /// The members that exist, whether they are up or not.
    pub roster: Vec<MemberId>,
    /// Those of them whose disks are lost.
    pub lost: BTreeSet<MemberId>,
    /// Those of them that stay away while the others settle.
    pub away: BTreeSet<MemberId>,
    /// Whether nothing may break for now.
    pub is_undisturbed: bool,
    /// Whether a change of members is under way.
    pub is_changing: bool,
    /// All configurations that were ever in force.
    pub configurations: Configurations,
    /// What came of members that came, went and fell behind.
    pub turnover: Turnover,
    /// What came of logs that lost something.
    pub rollbacks: Rollbacks,
    reached: Reached,
    trace: Trace,
}

/// A cluster, its clients, its network and its time.
pub struct World {
    pub(super) ctx: Context,
    pub(super) members: BTreeMap<MemberId, Member>,
    pub(super) workload: Workload,
    pub(super) holders: Holders,
    pub(super) observers: Observers,
    pub(super) operator: Operator,
    flood: Flood,
    pub(super) delivered: Delivered,
    pub(super) ended: Ended,
}

impl Context {
    fn new(options: &Options) -> Self {
        let config = Config::draw(options);
        let rng = Rng::new(options.seed);
        Self {
            network: Network::new(rng.fork(2), config.quality),
            links: Links::default(),
            rng: rng.fork(3),
            schedule: Schedule::default(),
            micros: Arc::default(),
            agreement: Agreement::default(),
            is_open: true,
            applied_at: BTreeMap::new(),
            led_at: BTreeMap::new(),
            expiries_lost_until: 0,
            lost_expiries: 0,
            pauses: 0,
            chronicle: Chronicle::default(),
            crashes: 0,
            installed_checkpoints: 0,
            roster: config.members.clone(),
            lost: BTreeSet::new(),
            away: BTreeSet::new(),
            is_undisturbed: false,
            is_changing: false,
            configurations: Configurations::new(&config.members),
            turnover: Turnover::default(),
            rollbacks: Rollbacks::default(),
            reached: Reached::new(),
            trace: Trace::new(options.with_lines),
            config,
        }
    }

    /// Notes what happens.
    pub fn note(&mut self, numbers: &[u64], line: fmt::Arguments<'_>) {
        self.trace.note(self.schedule.now(), numbers, line);
    }

    /// Those who exist, are not away, and have a disk.
    pub fn here(&self) -> impl Iterator<Item = MemberId> {
        let here = |id: &&MemberId| !self.away.contains(id) && !self.lost.contains(id);
        self.roster.iter().filter(here).copied()
    }

    /// A member has come to a step at which it may crash.
    pub fn reached(&mut self, member: MemberId, step: Step) {
        if self.is_open && self.config.step_crashes > 0 && !self.is_undisturbed {
            self.reached.push((member, step));
        }
    }

    /// How long a write to disk takes this time.
    pub fn disk_delay(&mut self) -> u64 {
        let delay = self.rng.below(self.config.disk_delay_max) + 50;
        // A disk that hangs costs a leader its leadership: it is among what is repaired.
        let stalls = self.rng.chance(self.config.disk_stalls);
        if stalls && self.is_open { delay * 50 } else { delay }
    }

    /// Notes that a member has applied everything up to a revision.
    pub fn note_applied(&mut self, revision: Revision) {
        if self.applied_at.last_key_value().is_none_or(|(newest, _)| *newest < revision) {
            self.applied_at.insert(revision, self.schedule.now());
        }
    }

    /// Whether proposals are lost that would end leases which ran out.
    #[must_use]
    pub fn loses_expiries(&self) -> bool {
        self.config.planted == Planted::ExpiriesLostForGood
            || self.schedule.now() < self.expiries_lost_until
    }

    /// The clock of a member that starts now.
    pub fn clock(&mut self, member: MemberId) -> SimClock {
        let jumps = self.config.planted == Planted::JumpingClocks;
        SimClock {
            micros: self.micros.clone(),
            per_mille: self.clock_speed(member),
            origin: self.rng.below(ORIGIN_MAX),
            jumps_at: jumps.then_some(self.config.chaos / 2),
        }
    }

    /// How fast a member's clock runs, in thousandths.
    #[must_use]
    pub fn clock_speed(&self, member: MemberId) -> u64 {
        if self.config.planted == Planted::FastClocks { 1_500 } else { 995 + member.0 % 3 * 5 }
    }
}

impl World {
    /// Runs the world of a seed to its end.
    #[must_use]
    pub fn run(options: &Options) -> Report {
        let mut ctx = Context::new(options);
        let planted = ctx.config.planted;
        let ids = ctx.config.members.iter();
        let members = ids.map(|id| (*id, Member::new(*id, planted))).collect();
        let workload = Workload::new(&mut ctx);
        let holders = Holders::new(&mut ctx);
        let observers = Observers::new(&mut ctx);
        let operator = Operator::new(&mut ctx);
        let mut world = Self {
            ctx,
            members,
            workload,
            holders,
            observers,
            operator,
            flood: Flood::default(),
            delivered: Delivered::default(),
            ended: Ended::default(),
        };
        let verdict = world.live();
        world.report(options.seed, verdict)
    }

    fn live(&mut self) -> Result<(), Violation> {
        for member in self.ctx.config.members.clone() {
            let delay = self.ctx.rng.below(100_000);
            self.ctx.schedule.after(delay, Event::Restart(member));
        }
        let first = self.ctx.rng.below(self.ctx.config.breaking.interval.1);
        self.ctx.schedule.after(first, Event::Fault);
        if self.ctx.config.compaction_interval_max > 0 {
            self.ctx.schedule.after(first, Event::Compaction);
        }
        if self.ctx.config.flood_bytes > 0 {
            self.ctx.schedule.after(SETTLED, Event::Flood);
        }
        self.run_until(self.ctx.config.chaos)?;

        self.end()
    }

    /// Lets time pass.
    pub(super) fn run_until(&mut self, until: u64) -> Result<(), Violation> {
        while let Some(event) = self.ctx.schedule.next_until(until) {
            self.ctx.micros.store(self.ctx.schedule.now(), Ordering::Relaxed);
            self.step(event)?;
        }
        Ok(())
    }

    fn step(&mut self, event: Event) -> Result<(), Violation> {
        let (members, ctx) = (&mut self.members, &mut self.ctx);
        match event {
            Event::Round(life)
            | Event::Tick(life)
            | Event::LogWritten(life)
            | Event::Applied(life)
            | Event::ChoreDone(life, _)
            | Event::Housekeeping(life)
            | Event::StaleExpiries(life) => self.go_on(life, event),
            Event::Arrival { way, frame } => {
                self.arrive(way, frame);
                Ok(())
            }
            Event::CheckpointArrival { from, to, checkpoint, message, carried } => {
                let arrived = carried && ctx.network.connects(from.member, to);
                self.carry_checkpoint(from, to, checkpoint, message, arrived)
                    .map_err(|fault| Violation(format!("carrying a checkpoint: {fault}")))
            }
            Event::ClientTurn(client) => {
                if ctx.is_open {
                    self.workload.turn(client, members, ctx)
                } else {
                    Ok(())
                }
            }
            Event::ClientTimeout(client, call) => {
                self.workload.timeout(client, call, members, ctx);
                Ok(())
            }
            Event::HolderTurn(holder) => {
                if ctx.is_open {
                    self.holders.turn(holder, members, ctx);
                }
                Ok(())
            }
            Event::Flood => {
                if ctx.is_open {
                    self.flood.rise(members, ctx);
                }
                Ok(())
            }
            Event::ObserverTurn(observer) => self.observers.turn(observer, members, ctx),
            Event::Compaction => {
                if ctx.is_open {
                    chronicle::compact(members, ctx);
                }
                Ok(())
            }
            Event::Fault => {
                if ctx.is_open {
                    faults::strike(members, &mut self.workload, ctx);
                }
                Ok(())
            }
            Event::OperatorTurn => self.operator.turn(members, ctx),
            Event::SwitchOff(member) => self.retire(member),
            Event::Restart(id) => self.restart(id),
        }
    }

    /// A member starts again, unless it runs, cannot, or was removed.
    fn restart(&mut self, id: MemberId) -> Result<(), Violation> {
        let (members, ctx) = (&mut self.members, &mut self.ctx);
        let gone = ctx.lost.contains(&id) || ctx.away.contains(&id);
        match members.get_mut(&id).filter(|m| !gone && m.process().is_none()) {
            Some(member) if member.was_removed() => self.retire(id),
            Some(member) => member.start(ctx),
            None => Ok(()),
        }
    }

    /// A member carries on with what has come due, or when it no longer stands still.
    fn go_on(&mut self, life: Life, event: Event) -> Result<(), Violation> {
        let (members, ctx) = (&mut self.members, &mut self.ctx);
        let Some(member) = members.get_mut(&life.member) else { return Ok(()) };
        let Some(process) = member.process().filter(|process| process.life() == life) else {
            return Ok(());
        };
        let now = ctx.schedule.now();
        if let Some(until) = process.holds_up(&event, now) {
            ctx.schedule.after(until - now, event);
            return Ok(());
        }
        member.handle(event, ctx)?;
        self.workload.poll(life.member, members, ctx)?;
        self.holders.poll(life.member, members, ctx)?;
        if members.get(&life.member).is_some_and(Member::has_ended) {
            faults::start_again(life.member, members, &mut self.workload, ctx);
            return Ok(());
        }
        for reached in std::mem::take(&mut ctx.reached) {
            if ctx.rng.chance(ctx.config.step_crashes) {
                faults::crash_at(reached, members, &mut self.workload, ctx);
            }
        }
        let process = members.get(&life.member).and_then(Member::process);
        if process.is_some_and(|process| process.shared.was_removed()) {
            ctx.turnover.left += 1;
            return self.retire(life.member);
        }
        let (members, ctx) = (&mut self.members, &mut self.ctx);
        if ctx.config.crashes_amid_ends && ctx.chronicle.has_expiry() {
            ctx.config.crashes_amid_ends = false;
            faults::crash_leader(members, &mut self.workload, ctx);
        }
        Ok(())
    }

    /// A member is gone for good.
    pub(super) fn retire(&mut self, id: MemberId) -> Result<(), Violation> {
        if self.members.remove(&id).is_none() {
            return Ok(());
        }
        self.ctx.note(&[26, id.0], format_args!("{id} is gone for good"));
        self.ctx.roster.retain(|member| *member != id);
        self.workload.crashed(id, &mut self.ctx);
        self.holders.poll(id, &mut self.members, &mut self.ctx)
    }

    fn report(self, seed: u64, verdict: Result<(), Violation>) -> Report {
        let operations = self.workload.operations();
        Report {
            seed,
            verdict,
            trace_hash: self.ctx.trace.hash(),
            events: self.ctx.trace.events(),
            answered: operations.iter().filter(|op| op.returned().is_some()).count(),
            asked: operations.len(),
            elections: self.ctx.agreement.elections(),
            crashes: self.ctx.crashes,
            installed_checkpoints: self.ctx.installed_checkpoints,
            turnover: self.ctx.turnover,
            rollbacks: self.ctx.rollbacks,
            delivered: self.delivered,
            pauses: self.ctx.pauses,
            lost_expiries: self.ctx.lost_expiries,
            renewals: self.holders.renewed(),
            ended: self.ended,
            virtual_time: Millis(self.ctx.schedule.now() / 1_000),
            lines: self.ctx.trace.into_lines(),
        }
    }
}
