//! What the lease clock promises, rule by rule, and as a property of random histories.

use std::collections::{BTreeMap, btree_map::Entry};

use proptest::prelude::*;

use super::*;

mod checkpoints;

const RETRY: Millis = Millis(7_000);
const EXTENSION: Millis = Millis(1_000);
const A: LeaseId = LeaseId(0xa);
const B: LeaseId = LeaseId(0xb);

fn known(id: LeaseId, granted: i64, remaining: Option<i64>) -> Known {
    Known { id, granted: Seconds(granted), remaining: remaining.map(Seconds), keys: 0 }
}

/// A lessor promoted at time zero, without leases.
fn primary() -> Lessor {
    let mut lessor = Lessor::new(RETRY, Seconds(1));
    lessor.promote(Millis(0), EXTENSION, Term(1));
    lessor
}

/// What is handed out as expired, a lease for each key allowed.
fn expired(lessor: &mut Lessor, now: u64, max: usize) -> Vec<LeaseId> {
    lessor.due(Millis(now), max).expired
}

fn left(lessor: &Lessor, id: LeaseId, now: u64) -> Option<i64> {
    lessor.time_left(id, Millis(now)).unwrap().map(|time| time.left.0)
}

/// A lease lives until its time to live has passed since the grant, and not a moment longer.
#[test]
fn a_lease_expires_at_its_deadline() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(100));

    assert!(expired(&mut lessor, 5_099, 10).is_empty());
    assert_eq!(expired(&mut lessor, 5_100, 10), [A]);
}

/// A renewal counts from the arrival of its request, and gives the whole time to live.
#[test]
fn a_renewal_starts_the_time_anew() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));

    assert_eq!(lessor.renew(A, Millis(3_000)), Ok(Renewal::Renewed(Seconds(5))));

    assert!(expired(&mut lessor, 7_999, 10).is_empty());
    assert_eq!(expired(&mut lessor, 8_000, 10), [A]);
}

/// Requests may be handled out of the order they arrived in; the later one stands.
#[test]
fn a_renewal_never_moves_a_deadline_backwards() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));
    lessor.renew(A, Millis(3_000)).unwrap();

    assert_eq!(lessor.renew(A, Millis(2_000)), Ok(Renewal::Renewed(Seconds(5))));

    assert_eq!(left(&lessor, A, 3_000), Some(5));
}

/// Of a known and an unknown lease asked for in turn, each gets its own answer.
#[test]
fn case_56_an_unknown_lease_is_not_renewed() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));

    assert_eq!(lessor.renew(B, Millis(1)), Ok(Renewal::Unknown));
    assert_eq!(lessor.renew(A, Millis(1)), Ok(Renewal::Renewed(Seconds(5))));
    assert_eq!(lessor.renew(LeaseId(0), Millis(1)), Ok(Renewal::Unknown));
}

/// The time left of a lease that was never granted is not a number of seconds.
#[test]
fn case_57_an_unknown_lease_has_no_time_left() {
    assert_eq!(primary().time_left(A, Millis(0)), Ok(None));
}

/// Whole seconds, cut towards zero; overdue leases show zero and then negative numbers.
#[test]
fn time_left_is_in_whole_seconds() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));

    let seen: Vec<_> =
        [0, 1, 1_000, 4_001, 5_000, 5_999, 6_000].map(|now| left(&lessor, A, now).unwrap()).into();

    assert_eq!(seen, [5, 4, 4, 0, 0, 0, -1]);
}

/// Once its time has run out a lease is not revived: before anyone looked, while the revocation is
/// on its way, and after.
#[test]
fn case_60_an_expired_lease_is_not_resurrected() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));

    assert_eq!(lessor.renew(A, Millis(5_000)), Ok(Renewal::Revoking));
    assert_eq!(expired(&mut lessor, 5_100, 10), [A]);
    assert_eq!(lessor.renew(A, Millis(4_999)), Ok(Renewal::Revoking));
    lessor.gone(A);
    assert_eq!(lessor.renew(A, Millis(5_200)), Ok(Renewal::Unknown));
}

