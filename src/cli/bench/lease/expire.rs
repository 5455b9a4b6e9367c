//! A crowd of leases that run out at once: how long their keys stay after the last deadline, and
//! what that does to puts beside them.
//!
//! Every lease is renewed once, as fast as the leader answers, and then left alone. The puts go at
//! a fixed rate all the time; those due shortly before the first deadline are held against those
//! due from then on until the last key is gone.

use std::time::Duration;

use clap::Args;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

use super::{
    deletions::{Alive, Deletions, Lateness, keys_left},
    grant::grant_all,
    members::{Members, Through},
    puts::Puts,
    seconds, size,
    stream::{Lease, Sending, renew_once},
};
use crate::cli::{
    Client, Error,
    bench::{
        Meter, callers, channels,
        report::{Detail, Report, Tally},
    },
    duration,
};

const CONNECTIONS: usize = 10;
/// Streams that the leases are renewed on.
const STREAMS: usize = 100;
/// How long the puts go on when all is over, so that the last ones had others behind them.
const PUTS_AFTER: Duration = Duration::from_secs(1);

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct ExpireArgs {
    /// Leases, each with a key
    #[arg(long, value_name = "COUNT", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    leases: u32,
    /// Seconds that a lease lives
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// Renewals on their way on each of a hundred streams
    #[arg(long, value_name = "COUNT", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Puts a second beside it
    #[arg(long, value_name = "PER SECOND", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Time before the first deadline whose puts count as undisturbed; shorter than the leases live
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    before: Duration,
    /// How long after the last deadline the keys may stay
    #[arg(long, value_name = "DURATION", default_value = "300s", value_parser = duration::parse)]
    patience: Duration,
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &ExpireArgs, client: &Client) -> Result<Report, Error> {
    let (ttl_seconds, ttl) = seconds(args.ttl);
    if args.before >= ttl {
        return Err(Error::input("the time before the first deadline is longer than leases live"));
    }
    let members = Members::ask(client).await?;
    let to_leader = channels(&members.through(Through::Leader, client)?, CONNECTIONS).await?;
    let callers = callers(client, CONNECTIONS).await?;
    let watcher = client.connect(0).await?;
    let deletions = Deletions::watch(watcher.clone(), size(args.leases)).await?;

    let meter = Meter::start();
    let count = u64::from(args.leases);
    let ids = grant_all(&callers, count, ttl_seconds, true, client.timeout()).await?;
    let puts = Puts::start(&callers, args.rate, client.timeout());
    let lives = renew_all(&to_leader, size(args.window), &ids).await?;
    let renewed = Renewed::of(&lives).ok_or_else(|| Error::input("there are no leases"))?;
    let (first, last) = (renewed.first + ttl, renewed.last + ttl);

    let gone = deletions.all(last.saturating_duration_since(Instant::now()) + args.patience);
    let gone = gone.await?;
    let end = gone.iter().copied().max().unwrap_or(last).max(last);
    sleep(PUTS_AFTER).await;
    let (latencies, failed_puts) = puts.stop().await?;
    let lateness = Lateness::of(&lives, &gone, ttl);
    let mut tally = Tally { latencies: lateness.late, errors: failed_puts.errors };
    if lateness.early > 0 {
        tally.count_errors("a lease ended early".to_owned(), lateness.early);
    }
    if keys_left(watcher).await? > 0 {
        tally.error("there are keys of leases that are gone");
    }

    let (before, during) =
        (latencies.between(first - args.before, first), latencies.between(first, end));
    let report = meter
        .report("lease expiry", (size(args.leases), callers.len()), end - last, tally)
        .with("leases", Detail::Count(count))
        .with("renewed in", Detail::Latency(renewed.last - renewed.first))
        .with("all gone", Detail::Latency(end - last))
        .with("leader changes", Detail::Count(members.leader_changes(client).await?))
        .with("prompt", Detail::Count(lateness.prompt))
        .with("before puts", Detail::Count(before.count()))
        .with("before p99", Detail::Latency(before.per_mille(990)))
        .with("during puts", Detail::Count(during.count()))
        .with("during p99", Detail::Latency(during.per_mille(990)))
        .with("during max", Detail::Latency(during.max()));
    Ok(report)
}

/// When the first renewal was sent, and the last one answered.
struct Renewed {
    first: Instant,
    last: Instant,
}

impl Renewed {
    fn of(lives: &[Alive]) -> Option<Self> {
        let first = lives.iter().map(|alive| alive.sent).min()?;
        Some(Self { first, last: lives.iter().map(|alive| alive.answered).max()? })
    }
}

/// Renews all leases once, on many streams; returns their lives by number.
async fn renew_all(channels: &[Channel], window: usize, ids: &[i64]) -> Result<Vec<Alive>, Error> {
    let leases: Vec<Lease> = (0..).zip(ids).map(|(number, id)| Lease { number, id: *id }).collect();
    let mut streams = JoinSet::new();
    let shares = leases.chunks(leases.len().div_ceil(STREAMS).max(1));
    for (share, channel) in shares.zip(channels.iter().cycle()) {
        streams.spawn(renew_once(channel.clone(), Sending::together(window), share.to_vec()));
    }
    let mut answers = Vec::with_capacity(leases.len());
    while let Some(joined) = streams.join_next().await {
        answers.extend(joined.map_err(Error::failed)??);
    }
    if answers.iter().any(|answer| !answer.alive) {
        return Err(Error::failed("leases ran out before all of them had been renewed"));
    }
    answers.sort_unstable_by_key(|answer| answer.lease.number);
    let alive = answers.iter().map(|answer| Alive { sent: answer.sent, answered: answer.answered });
    Ok(alive.collect())
}
