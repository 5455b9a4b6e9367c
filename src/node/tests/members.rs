//! Members that join, are given a vote, and leave, in a cluster in memory.

use crate::{
    node::{Input, Stop, tests::cluster::Cluster},
    state::{Command, MemberChange, Refused, testing::put},
    types::{MemberId, Millis},
};

fn adding(id: u64, learner: bool) -> Command {
    Command::ChangeMembers(MemberChange::Add {
        id: MemberId(id),
        peer_urls: vec![format!("http://{id}:2380")],
        learner,
        learners_max: 1,
    })
}

fn removing(id: u64) -> Command {
    Command::ChangeMembers(MemberChange::Remove(MemberId(id)))
}

fn promoting(id: u64) -> Command {
    Command::ChangeMembers(MemberChange::Promote(MemberId(id)))
}

/// Why a member has stopped, if it has.
fn stopped(cluster: &mut Cluster, id: u64) -> Option<Stop> {
    cluster.member(id).shared.why_stopped().clone()
}

/// A member joins with nothing, gets a checkpoint and the log behind it, and is given a vote: then
/// its vote is needed.
#[test]
fn a_learner_becomes_a_voter() {
    let mut cluster = Cluster::led_by_one();
    cluster.propose(2, put("a"));
    let mut added = cluster.propose(2, adding(4, true));
    added.try_recv().unwrap().unwrap().unwrap();
    assert_eq!(cluster.join(), 4);
    cluster.pass(Millis(3_000));
    cluster.propose(3, put("a"));
    assert_eq!(cluster.versions("a"), [2, 2, 2, 2]);
    assert!(cluster.member(4).shared.membership().is_learner(MemberId(4)));

    let mut promoted = cluster.propose(4, promoting(4));
    promoted.try_recv().unwrap().unwrap().unwrap();
    assert!(!cluster.member(4).shared.membership().is_learner(MemberId(4)));
    cluster.cut_off(2);
    cluster.cut_off(3);
    let mut undecided = cluster.propose(1, put("a"));
    cluster.tick();
    assert!(undecided.try_recv().is_err(), "two of four decided");
    cluster.heal();
    cluster.cut_off(2);
    cluster.pass(Millis(500));
    undecided.try_recv().unwrap().unwrap().unwrap();
}

/// A leader that is removed names its successor, goes on for a moment, and stops for good; nobody
/// counts it any more.
#[test]
fn a_removed_leader_leaves() {
    let mut cluster = Cluster::led_by_one();
    let mut removed = cluster.propose(1, removing(1));
    removed.try_recv().unwrap().unwrap().unwrap();
    cluster.tick();
    assert!([Some(2), Some(3)].contains(&cluster.leader()), "without an election timeout");
    cluster.pass(Millis(2_000));
    assert_eq!(stopped(&mut cluster, 1), Some(Stop::Removed));
    cluster.crash(1);

    let leader = cluster.elect_any();
    let mut written = cluster.propose(leader, put("a"));
    written.try_recv().unwrap().unwrap().unwrap();
    assert_eq!(stopped(&mut cluster, leader), None);
}

/// A member that was cut off while it was removed has not heard of it; nobody hears it.
#[test]
fn rr_57_a_removed_member_is_not_heard() {
    let mut cluster = Cluster::led_by_one();
    cluster.cut_off(3);
    cluster.propose(1, removing(3)).try_recv().unwrap().unwrap().unwrap();
    let term = cluster.member(1).shared.leadership().0;
    cluster.heal();
    let mut lost = cluster.propose(3, put("a"));
    cluster.pass(Millis(10_000));
    assert!(lost.try_recv().is_err());
    assert_eq!(cluster.member(1).shared.leadership(), (term, Some(MemberId(1))));
    let mut again = cluster.propose(1, adding(3, false));
    assert_eq!(again.try_recv().unwrap().unwrap(), Err(Refused::MemberNotFound));
}

/// Changes of the configuration come one after the other, each in an entry of its own, whoever asks.
#[test]
fn changes_wait_for_each_other() {
    let mut cluster = Cluster::led_by_one();
    let mut outcomes = Vec::new();
    for (member, command) in [(1, adding(4, false)), (2, adding(5, true)), (3, removing(4))] {
        let (sequence, outcome) = cluster.member(member).shared.submit(command).unwrap();
        cluster.hand_in(member, Input::Proposal(sequence));
        let (sequence, _) = cluster.member(member).shared.submit(put("a").into()).unwrap();
        cluster.hand_in(member, Input::Proposal(sequence));
        outcomes.push(outcome);
    }
    cluster.settle();
    // With four to decide, the fourth away, and every one of the others needed.
    let ids = |cluster: &mut Cluster, id| -> Vec<u64> {
        cluster.member(id).shared.membership().members.iter().map(|m| m.id.0).collect()
    };
    for mut outcome in outcomes {
        outcome.try_recv().unwrap().unwrap().unwrap();
    }
    for id in 1..=3 {
        assert_eq!(ids(&mut cluster, id), [1, 2, 3, 5]);
    }
    assert_eq!(cluster.versions("a"), [3, 3, 3]);
}

/// A member that was away during changes learns of them, also by a checkpoint.
#[test]
fn a_member_that_was_away_learns_of_changes() {
    let mut cluster = Cluster::new(3, |settings| {
        settings.log_kept_bytes = 0;
        settings.log_kept_for_laggards_bytes = 0;
    });
    cluster.elect(1);
    cluster.cut_off(3);
    cluster.propose(1, adding(4, true)).try_recv().unwrap().unwrap().unwrap();
    let flushed = cluster.flush(1);
    cluster.give(1, flushed);
    cluster.heal();
    cluster.pass(Millis(3_000));
    assert!(cluster.member(3).shared.membership().is_learner(MemberId(4)));
    assert_eq!(cluster.join(), 4);
    cluster.pass(Millis(3_000));
    cluster.elect(3);
    cluster.propose(3, put("a"));
    assert_eq!(cluster.versions("a"), [1, 1, 1, 1]);
}

/// A member that crashes decides with whom it decided before, although its state has not been flushed
/// since: by that state it is still alone.
#[test]
fn a_configuration_outlives_a_crash() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    let flushed = cluster.flush(1);
    cluster.give(1, flushed);
    cluster.propose(1, adding(2, false)).try_recv().unwrap().unwrap().unwrap();
    assert_eq!(cluster.join(), 2);
    cluster.pass(Millis(3_000));
    cluster.crash(1);
    cluster.cut_off(2);
    cluster.start(1);
    cluster.pass(Millis(10_000));
    assert_eq!(cluster.leader(), None, "one of two decides alone");
    cluster.heal();
    cluster.elect_any();
}
