//! Members that come, go, fall behind and lose their disks, and crash at every step of it.

use quorate::sim::{
    Report,
    config::Planted,
    scene::Scene,
    turnover::{Step, Turnover},
};

use crate::runs::{assert_found, sound};

/// Says what came of members, and demands that enough did.
pub(crate) fn assert_eventful(scene: Scene, reports: &[Report]) {
    let sum = |of: fn(&Turnover) -> u64| reports.iter().map(|r| of(&r.turnover)).sum::<u64>();
    let runs = reports.len() as u64;
    let crashes_at =
        |step: Step| reports.iter().map(|r| r.turnover.crashes[step.place()]).sum::<u64>();
    let steps = [Step::Appended, Step::Committed, Step::Applied, Step::Received, Step::Installed];
    let crashes = steps.map(crashes_at);
    let installed = reports.iter().map(|r| r.installed_checkpoints).sum::<u64>();
    let slowest = |of: fn(&Report) -> u64| {
        let mut all: Vec<u64> = reports.iter().map(of).collect();
        all.sort_unstable();
        (all[all.len() / 2], all[all.len() - 1])
    };
    println!(
        "{scene:?}: {runs} runs, {} s of virtual time, {} of {} calls answered: {} members added, {} given a vote, {} removed ({} while they led), {} left by themselves, {} changes asked for again, {} disks lost, {installed} checkpoints installed, {} right after another, {} crashes, at steps {crashes:?}; {} away at the end, leader after {:?} and write after {:?} ms (median, slowest)",
        reports.iter().map(|r| r.virtual_time.0 / 1_000).sum::<u64>(),
        reports.iter().map(|r| r.answered).sum::<usize>(),
        reports.iter().map(|r| r.asked).sum::<usize>(),
        sum(|t| t.added),
        sum(|t| t.promoted),
        sum(|t| t.removed),
        sum(|t| t.leaders_removed),
        sum(|t| t.left),
        sum(|t| t.asked_again),
        sum(|t| t.wiped),
        sum(|t| t.in_a_row),
        reports.iter().map(|r| r.crashes).sum::<u64>(),
        sum(|t| t.away),
        slowest(|r| r.turnover.led_after.0),
        slowest(|r| r.turnover.wrote_after.0),
    );
    assert!(installed > runs, "checkpoints were hardly needed");
    // Few seeds show few installs of a checkpoint cut short; other scenes are about them.
    let (changes, checkpoints) = crashes.split_at(3);
    let all = |counts: &[u64]| counts.iter().all(|count| *count > 0);
    assert!(all(changes) || scene == Scene::Checkpoints, "{crashes:?}");
    assert!(all(checkpoints) || scene == Scene::Losses, "{crashes:?}");
    assert!(sum(|t| t.away) > runs / 25, "hardly anybody was away");
    match scene {
        Scene::Members | Scene::Losses => {
            assert!(sum(|t| t.added) > runs && sum(|t| t.removed) > runs, "members hardly changed");
            assert!(sum(|t| t.promoted) > runs / 4, "hardly anybody was given a vote");
            assert!(sum(|t| t.leaders_removed) > 0, "no leader was removed");
            assert!(sum(|t| t.left) > 0, "nobody heard of its removal");
        }
        Scene::Checkpoints => {
            assert!(sum(|t| t.in_a_row) > 0, "no checkpoint followed another");
        }
        Scene::Everyday
        | Scene::Pauses
        | Scene::LeaderChanges
        | Scene::LostExpiries
        | Scene::LongLives
        | Scene::Races
        | Scene::BulkExpiry
        | Scene::Overload
        | Scene::Rollbacks => unreachable!("other scenes are not about members"),
    }
    assert!(scene != Scene::Losses || sum(|t| t.wiped) > runs / 8, "hardly any disk was lost");
}

#[test]
fn members_change_and_crash_at_every_step() {
    assert_eventful(Scene::Members, &sound(1..=60, Scene::Members));
    assert_found(Planted::RemovedAreCounted, Scene::Members);
    assert_found(Planted::EarlyChanges, Scene::Members);
    assert_found(Planted::WrongConfiguration, Scene::Members);
    assert_found(Planted::RemovedLead, Scene::Members);
}

#[test]
fn members_fall_behind_the_log_again_and_again() {
    assert_eventful(Scene::Checkpoints, &sound(1..=20, Scene::Checkpoints));
    assert_found(Planted::NoCheckpoints, Scene::Checkpoints);
}

#[test]
fn members_lose_their_disks_and_are_replaced() {
    assert_eventful(Scene::Losses, &sound(1..=20, Scene::Losses));
}
