//! [`World`]: a cluster, its clients, its network and its time, run from a seed to a verdict.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    node::{
        Input,
        ports::{Checkpoint, Frame, StateStore},
    },
    sim::{
        Options, Report,
        checks::{Violation, agreement::Agreement, linearizable, revisions},
        chronicle::{self, Chronicle},
        config::{Config, Planted},
        faults,
        holders::Holders,
        member::Member,
        network::Network,
        observers::{Delivered, Observers},
        plan,
        rng::Rng,
        schedule::{Event, Life, Schedule},
        trace::Trace,
        workload::Workload,
    },
    state::lease,
    types::{Event as Change, EventKind, Fault, MemberId, Millis, Revision},
};

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
    /// Chance.
    pub rng: Rng,
    /// What members have said.
    pub agreement: Agreement,
    /// Whether clients go on after an answer.
    pub is_open: bool,
    /// When each revision was first seen on some member; of several applied as one, the last.
    pub applied_at: BTreeMap<Revision, u64>,
    /// Everything that happened.
    pub chronicle: Chronicle,
    /// Crashes so far.
    pub crashes: u64,
    /// Checkpoints installed so far.
    pub installed_checkpoints: u64,
    trace: Trace,
}

/// A cluster, its clients, its network and its time.
pub struct World {
    ctx: Context,
    members: BTreeMap<MemberId, Member>,
    workload: Workload,
    holders: Holders,
    observers: Observers,
    delivered: Delivered,
}

impl Context {
    fn new(options: &Options) -> Self {
        let config = Config::draw(options.seed, options.planted);
        let rng = Rng::new(options.seed);
        Self {
            network: Network::new(rng.fork(2), config.quality),
            rng: rng.fork(3),
            schedule: Schedule::default(),
            micros: Arc::default(),
            agreement: Agreement::default(),
            is_open: true,
            applied_at: BTreeMap::new(),
            chronicle: Chronicle::default(),
            crashes: 0,
            installed_checkpoints: 0,
            trace: Trace::new(options.with_lines),
            config,
        }
    }

    /// Notes what happens.
    pub fn note(&mut self, numbers: &[u64], line: fmt::Arguments<'_>) {
        self.trace.note(self.schedule.now(), numbers, line);
    }

    /// How long a write to disk takes this time.
    pub fn disk_delay(&mut self) -> u64 {
        let delay = self.rng.below(self.config.disk_delay_max) + 50;
        if self.rng.chance(self.config.disk_stalls) { delay * 50 } else { delay }
    }

    /// How fast a member's clock runs, in thousandths.
    #[must_use]
    pub fn clock_speed(&self, member: MemberId) -> u64 {
        if self.config.planted == Planted::FastClocks { 1_500 } else { 995 + member.0 % 3 * 5 }
    }

    /// Puts a frame on its way.
    pub fn send(&mut self, from: MemberId, to: MemberId, frame: Frame) {
        let hash = frame_hash(&frame);
        self.note(&[12, from.0, to.0, hash], format_args!("{from} sends {to} {}", Shown(&frame)));
        if self.network.connects(from, to) {
            for delay in self.network.arrivals(true) {
                let frame = frame.clone();
                self.schedule.after(delay, Event::Arrival { from, to, frame });
            }
        }
    }

    /// Puts a checkpoint on its way, which takes longer than a frame.
    pub fn send_checkpoint(
        &mut self,
        from: Life,
        to: MemberId,
        checkpoint: Checkpoint,
        message: Bytes,
    ) {
        let index = checkpoint.applied.index;
        self.note(
            &[13, from.member.0, to.0, index.0],
            format_args!("{} sends {to} a checkpoint at {index}", from.member),
        );
        let arrival = self.network.arrivals(false).first().copied();
        let carried = arrival.is_some() && self.network.connects(from.member, to);
        let delay = arrival.unwrap_or(0) * 5 + 1_000;
        let event = Event::CheckpointArrival { from, to, checkpoint, message, carried };
        self.schedule.after(delay, event);
    }
}

impl World {
    /// Runs the world of a seed to its end.
    #[must_use]
    pub fn run(options: &Options) -> Report {
        let mut ctx = Context::new(options);
        let fault = ctx.config.planted.log_fault();
        let ids = ctx.config.members.iter();
        let members = ids.map(|id| (*id, Member::new(*id, fault))).collect();
        let workload = Workload::new(&mut ctx);
        let holders = Holders::new(&mut ctx);
        let observers = Observers::new(&mut ctx);
        let mut world =
            Self { ctx, members, workload, holders, observers, delivered: Delivered::default() };
        let verdict = world.live();
        world.report(options.seed, verdict)
    }

