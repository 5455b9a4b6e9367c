//! Leases on a cluster in memory: when they end, how many at once, and what a new leader makes of
//! them.

use crate::{
    lease::Renewal,
    node::{
        Input,
        tests::{answered, cluster::Cluster},
    },
    state::{
        Command, lease,
        testing::{grant, put},
    },
    types::{Index, LeaseId, MemberId, Millis, Revision, Seconds, limits},
};

/// More than three entries end, one key each.
const MANY: usize = 3 * limits::LEASE_KEYS_PER_ENTRY_MAX + 10;
const MINUTE: Millis = Millis(60_000);

/// A cluster of three with many leases of a minute, each with a key, granted at the same time.
fn with_many_leases() -> Cluster {
    let mut cluster = Cluster::led_by_one();
    for id in (1..).take(MANY) {
        let shared = &cluster.member(1).shared;
        let (granted, _) = shared.submit(grant(id)).unwrap();
        let (attached, _) = shared.submit(put(&format!("k{id}")).attached_to(id).into()).unwrap();
        cluster.hand_in(1, Input::Proposal(granted));
        cluster.hand_in(1, Input::Proposal(attached));
    }
    cluster.settle();
    assert_eq!(leases_of(&mut cluster, 3), MANY);
    cluster
}

fn leases_of(cluster: &mut Cluster, id: u64) -> usize {
    let view = cluster.member(id).shared.view().unwrap();
    lease::list(&*view).unwrap().len()
}

fn revision(cluster: &mut Cluster, id: u64) -> Revision {
    cluster.member(id).shared.watch_hub().current()
}

/// A lease ends on its leader's clock, not before its time, and takes its keys along.
#[test]
fn a_lease_ends_when_its_time_is_over() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(2, grant(5))));
    assert!(answered(&mut cluster.propose(2, put("k").attached_to(5))));
    let ttl = ttl(&mut cluster);
    cluster.pass(ttl - Millis(200));
    assert!(cluster.pair(3, "k").is_some());
    cluster.pass(Millis(600));
    assert_eq!(cluster.versions("k"), [0, 0, 0]);
}

/// A new leader gives every lease its whole time again, from its own beginning.
#[test]
fn a_new_leader_ends_no_lease_early() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, grant(5))));
    assert!(answered(&mut cluster.propose(1, put("k").attached_to(5))));
    let ttl = ttl(&mut cluster);
    cluster.pass(ttl - Millis(1_500));
    cluster.elect(2);
    let promoted = cluster.now();
    while cluster.pair(2, "k").is_some() {
        cluster.tick();
    }
    let lived = cluster.now().since(promoted);
    assert!(lived >= ttl, "{lived:?}");
    assert!(lived <= ttl + Millis(2_000), "{lived:?}");
    assert_eq!(cluster.member(1).shared.renew(LeaseId(5), promoted), None);
}

/// A leader that is cut off for longer than a lease's time ends nothing: by the clock of the new
/// leader, where it is renewed, the lease goes on.
#[test]
fn rr_29_a_leader_that_was_cut_off_ends_no_lease() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, grant(5))));
    assert!(answered(&mut cluster.propose(1, put("k").attached_to(5))));
    let ttl = ttl(&mut cluster);
    cluster.cut_off(1);
    let leader = cluster.elect_any();
    let until = cluster.now() + ttl + ttl;
    while cluster.now() < until {
        cluster.tick();
        let now = cluster.now();
        let renewal = cluster.member(leader).shared.renew(LeaseId(5), now);
        assert!(matches!(renewal, Some(Renewal::Renewed(_))), "{renewal:?}");
    }
    cluster.heal();
    cluster.pass(Millis(1_000));
    assert_eq!(cluster.versions("k"), [1, 1, 1]);
}

/// Many leases that run out at once end within the tick, each at a revision of its own, in entries
/// between which other requests find room.
#[test]
fn many_leases_end_at_once_and_others_get_in_between() {
    let mut cluster = with_many_leases();
    let before = revision(&mut cluster, 1);
    cluster.pass(MINUTE - Millis(100));
    assert_eq!(leases_of(&mut cluster, 1), MANY);

    let (sequence, mut outcome) = cluster.member(1).shared.submit(put("other").into()).unwrap();
    cluster.hand_in(1, Input::Proposal(sequence));
    cluster.tick();

    assert!(answered(&mut outcome));
    assert_eq!(leases_of(&mut cluster, 1), 0);
    assert_eq!(revision(&mut cluster, 1).0, before.0 + MANY as i64 + 1);
    let first_entry = limits::LEASE_KEYS_PER_ENTRY_MAX as i64;
    let other = cluster.pair(1, "other").unwrap().mod_revision;
    assert!(other.0 <= before.0 + first_entry + 1, "it waited for more than the first entry");
    cluster.pass(Millis(200));
    assert_eq!(leases_of(&mut cluster, 3), 0);
}

