//! `quorate bench`: the one load generator, for this store and for any other that speaks the API.
//!
//! A closed loop (no `--rate`) finds out how much a cluster takes; an open loop at a fixed rate
//! finds out how long requests take, counted from when they were meant to start. Each client is a
//! task with at most one call under way, and counts for itself; the counts meet at the end.
//!
//! Reported beside rate and latencies is the processor time of the generator itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use tonic::transport::Channel;

use super::{Client, Error, Output, duration};

mod call;
mod compact;
mod cpu;
mod failover;
mod fill;
mod grpc;
mod histogram;
mod keys;
mod lease;
mod line;
mod list;
mod load;
mod memory;
mod pace;
mod page;
mod ready;
mod registry;
mod report;
mod watch;
mod wire;

use call::Caller;
use keys::{KeyArgs, Keys};
use lease::LeaseCommand;
use load::{Get, Mixed, Put};
use pace::{Extent, Pace};
use registry::RegistryCommand;
use report::{Report, Tally};
use watch::{broadcast, catch_up, hold};

/// How long a run is without `--total` and `--duration`.
const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// So many clients share a connection without `--connections`.
const CLIENTS_PER_CONNECTION: usize = 10;

#[derive(Subcommand, Clone, Debug)]
pub(super) enum BenchCommand {
    /// Set random keys
    Put {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Read random keys
    Get {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        keys: KeyArgs,
        /// Read what the member knows, without asking the others
        #[arg(long)]
        serializable: bool,
        /// Do not set the keys first
        #[arg(long)]
        skip_preload: bool,
    },
    /// Read and set random keys
    Mixed {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        keys: KeyArgs,
        /// Share of reads
        #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
        reads: u8,
        /// Read what the member knows, without asking the others
        #[arg(long)]
        serializable: bool,
        /// Do not set the keys first
        #[arg(long)]
        skip_preload: bool,
    },
    /// Set every key once or more, in transactions of many puts
    Load {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        keys: KeyArgs,
        #[command(flatten)]
        fill: fill::FillArgs,
    },
    /// List all keys with a prefix, again and again
    List {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        list: list::ListArgs,
    },
    /// List all keys page by page at one revision, while others write
    Page {
        #[command(flatten)]
        page: page::PageArgs,
        #[command(flatten)]
        keys: KeyArgs,
    },
    /// Set random keys before and during a compaction of all history
    Compact {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        keys: KeyArgs,
        /// Ask for the compaction as clients do who compact from time to time: it is answered at
        /// once, and storage lets go of the history by itself
        #[arg(long)]
        lazily: bool,
    },
    /// Wait until a linearizable read is served, for as long as the command may take
    Ready {
        /// Report as JSON
        #[arg(long)]
        json: bool,
    },
    /// Set one key that many watch, and measure until each of them has heard
    Watch {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        fan_out: watch::FanOutArgs,
    },
    /// Watch every key of a filled store from its first revision on, until all events have arrived
    CatchUp {
        #[command(flatten)]
        catch_up: catch_up::CatchUpArgs,
    },
    /// Open watchers step by step, and hold them until a line or the end of input
    Hold {
        #[command(flatten)]
        hold: hold::HoldArgs,
    },
    /// Serve watches and puts without a store, to be compared with
    #[command(hide = true)]
    Broadcast {
        /// Address to listen on
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:2379")]
        listen: SocketAddr,
    },
    /// Strike the leader again and again, and measure how long no put is acknowledged
    Failover {
        #[command(flatten)]
        failover: failover::FailoverArgs,
    },
    /// Grant, renew and hold leases, and let them run out
    Lease {
        #[command(subcommand)]
        command: LeaseCommand,
    },
    /// Resolve and follow registered services
    Registry {
        #[command(subcommand)]
        command: RegistryCommand,
    },
}

/// The arguments of every benchmark.
#[derive(Args, Clone, Debug)]
pub(super) struct LoadArgs {
    /// Clients, each with one call at a time [default: 100; watch: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: Option<u32>,
    /// Connections that the clients share, spread over the endpoints [default: one for ten clients]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: Option<u32>,
    /// Operations to do
    #[arg(long, value_name = "COUNT")]
    total: Option<u64>,
    /// Time to take, if it is not the total that ends the run [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    duration: Option<Duration>,
    /// Time before that, which does not count
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    warm_up: Option<Duration>,
    /// Operations a second, started when they are due; 0 for as many as the clients manage
    #[arg(long, value_name = "PER SECOND", default_value_t = 0)]
    rate: u64,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl LoadArgs {
    fn clients(&self, default: u32) -> usize {
        usize::try_from(self.clients.unwrap_or(default)).unwrap_or(usize::MAX)
    }

    fn extent(&self) -> Extent {
        let open_ended = self.total.is_none() && self.duration.is_none();
        Extent {
            total: self.total,
            duration: self.duration.or(open_ended.then_some(DEFAULT_DURATION)),
            warm_up: self.warm_up.unwrap_or_default(),
            rate: self.rate,
        }
    }

    /// How many connections these clients share.
    fn connections(&self, clients: usize, client: &Client) -> usize {
        let shared =
            clients.div_ceil(CLIENTS_PER_CONNECTION).max(client.endpoints().len().min(clients));
        self.connections.and_then(|count| usize::try_from(count).ok()).unwrap_or(shared)
    }

    /// Opens the connections, spread over the endpoints.
    async fn callers(&self, clients: usize, client: &Client) -> Result<Vec<Caller>, Error> {
        callers(client, self.connections(clients, client)).await
    }

    /// The same for streams.
    async fn channels(&self, clients: usize, client: &Client) -> Result<Vec<Channel>, Error> {
        channels(client, self.connections(clients, client)).await
    }
}

/// Opens so many connections for calls, spread over the endpoints.
async fn callers(client: &Client, count: usize) -> Result<Vec<Caller>, Error> {
    let mut callers = Vec::with_capacity(count);
    for index in 0..count {
        callers.push(Caller::connect(client, index).await?);
    }
    Ok(callers)
}

/// The same for streams.
async fn channels(client: &Client, count: usize) -> Result<Vec<Channel>, Error> {
    let mut channels = Vec::with_capacity(count);
    for index in 0..count {
        channels.push(client.connect(index).await?);
    }
    Ok(channels)
}

/// Runs a benchmark on all processors, and reports.
pub(super) fn run(
    command: &BenchCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(perform(command, client, output))?;
    let Some(report) = report else { return Ok(()) };
    if command.json() {
        output.line(report.json())?;
    } else {
        output.text(report.text().as_bytes())?;
    }
    if report.tally.latencies.count() == 0 && report.tally.failed() > 0 {
        return Err(Error::failed("every operation failed"));
    }
    Ok(())
}

impl BenchCommand {
    fn json(&self) -> bool {
        match self {
            Self::Put { load, .. }
            | Self::Get { load, .. }
            | Self::Mixed { load, .. }
            | Self::Load { load, .. }
            | Self::List { load, .. }
            | Self::Compact { load, .. }
            | Self::Watch { load, .. } => load.json,
            Self::Lease { command } => command.json(),
            Self::Registry { command } => command.json(),
            Self::Failover { failover } => failover.json,
            Self::Page { page, .. } => page.json,
            Self::CatchUp { catch_up } => catch_up.json,
            Self::Ready { json } => *json,
            Self::Hold { .. } | Self::Broadcast { .. } => false,
        }
    }
}

/// Does what the command says; where something is measured, the report comes out.
async fn perform(
    command: &BenchCommand,
    client: &Client,
    output: &mut Output,
) -> Result<Option<Report>, Error> {
    let report = match command {
        BenchCommand::Put { load, keys } => put(load, keys, client).await,
        BenchCommand::Get { load, keys, serializable, skip_preload } => {
            let reads = Reads { percent: 100, serializable: *serializable, preload: !skip_preload };
            read(load, keys, reads, client).await
        }
        BenchCommand::Mixed { load, keys, reads, serializable, skip_preload } => {
            let reads =
                Reads { percent: *reads, serializable: *serializable, preload: !skip_preload };
            read(load, keys, reads, client).await
        }
        BenchCommand::Load { load, keys, fill } => fill::run(load, keys, fill, client).await,
        BenchCommand::List { load, list } => list::run(load, list, client).await,
        BenchCommand::Page { page, keys } => page::run(page, keys, client).await,
        BenchCommand::Compact { load, keys, lazily } => {
            compact::run(load, keys, !lazily, client).await
        }
        BenchCommand::Ready { .. } => ready::run(client).await,
        BenchCommand::Watch { load, fan_out } => watch::run(load, fan_out, client).await,
        BenchCommand::CatchUp { catch_up } => catch_up::run(catch_up, client).await,
        BenchCommand::Lease { command } => lease::run(command, client).await,
        BenchCommand::Registry { command } => registry::run(command, client).await,
        BenchCommand::Failover { failover } => failover::run(failover, client, output).await,
        BenchCommand::Hold { hold } => {
            return hold::run(hold, client, output).await.map(|()| None);
        }
        BenchCommand::Broadcast { listen } => {
            return broadcast::serve(*listen).await.map(|()| None);
        }
    };
    report.map(Some)
}

async fn put(load: &LoadArgs, keys: &KeyArgs, client: &Client) -> Result<Report, Error> {
    let keys = Arc::new(Keys::new(keys)?);
    let clients = load.clients(100);
    let callers = load.callers(clients, client).await?;
    let operations = over(clients, &callers, |caller| Put::random(caller, &keys));
    measure("put", load, callers.len(), client, operations).await
}

/// What share of the operations reads, and how.
#[derive(Clone, Copy)]
struct Reads {
    percent: u8,
    serializable: bool,
    preload: bool,
}

async fn read(
    load: &LoadArgs,
    keys: &KeyArgs,
    reads: Reads,
    client: &Client,
) -> Result<Report, Error> {
    let keys = Arc::new(Keys::new(keys)?);
    let clients = load.clients(100);
    let callers = load.callers(clients, client).await?;
    if reads.preload {
        preload(clients, &callers, &keys, client).await?;
    }
    let name = match (reads.percent, reads.serializable) {
        (100, false) => "get, linearizable",
        (100, true) => "get, serializable",
        (_, false) => "mixed, linearizable",
        (_, true) => "mixed, serializable",
    };
    let operations = over(clients, &callers, |caller| Mixed {
        get: Get::random(caller.clone(), &keys, reads.serializable),
        put: Put::random(caller, &keys),
        reads: u64::from(reads.percent),
    });
    measure(name, load, callers.len(), client, operations).await
}

/// Sets every key once, so that reads find something.
async fn preload(
    clients: usize,
    callers: &[Caller],
    keys: &Arc<Keys>,
    client: &Client,
) -> Result<(), Error> {
    let all =
        Extent { total: Some(keys.count()), duration: None, warm_up: Duration::ZERO, rate: 0 };
    let pace = Arc::new(Pace::start(all));
    let operations = over(clients, callers, |caller| Put::in_order(caller, keys));
    let tally = load::run(pace, operations, client.timeout()).await;
    match tally.errors.first_key_value() {
        None => Ok(()),
        Some((message, _)) => Err(Error::failed(format!("setting the keys failed: {message}"))),
    }
}

/// An operation for each client, each on its share of the connections.
fn over<C: Clone, T>(clients: usize, connections: &[C], operation: impl Fn(C) -> T) -> Vec<T> {
    connections.iter().cycle().take(clients).map(|one| operation(one.clone())).collect()
}

/// Lets the clients run, and sums up.
async fn measure<T: load::Operation>(
    operation: &'static str,
    load: &LoadArgs,
    connections: usize,
    client: &Client,
    operations: Vec<T>,
) -> Result<Report, Error> {
    let clients = operations.len();
    let meter = Meter::start();
    let pace = Arc::new(Pace::start(load.extent()));
    let tally = load::run(Arc::clone(&pace), operations, client.timeout()).await;
    Ok(meter.report(operation, (clients, connections), pace.measured_time(), tally))
}

/// Measures what the run costs this process.
struct Meter {
    start: tokio::time::Instant,
    cpu: Option<Duration>,
}

impl Meter {
    fn start() -> Self {
        Self { start: tokio::time::Instant::now(), cpu: cpu::used() }
    }

    fn report(
        &self,
        operation: &'static str,
        (clients, connections): (usize, usize),
        elapsed: Duration,
        tally: Tally,
    ) -> Report {
        let cpu = self.cpu.and_then(|before| cpu::used()?.checked_sub(before));
        Report {
            operation,
            clients,
            connections,
            elapsed,
            tally,
            cpu,
            cpu_elapsed: self.start.elapsed(),
            details: Vec::new(),
        }
    }
}
