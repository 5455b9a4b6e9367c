//! The threads of a member.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::{
    node::{
        Applier, Clock, Error, Handle, Metrics, Opened, Replica, Settings, compactor, housekeeper,
        log_writer,
        metrics::seconds,
        ports::{LogStore, Peers, StateStore},
        shared::{Shared, Stop, gauge},
        task::{ApplyTask, Chore, Input, LogTask, Output},
    },
    types::{Fault, limits},
};

/// Inputs that the driver takes in before it acts on them.
const INPUTS_PER_ROUND_MAX: usize = 1_024;
/// Log tasks that are carried out as one.
const LOG_TASKS_PER_STEP_MAX: usize = 256;

/// The way to the driver. Inputs from outside are counted, so that they cannot pile up; those of
/// the member's own threads are bounded by the work the driver gave them.
#[derive(Clone)]
pub(super) struct Mailbox {
    inputs: Sender<(Origin, Input)>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Outside,
    Inside,
}

impl Mailbox {
    /// Hands over an input from outside, unless too many wait already.
    pub(super) fn offer(&self, input: Input) -> Result<(), Error> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= limits::DRIVER_QUEUE_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::TooManyRequests);
        }
        self.inputs.send((Origin::Outside, input)).map_err(|_| Error::Stopped)
    }

    /// Hands over an input that must not get lost.
    pub(super) fn post(&self, input: Input) {
        // The driver may have ended first; then nothing matters any more.
        let _ = self.inputs.send((Origin::Inside, input));
    }
}

/// What a thread does until the member stops.
type Body = Box<dyn FnOnce(&Arc<Shared>) -> Result<(), Fault> + Send>;

/// The threads of a running member.
pub struct Threads {
    threads: Vec<thread::JoinHandle<()>>,
    /// Apart, because a step of it is not waited for.
    compactor: thread::JoinHandle<()>,
    shared: Arc<Shared>,
}

impl Threads {
    /// Waits until all have ended, which they do when the member stops, and brings the state to
    /// disk, so that the next start has nothing to replay.
    ///
    /// # Errors
    ///
    /// The fault that stopped the member, if one did.
    pub fn join(self) -> Result<(), Fault> {
        for thread in self.threads {
            if thread.join().is_err() {
                return Err(Fault::new("a thread of the member panicked"));
            }
        }
        let stop = self.shared.watch_stopped().borrow().clone();
        let result = match stop {
            Some(Stop::Fault(fault)) => Err(fault),
            Some(Stop::Asked | Stop::Removed) | None => self.shared.store.flush(),
        };
        self.shared.store.interrupt();
        if self.compactor.join().is_err() {
            return Err(Fault::new("the compactor panicked"));
        }
        result
    }
}

/// Starts a member on its log and state, which [`super::open`] has fitted to each other.
///
/// # Errors
///
/// A fault, when consensus cannot start on this log.
pub fn start(
    settings: Settings,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    opened: &Opened,
    log: Arc<dyn LogStore>,
    store: Arc<dyn StateStore>,
    peers: Arc<dyn Peers>,
) -> Result<(Handle, Threads), Fault> {
    let shared = Shared::new(settings, metrics, clock, store)?;
    let replica =
        Replica::new(shared.clone(), &opened.log, &opened.voters, opened.applied, log.clone())?
            .with_fencing(&opened.fencing);
    let applier = Applier::new(shared.clone(), opened.applied);

    let (inputs, received) = unbounded();
    let mailbox = Mailbox { inputs, waiting: Arc::default() };
    let (log_tasks, log_received) = unbounded();
    let (apply_tasks, apply_received) = unbounded();
    let (chores, chores_received) = unbounded();
    peers.set_members(&shared.membership());
    let workers = Workers { log_tasks, apply_tasks, chores, peers: peers.clone() };

    let spawn = |name: &str, body: Body| {
        let shared = shared.clone();
        spawn_thread(name, move || {
            if let Err(fault) = body(&shared) {
                shared.stop(Stop::Fault(fault));
            }
        })
    };
    let mut threads = Vec::new();
    let driver = Driver { replica, received, mailbox: mailbox.clone(), workers };
    threads.push(spawn("driver", Box::new(move |shared| driver.run(shared))));
    let (post, send) = (mailbox.clone(), peers.clone());
    let body: Body = Box::new(move |shared| write_log(shared, &*log, &log_received, &post, &*send));
    threads.push(spawn("log", body));
    let post = mailbox.clone();
    threads.push(spawn("apply", Box::new(move |_| apply(applier, &apply_received, &post))));
    let post = mailbox.clone();
    let body: Body = Box::new(move |shared| housekeeper::run(shared, &chores_received, &post));
    threads.push(spawn("keeper", body));
    let compactor = spawn("compactor", Box::new(|shared| compactor::run(shared)));

    let threads = Threads { threads, compactor, shared: shared.clone() };
    Ok((Handle::new(shared, mailbox, peers), threads))
}

