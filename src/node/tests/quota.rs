//! Space: who notices that it runs out, and how the cluster gets out of it.

use tokio::sync::oneshot;

use super::{Outcome, answered};
use crate::{
    node::{compactor, housekeeper, ports::DiskSpace, tests::cluster::Cluster},
    state::{
        Alarm, AlarmKind, Command, Refused, meta,
        testing::{alarm, compact, delete, put},
    },
    types::{MemberId, Millis, limits},
};

const FULL: DiskSpace = DiskSpace { used: 0, free: limits::DISK_RESERVE_BYTES, total: 1 << 40 };
const ROOMY: DiskSpace = DiskSpace { used: 0, free: 1 << 40, total: 1 << 40 };

/// What the housekeeper of a member does once a second.
fn look(cluster: &mut Cluster, id: u64) -> usize {
    let inputs = housekeeper::look(&cluster.member(id).shared).unwrap();
    let count = inputs.len();
    inputs.into_iter().for_each(|input| cluster.hand_in(id, input));
    cluster.settle();
    count
}

fn alarms(cluster: &mut Cluster, id: u64) -> Vec<Alarm> {
    meta::alarms(&*cluster.member(id).shared.view().unwrap()).unwrap()
}

fn outcome(outcome: &mut oneshot::Receiver<Outcome>) -> Result<(), Refused> {
    outcome.try_recv().unwrap().unwrap().map(|_| ())
}

/// A follower whose disk runs low raises its alarm itself, once; then nobody stores anything. It is
/// gone only when somebody clears it, and comes back while the disk is still full.
#[test]
fn a_follower_whose_disk_is_full_raises_its_alarm() {
    let mut cluster = Cluster::led_by_one();
    let no_space = Alarm { member: MemberId(3), kind: AlarmKind::NoSpace };
    assert_eq!(look(&mut cluster, 3), 1);
    assert_eq!(alarms(&mut cluster, 1), []);
    cluster.set_space(3, FULL);

    assert_eq!(look(&mut cluster, 3), 2);
    assert_eq!(alarms(&mut cluster, 1), [no_space]);
    assert_eq!(look(&mut cluster, 3), 1, "it is raised already");
    for id in 1..=3 {
        let mut refused = cluster.propose(id, put("k"));
        cluster.settle();
        assert_eq!(outcome(&mut refused), Err(Refused::NoSpace));
    }
    let mut deleted = cluster.propose(2, delete("k"));
    cluster.settle();
    assert_eq!(outcome(&mut deleted), Ok(()));

    let mut cleared = cluster.propose(1, alarm(false, no_space));
    cluster.settle();
    assert!(answered(&mut cleared));
    look(&mut cluster, 3);
    assert_eq!(alarms(&mut cluster, 1), [no_space]);

    cluster.set_space(3, ROOMY);
    let mut cleared = cluster.propose(1, alarm(false, no_space));
    cluster.settle();
    assert!(answered(&mut cleared));
    look(&mut cluster, 3);
    assert_eq!(alarms(&mut cluster, 1), []);
    let mut stored = cluster.propose(3, put("k"));
    cluster.settle();
    assert_eq!(outcome(&mut stored), Ok(()));
}

/// Without a leader one request to raise the alarm waits, however long the disk is full.
#[test]
fn one_request_raises_the_alarm() {
    let mut cluster = Cluster::led_by_one();
    cluster.cut_off(3);
    cluster.set_space(3, FULL);
    assert_eq!(look(&mut cluster, 3), 2);
    for _ in 0..5 {
        assert_eq!(look(&mut cluster, 3), 1);
    }
    cluster.heal();
    cluster.elect_any();
    cluster.pass(Millis(5_000));
    assert_eq!(alarms(&mut cluster, 3).len(), 1);
    assert_eq!(look(&mut cluster, 3), 1);
}

