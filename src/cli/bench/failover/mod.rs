//! What clients notice when the leader goes: killed, stopped, paused, or asked to hand over.
//!
//! Puts are begun at a fixed rate on all members in turn, whatever became of those before, and each
//! goes on to the next member when one says that it is unavailable. In each round the leader is
//! struck, and the gap is the longest time without an acknowledged put, from the last one before the
//! strike until a while after somebody else leads. Processes are somebody else's: which member is to
//! be struck, and to be repaired afterwards, is said in a line, and a line is waited for.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    time::{Instant, sleep},
};

use super::{
    Meter,
    histogram::Histogram,
    report::{Detail, Report, Tally},
};
use crate::cli::{Client, Error, Output, duration};

mod journal;
mod members;
mod writers;

use members::{Led, Members};
use writers::Writers;

/// Rounds begin at different times within a heartbeat: so much later each.
const SHIFT_STEP: u32 = 37;
/// A heartbeat, in the same milliseconds.
const SHIFTS: u32 = 100;

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct FailoverArgs {
    /// What happens to the leader
    #[arg(long, value_name = "WHAT", value_enum)]
    strike: Strike,
    /// How often
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Puts a second, over all members
    #[arg(long, value_name = "PER SECOND", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Connections to each member
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Rest before each round, once all members know the leader
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    rest: Duration,
    /// How long gaps are looked for once somebody else leads
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration::parse)]
    after: Duration,
    /// Report as JSON, each round on a line of its own
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    /// It is killed with SIGKILL, and started again
    Kill,
    /// It is stopped with SIGTERM, and started again
    Terminate,
    /// It is paused with SIGSTOP, and goes on with SIGCONT
    Pause,
    /// It is asked to hand over, and goes on
    Move,
    /// Nothing: what gaps there are anyway
    Nothing,
}

impl Strike {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Pause => "pause",
            Self::Move => "move",
            Self::Nothing => "nothing",
        }
    }
}

/// What a round has shown.
struct Round {
    /// The longest time without an acknowledged put.
    gap: Duration,
    /// From the strike until a member said that somebody else leads.
    known: Duration,
    /// The put that took longest, from when it was due.
    slowest: Duration,
}

pub(super) async fn run(
    args: &FailoverArgs,
    client: &Client,
    output: &mut Output,
) -> Result<Report, Error> {
    let members = Members::of(client, args.connections).await?;
    if members.count() == 1 && args.strike == Strike::Move {
        return Err(Error::input("a single member has nobody to hand over to"));
    }
    let meter = Meter::start();
    let start = Instant::now();
    let writers = Writers::start(members.callers().to_vec(), args.rate);
    let mut others = Others { output, input: BufReader::new(stdin()).lines(), json: args.json };
    let mut tally = Tally::new();
    let (mut known, mut slowest) = (Histogram::new(), Histogram::new());
    for number in 1..=args.rounds {
        members.agree(client.timeout()).await?;
        let shift = u64::from(number.wrapping_mul(SHIFT_STEP) % SHIFTS);
        sleep(args.rest + Duration::from_millis(shift)).await;
        let round = one_round(args, &members, &writers, &mut others, client.timeout()).await?;
        tally.latencies.record(round.gap);
        known.record(round.known);
        slowest.record(round.slowest);
        others.tell(number, &round)?;
    }
    let (failures, refused) = writers.stop();
    for (message, count) in failures {
        tally.count_errors(message, count);
    }
    let clients = members.count() * usize::try_from(args.connections).map_err(Error::input)?;
    Ok(meter
        .report(args.strike.name(), (clients, clients), start.elapsed(), tally)
        .with("leader known p50", Detail::Latency(known.per_mille(500)))
        .with("leader known p99", Detail::Latency(known.per_mille(990)))
        .with("leader known max", Detail::Latency(known.max()))
        .with("slowest put p50", Detail::Latency(slowest.per_mille(500)))
        .with("slowest put max", Detail::Latency(slowest.max()))
        .with("put elsewhere", Detail::Count(refused)))
}

/// Strikes the leader, waits for the next one, and has the damage repaired.
async fn one_round(
    args: &FailoverArgs,
    members: &Members,
    writers: &Writers,
    others: &mut Others<'_>,
    limit: Duration,
) -> Result<Round, Error> {
    let Led { leader, .. } = members.agree(limit).await?;
    writers.forget();
    let from = Instant::now();
    let known = match args.strike {
        Strike::Nothing => from,
        Strike::Move => {
            members.hand_over(leader).await?;
            members.led_by_another(leader, None, limit).await?
        }
        Strike::Kill | Strike::Terminate | Strike::Pause => {
            others.ask(args.strike.name(), members, leader).await?;
            members.led_by_another(leader, Some(leader), limit).await?
        }
    };
    writers.acknowledged_after(known, limit).await?;
    sleep(args.after).await;
    let until = Instant::now();
    match args.strike {
        Strike::Nothing | Strike::Move => {}
        Strike::Kill | Strike::Terminate | Strike::Pause => {
            others.ask("repair", members, leader).await?;
        }
    }
    writers.ended_until(until).await;
    let (gap, slowest) = writers.longest_between(from, until);
    Ok(Round { gap, known: known.saturating_duration_since(from), slowest })
}

/// Whoever has the processes.
struct Others<'a> {
    output: &'a mut Output,
    input: Lines<BufReader<Stdin>>,
    json: bool,
}

impl Others<'_> {
    /// Says what is to be done, and waits until it is.
    async fn ask(&mut self, what: &str, members: &Members, place: usize) -> Result<(), Error> {
        let endpoint = members.endpoint(place);
        self.output.line(if self.json {
            format!("{{\"do\":\"{what}\",\"member\":{place}}}")
        } else {
            format!("{what} {endpoint}, then press Enter")
        })?;
        match self.input.next_line().await? {
            Some(_) => Ok(()),
            None => Err(Error::failed(format!("nobody is there to {what} {endpoint}"))),
        }
    }

    fn tell(&mut self, number: u32, round: &Round) -> Result<(), Error> {
        let [gap, known, slowest] =
            [round.gap, round.known, round.slowest].map(|time| time.as_micros());
        self.output.line(if self.json {
            format!(
                "{{\"round\":{number},\"gap_us\":{gap},\"known_us\":{known},\"slowest_us\":{slowest}}}"
            )
        } else {
            format!(
                "round {number}: {} ms without an acknowledged put; another leader known after {} ms",
                gap / 1_000,
                known / 1_000
            )
        })
    }
}
