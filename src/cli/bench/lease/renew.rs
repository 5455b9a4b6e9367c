//! Renewals as fast as they are answered: each stream carries its share of the leases, and has so
//! many requests on their way.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use clap::Args;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::transport::Channel;

use super::{
    LoadArgs,
    grant::grant_all,
    members::{Members, Through},
    seconds, size,
    stream::{Answer, KeepAlive, Lease, Sending},
};
use crate::cli::{
    Client, Error,
    bench::{
        Meter, cpu,
        pace::Extent,
        report::{Detail, Report, Tally},
    },
};

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct RenewArgs {
    /// Leases, spread over the streams, of which each client has one
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    leases: u32,
    /// Renewals on their way on each stream
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    window: u32,
    /// Send each request in a frame of its own, instead of one for all that are sent at once
    #[arg(long)]
    apart: bool,
    /// Seconds that a lease lives
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    ttl: u32,
    /// Which members the renewals are sent to
    #[arg(long, value_name = "MEMBERS", value_enum, default_value_t = Through::Any)]
    through: Through,
    /// Processes of the servers, where they run on this machine: their processor time is reported
    #[arg(long, value_name = "PIDS", value_delimiter = ',')]
    server_pids: Vec<u32>,
}

pub(super) async fn run(
    load: &LoadArgs,
    args: &RenewArgs,
    client: &Client,
) -> Result<Report, Error> {
    if load.rate > 0 {
        return Err(Error::input("renewals are sent as they are answered, not at a rate"));
    }
    let members = Members::ask(client).await?;
    let client = &members.through(args.through, client)?;
    let streams = load.clients(100).min(size(args.leases));
    let channels = load.channels(streams, client).await?;
    let (ttl, _) = seconds(args.ttl);
    let callers = load.callers(streams, client).await?;
    let ids = grant_all(&callers, u64::from(args.leases), ttl, false, client.timeout()).await?;

    let server_cpu = || args.server_pids.iter().map(|pid| cpu::used_by(*pid)).sum();
    let (meter, server_before): (_, Option<Duration>) = (Meter::start(), server_cpu());
    let shared = Arc::new(Shared::start(load.extent()));
    let sending = Sending { window: size(args.window), apart: args.apart };
    let mut lanes = JoinSet::new();
    for (leases, channel) in shares(&ids, streams).into_iter().zip(channels.iter().cycle()) {
        let lane = Lane { leases, shared: Arc::clone(&shared), limit: client.timeout() };
        lanes.spawn(lane.run(channel.clone(), sending));
    }
    let mut tally = Tally::new();
    while let Some(joined) = lanes.join_next().await {
        tally.merge(joined.map_err(Error::failed)?);
    }
    let elapsed = shared.elapsed();
    let server_used = server_before.and_then(|before| server_cpu()?.checked_sub(before));

    let answered = shared.answered.load(Ordering::Relaxed);
    let report = meter
        .report("lease renewal", (streams, channels.len()), elapsed, tally)
        .with("leases", Detail::Count(u64::from(args.leases)))
        .with("window", Detail::Count(u64::from(args.window)))
        .with("answers", Detail::Count(answered));
    Ok(match server_used.filter(|_| !args.server_pids.is_empty()) {
        Some(used) => report.with("server cpu", Detail::Latency(used)),
        None => report,
    })
}

/// The leases of each stream, dealt out in turn.
fn shares(ids: &[i64], streams: usize) -> Vec<VecDeque<Lease>> {
    let mut shares = vec![VecDeque::new(); streams];
    for (lane, (number, id)) in (0..streams).cycle().zip((0..).zip(ids)) {
        let share = shares.get_mut(lane).expect("there is a share for each stream");
        share.push_back(Lease { number, id: *id });
    }
    shares
}

/// How long the renewals go on, and how many there were.
struct Shared {
    /// Answers count from here on.
    measured_from: Instant,
    /// None where a total ends the run.
    end: Option<Instant>,
    /// Renewals that may still be begun.
    left: AtomicU64,
    /// Answers, those that do not count with them.
    answered: AtomicU64,
}

