//! Runs the simulator over many seeds, and shows that it finds what is planted.
//!
//! `QUORATE_SIM_SEED` names the seed of `one_seed`, and the first of `many_seeds`, which takes
//! `QUORATE_SIM_COUNT` of them; `make sim SEED=n` sets the first.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test may")]

use std::{
    env, panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use quorate::sim::{self, Options, Report, config::Planted};

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;
/// Seeds within which a planted fault must show.
const SEEDS_PLANTED: u64 = 20;
/// Seeds of a long run.
const SEEDS_LONG: u64 = 10_000;

/// Runs the seeds on all cores, in order; a seed that panics counts as failed. Returns the reports
/// of the sound ones and what is to be said of the others.
fn run_all(seeds: impl Iterator<Item = u64>, planted: Planted) -> (Vec<Report>, Vec<String>) {
    let seeds: Vec<u64> = seeds.collect();
    let next = AtomicU64::new(0);
    let work = || {
        let mut mine = Vec::new();
        while let Some(seed) =
            seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
        {
            mine.push((*seed, run(*seed, planted)));
        }
        mine
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let outcomes = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    let (mut sound, mut failed) = (Vec::new(), Vec::new());
    for (seed, outcome) in outcomes {
        match outcome {
            Ok(report) => sound.push(report),
            Err(what) => failed.push(format!("seed {seed}: {what}\n  make sim SEED={seed}")),
        }
    }
    (sound, failed)
}

/// One run, with a panic turned into words.
fn run(seed: u64, planted: Planted) -> Result<Report, String> {
    let options = Options { seed, planted, with_lines: false };
    let report = panic::catch_unwind(|| sim::run(&options)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"))
    })?;
    report.verdict.clone().map_err(|violation| violation.to_string())?;
    Ok(report)
}

/// A run counts only if enough happened in it; this says so of all of them together.
fn assert_eventful(reports: &[Report]) {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let runs = reports.len() as u64;
    let answered = sum(|report| report.answered as u64);
    println!(
        "{runs} runs, {} s of virtual time: {answered} of {} calls answered, {} crashes, {} terms, {} checkpoints installed, watchers were shown {} changes and {} bookmarks, {} of them were lost to compaction",
        sum(|report| report.virtual_time.0 / 1_000),
        sum(|report| report.asked as u64),
        sum(|report| report.crashes),
        sum(|report| report.elections as u64),
        sum(|report| report.installed_checkpoints),
        sum(|report| report.delivered.changes),
        sum(|report| report.delivered.bookmarks),
        sum(|report| report.delivered.lost),
    );
    assert!(sum(|report| report.delivered.changes) > 500 * runs, "watchers were shown little");
    assert!(sum(|report| report.delivered.bookmarks) > 10 * runs, "progress was hardly told");
    assert!(
        sum(|report| report.delivered.lost) > runs / 4,
        "watchers were hardly lost to compaction"
    );
    assert!(answered > 50 * runs, "clients were hardly answered");
    assert!(sum(|report| report.crashes) > 2 * runs, "members hardly crashed");
    assert!(sum(|report| report.elections as u64) > 2 * runs, "leaders hardly changed");
    assert!(
        sum(|report| report.installed_checkpoints) > runs / 20,
        "checkpoints were hardly needed"
    );
}

/// Nothing that must hold is broken under any of a few hundred seeds.
#[test]
fn a_few_hundred_seeds() {
    let (reports, failed) = run_all(1..=SEEDS, Planted::Nothing);
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed\n{}", failed.len(), failed.join("\n"));
    assert_eventful(&reports);
}

/// The same over many seeds, from `QUORATE_SIM_SEED` on, `QUORATE_SIM_COUNT` of them.
#[test]
#[ignore = "takes long"]
fn many_seeds() {
    let first = number("QUORATE_SIM_SEED").unwrap_or(1_000_000);
    let count = number("QUORATE_SIM_COUNT").unwrap_or(SEEDS_LONG);
    let (reports, failed) = run_all(first..first + count, Planted::Nothing);
    assert!(failed.is_empty(), "{} of {count} seeds failed\n{}", failed.len(), failed.join("\n"));
    assert_eventful(&reports);
}

/// A seed is the whole report: run twice, it gives the same trace, line by line.
#[test]
fn a_seed_gives_the_same_trace_twice() {
    for seed in [7, 8] {
        let options = Options { seed, with_lines: true, ..Options::default() };
        let (first, second) = (sim::run(&options), sim::run(&options));
        assert_eq!(first.lines, second.lines, "seed {seed}");
        assert_eq!(first.trace_hash, second.trace_hash, "seed {seed}");
        assert_eq!(first.events, second.events, "seed {seed}");
    }
}

/// Different seeds give different runs.
#[test]
fn seeds_differ() {
    let hash = |seed| sim::run(&Options { seed, ..Options::default() }).trace_hash;
    assert_ne!(hash(1), hash(2));
}

/// Whatever is broken on purpose is found, and quickly.
#[test]
fn planted_faults_are_found() {
    for planted in [
        Planted::AcknowledgedBeforeSync,
        Planted::ForgottenVotes,
        Planted::UnconfirmedReads,
        Planted::FastClocks,
        Planted::SwallowedResponses,
    ] {
        let found =
            (1..=SEEDS_PLANTED).find_map(|seed| run(seed, planted).err().map(|e| (seed, e)));
        let (seed, violation) =
            found.unwrap_or_else(|| panic!("{planted:?} was not found in {SEEDS_PLANTED} seeds"));
        println!("{planted:?} is found by seed {seed}: {violation}");
    }
}

/// One seed, with everything that happened last when it fails.
#[test]
#[ignore = "for `make sim SEED=n`"]
fn one_seed() {
    let seed = number("QUORATE_SIM_SEED").unwrap_or(1);
    let options = Options { seed, with_lines: true, ..Options::default() };
    let report = sim::run(&options);
    if let Err(violation) = &report.verdict {
        println!("{}", report.lines.join("\n"));
        panic!("seed {seed}: {violation}");
    }
    println!(
        "seed {seed}: sound, {} events in {} ms, {} of {} calls answered, {} crashes, {} terms, trace {:016x}",
        report.events,
        report.virtual_time.0,
        report.answered,
        report.asked,
        report.crashes,
        report.elections,
        report.trace_hash,
    );
}

/// A number from the environment; one that is none is a mistake to be told of.
#[expect(clippy::disallowed_methods, reason = "what to run is said on the command line of make")]
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
