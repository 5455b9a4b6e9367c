//! Disks that hang, on a cluster in memory.

use crate::{
    node::{
        Input,
        tests::{answered, cluster::Cluster},
    },
    raft::Role,
    state::testing::{grant, put},
    types::{Index, MemberId, Millis},
};

const ELECTION_TIMEOUT: Millis = Millis(1_000);

fn role(cluster: &mut Cluster, id: u64) -> Role {
    cluster.member(id).replica.role()
}

fn hangs(cluster: &mut Cluster, id: u64) -> bool {
    cluster.member(id).shared.metrics.disk_hangs.get() == 1
}

/// A leader whose log hangs hands leadership over after an election timeout, whatever goes on
/// meanwhile; what was asked of others is answered, and once its disk answers it follows.
#[test]
fn rr_66_a_leader_whose_log_hangs_hands_over() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, put("k"))));
    cluster.member(1).log_hangs = true;
    let mut outcomes: Vec<_> = (1..=3).map(|id| cluster.propose(id, put("k"))).collect();
    // More rounds than may be on their way to disk.
    let mut reads: Vec<_> = (0..100).map(|_| cluster.read(1)).collect();
    cluster.pass(ELECTION_TIMEOUT);
    assert_eq!(role(&mut cluster, 1), Role::Leader);
    assert!(!hangs(&mut cluster, 1));

    cluster.pass(Millis(300));
    assert!(hangs(&mut cluster, 1));
    assert_eq!(role(&mut cluster, 1), Role::Follower);
    let next = cluster.leader().expect("somebody has taken over at once");
    cluster.pass(Millis(300));
    assert!(answered(&mut outcomes[1]) && answered(&mut outcomes[2]));
    assert!(!answered(&mut outcomes[0]), "it cannot know");
    assert!(reads.iter_mut().all(|read| read.try_recv().is_err()), "its state is not recent");

    cluster.member(1).log_hangs = false;
    cluster.pass(ELECTION_TIMEOUT);
    assert!(!hangs(&mut cluster, 1));
    assert!(answered(&mut outcomes[0]));
    assert!(cluster.read(1).try_recv().is_ok());
    assert_eq!(cluster.versions("k"), [4, 4, 4]);
    assert_eq!(cluster.leader(), Some(next));
}

/// Where nobody can take over, a leader whose log hangs lets go of leadership, and of the lease clock.
#[test]
fn rr_66_a_leader_whose_log_hangs_steps_down_when_nobody_takes_over() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, grant(5))));
    (1..=3).for_each(|id| cluster.member(id).log_hangs = true);
    let mut outcome = cluster.propose(1, put("k"));
    cluster.pass(Millis(1_400));
    assert_eq!(role(&mut cluster, 1), Role::Leader);
    assert!(cluster.member(1).shared.lessor().is_primary());

    cluster.pass(Millis(300));
    assert_eq!(cluster.leader(), None);
    assert!(!cluster.member(1).shared.lessor().is_primary());
    cluster.pass(ELECTION_TIMEOUT + ELECTION_TIMEOUT + ELECTION_TIMEOUT);
    assert_eq!(cluster.leader(), None);

    (1..=3).for_each(|id| cluster.member(id).log_hangs = false);
    cluster.elect_any();
    cluster.pass(ELECTION_TIMEOUT);
    assert!(answered(&mut outcome));
    assert_eq!(cluster.versions("k"), [1, 1, 1]);
}

/// A member whose log hangs does not stand for election, and does once its disk answers.
#[test]
fn rr_66_a_member_whose_log_hangs_does_not_stand_for_election() {
    let mut cluster = Cluster::led_by_one();
    cluster.member(2).log_hangs = true;
    assert!(answered(&mut cluster.propose(1, put("k"))));
    cluster.pass(ELECTION_TIMEOUT + Millis(200));
    assert!(hangs(&mut cluster, 2));
    cluster.cut_off(1);
    cluster.cut_off(3);
    cluster.pass(Millis(5_000));
    assert_eq!(role(&mut cluster, 2), Role::Follower);
    cluster.member(2).log_hangs = false;
    cluster.pass(Millis(2_500));
    assert_eq!(role(&mut cluster, 2), Role::Candidate);
}

/// What the disk did while the process was paused says nothing about it.
#[test]
fn a_pause_is_no_hang() {
    let mut cluster = Cluster::led_by_one();
    cluster.member(1).log_hangs = true;
    let mut outcome = cluster.propose(1, put("k"));
    cluster.pass(Millis(300));
    cluster.pause(Millis(60_000));
    cluster.member(1).log_hangs = false;
    cluster.pass(Millis(300));
    assert!(answered(&mut outcome));
    assert_eq!(cluster.leader(), Some(1));
}

/// A disk that is slow and gets on does not cost leadership, however much waits for it.
#[test]
fn a_slow_disk_is_no_hang() {
    let mut cluster = Cluster::led_by_one();
    for _ in 0..10 {
        cluster.member(1).log_hangs = true;
        for _ in 0..20 {
            drop(cluster.propose(1, put("k")));
        }
        cluster.pass(Millis(900));
        cluster.member(1).log_hangs = false;
        cluster.settle();
    }
    assert!(!hangs(&mut cluster, 1));
    assert_eq!(cluster.leader(), Some(1));
}

/// Who is alone has nobody to leave leadership to.
#[test]
fn a_member_alone_goes_on_leading() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    cluster.member(1).log_hangs = true;
    let mut outcome = cluster.propose(1, put("k"));
    cluster.pass(Millis(10_000));
    assert!(hangs(&mut cluster, 1));
    assert_eq!(cluster.leader(), Some(1));
    cluster.member(1).log_hangs = false;
    cluster.settle();
    assert!(answered(&mut outcome));
}

/// A state that hangs costs leadership as well, after longer. One that was hanging when a member
/// began to lead does not: it would go round.
#[test]
fn rr_66_a_leader_whose_state_hangs_hands_over_once() {
    let mut cluster = Cluster::led_by_one();
    let last = Index(1_000);
    for id in 1..=3 {
        cluster.member(id).shared.set_storing(Some(last));
    }
    cluster.pass(Millis(2_900));
    assert_eq!(cluster.leader(), Some(1));
    cluster.pass(Millis(300));
    let next = cluster.leader().expect("somebody has taken over at once");
    assert_ne!(next, 1);
    cluster.pass(Millis(30_000));
    assert_eq!(cluster.leader(), Some(next));

    for id in 1..=3 {
        cluster.member(id).shared.set_storing(None);
    }
    cluster.give(next, Input::HandOver(Some(MemberId(1))));
    assert_eq!(cluster.leader(), Some(1));
}