/// An alarm survives the end of all members.
#[test]
fn an_alarm_survives_a_restart() {
    let mut cluster = Cluster::led_by_one();
    cluster.set_space(2, FULL);
    look(&mut cluster, 2);
    (1..=3).for_each(|id| cluster.crash(id));
    cluster.set_space(2, ROOMY);
    (1..=3).for_each(|id| cluster.start(id));
    cluster.elect(3);

    assert_eq!(look(&mut cluster, 2), 1);
    let mut refused = cluster.propose(3, put("k"));
    cluster.settle();
    assert_eq!(outcome(&mut refused), Err(Refused::NoSpace));
}

/// The disk is rid of garbage by itself once that is much, by itself and beside what is kept.
#[test]
fn garbage_is_due_when_it_is_much() {
    let mut cluster = Cluster::new(1, |settings| settings.garbage_bytes_min = 30_000);
    cluster.elect(1);
    let apply = |cluster: &mut Cluster, command: Command| {
        let mut done = cluster.propose(1, command);
        cluster.settle();
        assert_eq!(outcome(&mut done), Ok(()));
    };
    let large = "x".repeat(40_000);
    let due = |cluster: &mut Cluster| compactor::is_due(&cluster.member(1).shared).unwrap();
    for _ in 0..3 {
        apply(&mut cluster, put("k").value(&large).into());
    }
    assert!(!due(&mut cluster), "all of it is kept");
    apply(&mut cluster, compact(3));
    assert!(!due(&mut cluster), "40 kB of 120 and a base of 20 are less than half of what is left");
    apply(&mut cluster, compact(4));
    assert!(due(&mut cluster), "80 kB of garbage beside 40 and a base of 20");

    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    for command in [put("k").into(), put("k").into(), compact(3)] {
        apply(&mut cluster, command);
    }
    assert!(!due(&mut cluster), "a few bytes of garbage");
    apply(&mut cluster, alarm(true, Alarm { member: MemberId(1), kind: AlarmKind::NoSpace }));
    assert!(due(&mut cluster), "who has no space needs them");
}

/// The alarm that a full disk raised goes once there is room again, and has been for two looks; one
/// that somebody else raised does not.
#[test]
fn the_alarm_of_a_disk_goes_with_its_reason() {
    let scarce = DiskSpace { free: limits::DISK_RESERVE_BYTES + 1_000_000, ..FULL };
    let mut cluster = Cluster::led_by_one();
    let no_space = Alarm { member: MemberId(3), kind: AlarmKind::NoSpace };
    cluster.set_space(3, FULL);
    look(&mut cluster, 3);
    assert_eq!(alarms(&mut cluster, 1), [no_space]);

    cluster.set_space(3, scarce);
    (0..3).for_each(|_| assert_eq!(look(&mut cluster, 3), 1));
    cluster.set_space(3, ROOMY);
    assert_eq!(look(&mut cluster, 3), 1, "it may be gone again");
    assert_eq!(look(&mut cluster, 3), 2);
    assert_eq!(alarms(&mut cluster, 1), []);
    let mut stored = cluster.propose(1, put("k"));
    cluster.settle();
    assert_eq!(outcome(&mut stored), Ok(()));

    let mut raised = cluster.propose(1, alarm(true, no_space));
    cluster.settle();
    assert!(answered(&mut raised));
    (0..5).for_each(|_| assert_eq!(look(&mut cluster, 3), 1));
    assert_eq!(alarms(&mut cluster, 1), [no_space]);
}

/// One that is about the size of the store stays, whatever the disk has.
#[test]
fn the_alarm_of_a_quota_stays() {
    let mut cluster = Cluster::new(1, |settings| settings.quota_backend_bytes = 30_000);
    cluster.elect(1);
    let no_space = Alarm { member: MemberId(1), kind: AlarmKind::NoSpace };
    let mut raised = cluster.propose(1, alarm(true, no_space));
    cluster.settle();
    assert!(answered(&mut raised));
    cluster.set_space(1, ROOMY);
    (0..5).for_each(|_| assert_eq!(look(&mut cluster, 1), 1));
    assert_eq!(alarms(&mut cluster, 1), [no_space]);
}