/// What ran out while the leader hands its place over ends under the next one: nothing is lost with
/// the entries that were not taken, and nothing is ended twice.
#[test]
fn rr_30_an_expiry_that_is_lost_is_repeated() {
    let mut cluster = with_many_leases();
    let before = revision(&mut cluster, 1);
    // The leader's entries reach nobody.
    cluster.cut_off(1);
    cluster.pass(MINUTE - Millis(100));
    let leader = cluster.elect_any();
    cluster.pass(Millis(500));
    assert_eq!(leases_of(&mut cluster, 1), MANY, "nobody agreed to that");
    cluster.heal();
    cluster.pass(MINUTE + Millis(3_000));
    assert_eq!(leases_of(&mut cluster, leader), 0);
    assert_eq!(revision(&mut cluster, leader).0, before.0 + MANY as i64);
}

/// While the log takes nothing, what ran out waits, and nothing piles up.
#[test]
fn expiries_wait_while_leadership_is_handed_over() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, grant(5))));
    cluster.pass(MINUTE - Millis(500));
    // A hand-over to a member that cannot be reached is given up after a while.
    cluster.cut_off(3);
    cluster.give(1, Input::HandOver(Some(MemberId(3))));
    cluster.pass(Millis(700));
    assert_eq!(leases_of(&mut cluster, 1), 1);
    cluster.pass(Millis(3_000));
    assert_eq!(cluster.leader(), Some(1));
    assert_eq!(leases_of(&mut cluster, 1), 0);
}

/// A member that starts anew knows the leases, and how many keys each has.
#[test]
fn leases_are_known_after_a_start() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, grant(5))));
    assert!(answered(&mut cluster.propose(1, put("k").attached_to(5))));
    (1..=3).for_each(|id| {
        cluster.crash(id);
        cluster.start(id);
    });
    let leader = cluster.elect_any();
    cluster.pass(Millis(1_000));
    let now = cluster.now();
    let renewal = cluster.member(leader).shared.renew(LeaseId(5), now);
    assert_eq!(renewal, Some(Renewal::Renewed(Seconds(60))));
    cluster.pass(MINUTE + Millis(200));
    assert_eq!(cluster.versions("k"), [0, 0, 0]);
}

/// Where all members stand still for longer than a lease lives, as when their machine does, nobody
/// could renew it: it has as long to live afterwards as before.
#[test]
fn a_pause_of_everybody_ends_nothing() {
    for size in [1, 3] {
        let mut cluster = Cluster::new(size, |_| {});
        cluster.elect(1);
        assert!(answered(&mut cluster.propose(1, grant(5))));
        cluster.pass(Millis(1_000));
        cluster.pause(MINUTE + MINUTE);
        let leader = cluster.elect_any();
        cluster.pass(MINUTE - Millis(1_200));
        assert_eq!(leases_of(&mut cluster, leader), 1);
        cluster.pass(Millis(5_000));
        assert_eq!(leases_of(&mut cluster, leader), 0);
    }
}

/// What a leader had in the log when it was paused takes effect afterwards, and until then it renews
/// nothing that this would undo: no lease whose end is on its way, and none whose checkpoint is.
#[test]
fn a_pause_forgets_nothing_that_is_on_its_way() {
    for (ttl, expected) in [(60, Renewal::Revoking), (301, Renewal::Checkpointed)] {
        let mut cluster = Cluster::led_by_one();
        let lease = Command::LeaseGrant { id: LeaseId(5), ttl: Seconds(ttl) };
        assert!(answered(&mut cluster.propose(1, lease)));
        // The entry gets into the leader's log, and no further.
        cluster.pass(Millis(ttl.min(300).unsigned_abs() * 1_000 - 100));
        cluster.hold.extend([2, 3]);
        cluster.pass(Millis(200));
        cluster.pause(Millis(5_000));
        let now = cluster.now();
        assert_eq!(cluster.member(1).shared.leadership().1, Some(MemberId(1)));
        assert_eq!(cluster.member(1).shared.renew(LeaseId(5), now), Some(expected));
    }
}

