//! Runs the simulator over many seeds, and shows that it finds what is planted.
//!
//! `QUORATE_SIM_SEED` names the seed of `one_seed`, and the first of `many_seeds`, which takes
//! `QUORATE_SIM_COUNT` of them; `QUORATE_SIM_SCENE` names what the world of both is about.
//! `make sim SEED=n SCENE=name` sets the first and the last.

#![cfg(feature = "sim")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may"
)]

mod leases;
mod members;
mod rollbacks;
mod runs;

use std::env;

use quorate::sim::{self, Options, Report, config::Planted, scene::Scene};

use self::runs::{assert_found, sound};

/// Seeds of an ordinary run.
const SEEDS: u64 = 220;
/// Seeds of a long run.
const SEEDS_LONG: u64 = 10_000;

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
    assert_eventful(&sound(1..=SEEDS, Scene::Everyday));
}

/// The same over many seeds, from `QUORATE_SIM_SEED` on, `QUORATE_SIM_COUNT` of them.
#[test]
#[ignore = "takes long"]
fn many_seeds() {
    let first = number("QUORATE_SIM_SEED").unwrap_or(1_000_000);
    let count = number("QUORATE_SIM_COUNT").unwrap_or(SEEDS_LONG);
    let scene = scene();
    let reports = sound(first..first + count, scene);
    match scene {
        Scene::Everyday => assert_eventful(&reports),
        Scene::Pauses
        | Scene::LeaderChanges
        | Scene::LostExpiries
        | Scene::LongLives
        | Scene::Races
        | Scene::BulkExpiry
        | Scene::Overload => leases::assert_eventful(scene, &reports, 5),
        Scene::Members | Scene::Checkpoints | Scene::Losses => {
            members::assert_eventful(scene, &reports);
        }
        Scene::Rollbacks => rollbacks::assert_eventful(&reports),
    }
}

/// A seed is the whole report: run twice, it gives the same trace, line by line.
#[test]
fn a_seed_gives_the_same_trace_twice() {
    for (seed, scene) in [
        (7, Scene::Everyday),
        (8, Scene::Everyday),
        (7, Scene::Pauses),
        (7, Scene::Members),
        (7, Scene::Losses),
        (7, Scene::Rollbacks),
    ] {
        let options = Options { seed, scene, with_lines: true, ..Options::default() };
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
        assert_found(planted, Scene::Everyday);
    }
}

/// One seed, with everything that happened last when it fails.
#[test]
#[ignore = "for `make sim SEED=n`"]
fn one_seed() {
    let seed = number("QUORATE_SIM_SEED").unwrap_or(1);
    let options = Options { seed, scene: scene(), with_lines: true, ..Options::default() };
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

/// What a world is to be about, from the environment.
#[expect(clippy::disallowed_methods, reason = "what to run is said on the command line of make")]
fn scene() -> Scene {
    let Ok(name) = env::var("QUORATE_SIM_SCENE") else { return Scene::Everyday };
    let scene = Scene::ALL.into_iter().find(|scene| format!("{scene:?}") == name);
    scene.unwrap_or_else(|| panic!("QUORATE_SIM_SCENE={name} is none of {:?}", Scene::ALL))
}

/// A number from the environment; one that is none is a mistake to be told of.
#[expect(clippy::disallowed_methods, reason = "what to run is said on the command line of make")]
fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}
