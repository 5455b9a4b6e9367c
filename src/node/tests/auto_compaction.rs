//! History that is given up by itself, on a cluster in memory: by whom, and when.

use super::{answered, cluster::Cluster};
use crate::{
    node::AutoCompaction,
    state::{
        Alarm, AlarmKind, meta,
        testing::{alarm, put},
    },
    types::{MemberId, Millis},
};

const MINUTE: Millis = Millis(60_000);
const NEVER: [i64; 3] = [-1, -1, -1];

/// Three members that keep a minute of history, with a leader and some revisions.
fn keeping_a_minute() -> Cluster {
    let rule = |settings: &mut crate::node::Settings| {
        settings.auto_compaction = Some(AutoCompaction::Periodic(MINUTE));
    };
    let mut cluster = Cluster::new(3, rule);
    cluster.elect(1);
    write(&mut cluster, 1, 4);
    cluster
}

fn write(cluster: &mut Cluster, id: u64, times: usize) {
    for _ in 0..times {
        assert!(answered(&mut cluster.propose(id, put("k"))));
    }
}

/// Up to where each member has given history up.
fn compacted(cluster: &mut Cluster) -> Vec<i64> {
    let of = |cluster: &mut Cluster, id| {
        meta::compacted(&*cluster.member(id).shared.view().unwrap()).unwrap().0
    };
    (1..=3).map(|id| of(cluster, id)).collect()
}

/// What is a minute old goes, on all members alike, and nothing before it is.
#[test]
fn history_goes_when_it_is_old_enough() {
    let mut cluster = keeping_a_minute(); // revision 5
    cluster.pass(Millis(40_000));
    write(&mut cluster, 1, 5); // revision 10
    assert_eq!(compacted(&mut cluster), NEVER);

    cluster.pass(Millis(27_000));
    assert_eq!(compacted(&mut cluster), [5; 3]);
    cluster.pass(MINUTE);
    assert_eq!(compacted(&mut cluster), [10; 3]);
    cluster.pass(MINUTE);
    assert_eq!(compacted(&mut cluster), [10; 3]);
}

/// A leader that takes over has noted the same revisions, and compacts for the one that is gone.
#[test]
fn a_new_leader_goes_on() {
    let mut cluster = keeping_a_minute();
    cluster.pass(Millis(30_000));
    write(&mut cluster, 1, 5);
    cluster.pass(Millis(29_000));
    cluster.cut_off(1);
    let leader = cluster.elect_any();
    assert_ne!(leader, 1);

    cluster.pass(Millis(15_000));
    assert_eq!(compacted(&mut cluster)[1..], [5; 2]);
    cluster.pass(MINUTE);
    assert_eq!(compacted(&mut cluster)[1..], [10; 2]);
}

/// Members that have all just started know nothing of the past: a minute of it is kept at least.
#[test]
fn what_was_noted_is_gone_with_the_process() {
    let mut cluster = keeping_a_minute();
    cluster.pass(Millis(50_000));
    (1..=3).for_each(|id| cluster.crash(id));
    (1..=3).for_each(|id| cluster.start(id));
    cluster.elect(2);

    cluster.pass(Millis(40_000));
    assert_eq!(compacted(&mut cluster), NEVER);
    cluster.pass(Millis(30_000));
    assert_eq!(compacted(&mut cluster), [5; 3]);
}

/// A member without a leader, or cut off from the others, gives nothing up.
#[test]
fn without_a_majority_nothing_goes() {
    let mut cluster = keeping_a_minute();
    cluster.cut_off(2);
    cluster.cut_off(3);
    cluster.pass(Millis(200_000));
    assert_eq!(compacted(&mut cluster), NEVER);
}

/// A store without room is compacted all the same; one that is corrupt is not, until that is cleared.
#[test]
fn alarms_hold_back_what_they_must() {
    let mut cluster = keeping_a_minute();
    let raised = |kind| Alarm { member: MemberId(9), kind };
    assert!(answered(&mut cluster.propose(1, alarm(true, raised(AlarmKind::NoSpace)))));
    cluster.pass(Millis(67_000));
    assert_eq!(compacted(&mut cluster), [5; 3]);

    assert!(answered(&mut cluster.propose(1, alarm(false, raised(AlarmKind::NoSpace)))));
    write(&mut cluster, 1, 5);
    assert!(answered(&mut cluster.propose(1, alarm(true, raised(AlarmKind::Corrupt)))));
    cluster.pass(Millis(120_000));
    assert_eq!(compacted(&mut cluster), [5; 3]);
    assert!(answered(&mut cluster.propose(1, alarm(false, raised(AlarmKind::Corrupt)))));
    cluster.pass(Millis(13_000));
    assert_eq!(compacted(&mut cluster), [10; 3]);
}

/// All but a number of revisions goes, every five minutes.
#[test]
fn a_number_of_revisions_is_kept() {
    let rule = |settings: &mut crate::node::Settings| {
        settings.auto_compaction = Some(AutoCompaction::Revision(3));
    };
    let mut cluster = Cluster::new(3, rule);
    cluster.elect(1);
    write(&mut cluster, 1, 9); // revision 10
    cluster.pass(Millis(280_000));
    assert_eq!(compacted(&mut cluster), NEVER);
    cluster.pass(Millis(25_000));
    assert_eq!(compacted(&mut cluster), [7; 3]);
}
