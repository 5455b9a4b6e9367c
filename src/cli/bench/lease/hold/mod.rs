//! Many leases, each renewed now and then, as a registry has them: whether all of them live on, and
//! what they cost the members in memory and processor time.
//!
//! Each stream keeps its share alive and starts with a lease as soon as it is granted. The renewals
//! are spread evenly over time, however fast the grants were.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::{Status, transport::Channel};

use super::{
    all_of,
    grant::Grant,
    members::{Members, Through},
    seconds, size,
};
use crate::{
    cli::{
        Client, Error,
        bench::{
            Meter,
            call::Caller,
            callers, channels,
            load::{self, Operation},
            over,
            pace::Ticket,
            registry,
            report::{Detail, Report, Tally},
        },
        client::RESPONSE_BYTES_MAX,
        duration,
    },
    proto::etcdserverpb::{LeaseLeasesRequest, lease_client::LeaseClient},
};

mod lane;
mod usage;

use lane::Lane;
use usage::Usage;

/// Clients that grant.
const GRANT_CLIENTS: usize = 512;
/// Granted leases that a stream has not taken up yet.
const GRANTED_MAX: usize = 1024;

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct HoldArgs {
    /// Leases
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    leases: u32,
    /// Seconds that a lease lives
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// Time between two renewals of a lease
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    every: Duration,
    /// Time to hold all leases
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    duration: Duration,
    /// Streams that the leases are spread over
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Connections that the streams share
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// With an instance registered on each, of so many services; 0 for leases without
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    services: u32,
    /// Renewals on their way on each stream, at most
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Which members the renewals are sent to
    #[arg(long, value_name = "MEMBERS", value_enum, default_value_t = Through::Any)]
    through: Through,
    /// Processes of the members, in the order of their endpoints, where they run on this machine:
    /// what they use is reported
    #[arg(long, value_name = "PIDS", value_delimiter = ',')]
    server_pids: Vec<u32>,
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &HoldArgs, client: &Client) -> Result<Report, Error> {
    let members = Members::ask(client).await?;
    let channels =
        channels(&members.through(args.through, client)?, size(args.connections)).await?;
    let lister = members.through(Through::Leader, client)?.connect(0).await?;
    let listed_before = list(lister.clone()).await?;
    let usage = || Usage::of(&args.server_pids, members.leader);

    let idle = usage();
    let shared = Arc::new(Shared::default());
    let (senders, mut lanes) = open(args, &channels, &shared, client.timeout());
    let granting = Instant::now();
    grant(args, client, senders).await?;
    let granted_in = granting.elapsed();

    let (meter, granted) = (Meter::start(), usage());
    shared.holding.store(true, Ordering::Relaxed);
    sleep(args.duration).await;
    shared.holding.store(false, Ordering::Relaxed);
    let (elapsed, held) = (meter.start.elapsed(), usage());
    let listed = list(lister.clone()).await?.saturating_sub(listed_before);
    let registered = if args.services > 0 { registry::count(lister).await? } else { 0 };
    shared.over.store(true, Ordering::Relaxed);

    let mut tally = Tally::new();
    while let Some(joined) = lanes.join_next().await {
        tally.merge(joined.map_err(Error::failed)?);
    }
    let leases = u64::from(args.leases);
    if listed != leases {
        tally.error(&format!("the leader lists {listed} leases and not {leases}"));
    }
    if args.services > 0 && registered != leases {
        tally.error(&format!("{registered} instances are registered and not {leases}"));
    }
    let report = meter
        .report("lease hold", (size(args.streams), channels.len()), elapsed, tally)
        .with("leases", Detail::Count(leases))
        .with("listed", Detail::Count(listed))
        .with("registered", Detail::Count(registered))
        .with("granted in", Detail::Latency(granted_in))
        .with("latest", Detail::Latency(shared.latest()))
        .with("leader changes", Detail::Count(members.leader_changes(client).await?));
    Ok(usage::add(report, [idle, granted, held]))
}

/// What all streams share.
#[derive(Default)]
struct Shared {
    /// Answers count while this is so.
    holding: AtomicBool,
    /// Nothing is renewed any more.
    over: AtomicBool,
    /// The longest that a renewal was sent after it was due, in nanoseconds.
    latest: AtomicU64,
}

impl Shared {
    fn sent_late(&self, by: Duration) {
        self.latest.fetch_max(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn latest(&self) -> Duration {
        Duration::from_nanos(self.latest.load(Ordering::Relaxed))
    }
}

/// Starts the streams; each takes leases from its sender.
fn open(
    args: &HoldArgs,
    channels: &[Channel],
    shared: &Arc<Shared>,
    limit: Duration,
) -> (Vec<mpsc::Sender<i64>>, JoinSet<Tally>) {
    let (mut senders, mut lanes) = (Vec::new(), JoinSet::new());
    for (channel, _) in channels.iter().cycle().zip(0..args.streams.min(args.leases)) {
        let (sender, granted) = mpsc::channel(GRANTED_MAX);
        senders.push(sender);
        let lane = Lane::new(args.every, size(args.window), limit, Arc::clone(shared));
        lanes.spawn(lane.run(channel.clone(), granted));
    }
    (senders, lanes)
}

/// Grants all leases, and hands them to the streams in turn.
async fn grant(
    args: &HoldArgs,
    client: &Client,
    senders: Vec<mpsc::Sender<i64>>,
) -> Result<(), Error> {
    let (ttl, _) = seconds(args.ttl);
    let senders: Arc<[_]> = senders.into();
    // Connections of their own, or a stream that waits for its turn would wait behind them.
    let callers = callers(client, size(args.connections)).await?;
    let clients = over(GRANT_CLIENTS.min(size(args.leases)), &callers, |caller| Granter {
        caller: caller.clone(),
        grant: Grant::new(caller, ttl),
        services: u64::from(args.services),
        ttl,
        senders: Arc::clone(&senders),
    });
    let total = Arc::new(all_of(u64::from(args.leases)));
    let tally = load::run(total, clients, client.timeout()).await;
    match tally.errors.first_key_value() {
        None => Ok(()),
        Some((message, count)) => {
            Err(Error::failed(format!("{count} leases were not granted: {message}")))
        }
    }
}

struct Granter {
    caller: Caller,
    grant: Grant,
    services: u64,
    ttl: i64,
    senders: Arc<[mpsc::Sender<i64>]>,
}

impl Operation for Granter {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let id = match ticket.number.checked_rem(self.services) {
            None => self.grant.next().await?,
            Some(service) => {
                let service = format!("service-{service:06}");
                registry::register(&mut self.caller, &service, ticket.number, self.ttl).await?
            }
        };
        let place = usize::try_from(ticket.number).unwrap_or(usize::MAX) % self.senders.len();
        let sender = self.senders.get(place).expect("a remainder is smaller than the count");
        sender.send(id).await.map_err(|_| Status::unavailable("a keep-alive stream has ended"))
    }
}

/// How many leases this member knows.
async fn list(channel: Channel) -> Result<u64, Error> {
    let mut leases = LeaseClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
    let listed = leases.lease_leases(LeaseLeasesRequest {}).await?.into_inner().leases;
    u64::try_from(listed.len()).map_err(Error::failed)
}