impl Shared {
    fn start(extent: Extent) -> Self {
        let measured_from = Instant::now() + extent.warm_up;
        Self {
            measured_from,
            end: extent.duration.map(|duration| measured_from + duration),
            left: AtomicU64::new(extent.total.unwrap_or(u64::MAX)),
            answered: AtomicU64::new(0),
        }
    }

    /// How many of so many renewals may be begun now.
    fn take(&self, wanted: usize) -> usize {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return 0;
        }
        let wanted = wanted as u64;
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .expect("the closure always gives a number");
        usize::try_from(before.min(wanted)).unwrap_or(usize::MAX)
    }

    /// Whether an answer at this time counts.
    fn measures(&self, now: Instant) -> bool {
        now >= self.measured_from && self.end.is_none_or(|end| now < end)
    }

    /// The time that counts, up to now.
    fn elapsed(&self) -> Duration {
        let now = Instant::now();
        self.end.map_or(now, |end| now.min(end)).saturating_duration_since(self.measured_from)
    }
}

/// One stream.
struct Lane {
    leases: VecDeque<Lease>,
    shared: Arc<Shared>,
    limit: Duration,
}

impl Lane {
    async fn run(mut self, channel: Channel, sending: Sending) -> Tally {
        let mut tally = Tally::new();
        if let Err(failure) = self.renew(channel, sending, &mut tally).await {
            tally.error(&failure.to_string());
        }
        tally
    }

    async fn renew(
        &mut self,
        channel: Channel,
        sending: Sending,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        if self.shared.take(1) == 0 {
            return Ok(());
        }
        let first = self.next();
        let mut stream = KeepAlive::open(channel, sending, first).await?;
        loop {
            let taken = self.shared.take(stream.room());
            let next: Vec<Lease> = (0..taken).map(|_| self.next()).collect();
            stream.renew(next.into_iter()).await?;
            if stream.outstanding() == 0 {
                return Ok(());
            }
            let received = stream.receive(|answer| self.shared.count(answer, tally));
            let late = |_| Error::failed("no answer in time");
            timeout(self.limit, received).await.map_err(late)??;
        }
    }

    /// The lease whose turn it is.
    fn next(&mut self) -> Lease {
        self.leases.rotate_left(1);
        *self.leases.back().expect("there are no more streams than leases")
    }
}

impl Shared {
    fn count(&self, answer: Answer, tally: &mut Tally) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if !answer.alive {
            tally.error("a lease has run out");
        } else if self.measures(answer.answered) {
            tally.latencies.record(answer.answered.saturating_duration_since(answer.sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every lease is on one stream, and no stream has two more than another.
    #[test]
    fn leases_are_dealt_out() {
        let shares = shares(&[10, 11, 12, 13, 14], 2);

        let ids = |share: &VecDeque<Lease>| share.iter().map(|lease| lease.id).collect::<Vec<_>>();
        assert_eq!(shares.iter().map(ids).collect::<Vec<_>>(), [vec![10, 12, 14], vec![11, 13]]);
    }

    /// No more renewals are begun than were asked for, and none after the end.
    #[test]
    fn extents_are_kept() {
        let extent = |total, duration| Extent { total, duration, warm_up: Duration::ZERO, rate: 0 };
        let total = Shared::start(extent(Some(5), None));
        let over = Shared::start(extent(None, Some(Duration::ZERO)));

        assert_eq!([3, 3, 3].map(|wanted| total.take(wanted)), [3, 2, 0]);
        assert_eq!(over.take(1), 0);
    }

    /// Answers while warming up do not count.
    #[test]
    fn warming_up_does_not_count() {
        let warm_up = Duration::from_secs(3600);
        let extent =
            Extent { total: None, duration: Some(Duration::from_secs(1)), warm_up, rate: 0 };
        let shared = Shared::start(extent);

        let counts = |after| shared.measures(shared.measured_from + after);
        assert!(!shared.measures(Instant::now()));
        assert!(counts(Duration::ZERO) && !counts(Duration::from_secs(1)));
    }
}