/// A shorter time to live than the minimum of now, granted under another setting, is raised.
#[test]
fn a_minimum_that_has_grown_counts_for_leases_of_before() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    let short = Command::LeaseGrant { id: LeaseId(5), ttl: Seconds(1) };
    assert!(answered(&mut cluster.propose(1, short)));
    cluster.crash(1);
    cluster.start(1);
    cluster.elect(1);
    let now = cluster.now();
    let minimum = cluster.member(1).shared.settings.lease_ttl_min();
    assert!(minimum > Seconds(1));
    let renewal = cluster.member(1).shared.renew(LeaseId(5), now);
    assert_eq!(renewal, Some(Renewal::Renewed(minimum)));
}

fn long_lease() -> Command {
    Command::LeaseGrant { id: LeaseId(5), ttl: Seconds(1_200) }
}

/// Nobody renews a lease of 20 minutes while the leader changes every 10: it ends all the same, by
/// what was written down of it, and not before its time.
#[test]
fn rr_31_a_silent_lease_ends_although_leaders_change() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, long_lease())));
    let granted = cluster.now();
    let mut changes = 0;
    while leases_of(&mut cluster, 1) > 0 {
        for _ in 0..10 * 60 * 10 {
            cluster.tick();
            if leases_of(&mut cluster, 1) == 0 {
                break;
            }
        }
        let next = if cluster.leader() == Some(1) { 2 } else { 1 };
        cluster.elect(next);
        changes += 1;
        assert!(changes < 10, "it never ends");
    }
    let lived = cluster.now().since(granted);
    assert!(lived >= Millis(1_200_000), "{lived:?}");
    assert!(lived <= Millis(1_200_000) + Millis(changes * 302_000), "{lived:?}, {changes} changes");
}

/// A renewal of a lease with a checkpoint holds: the next leader does not start from the checkpoint.
#[test]
fn rr_31_a_renewal_outlives_a_checkpoint() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, long_lease())));
    cluster.pass(Millis(15 * MINUTE.0));
    let now = cluster.now();
    assert_eq!(cluster.member(1).shared.renew(LeaseId(5), now), Some(Renewal::Checkpointed));
    let clear =
        Command::LeaseCheckpoint { leases: vec![(LeaseId(5), Seconds(0))], known: Index(0) };
    assert!(answered(&mut cluster.propose(2, clear)));
    let renewed = Some(Renewal::Renewed(Seconds(1_200)));
    assert_eq!(cluster.member(1).shared.renew(LeaseId(5), now), renewed);

    cluster.elect(2);
    cluster.pass(Millis(19 * MINUTE.0));

    assert_eq!(leases_of(&mut cluster, 2), 1);
}

/// What a leader proposed before a pause stands in the log of its term, so nothing is renewed before
/// it is applied.
#[test]
fn rr_29_what_was_proposed_before_a_pause_meets_no_renewal() {
    for (command, silence) in [
        (grant(5), Millis(60_000)),                     // its end is proposed
        (long_lease(), limits::LEASE_CHECKPOINT_AFTER), // what it has left is
    ] {
        let mut cluster = Cluster::led_by_one();
        assert!(answered(&mut cluster.propose(1, command)));
        cluster.pass(silence - Millis(200));
        cluster.cut_off(1);
        cluster.pass(Millis(400));
        cluster.pause(Millis(5_000));
        let now = cluster.now();
        let renewal = cluster.member(1).shared.renew(LeaseId(5), now);
        assert!(!matches!(renewal, Some(Renewal::Renewed(_))), "what was proposed is not applied");

        cluster.heal();
        cluster.pass(Millis(600));

        assert_eq!(cluster.leader(), Some(1));
        let now = cluster.now();
        let renewal = cluster.member(1).shared.renew(LeaseId(5), now);
        let applied = [Some(Renewal::Unknown), Some(Renewal::Checkpointed)];
        assert!(applied.contains(&renewal), "{renewal:?}");
    }
}

fn ttl(cluster: &mut Cluster) -> Millis {
    let view = cluster.member(1).shared.view().unwrap();
    let lease = lease::find(&*view, LeaseId(5)).unwrap().unwrap();
    lease.granted.to_millis()
}
