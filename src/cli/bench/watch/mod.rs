//! Fan-out: one key is set, many watchers hear of it, and each delivery is an operation.
//!
//! The value carries the time at which its put was due, so a delivery's latency holds all that lies
//! between a writer's wish and a watcher's knowledge. In a closed loop without `--outstanding` puts
//! may run ahead of the watchers; with it, so many puts are on their way to the watchers at most,
//! and the rate is what the store delivers for as long as it is asked to.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::Status;

use super::{
    LoadArgs, Meter,
    call::Caller,
    callers, cpu,
    histogram::Histogram,
    keys::value,
    load::{self, Operation},
    over,
    pace::{Pace, Ticket},
    report::{Detail, Report, Tally},
};
use crate::{
    cli::{Client, Error},
    proto::etcdserverpb::{PutRequest, WatchCreateRequest},
};

pub(super) mod broadcast;
pub(super) mod catch_up;
pub(super) mod hold;
pub(super) mod stream;
mod wire;

use stream::OpenStream;

/// The key that is set and watched.
const KEY: &[u8] = b"bench/watched";
/// A value starts with the time of its put and whether it counts.
const STAMP_BYTES: usize = 9;
/// How long after the last put the deliveries may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How often it is looked whether all is delivered, which is the error of the time that took.
const DRAIN_PAUSE: Duration = Duration::from_millis(1);
/// Writers that share a connection, which no watcher uses.
const WRITERS_PER_CONNECTION: usize = 16;

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct FanOutArgs {
    /// Watchers
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    watchers: u32,
    /// Streams that the watchers are spread over
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Bytes of a value, at least 9
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(9..=16_777_216))]
    value_size: u32,
    /// Puts that not all watchers have heard of, at most, on average over the watchers; 0 for as
    /// many as the clients make
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    outstanding: u32,
    /// Processes of the servers, where they run on this machine: their processor time is reported
    #[arg(long, value_name = "PIDS", value_delimiter = ',')]
    server_pids: Vec<u32>,
}

pub(super) async fn run(
    load: &LoadArgs,
    fan_out: &FanOutArgs,
    client: &Client,
) -> Result<Report, Error> {
    let size = |number: u32| usize::try_from(number).map_err(Error::input);
    let (watchers, streams) =
        (size(fan_out.watchers)?, size(fan_out.streams.min(fan_out.watchers))?);
    let channels = load.channels(streams, client).await?;
    let clients = load.clients(1);
    let writing = callers(client, clients.div_ceil(WRITERS_PER_CONNECTION)).await?;
    let fan = Arc::new(Fan::new(watchers, fan_out.outstanding));
    let mut readers = JoinSet::new();
    let mut counts = Vec::with_capacity(streams);
    for (index, channel) in channels.iter().cycle().take(streams).enumerate() {
        // The first streams take one more each when it does not come out even.
        let share = watchers / streams + usize::from(index < watchers % streams);
        let create = WatchCreateRequest { key: KEY.into(), ..WatchCreateRequest::default() };
        let stream = OpenStream::open(channel.clone(), vec![create; share]).await?;
        let count = Arc::new(Mutex::new(Count::new(share)));
        counts.push(Arc::clone(&count));
        readers.spawn(read(stream, Arc::clone(&fan), count));
    }

    let server_cpu = || fan_out.server_pids.iter().map(|pid| cpu::used_by(*pid)).sum();
    let (meter, server_before): (_, Option<Duration>) = (Meter::start(), server_cpu());
    let pace = Arc::new(Pace::start(load.extent()));
    let filler = value(0, size(fan_out.value_size)?.saturating_sub(STAMP_BYTES));
    let writers = over(clients, &writing, |caller| Writer {
        caller,
        fan: Arc::clone(&fan),
        filler: filler.clone(),
    });
    let mut tally = load::run(Arc::clone(&pace), writers, client.timeout()).await;
    fan.drained().await;
    let elapsed = pace.measured_time();
    let server_used = server_before.and_then(|before| server_cpu()?.checked_sub(before));
    readers.shutdown().await;
    let (puts, delivered) = (fan.puts.load(Ordering::Relaxed), fan.delivered());
    collect(&mut tally, &counts, puts);

    let mut report = meter
        .report("watch delivery", (watchers, channels.len() + writing.len()), elapsed, tally)
        .with("puts", Detail::Count(puts))
        .with("deliveries", Detail::Count(delivered));
    if let Some(used) = server_used.filter(|_| !fan_out.server_pids.is_empty()) {
        report = report.with("server cpu", Detail::Latency(used));
    }
    Ok(report)
}

