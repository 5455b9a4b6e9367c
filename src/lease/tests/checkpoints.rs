//! What is written down of leases that nobody renews, and how renewals get along with it.

use super::*;

const MINUTE: u64 = 60_000;

/// Promoted at time zero, with a lease of 20 minutes.
fn long_lived() -> Lessor {
    let mut lessor = primary();
    lessor.granted(A, Seconds(1_200), Millis(0));
    lessor
}

fn silent(lessor: &mut Lessor, now: u64) -> Vec<(LeaseId, Seconds)> {
    lessor.due(Millis(now), 10).silent
}

/// After five minutes of silence, and again five minutes later, until it runs out.
#[test]
fn a_silent_lease_is_checkpointed_every_five_minutes() {
    let mut lessor = long_lived();
    assert_eq!(silent(&mut lessor, 5 * MINUTE - 1), []);
    assert_eq!(silent(&mut lessor, 5 * MINUTE), [(A, Seconds(900))]);
    lessor.checkpointed(A, Seconds(900));
    assert_eq!(silent(&mut lessor, 10 * MINUTE - 1), []);
    assert_eq!(silent(&mut lessor, 10 * MINUTE + 500), [(A, Seconds(600))], "rounded up");
    assert_eq!(silent(&mut lessor, 15 * MINUTE + 500), [(A, Seconds(300))]);
    assert_eq!(lessor.due(Millis(20 * MINUTE), 10).expired, [A]);
}

/// Silence counts from the last renewal; a lease that cannot be silent for so long wants none.
#[test]
fn a_renewed_or_short_lease_is_not_checkpointed() {
    let mut lessor = long_lived();
    lessor.granted(B, Seconds(300), Millis(0));
    lessor.renew(A, Millis(4 * MINUTE)).unwrap();
    lessor.renew(B, Millis(4 * MINUTE)).unwrap();
    assert_eq!(lessor.due(Millis(9 * MINUTE - 1), 10), Due::default());
    let due = lessor.due(Millis(9 * MINUTE), 10);
    assert_eq!((due.silent, due.expired), (vec![(A, Seconds(900))], vec![B]));
}

/// A lease that the next leader would start from a checkpoint is renewed once that is cleared.
#[test]
fn a_checkpoint_is_cleared_before_a_renewal() {
    let mut lessor = long_lived();
    lessor.checkpointed(A, Seconds(900));
    assert_eq!(lessor.renew(A, Millis(1_000)), Ok(Renewal::Checkpointed));
    assert_eq!(left(&lessor, A, 0), Some(1_200));

    lessor.checkpointed(A, Seconds(0));

    assert_eq!(lessor.renew(A, Millis(1_000)), Ok(Renewal::Renewed(Seconds(1_200))));
    assert_eq!(left(&lessor, A, 1_000), Some(1_200));
}

/// A checkpoint that is still on its way counts, also when an older one is cleared meanwhile: it
/// would be applied after the renewal and does not know it.
#[test]
fn a_checkpoint_on_its_way_is_waited_for() {
    let mut lessor = long_lived();
    assert_eq!(silent(&mut lessor, 5 * MINUTE), [(A, Seconds(900))]);
    assert_eq!(lessor.renew(A, Millis(5 * MINUTE)), Ok(Renewal::Checkpointed));
    lessor.checkpointed(A, Seconds(0));
    assert_eq!(lessor.renew(A, Millis(5 * MINUTE)), Ok(Renewal::Checkpointed));
    lessor.checkpointed(A, Seconds(900));
    assert_eq!(lessor.renew(A, Millis(5 * MINUTE)), Ok(Renewal::Checkpointed));
    lessor.checkpointed(A, Seconds(0));
    assert_eq!(lessor.renew(A, Millis(5 * MINUTE)), Ok(Renewal::Renewed(Seconds(1_200))));
}

/// What was applied while another member led counts for whoever leads next; what was on its way
/// when leadership was lost does not.
#[test]
fn a_new_leader_starts_from_what_was_applied() {
    let mut lessor = long_lived();
    lessor.granted(B, Seconds(1_200), Millis(0));
    lessor.due(Millis(5 * MINUTE), 10);
    lessor.demote();
    lessor.checkpointed(B, Seconds(700));

    lessor.promote(Millis(6 * MINUTE), EXTENSION, Term(2));

    assert_eq!(left(&lessor, A, 6 * MINUTE), Some(1_201));
    assert_eq!(left(&lessor, B, 6 * MINUTE), Some(701));
    assert_eq!(lessor.renew(A, Millis(6 * MINUTE)), Ok(Renewal::Renewed(Seconds(1_200))));
    assert_eq!(lessor.renew(B, Millis(6 * MINUTE)), Ok(Renewal::Checkpointed));
}

/// A round names a bounded number of them.
#[test]
fn a_round_of_checkpoints_is_bounded() {
    let mut lessor = primary();
    for id in 0..25 {
        lessor.granted(LeaseId(id), Seconds(1_200), Millis(0));
    }
    let rounds: Vec<_> = (0..3)
        .map(|_| {
            let due = lessor.due(Millis(5 * MINUTE), 10);
            (due.silent.len(), due.more)
        })
        .collect();
    assert_eq!(rounds, [(10, true), (10, true), (5, false)]);
}
