//! Logs that lose what they had synced, and members that are fenced until they are whole again.

use quorate::sim::{Report, config::Planted, disk::Loss, rollback::Rollbacks, scene::Scene};

use crate::runs::{assert_found_within, sound};

/// Says what came of lost logs, and demands that enough did.
pub(crate) fn assert_eventful(reports: &[Report]) {
    let sum = |of: fn(&Rollbacks) -> u64| reports.iter().map(|r| of(&r.rollbacks)).sum::<u64>();
    let runs = reports.len() as u64;
    let taken =
        Loss::ALL.map(|loss| reports.iter().map(|r| r.rollbacks.taken[loss.place()]).sum::<u64>());
    let mut healed: Vec<u64> = reports
        .iter()
        .filter(|r| r.rollbacks.left_to_heal > 0)
        .map(|r| r.rollbacks.whole_after.0)
        .collect();
    healed.sort_unstable();
    println!(
        "{runs} runs, {} s of virtual time, {} of {} calls answered, {} crashes, {} terms: logs lost something {taken:?} times ({:?}); {} fences raised at a start and {} while running, {} lifted, {} losses made good unnoticed, {} starts behind a fence, {} checkpoints installed; not whole at the end {}, then whole after {:?} and {:?} ms (median, slowest)",
        reports.iter().map(|r| r.virtual_time.0 / 1_000).sum::<u64>(),
        reports.iter().map(|r| r.answered).sum::<usize>(),
        reports.iter().map(|r| r.asked).sum::<usize>(),
        reports.iter().map(|r| r.crashes).sum::<u64>(),
        reports.iter().map(|r| r.elections).sum::<usize>(),
        Loss::ALL,
        sum(|r| r.raised),
        sum(|r| r.told),
        sum(|r| r.lifted),
        sum(|r| r.unnoticed),
        sum(|r| r.fenced_starts),
        reports.iter().map(|r| r.installed_checkpoints).sum::<u64>(),
        sum(|r| r.left_to_heal),
        healed.get(healed.len() / 2),
        healed.last(),
    );
    assert!(taken.iter().all(|count| *count > runs / 20), "some loss hardly happened");
    assert!(sum(|r| r.raised) > runs && sum(|r| r.lifted) > runs, "members were hardly fenced");
    assert!(sum(|r| r.told) > 0, "nobody was told of a loss");
    assert!(sum(|r| r.fenced_starts) > runs / 4, "hardly anybody started behind a fence");
    assert!(sum(|r| r.left_to_heal) > runs / 4, "hardly anybody was left to become whole");
    assert!(reports.iter().map(|r| r.answered as u64).sum::<u64>() > 50 * runs, "few answers");
}

#[test]
fn rr_60_members_whose_logs_lost_something_become_whole() {
    assert_eventful(&sound(1..=24, Scene::Rollbacks));
    assert_found_within(60, Planted::Unfenced, Scene::Rollbacks);
}
