//! How late the keys of leases go that run out one by one.
//!
//! Leases are granted at a steady pace, each gets a key, and every second one is renewed once; then
//! they are left alone, so that their deadlines lie as far apart as their grants did.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::Args;
use tokio::time::Instant;
use tonic::{Status, transport::Channel};

use super::{
    deletions::{Alive, Deletions, Lateness},
    grant::Grant,
    members::Members,
    seconds, size,
    stream::{Lease, Sending, renew_once},
};
use crate::cli::{
    Client, Error,
    bench::{
        Meter, callers, channels,
        load::{self, Operation},
        over,
        pace::{Extent, Pace, Ticket},
        report::{Detail, Report, Tally},
    },
    duration,
};

const CLIENTS: usize = 100;
const CONNECTIONS: usize = 10;

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct LagArgs {
    /// Leases, each with a key
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    leases: u32,
    /// Seconds that a lease lives
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// Time that the grants, and so the deadlines, are spread over
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration::parse)]
    over: Duration,
    /// How long after the last deadline a key may stay
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration::parse)]
    patience: Duration,
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &LagArgs, client: &Client) -> Result<Report, Error> {
    let (ttl_seconds, ttl) = seconds(args.ttl);
    let total = u64::from(args.leases);
    let millis = u64::try_from(args.over.as_millis()).map_err(Error::input)?.max(1);
    let rate = (total * 1000).div_ceil(millis);
    let members = Members::ask(client).await?;
    let (callers, channels) =
        (callers(client, CONNECTIONS).await?, channels(client, CONNECTIONS).await?);
    let deletions = Deletions::watch(client.connect(0).await?, size(args.leases)).await?;

    let meter = Meter::start();
    let start = Instant::now();
    let extent = Extent { total: Some(total), duration: None, warm_up: Duration::ZERO, rate };
    let lives = Arc::new(Mutex::new(vec![None; size(args.leases)]));
    let connections: Vec<_> = callers.into_iter().zip(channels).collect();
    let clients = over(CLIENTS.min(size(args.leases)), &connections, |(caller, channel)| Leave {
        grant: Grant::new(caller, ttl_seconds),
        channel,
        lives: Arc::clone(&lives),
    });
    let granted = load::run(Arc::new(Pace::start(extent)), clients, client.timeout()).await;
    if let Some((message, count)) = granted.errors.first_key_value() {
        return Err(Error::failed(format!("{count} leases were not left with a key: {message}")));
    }
    let gone = deletions.all(ttl + args.patience).await?;
    let elapsed = start.elapsed();

    let lives = std::mem::take(&mut *lives.lock().unwrap_or_else(PoisonError::into_inner));
    let lives: Vec<Alive> = lives.into_iter().flatten().collect();
    let lateness = Lateness::of(&lives, &gone, ttl);
    let mut tally = Tally { latencies: lateness.late, ..Tally::new() };
    if lateness.early > 0 {
        tally.count_errors("a lease ended early".to_owned(), lateness.early);
    }
    Ok(meter
        .report("lease lag", (size(args.leases), 2 * CONNECTIONS), elapsed, tally)
        .with("leases", Detail::Count(total))
        .with("early", Detail::Count(lateness.early))
        .with("prompt", Detail::Count(lateness.prompt))
        .with("leader changes", Detail::Count(members.leader_changes(client).await?)))
}

/// Grants a lease with a key, renews it perhaps, and leaves it.
struct Leave {
    grant: Grant,
    channel: Channel,
    lives: Arc<Mutex<Vec<Option<Alive>>>>,
}

impl Operation for Leave {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let number = ticket.number;
        let sent = Instant::now();
        let id = self.grant.next().await?;
        let mut alive = Alive { sent, answered: Instant::now() };
        self.grant.put_key(number, id).await?;
        if number % 2 == 1 {
            alive = self.renew(Lease { number, id }).await?;
        }
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let mut lives = self.lives.lock().unwrap_or_else(PoisonError::into_inner);
        *lives.get_mut(place).expect("tickets are numbered from 0 to the total") = Some(alive);
        Ok(())
    }
}

impl Leave {
    async fn renew(&self, lease: Lease) -> Result<Alive, Status> {
        let renewed = renew_once(self.channel.clone(), Sending::together(1), vec![lease]).await;
        let answers = renewed.map_err(|error| Status::unavailable(error.to_string()))?;
        match answers.first() {
            Some(answer) if answer.alive => {
                Ok(Alive { sent: answer.sent, answered: answer.answered })
            }
            Some(_) | None => Err(Status::not_found("a lease has run out")),
        }
    }
}