/// What counts are deliveries; of the puts, only those that failed. Every stream must have got what
/// its watchers were owed.
fn collect(tally: &mut Tally, counts: &[Arc<Mutex<Count>>], puts: u64) {
    let all_acknowledged = tally.failed() == 0;
    tally.latencies = Histogram::new();
    for count in counts {
        let mut count = lock(count);
        let owed = puts.saturating_mul(count.watchers);
        if let Some(failure) = count.failure.take() {
            tally.error(&failure);
        } else if count.events < owed {
            tally.error("deliveries are missing");
        } else if count.events > owed && all_acknowledged {
            tally.error("there are more deliveries than puts");
        }
        tally.latencies.merge(&count.latencies);
    }
}

/// What writers and readers share.
struct Fan {
    epoch: Instant,
    watchers: u64,
    /// Puts acknowledged, of all writers.
    puts: AtomicU64,
    /// Events received, of all watchers.
    delivered: AtomicU64,
    /// The puts that may still begin; none where there is no bound.
    credit: Option<Semaphore>,
}

impl Fan {
    fn new(watchers: usize, outstanding: u32) -> Self {
        let outstanding = usize::try_from(outstanding).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            epoch: Instant::now(),
            watchers: watchers as u64,
            puts: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            credit: (outstanding > 0).then(|| Semaphore::new(outstanding)),
        }
    }

    fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Counts events; as many as there are watchers make room for one more put.
    fn deliver(&self, events: u64) {
        let before = self.delivered.fetch_add(events, Ordering::Relaxed);
        let Some(credit) = &self.credit else { return };
        let puts = (before + events) / self.watchers - before / self.watchers;
        if puts > 0 {
            credit.add_permits(usize::try_from(puts).unwrap_or(Semaphore::MAX_PERMITS));
        }
    }

    /// Waits until all that was put is delivered, or should be.
    async fn drained(&self) {
        let owed = self.puts.load(Ordering::Relaxed).saturating_mul(self.watchers);
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while self.delivered() < owed && Instant::now() < deadline {
            sleep(DRAIN_PAUSE).await;
        }
    }
}

/// Sets the key that is watched.
struct Writer {
    caller: Caller,
    fan: Arc<Fan>,
    filler: Bytes,
}

impl Operation for Writer {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let mut due = ticket.due;
        if let Some(credit) = &self.fan.credit {
            let permit = credit.acquire().await;
            permit.expect("the semaphore is never closed").forget();
            // Waiting for the watchers is no part of a delivery.
            due = Instant::now();
        }
        let nanos = due.saturating_duration_since(self.fan.epoch).as_nanos();
        let mut stamped = Vec::with_capacity(STAMP_BYTES + self.filler.len());
        stamped.extend_from_slice(&u64::try_from(nanos).unwrap_or(u64::MAX).to_be_bytes());
        stamped.push(u8::from(ticket.measured));
        stamped.extend_from_slice(&self.filler);
        let request =
            PutRequest { key: KEY.into(), value: stamped.into(), ..PutRequest::default() };
        self.caller.call(&request, |_| Ok(())).await?;
        self.fan.puts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What has arrived on one stream.
struct Count {
    watchers: u64,
    events: u64,
    latencies: Histogram,
    failure: Option<String>,
}

impl Count {
    fn new(watchers: usize) -> Self {
        Self { watchers: watchers as u64, events: 0, latencies: Histogram::new(), failure: None }
    }
}

/// A count stays readable when whoever held it has panicked: the run has failed anyway.
fn lock(count: &Mutex<Count>) -> MutexGuard<'_, Count> {
    count.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what arrives on one stream until it breaks, or the run is over.
async fn read(mut stream: OpenStream, fan: Arc<Fan>, count: Arc<Mutex<Count>>) {
    let mut stamps = Stamps::default();
    loop {
        let received = stream.receive(|value| stamps.see(value)).await;
        let now = Instant::now();
        let mut count = lock(&count);
        for (stamp, events) in stamps.seen.drain(..) {
            let [time @ .., measured] = stamp;
            if measured != 0 {
                let due = fan.epoch + Duration::from_nanos(u64::from_be_bytes(time));
                count.latencies.record_many(now.saturating_duration_since(due), events);
            }
        }
        match received {
            Ok(received) => {
                count.events += received.events;
                fan.deliver(received.events);
            }
            Err(failure) => {
                count.failure = Some(failure.to_string());
                return;
            }
        }
    }
}

/// The stamps of a chunk, those alike in a row counted together.
#[derive(Default)]
struct Stamps {
    seen: Vec<([u8; STAMP_BYTES], u64)>,
}

impl Stamps {
    fn see(&mut self, value: &[u8]) {
        let Some(stamp) = value.first_chunk::<STAMP_BYTES>() else { return };
        match self.seen.last_mut() {
            Some((last, events)) if last == stamp => *events += 1,
            Some(_) | None => self.seen.push((*stamp, 1)),
        }
    }
}