    fn live(&mut self) -> Result<(), Violation> {
        for member in self.ctx.config.members.clone() {
            let delay = self.ctx.rng.below(100_000);
            self.ctx.schedule.after(delay, Event::Restart(member));
        }
        let first = self.ctx.rng.below(self.ctx.config.fault_interval_max);
        self.ctx.schedule.after(first, Event::Fault);
        if self.ctx.config.compaction_interval_max > 0 {
            self.ctx.schedule.after(first, Event::Compaction);
        }
        self.run_until(self.ctx.config.chaos)?;

        self.ctx.is_open = false;
        self.holders.fall_silent();
        faults::repair(&mut self.ctx);
        for member in self.ctx.config.members.clone() {
            self.ctx.schedule.after(0, Event::Restart(member));
        }
        self.demand("a leader that all follow", 20, Self::all_follow_one)?;
        // Clients give up after five seconds.
        self.demand("an end of every call", 30, |world| !world.workload.is_busy())?;
        for member in self.ctx.config.members.clone() {
            self.workload.call_directly(member, true, &mut self.members, &mut self.ctx)?;
            self.workload.call_directly(member, false, &mut self.members, &mut self.ctx)?;
        }
        self.demand("answers from every member", 20, |world| !world.workload.is_busy())?;
        self.demand("an end of every lease", 20, Self::no_lease_lives)?;
        self.demand("the same state on all members", 20, Self::all_agree)?;
        self.demand("an end of what watchers are shown", 20, Self::watchers_have_seen_all)?;
        self.judge()
    }

    /// Lets time pass until a demand is met, at most so many election timeouts.
    fn demand(
        &mut self,
        what: &str,
        timeouts: u64,
        is_met: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        let timeout = self.ctx.config.election_timeout.0 * 1_000;
        let deadline = self.ctx.schedule.now() + timeout * timeouts + 5_000_000;
        while !is_met(self) {
            let now = self.ctx.schedule.now();
            if now >= deadline {
                return Err(Violation(format!("there is no {what} long after all was repaired")));
            }
            self.run_until(now + timeout / 10)?;
        }
        Ok(())
    }

    fn run_until(&mut self, until: u64) -> Result<(), Violation> {
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
            | Event::Housekeeping(life) => {
                let member = members.get_mut(&life.member).expect("members never go");
                if member.process().is_some_and(|process| process.life() == life) {
                    member.handle(event, ctx)?;
                    self.workload.poll(life.member, members, ctx)?;
                    self.holders.poll(life.member, members, ctx)?;
                }
                Ok(())
            }
            Event::Arrival { from, to, frame } => {
                if ctx.network.connects(from, to) {
                    let member = members.get_mut(&to).expect("members never go");
                    member.post(Input::Frame(from, frame), ctx);
                } else if let Some(sender) = members.get_mut(&from) {
                    // A broken connection is noticed, sooner or later.
                    sender.post(Input::Unreachable(to), ctx);
                }
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
            Event::Restart(member) => {
                let member = members.get_mut(&member).expect("members never go");
                if member.process().is_none() { member.start(ctx) } else { Ok(()) }
            }
        }
    }

    /// Copies a checkpoint from disk to disk, and tells both sides.
    fn carry_checkpoint(
        &mut self,
        from: Life,
        to: MemberId,
        checkpoint: Checkpoint,
        message: Bytes,
        arrived: bool,
    ) -> Result<(), Fault> {
        let sender = self.members.get(&from.member).expect("members never go");
        if sender.process().is_none_or(|process| process.life() != from) {
            return Ok(()); // it died with its sender
        }
        let source = sender.store().clone();
        let receiver = self.members.get_mut(&to).expect("members never go");
        let arrived = arrived && receiver.process().is_some();
        if arrived {
            let target = receiver.store().clone();
            let stage = target.stage()?;
            for file in source.checkpoint_files(checkpoint.id)? {
                let mut offset = 0;
                while offset < file.len {
                    let chunk =
                        source.checkpoint_read(checkpoint.id, &file.name, offset, 64 * 1024)?;
                    target.stage_write(stage, &file.name, offset, &chunk)?;
                    offset += chunk.len() as u64;
                }
            }
            let input = Input::Snapshot { from: from.member, stage, message };
            receiver.post(input, &mut self.ctx);
        }
        source.checkpoint_release(checkpoint.id);
        let input = Input::SnapshotSent { to, id: checkpoint.id, arrived };
        self.members.get_mut(&from.member).expect("members never go").post(input, &mut self.ctx);
        Ok(())
    }

