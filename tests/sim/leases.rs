//! Leases whose members stand still, change their leader, lose what was proposed or have too much to
//! do: none ends early, none lives on for good, and each goes with all its keys.

use quorate::sim::{Report, config::Planted, scene::Scene};

use crate::runs::{assert_found, sound, sound_despite};

/// Says what came of leases, and demands that enough did.
pub(crate) fn assert_eventful(scene: Scene, reports: &[Report], expired_min: u64) {
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let runs = reports.len() as u64;
    let (expired, revoked) = (sum(|r| r.ended.expired), sum(|r| r.ended.revoked));
    println!(
        "{scene:?}: {runs} runs, {} s of virtual time, {} events: {} renewals, {expired} leases ran out, {revoked} were revoked, {} terms, {} crashes, {} pauses, {} expiries lost",
        sum(|r| r.virtual_time.0 / 1_000),
        sum(|r| r.events),
        sum(|r| r.renewals),
        sum(|r| r.elections as u64),
        sum(|r| r.crashes),
        sum(|r| r.pauses),
        sum(|r| r.lost_expiries),
    );
    assert!(expired >= expired_min * runs, "leases hardly ran out");
    assert!(sum(|r| r.renewals) >= expired_min * runs, "leases were hardly renewed");
}

#[test]
fn rr_29_members_that_stand_still_end_no_lease_early() {
    let reports = sound(1..=12, Scene::Pauses);
    assert_eventful(Scene::Pauses, &reports, 10);
    assert!(reports.iter().map(|r| r.pauses).sum::<u64>() > 50, "members hardly stood still");
    assert_found(Planted::StaleExpiries, Scene::Pauses);
    assert_found(Planted::UnconfirmedRenewals, Scene::Pauses);
}

#[test]
fn rr_30_an_end_that_was_lost_is_proposed_again() {
    let reports = sound(1..=6, Scene::LostExpiries);
    assert_eventful(Scene::LostExpiries, &reports, 10);
    assert!(reports.iter().map(|r| r.lost_expiries).sum::<u64>() > 50, "hardly any were lost");
    assert_found(Planted::ExpiriesLostForGood, Scene::LostExpiries);
}

#[test]
fn rr_31_leader_changes_end_no_lease_early_and_no_long_one_late() {
    let reports = sound(1..=6, Scene::LeaderChanges);
    assert_eventful(Scene::LeaderChanges, &reports, 10);
    let reports = sound(1..=4, Scene::LongLives);
    assert_eventful(Scene::LongLives, &reports, 5);
    assert_found(Planted::UnclearedCheckpoints, Scene::LongLives);
    assert_found(Planted::ForgottenCheckpoints, Scene::LongLives);
}

#[test]
fn rr_32_renewals_race_grants_attachments_and_revocations() {
    let reports = sound(1..=16, Scene::Races);
    assert_eventful(Scene::Races, &reports, 5);
    assert!(reports.iter().map(|r| r.ended.revoked).sum::<u64>() > 16, "hardly any were revoked");
}

/// There is no wall clock to be set: a member has one clock, and in all these runs it drifts, and
/// begins at another number with each start of a process. One that jumps ahead by an hour all the
/// same ends nothing, for a leader takes it for a pause; one that runs fast is found.
#[test]
fn rr_33_a_clock_that_jumps_ends_no_lease_early() {
    let reports = sound_despite(Planted::JumpingClocks, 1..=8, Scene::Pauses);
    assert_eventful(Scene::Pauses, &reports, 5);
    assert_found(Planted::FastClocks, Scene::LeaderChanges);
}

#[test]
fn rr_34_leases_end_in_time_under_overload() {
    let reports = sound(1..=2, Scene::Overload);
    assert_eventful(Scene::Overload, &reports, 30);
    let late = reports.iter().map(|r| r.ended.late_max).max();
    println!("the latest end was {} ms late", late.unwrap_or(0) / 1_000);
    assert_found(Planted::ExpiriesInLine, Scene::Overload);
}

/// Hundreds of leases that run out together end whole, although the leader dies in the middle.
#[test]
fn leases_end_in_bulk() {
    let reports = sound(1..=4, Scene::BulkExpiry);
    assert_eventful(Scene::BulkExpiry, &reports, 250);
    assert!(reports.iter().all(|r| r.crashes > 0), "the leader lived on");
}