/// A new leader gives each lease its whole or checkpointed time, and an election timeout.
#[test]
fn case_61_promotion_extends_every_lease() {
    let mut lessor = Lessor::new(RETRY, Seconds(1));
    let now = Millis(50_000);

    lessor.load([known(A, 60, None), known(B, 600, Some(30))]);
    lessor.promote(now, EXTENSION, Term(2));

    assert_eq!(left(&lessor, A, 50_000), Some(61));
    assert_eq!(left(&lessor, B, 50_000), Some(31));
    assert!(expired(&mut lessor, 80_999, 10).is_empty());
    assert_eq!(expired(&mut lessor, 81_000, 10), [B]);
}

/// A renewal right after a promotion does not take the extension away.
#[test]
fn the_extension_outlives_a_renewal() {
    let mut lessor = Lessor::new(RETRY, Seconds(1));
    lessor.load([known(A, 5, None)]);
    lessor.promote(Millis(0), EXTENSION, Term(2));

    lessor.renew(A, Millis(10)).unwrap();

    assert!(expired(&mut lessor, 5_999, 10).is_empty());
}

/// A revocation that got lost is tried again after the retry span, not before.
#[test]
fn a_lost_revocation_is_handed_out_again() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));
    assert_eq!(expired(&mut lessor, 5_000, 10), [A]);

    assert!(expired(&mut lessor, 11_999, 10).is_empty());
    assert_eq!(expired(&mut lessor, 12_000, 10), [A]);
    lessor.gone(A);
    assert!(lessor.is_empty());
    assert!(expired(&mut lessor, 100_000, 10).is_empty());
}

/// A round hands out no more than asked for, the longest overdue first; the rest comes next.
#[test]
fn a_round_of_expiry_is_bounded() {
    let mut lessor = primary();
    for (id, ttl) in [(1, 9), (2, 8), (3, 7)] {
        lessor.granted(LeaseId(id), Seconds(ttl), Millis(0));
    }

    assert_eq!(expired(&mut lessor, 10_000, 2), [LeaseId(3), LeaseId(2)]);
    assert_eq!(expired(&mut lessor, 10_000, 2), [LeaseId(1)]);
    assert!(expired(&mut lessor, 10_000, 2).is_empty());
}

/// While the clock stood still, nothing came nearer to its end; what had ended before has.
#[test]
fn a_pause_is_added_to_what_lives() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));
    lessor.granted(B, Seconds(3), Millis(0));
    assert_eq!(expired(&mut lessor, 3_000, 10), [B]);

    lessor.postpone(Millis(60_000));

    assert_eq!(lessor.renew(B, Millis(63_000)), Ok(Renewal::Revoking));
    assert_eq!(left(&lessor, A, 63_000), Some(2));
    assert_eq!(expired(&mut lessor, 64_999, 10), [B], "it is not gone after the retry span");
    assert_eq!(expired(&mut lessor, 65_000, 10), [A]);
}

/// A round ends with the lease that reaches the number of keys asked for.
#[test]
fn a_round_counts_keys() {
    let mut lessor = primary();
    for id in [1, 2, 3] {
        lessor.granted(LeaseId(id), Seconds(id), Millis(0));
        (0..3).for_each(|_| lessor.attached(LeaseId(id)));
    }
    lessor.detached(LeaseId(1));

    let rounds: Vec<_> = (0..3).map(|_| expired(&mut lessor, 10_000, 4)).collect();

    assert_eq!(rounds, [vec![LeaseId(1), LeaseId(2)], vec![LeaseId(3)], vec![]]);
}

/// Keys that were attached before the state was opened count as well, and so do leases.
#[test]
fn loaded_leases_are_known() {
    let mut lessor = primary();
    lessor.granted(B, Seconds(9), Millis(0));
    lessor.load([Known { keys: 7, ..known(A, 5, None) }]);
    assert!(!lessor.is_primary());
    lessor.promote(Millis(0), EXTENSION, Term(3));
    assert_eq!(lessor.deadlines().collect::<Vec<_>>(), [(Millis(6_000), A)]);
    assert_eq!(lessor.renew(B, Millis(0)), Ok(Renewal::Unknown));
}

/// A member that does not lead does not answer for leases: not even that there is no such one.
#[test]
fn a_demoted_lessor_knows_nothing() {
    let mut lessor = primary();
    lessor.granted(A, Seconds(5), Millis(0));

    lessor.demote();

    assert!(!lessor.is_primary());
    assert_eq!(lessor.renew(A, Millis(1)), Err(NotPrimary));
    assert_eq!(lessor.time_left(A, Millis(1)), Err(NotPrimary));
    lessor.granted(B, Seconds(5), Millis(1));
    lessor.gone(A);
    assert!(expired(&mut lessor, 1_000_000, 10).is_empty());
    assert_eq!(lessor.len(), 1, "that there is one it does know");
}

