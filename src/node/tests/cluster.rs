//! A cluster in memory that does what a test tells it, step by step, and nothing by itself.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    node::{
        Applier, ApplyTask, Chore, Clock, Initial, Input, LogTask, Metrics, Replica, Settings,
        Shared, carry_out_log, housekeeper, open,
        pending::Outcome,
        ports::{Checkpoint, DiskSpace, Frame, LogStore, StateStore},
        tests::{
            disk::{MemoryLog, MemoryStore},
            fence::MemoryFence,
        },
    },
    raft::Role,
    state::{Command, Member, mvcc, testing::get},
    types::{BootNumber, ClusterId, Fault, Incarnation, Index, KeyValue, MemberId, Millis},
};

const TICK: u64 = 100;

/// Frames that get lost on the way.
pub(super) type Lost = fn(MemberId, &Frame) -> bool;

/// A frame on its way: who sent it to whom, and in which incarnation.
pub(super) type Sent = (MemberId, MemberId, Incarnation, Frame);

/// Members in memory, and the frames between them.
pub(super) struct Cluster {
    members: Vec<OneMember>,
    founders: u64,
    clock: Arc<TestClock>,
    frames: VecDeque<Sent>,
    pub(super) cut_off: BTreeSet<u64>,
    /// Frames from these members are held back in `held`.
    pub(super) hold: BTreeSet<u64>,
    pub(super) held: Vec<Sent>,
    /// Frames from cut-off members, and those this one names, get lost.
    pub(super) lost: Lost,
    tune: fn(&mut Settings),
}

struct OneMember {
    log: Arc<MemoryLog>,
    store: Arc<MemoryStore>,
    fence: Arc<MemoryFence>,
    boot: u64,
    process: Option<Process>,
}

/// The running part of a member.
pub(super) struct Process {
    pub(super) shared: Arc<Shared>,
    pub(super) replica: Replica,
    applier: Applier,
    log_tasks: VecDeque<LogTask>,
    apply_tasks: VecDeque<ApplyTask>,
    /// While set, nothing is written, or applied.
    pub(super) log_hangs: bool,
    pub(super) apply_hangs: bool,
    /// Why it stopped, if it did.
    pub(super) fault: Option<Fault>,
}

#[derive(Debug, Default)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now_micros(&self) -> u64 {
        self.0.load(Ordering::Relaxed) * 1_000
    }
}

impl Cluster {
    /// Starts the next member without a state: it is to be added to the cluster.
    pub(super) fn join(&mut self) -> u64 {
        self.members.push(OneMember {
            log: Arc::default(),
            store: Arc::default(),
            fence: Arc::default(),
            boot: 0,
            process: None,
        });
        let id = self.members.len() as u64;
        self.start(id);
        id
    }

    /// Members 1 to `size` of a new cluster, all running.
    pub(super) fn new(size: u64, tune: fn(&mut Settings)) -> Self {
        let member = |_| OneMember {
            log: Arc::default(),
            store: Arc::default(),
            fence: Arc::default(),
            boot: 0,
            process: None,
        };
        let mut cluster = Self {
            members: (0..size).map(member).collect(),
            founders: size,
            clock: Arc::default(),
            frames: VecDeque::new(),
            cut_off: BTreeSet::new(),
            hold: BTreeSet::new(),
            held: Vec::new(),
            lost: |_, _| false,
            tune,
        };
        (1..=size).for_each(|id| cluster.start(id));
        cluster
    }

    /// A cluster of three that member 1 leads.
    pub(super) fn led_by_one() -> Self {
        let mut cluster = Self::new(3, |_| {});
        cluster.elect(1);
        cluster
    }