    fn all_follow_one(&self) -> bool {
        let leaders = self.members.values().map(|m| m.process().map(|p| p.shared.leadership()));
        let leaders: Vec<_> = leaders.collect();
        let first = leaders.first().copied().flatten();
        first.is_some_and(|(_, leader)| leader.is_some()) && leaders.iter().all(|l| *l == first)
    }

    fn no_lease_lives(&self) -> bool {
        let lives = |member: &Member| {
            let view = member.store().view().ok()?;
            Some(!lease::list(&*view).ok()?.is_empty())
        };
        self.members.values().all(|member| lives(member) == Some(false))
    }

    fn watchers_have_seen_all(&self) -> bool {
        let newest = self.members.values().next().and_then(Member::process);
        newest.is_some_and(|p| self.observers.have_seen(p.shared.watch_hub().current()))
    }

    fn all_agree(&self) -> bool {
        let states = self.members.values().map(|m| (m.applied().ok(), m.store().hash()));
        let states: Vec<_> = states.collect();
        states.windows(2).all(|pair| pair.first() == pair.last())
    }

    /// The checks that need the whole run.
    fn judge(&mut self) -> Result<(), Violation> {
        let chronicle = &self.ctx.chronicle;
        // All members have the same by now.
        let member = self.members.values().next().expect("there are members");
        let view = member.store().view().map_err(|fault| Violation(fault.to_string()))?;
        chronicle.check(&*view)?;
        let history = chronicle.changes();
        self.delivered = self.observers.check(history, chronicle.compacted())?;
        self.judge_leases(history)?;
        let operations = self.workload.operations();
        revisions::check(operations, &survived(history)?)?;
        linearizable::check(operations)
    }

    /// Leases that ended, by the deletion of their keys, ended in time.
    fn judge_leases(&self, history: &[Change]) -> Result<(), Violation> {
        for change in history {
            let EventKind::Delete(key, _) = &change.kind else { continue };
            let Some(lease) = plan::lease_of(key) else { continue };
            let revision = change.id.revision;
            // Applied together with later ones it shows as the last of them.
            let applied = self.ctx.applied_at.range(revision..).next();
            let (_, applied) = applied.expect("what survived was applied");
            self.holders.check_end(lease, revision, *applied)?;
        }
        Ok(())
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
            delivered: self.delivered,
            virtual_time: Millis(self.ctx.schedule.now() / 1_000),
            lines: self.ctx.trace.into_lines(),
        }
    }
}

/// What clients changed, of everything that changed.
fn survived(history: &[Change]) -> Result<revisions::Survived, Violation> {
    let mut survived = revisions::Survived::new();
    for change in history.iter().filter(|change| plan::lease_of(change.key()).is_none()) {
        let content = match &change.kind {
            EventKind::Put(kv) => plan::value_id(&kv.value).map(Some),
            EventKind::Delete(..) => Some(None),
        };
        let (key, content) = plan::key_id(change.key())
            .zip(content)
            .ok_or_else(|| Violation(format!("no client asked for {change:?}")))?;
        survived.entry(change.id.revision).or_default().insert(key, content);
    }
    Ok(survived)
}

/// A frame as a line of the trace shows it.
struct Shown<'a>(&'a Frame);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Frame::Raft(bytes) => write!(f, "a raft message, {:08x}", crc32fast::hash(bytes)),
            Frame::Forward { ticket, term, group } => {
                write!(f, "forward {ticket:x} for term {term}, {} bytes", group.len())
            }
            Frame::ForwardAnswer { ticket, accepted: true } => {
                write!(f, "forward {ticket:x}: accepted")
            }
            Frame::ForwardAnswer { ticket, accepted: false } => {
                write!(f, "forward {ticket:x}: refused")
            }
        }
    }
}

fn frame_hash(frame: &Frame) -> u64 {
    match frame {
        Frame::Raft(bytes) => u64::from(crc32fast::hash(bytes)),
        Frame::Forward { ticket, term, group } => {
            u64::from(crc32fast::hash(group)) << 32 | (ticket << 8 ^ term.0)
        }
        Frame::ForwardAnswer { ticket, accepted } => ticket << 1 | u64::from(*accepted),
    }
}