/// The longest time to live there is does not overflow the clock.
#[test]
fn case_55_the_longest_time_to_live_fits() {
    let mut lessor = primary();
    lessor.granted(A, limits::LEASE_TTL_MAX, Millis(1));

    assert_eq!(left(&lessor, A, 1), Some(9_000_000_000));
    assert!(expired(&mut lessor, 1_000_000_000_000, 10).is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Grant(i64, i64),
    /// The request arrived this long before it is handled.
    Renew(i64, u64),
    Expire(usize),
    Applied(i64),
    NewLeader,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_000_u64).prop_map(Step::Advance),
        2 => (1..6_i64, 2..8_i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        4 => (1..6_i64, 0..2_000_u64).prop_map(|(id, late)| Step::Renew(id, late)),
        3 => (0..4_usize).prop_map(Step::Expire),
        2 => (1..6_i64).prop_map(Step::Applied),
        1 => Just(Step::NewLeader),
    ]
}

/// What the state and the clients remember of a lease.
#[derive(Clone, Copy)]
struct Promised {
    ttl: i64,
    /// The grant or the last acknowledged renewal.
    alive_at: u64,
    /// Handed out as expired at this time by the leader of now.
    handed_out: Option<u64>,
}

proptest! {
    /// Through any history of grants, renewals, lost and applied revocations and new leaders, no
    /// lease is handed out before its last acknowledged renewal plus its time to live, none is
    /// renewed once handed out, and none is handed out again within the retry span.
    #[test]
    fn never_expires_early(steps in prop::collection::vec(step(), 1..200)) {
        let mut now = 10_000;
        let mut lessor = Lessor::new(RETRY, Seconds(1));
        lessor.promote(Millis(now), EXTENSION, Term(1));
        let mut known: BTreeMap<LeaseId, Promised> = BTreeMap::new();

        for step in steps {
            match step {
                Step::Advance(span) => now += span,
                Step::Grant(id, ttl) => {
                    let id = LeaseId(id);
                    if let Entry::Vacant(entry) = known.entry(id) {
                        entry.insert(Promised { ttl, alive_at: now, handed_out: None });
                        lessor.granted(id, Seconds(ttl), Millis(now));
                    }
                }
                Step::Renew(id, late) => {
                    let id = LeaseId(id);
                    let arrived = now - late;
                    match lessor.renew(id, Millis(arrived)).unwrap() {
                        Renewal::Renewed(ttl) => {
                            let lease = known.get_mut(&id).expect("renewed, so it exists");
                            prop_assert_eq!(ttl.0, lease.ttl);
                            prop_assert_eq!(lease.handed_out, None);
                            lease.alive_at = lease.alive_at.max(arrived);
                        }
                        Renewal::Unknown => prop_assert!(!known.contains_key(&id)),
                        Renewal::Checkpointed => prop_assert!(false, "nobody checkpoints"),
                        Renewal::Revoking => {
                            let lease = known.get(&id).expect("revoking, so it exists");
                            prop_assert!(now >= lease.alive_at + 1_000 * lease.ttl as u64);
                        }
                    }
                }
                Step::Expire(max) => {
                    let due = lessor.due(Millis(now), max);
                    prop_assert!(due.expired.len() <= max && due.silent.is_empty());
                    for id in due.expired {
                        let lease = known.get_mut(&id).expect("expired, so it exists");
                        prop_assert!(now >= lease.alive_at + 1_000 * lease.ttl as u64);
                        prop_assert!(lease.handed_out.is_none_or(|at| now >= at + RETRY.0));
                        lease.handed_out = Some(now);
                    }
                }
                Step::Applied(id) => {
                    known.remove(&LeaseId(id));
                    lessor.gone(LeaseId(id));
                    prop_assert_eq!(lessor.len(), known.len());
                }
                Step::NewLeader => {
                    lessor.demote();
                    for lease in known.values_mut() {
                        lease.handed_out = None;
                    }
                    lessor.promote(Millis(now), EXTENSION, Term(2));
                }
            }
        }

        // Nothing is forgotten: given time, every lease that is left comes up.
        let rest = lessor.due(Millis(now + 60_000), usize::MAX).expired;
        prop_assert_eq!(rest.len(), known.len());
    }
}