    pub(super) fn member(&mut self, id: u64) -> &mut Process {
        self.members[at(id)].process.as_mut().expect("the member runs")
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Starts a member on what its last run left.
    pub(super) fn start(&mut self, id: u64) {
        let members = (1..=self.founders)
            .map(|id| Member { id: MemberId(id), ..Member::default() })
            .collect();
        let member = &mut self.members[at(id)];
        member.boot += 1;
        let initial = if id <= self.founders {
            Initial::Founding { cluster: ClusterId(7), members }
        } else {
            Initial::Joining { again: member.boot > 1 }
        };
        let (boot, log, store) =
            (BootNumber(member.boot), member.log.clone(), member.store.clone());
        let fencing = member.fence.fencing(MemberId(id), member.boot);
        let opened = open(&*log, &*store, &initial, fencing).unwrap();
        let mut settings = Settings::new(ClusterId(7), MemberId(id), boot);
        (self.tune)(&mut settings);
        let shared = Shared::new(settings, Metrics::default(), self.clock.clone(), store).unwrap();
        let replica =
            Replica::new(shared.clone(), &opened.log, &opened.voters, opened.applied, log)
                .unwrap()
                .with_fencing(&opened.fencing);
        member.process = Some(Process {
            applier: Applier::new(shared.clone(), opened.applied),
            shared,
            replica,
            log_tasks: VecDeque::new(),
            apply_tasks: VecDeque::new(),
            log_hangs: false,
            apply_hangs: false,
            fault: None,
        });
        self.connect();
    }

    /// Members that run open streams to each other, anew where there were some.
    pub(super) fn connect(&mut self) {
        let ids: Vec<u64> = (1..=self.members.len() as u64).collect();
        for from in &ids {
            let Some(process) = &self.members[at(*from)].process else { continue };
            let greeting = process.shared.greeting();
            for to in ids.iter().filter(|to| *to != from) {
                if !self.cut_off.contains(from) && !self.cut_off.contains(to) {
                    self.hand_in(*to, Input::Greeting(MemberId(*from), greeting));
                }
            }
        }
    }

    /// What a member keeps of its fence.
    pub(super) fn fence(&self, id: u64) -> Arc<MemoryFence> {
        self.members[at(id)].fence.clone()
    }

    /// A member's log and state, to be looked at or meddled with.
    pub(super) fn disk(&self, id: u64) -> (Arc<MemoryLog>, Arc<MemoryStore>) {
        let member = &self.members[at(id)];
        (member.log.clone(), member.store.clone())
    }

    /// Why a member cannot start on what its last run left.
    pub(super) fn refuses_to_start(&self, id: u64) -> Fault {
        let member = &self.members[at(id)];
        let fencing = member.fence.fencing(MemberId(id), member.boot + 1);
        let initial = Initial::Founding { cluster: ClusterId(7), members: Vec::new() };
        open(&*member.log, &*member.store, &initial, fencing).unwrap_err()
    }

    /// Ends a member's process: its state falls back to what was flushed, its log to what was synced.
    pub(super) fn crash(&mut self, id: u64) {
        let member = &mut self.members[at(id)];
        member.process = None;
        member.store.crash();
        self.frames.retain(|(from, to, ..)| from.0 != id && to.0 != id);
    }

    /// Says how full a member's disk is.
    pub(super) fn set_space(&mut self, id: u64, space: DiskSpace) {
        self.members[at(id)].store.set_space(space);
    }

    /// From now on nothing reaches the member, and nothing comes from it.
    pub(super) fn cut_off(&mut self, id: u64) {
        self.cut_off.insert(id);
    }

    pub(super) fn heal(&mut self) {
        self.cut_off.clear();
        self.lost = |_, _| false;
        self.connect();
    }

    /// Makes `id` the leader, of whoever can be reached.
    pub(super) fn elect(&mut self, id: u64) {
        for _ in 0..200 {
            match self.leader() {
                Some(leader) if leader == id => return,
                Some(leader) => self.give(leader, Input::HandOver(Some(MemberId(id)))),
                None => {}
            }
            self.tick();
        }
        panic!("member {id} was not elected");
    }

    /// Waits until some member that is not cut off leads.
    pub(super) fn elect_any(&mut self) -> u64 {
        for _ in 0..200 {
            if let Some(leader) = self.leader() {
                return leader;
            }
            self.tick();
        }
        panic!("nobody was elected");
    }

    /// The member that leads, of those that are not cut off.
    pub(super) fn leader(&self) -> Option<u64> {
        let running = (1..).zip(&self.members).filter(|(id, _)| !self.cut_off.contains(id));
        let mut leaders = running.filter_map(|(id, member)| {
            let process = member.process.as_ref()?;
            (process.replica.role() == Role::Leader).then_some((process.shared.leadership().0, id))
        });
        leaders.by_ref().max().map(|(_, id)| id)
    }

    /// Lets a tick pass everywhere.
    pub(super) fn tick(&mut self) {
        self.clock.0.fetch_add(TICK, Ordering::Relaxed);
        for id in 1..=self.members.len() as u64 {
            self.hand_in(id, Input::Tick);
        }
        self.settle();
    }

    /// Nobody runs for so long; then they all go on with a tick.
    pub(super) fn pause(&mut self, time: Millis) {
        self.clock.0.fetch_add(time.0, Ordering::Relaxed);
        self.tick();
    }

    /// Lets time pass, in ticks.
    pub(super) fn pass(&mut self, time: Millis) {
        (0..time.0 / TICK).for_each(|_| self.tick());
    }

    /// Hands an input to a member and lets its consequences happen.
    pub(super) fn give(&mut self, id: u64, input: Input) {
        self.hand_in(id, input);
        self.settle();
    }

    /// Hands an input to a member without its consequences.
    pub(super) fn hand_in(&mut self, id: u64, input: Input) {
        let now = self.now();
        if let Some(process) = &mut self.members[at(id)].process
            && process.fault.is_none()
        {
            process.replica.handle(now, input);
        }
    }

    /// Hands in the frames that were held back, all within one round of their receivers.
    pub(super) fn release_held(&mut self) {
        for (from, to, incarnation, frame) in std::mem::take(&mut self.held) {
            self.hand_in(to.0, Input::Frame(from, incarnation, frame));
        }
    }

    /// Has a member propose a command; the outcome comes when it is applied there.
    pub(super) fn propose(
        &mut self,
        id: u64,
        command: impl Into<Command>,
    ) -> oneshot::Receiver<Outcome> {
        let (sequence, outcome) = self.member(id).shared.submit(command.into()).unwrap();
        self.give(id, Input::Proposal(sequence));
        outcome
    }

    /// Asks a member for a read barrier.
    pub(super) fn read(&mut self, id: u64) -> oneshot::Receiver<()> {
        let (waiter, woken) = oneshot::channel();
        self.give(id, Input::Read(waiter));
        woken
    }

    /// The pair a member holds under a key.
    pub(super) fn pair(&mut self, id: u64, key: &str) -> Option<KeyValue> {
        let view = self.member(id).shared.view().unwrap();
        mvcc::range(&*view, &get(key).0).unwrap().kvs.pop()
    }

    /// The last entry on a member's disk.
    pub(super) fn log_end(&self, id: u64) -> Index {
        self.members[at(id)].log.load().unwrap().last.index
    }

    /// How often a key was put since it was created, as each member has it.
    pub(super) fn versions(&mut self, key: &str) -> Vec<i64> {
        let ids = 1..=self.members.len() as u64;
        ids.map(|id| self.pair(id, key).map_or(0, |pair| pair.version)).collect()
    }

    /// Lets everything happen that can happen without time passing.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            for id in 1..=self.members.len() as u64 {
                busy |= self.work(id);
            }
            for (from, to, incarnation, frame) in std::mem::take(&mut self.frames) {
                if self.hold.contains(&from.0) {
                    self.held.push((from, to, incarnation, frame));
                    continue;
                }
                let absent = self.members.len() < usize::try_from(to.0).unwrap();
                let cut = absent || self.cut_off.contains(&from.0) || self.cut_off.contains(&to.0);
                if !cut && !(self.lost)(from, &frame) {
                    self.hand_in(to.0, Input::Frame(from, incarnation, frame));
                    busy = true;
                }
            }
            if !busy {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    /// One round of one member and of its workers; tells whether there was anything to do.
    fn work(&mut self, id: u64) -> bool {
        let now = self.now();
        let member = &mut self.members[at(id)];
        let log = member.log.clone();
        let Some(process) = member.process.as_mut().filter(|p| p.fault.is_none()) else {
            return false;
        };
        let output = process.replica.finish_round(now);
        process.fault = output.fault;
        let mut busy = !output.sends.is_empty() || !output.snapshots.is_empty();
        let mut sends = output.sends;
        process.log_tasks.extend(output.log);
        process.apply_tasks.extend(output.apply);
        for id in output.released_checkpoints {
            member.store.checkpoint_release(id);
        }
        for stage in output.dropped_stages {
            member.store.stage_drop(stage);
        }
        for chore in output.chores {
            process.replica.handle(now, housekeeper::carry_out(&process.shared, chore).unwrap());
            busy = true;
        }
        if !process.log_hangs && !process.log_tasks.is_empty() {
            let done = carry_out_log(&*log, process.log_tasks.drain(..).collect()).unwrap();
            sends.extend(done.sends);
            done.inputs.into_iter().for_each(|input| process.replica.handle(now, input));
            busy = true;
        }
        while let Some(task) = process.apply_tasks.pop_front_if(|_| !process.apply_hangs) {
            match process.applier.carry_out(task) {
                Ok(Some(input)) => process.replica.handle(now, input),
                Ok(None) => {}
                Err(fault) => {
                    process.fault = Some(fault);
                    break;
                }
            }
            busy = true;
        }
        let incarnation = process.shared.greeting().incarnation;
        let sent = sends.into_iter().map(|(to, frame)| (MemberId(id), to, incarnation, frame));
        self.frames.extend(sent);
        for (to, checkpoint, message) in output.snapshots {
            self.send_snapshot(id, to, checkpoint, message);
        }
        busy
    }

    fn send_snapshot(&mut self, from: u64, to: MemberId, checkpoint: Checkpoint, message: Bytes) {
        let source = self.members[at(from)].store.clone();
        let image = source.image(checkpoint.id);
        source.checkpoint_release(checkpoint.id);
        let absent = self.members.len() < usize::try_from(to.0).unwrap();
        let arrived = !absent && !self.cut_off.contains(&from) && !self.cut_off.contains(&to.0);
        if arrived {
            let store = self.members[at(to.0)].store.clone();
            let stage = store.put_stage(image);
            self.hand_in(to.0, Input::Snapshot { from: MemberId(from), stage, message });
        }
        self.hand_in(from, Input::SnapshotSent { to, id: checkpoint.id, arrived });
    }

    /// Brings a member's state to disk, and returns what its replica is to hear of it.
    pub(super) fn flush(&mut self, id: u64) -> Input {
        housekeeper::carry_out(&self.member(id).shared, Chore::Flush).unwrap()
    }

    /// Checkpoints and stages that a member still keeps.
    pub(super) fn kept_checkpoints(&self, id: u64) -> usize {
        self.members[at(id)].store.kept_checkpoints()
    }
}

fn at(id: u64) -> usize {
    usize::try_from(id - 1).unwrap()
}
