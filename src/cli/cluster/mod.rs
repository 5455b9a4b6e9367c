//! `quorate cluster`: several members on one machine, for development and first steps.
//!
//! One process starts the members, waits until they serve, prefixes their logs, and stops them when
//! it is told to. The members never outlive it, however it ends: each holds the reading end of a
//! pipe as its standard input and stops when that closes. The same pipe stops them in order, which
//! is why no signal is sent but the last one, SIGKILL.
//!
//! It refuses to start when a port is taken or another supervisor uses the directory. A member that
//! dies is reported and the others go on, since that is what a cluster is for.

use std::{env, future::pending, path::PathBuf, time::Duration};

use clap::Args;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{Error, error::Exit};

mod log;
mod member;
mod plan;
mod ready;

use log::Printer;
use member::{Event, Stop};
use plan::Plan;

/// How long the members may take to serve. Most of it is for reading old state on a slow disk.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a member may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Events come from a few members, a few in their lives.
const EVENTS_MAX: usize = 64;

#[derive(Args, Clone, Debug)]
pub(super) struct ClusterArgs {
    /// How many members: 1 to 5
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5))]
    nodes: u16,
    /// Directory with a directory for each member
    #[arg(long, value_name = "DIR", default_value = "./quorate-data")]
    data_dir: PathBuf,
    /// Client port of the first member; the others follow two by two, with peer ports in between
    /// [default: 2379, 22379, 32379, ...]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_500))]
    client_port_base: Option<u16>,
    /// Start a member again that ended by itself
    #[arg(long)]
    restart: bool,
    /// Time between heartbeats, for all members
    #[arg(long, value_name = "MS")]
    heartbeat_interval: Option<u64>,
    /// Silence of the leader until an election, for all members
    #[arg(long, value_name = "MS")]
    election_timeout: Option<u64>,
    /// What the members log
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs the cluster until a signal comes, or until nothing of it is left.
pub(super) async fn run(args: ClusterArgs, environment: &[(String, String)]) -> Result<(), Error> {
    // Before anything else, so that a signal at any time finds the members stopped.
    let mut signals = Signals::new()?;
    let plan = Plan::new(&args)?;
    let _lock = plan.claim()?;
    let printer = Printer::start(plan.members.iter().map(|member| member.name.clone()).collect());

    let (stop, stopping) = watch::channel(Stop::No);
    let (events, mut happened) = mpsc::channel(EVENTS_MAX);
    let mut members = JoinSet::new();
    for (index, spec) in plan.members.iter().enumerate() {
        let run = member::Run {
            spec: spec.clone(),
            executable: env::current_exe()?,
            forget: settings_of(environment),
            restart: args.restart,
            log: printer.writer(index),
        };
        members.spawn(run.until_stopped(stopping.clone(), events.clone()));
    }
    drop(events);

    let result = supervise(&plan, &printer, &mut signals, &mut happened).await;
    let killed = stop_all(&stop, &mut members, &mut signals, &printer).await;
    printer.finish().await;
    if killed && result.is_ok() {
        return Err(Error::failed("some members did not stop in time and were killed"));
    }
    result
}

/// Variables that would change what a member is told by flags.
fn settings_of(environment: &[(String, String)]) -> Vec<String> {
    let is_setting = |name: &&String| name.starts_with("ETCD_") || name.starts_with("QUORATE_");
    environment.iter().map(|(name, _)| name).filter(is_setting).cloned().collect()
}

/// Watches over the members until it is time to stop.
async fn supervise(
    plan: &Plan,
    printer: &Printer,
    signals: &mut Signals,
    happened: &mut mpsc::Receiver<Event>,
) -> Result<(), Error> {
    let mut running = plan.members.len();
    let mut readiness = Box::pin(timeout(READY_TIMEOUT, ready::wait(&plan.members)));
    let mut ready = false;
    loop {
        tokio::select! {
            () = signals.next() => {
                printer.say("stopping; a second signal kills").await;
                return Ok(());
            }
            event = happened.recv() => match event {
                Some(Event::Ended { name, status, again: Some(delay) }) => {
                    printer.say(&format!("{name} ended: {status}; it starts again in {delay:?}")).await;
                }
                Some(Event::Ended { name, status, again: None }) if !ready => {
                    return Err(Error::failed(format!("{name} ended before the cluster was ready: {status}")));
                }
                Some(Event::Ended { name, status, again: None }) => {
                    running = running.saturating_sub(1);
                    printer.say(&format!("{name} ended: {status}")).await;
                    if running == 0 {
                        return Err(Error::failed("no member is left"));
                    }
                    printer.say(&format!("start it again with:  {}", plan.command_line(&name))).await;
                }
                // All tasks are gone, which happens only after each has reported its end.
                None => return Err(Error::failed("no member is left")),
            },
            outcome = &mut readiness, if !ready => match outcome {
                Ok(leader) => {
                    ready = true;
                    greet(plan, printer, &leader).await;
                }
                Err(_) => return Err(Error::failed(format!("the cluster is not ready after {READY_TIMEOUT:?}"))),
            },
        }
    }
}

/// Says where the cluster is, and what to type first.
async fn greet(plan: &Plan, printer: &Printer, leader: &str) {
    let executable = plan.executable();
    let endpoints = plan.endpoints();
    printer
        .say(&format!(
            "{} members are ready, {leader} leads; ctrl-c stops them",
            plan.members.len()
        ))
        .await;
    for member in &plan.members {
        let line =
            format!("  {}  {}  {}", member.name, member.client_url(), member.data_dir.display());
        printer.say(&line).await;
    }
    let flag = if plan.is_at_default_endpoint() {
        String::new()
    } else {
        format!(" --endpoints {endpoints}")
    };
    printer.say("try in another terminal:").await;
    printer.say(&format!("  {executable} put{flag} hello world")).await;
    printer.say(&format!("  {executable} get{flag} hello")).await;
    printer.say(&format!("  {executable} endpoint status --endpoints {endpoints}")).await;
}

/// Stops what still runs: in order first, by force when it takes too long or a second signal comes.
/// Returns whether force was needed without having been asked for.
async fn stop_all(
    stop: &watch::Sender<Stop>,
    members: &mut JoinSet<()>,
    signals: &mut Signals,
    printer: &Printer,
) -> bool {
    stop.send_replace(Stop::InOrder);
    let mut late = false;
    let deadline = tokio::time::sleep_until(Instant::now() + STOP_TIMEOUT);
    tokio::pin!(deadline);
    loop {
        let by_force = *stop.borrow() == Stop::ByForce;
        tokio::select! {
            joined = members.join_next() => match joined {
                Some(Ok(())) => {}
                Some(Err(error)) => printer.say(&format!("a supervising task failed: {error}")).await,
                None => return late,
            },
            () = &mut deadline, if !by_force => {
                late = true;
                stop.send_replace(Stop::ByForce);
            }
            () = signals.next(), if !by_force => {
                stop.send_replace(Stop::ByForce);
            }
        }
    }
}

/// The signals that mean: stop.
struct Signals {
    all: [Signal; 3],
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let open = |kind| signal(kind).map_err(|error| Error::new(Exit::Io, error));
        let all = [
            open(SignalKind::interrupt())?,
            open(SignalKind::terminate())?,
            // The terminal was closed.
            open(SignalKind::hangup())?,
        ];
        Ok(Self { all })
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.all;
        let received = tokio::select! {
            received = interrupt.recv() => received,
            received = terminate.recv() => received,
            received = hangup.recv() => received,
        };
        if received.is_none() {
            // The runtime is going down and delivers no more signals.
            pending::<()>().await;
        }
    }
}
