//! Many runs on all cores, and what is to be said of those that failed.

use std::{
    panic,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use quorate::sim::{self, Options, Report, config::Planted, scene::Scene};

/// Seeds within which a planted fault must show.
const SEEDS_PLANTED: u64 = 20;

/// Runs the seeds on all cores; each must be sound.
pub(crate) fn sound(seeds: impl Iterator<Item = u64>, scene: Scene) -> Vec<Report> {
    sound_despite(Planted::Nothing, seeds, scene)
}

/// The same although something is broken.
pub(crate) fn sound_despite(
    planted: Planted,
    seeds: impl Iterator<Item = u64>,
    scene: Scene,
) -> Vec<Report> {
    let seeds: Vec<u64> = seeds.collect();
    let next = AtomicU64::new(0);
    let work = || {
        let mut mine = Vec::new();
        while let Some(seed) =
            seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
        {
            mine.push((*seed, run(*seed, scene, planted)));
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
            Err(what) => {
                failed.push(format!("seed {seed}: {what}\n  make sim SEED={seed} SCENE={scene:?}"));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} seeds failed\n{}",
        failed.len(),
        seeds.len(),
        failed.join("\n")
    );
    sound
}

/// What is broken on purpose is found, and quickly.
pub(crate) fn assert_found(planted: Planted, scene: Scene) {
    assert_found_within(SEEDS_PLANTED, planted, scene);
}

/// The same within so many seeds.
pub(crate) fn assert_found_within(seeds: u64, planted: Planted, scene: Scene) {
    let mut violations = (1..=seeds)
        .filter_map(|seed| run(seed, scene, planted).err().map(|violation| (seed, violation)));
    let (seed, violation) = violations
        .next()
        .unwrap_or_else(|| panic!("{planted:?} was not found in {seeds} seeds of {scene:?}"));
    println!("{planted:?} is found by seed {seed} of {scene:?}: {violation}");
}

/// One run, with a panic turned into words.
fn run(seed: u64, scene: Scene, planted: Planted) -> Result<Report, String> {
    let options = Options { seed, scene, planted, with_lines: false };
    let report = panic::catch_unwind(|| sim::run(&options)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .map_or_else(|| "panicked".to_owned(), |text| format!("panicked: {text}"))
    })?;
    report.verdict.clone().map_err(|violation| violation.to_string())?;
    Ok(report)
}
