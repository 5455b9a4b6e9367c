//! A differential test: random sequences of requests against Quorate and against a real etcd, in one
//! run, with every answer and every refusal compared field by field.
//!
//! [`generate`] makes the sequences, [`compare`] says what is masked and why, [`shrink`] makes a
//! difference small enough to be understood. `QUORATE_DIFF_SEED` is the first seed, `QUORATE_DIFF_OPS`
//! how many operations there are; `make diff` runs many. `docs/differences.md` lists where we differ
//! on purpose; none of those is in the sequences, except where [`compare`] names it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and what it says is for whoever reads its output"
)]

use std::{env, fmt::Write, time::Duration};

use tokio::time::Instant;

mod answer;
mod compare;
mod compare_tests;
mod dump;
mod gateway;
mod generate;
mod generate_txn;
#[allow(dead_code, unused_imports, reason = "other tests use what this one does not")]
#[path = "../cluster/harness/mod.rs"]
mod harness;
mod level;
mod op;
mod planted;
mod rng;
mod servers;
mod shrink;
mod shrink_tests;
mod simplify;
mod tally;

use compare::{Difference, brief};
use level::Level;
use op::Op;
use servers::{Pair, Peer, Plant};
use shrink::{Oracle, Verdict, shrink};
use tally::Tally;

/// Operations of an ordinary run.
const OPS: usize = 3_000;
/// Operations of a long run.
const OPS_LONG: usize = 100_000;
/// Operations of a sequence: servers start empty for each, with the next seed.
const OPS_OF_A_SEED: usize = 5_000;
/// How long a sequence is made shorter before it is shown as it is.
const SHRINKING: Duration = Duration::from_secs(120);

/// A sequence with a difference, made short, as a reader wants to see it.
pub(crate) struct Found {
    pub(crate) seed: u64,
    pub(crate) ops: Vec<Op>,
    pub(crate) report: String,
}

/// Plays candidates on fresh servers, until the time is up.
struct Replay<'a> {
    peer: &'a Peer,
    plant: Option<Plant>,
    deadline: Instant,
    /// What the last sequence that differed showed.
    difference: Box<Difference>,
}

impl Oracle for Replay<'_> {
    async fn judge(&mut self, ops: &[Op]) -> Verdict {
        if Instant::now() >= self.deadline {
            return Verdict::OutOfTime;
        }
        let mut pair = Pair::start(self.peer, self.plant).await;
        match pair.run(ops, &mut Tally::default()).await {
            Ok(()) => Verdict::Agrees,
            Err(difference) => {
                let count = difference.sent_at.len();
                self.difference = difference;
                Verdict::DiffersAfter(count)
            }
        }
    }
}

/// Runs the sequence of a seed on fresh servers; a difference comes back shrunk.
pub(crate) async fn run_seed(
    peer: &Peer,
    seed: u64,
    count: usize,
    plant: Option<Plant>,
    tally: &mut Tally,
) -> Result<(), Box<Found>> {
    let mut ops = generate::operations(seed, count, peer.level);
    let run = Pair::start(peer, plant).await.run(&ops, tally).await;
    let Err(difference) = run else { return Ok(()) };
    ops.truncate(difference.sent_at.len());
    let last = brief(&ops[ops.len() - 1].resolved(difference.sent_at[ops.len() - 1]));
    eprintln!("seed {seed}: shrinking a difference after {} operations:", ops.len());
    eprintln!("    {last}\n{difference}");
    let deadline = Instant::now() + SHRINKING;
    let mut replay = Replay { peer, plant, deadline, difference };
    let shrunk = shrink(ops, &mut replay).await;

    let mut report = format!(
        "seed {seed}: answers differ. {} operations show it, after {} tries{}:\n",
        shrunk.ops.len(),
        shrunk.tries,
        if shrunk.out_of_time { ", when the time to shrink it ran out" } else { "" },
    );
    for (op, newest) in shrunk.ops.iter().zip(&replay.difference.sent_at) {
        writeln!(report, "    {}", brief(&op.resolved(*newest))).unwrap();
    }
    writeln!(report, "{}", replay.difference).unwrap();
    Err(Box::new(Found { seed, ops: shrunk.ops, report }))
}

/// Runs as many seeds as it takes for so many operations, and panics at the first difference.
async fn run_all(count: usize) {
    let Some(peer) = Peer::find().await else { return };
    let first = number("QUORATE_DIFF_SEED").unwrap_or(1);
    let count = number("QUORATE_DIFF_OPS").map_or(count, |count| usize::try_from(count).unwrap());
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut left = count;
    let mut seed = first;
    while left > 0 {
        let ops = left.min(OPS_OF_A_SEED);
        if let Err(found) = run_seed(&peer, seed, ops, None, &mut tally).await {
            panic!("{}", found.report);
        }
        left -= ops;
        seed += 1;
    }
    let seeds = seed - first;
    eprintln!(
        "{} operations of {seeds} seeds from {first} on, in {:?}, no difference:\n{tally}",
        tally.total(),
        started.elapsed(),
    );
    if count >= OPS {
        let all = ["Range", "Put", "DeleteRange", "Txn", "Compact", "Watch"];
        tally.assert_eventful(&all);
        tally.assert_eventful(&["LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"]);
        tally.assert_eventful(&["LeaseKeepAlive"]);
        if peer.level == Level::Etcd37 {
            tally.assert_eventful(&["RangeStream"]);
        }
    }
}

/// A number from the environment; one that is none is a mistake to be told of.
#[expect(clippy::disallowed_methods, reason = "what to run is said on the command line")]
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// Clients cannot tell us from etcd.
#[tokio::test]
async fn answers_are_those_of_etcd() {
    run_all(OPS).await;
}

/// The same, for long.
#[tokio::test]
#[ignore = "takes minutes; make diff"]
async fn answers_are_those_of_etcd_for_long() {
    run_all(OPS_LONG).await;
}