/// The member's own threads are started here and nowhere else.
fn spawn_thread(name: &str, body: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new()
        .name(format!("quorate-{name}"))
        .spawn(body)
        .expect("the system has room for the member's five threads")
}

struct Driver {
    replica: Replica,
    received: Receiver<(Origin, Input)>,
    mailbox: Mailbox,
    workers: Workers,
}

/// Who carries out what the replica wants.
struct Workers {
    log_tasks: Sender<LogTask>,
    apply_tasks: Sender<ApplyTask>,
    chores: Sender<Chore>,
    peers: Arc<dyn Peers>,
}

impl Driver {
    fn run(mut self, shared: &Arc<Shared>) -> Result<(), Fault> {
        let tick = shared.settings.heartbeat;
        let mut next_tick = shared.clock.now() + tick;
        let stopped = shared.watch_stopped();
        loop {
            let wait = next_tick.since(shared.clock.now());
            match self.received.recv_timeout(Duration::from_millis(wait.0)) {
                Ok(input) => self.take(shared, input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            for _ in 0..INPUTS_PER_ROUND_MAX {
                let Ok(input) = self.received.try_recv() else { break };
                self.take(shared, input);
            }
            let now = shared.clock.now();
            if now >= next_tick {
                if now.since(next_tick) > tick && shared.leader() == Some(shared.settings.member) {
                    // Two intervals since the last one: others wait for it meanwhile.
                    shared.metrics.figures.late_heartbeats.inc();
                }
                // After a pause of the process one tick passes, not all that were missed: nobody
                // could be heard meanwhile, so they say nothing about the leader.
                self.replica.handle(now, Input::Tick);
                next_tick = now + tick;
            }
            let output = self.replica.finish_round(now);
            self.workers.hand_out(shared, output)?;
            if stopped.borrow().is_some() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, shared: &Shared, (origin, input): (Origin, Input)) {
        if origin == Origin::Outside {
            self.mailbox.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.replica.handle(shared.clock.now(), input);
    }
}

impl Workers {
    fn hand_out(&self, shared: &Shared, output: Output) -> Result<(), Fault> {
        if !output.sends.is_empty() {
            self.peers.send(output.sends);
        }
        for (to, checkpoint, message) in output.snapshots {
            self.peers.send_snapshot(to, checkpoint, message);
        }
        // A worker that is gone has stopped the member, and said why.
        for task in output.log {
            let _ = self.log_tasks.send(task);
        }
        for task in output.apply {
            let _ = self.apply_tasks.send(task);
        }
        for chore in output.chores {
            let _ = self.chores.send(chore);
        }
        for stage in output.dropped_stages {
            shared.store.stage_drop(stage);
        }
        for id in output.released_checkpoints {
            shared.store.checkpoint_release(id);
        }
        if output.members_changed {
            self.peers.set_members(&shared.membership());
        }
        output.fault.map_or(Ok(()), Err)
    }
}

fn write_log(
    shared: &Shared,
    log: &dyn LogStore,
    tasks: &Receiver<LogTask>,
    mailbox: &Mailbox,
    peers: &dyn Peers,
) -> Result<(), Fault> {
    while let Ok(first) = tasks.recv() {
        // Whoever is ready to run goes first: what they bring shares this sync. On an idle machine
        // this returns at once.
        thread::yield_now();
        let mut step = vec![first];
        step.extend(tasks.try_iter().take(LOG_TASKS_PER_STEP_MAX - 1));
        let started = shared.clock.now_micros();
        let done = log_writer::carry_out(log, step)?;
        if done.synced {
            let took = shared.clock.now_micros().saturating_sub(started);
            shared.metrics.wal_fsync_seconds.observe(seconds(took));
            shared.metrics.figures.log_bytes.set(gauge(log.written_bytes()));
        }
        // First the own replica: an answer to what is sent must not overtake the news of the sync.
        done.inputs.into_iter().for_each(|input| mailbox.post(input));
        if !done.sends.is_empty() {
            peers.send(done.sends);
        }
    }
    Ok(())
}

fn apply(
    mut applier: Applier,
    tasks: &Receiver<ApplyTask>,
    mailbox: &Mailbox,
) -> Result<(), Fault> {
    while let Ok(task) = tasks.recv() {
        if let Some(input) = applier.carry_out(task)? {
            mailbox.post(input);
        }
    }
    Ok(())
}
