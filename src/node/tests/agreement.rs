//! A member that the alarm CORRUPT names: who leads then.

use super::answered;
use crate::{
    node::tests::cluster::Cluster,
    state::{
        Alarm, AlarmKind,
        testing::{alarm, put},
    },
    types::{MemberId, Millis},
};

const CORRUPT: Alarm = Alarm { member: MemberId(1), kind: AlarmKind::Corrupt };

/// A cluster in which member 1 led until the alarm was raised for it.
fn with_a_corrupt_leader() -> Cluster {
    let mut cluster = Cluster::led_by_one();
    assert!(!cluster.member(1).shared.is_corrupt());
    let mut raised = cluster.propose(1, alarm(true, CORRUPT));
    assert!(answered(&mut raised));
    cluster.pass(Millis(3_000));
    cluster
}

/// It hands leadership over at once, and does not come back when the next leader goes.
#[test]
fn a_corrupt_member_does_not_lead() {
    let mut cluster = with_a_corrupt_leader();
    let corrupt: Vec<bool> = (1..=3).map(|id| cluster.member(id).shared.is_corrupt()).collect();
    assert_eq!(corrupt, [true, false, false]);
    let next = cluster.elect_any();
    assert_ne!(next, 1);

    cluster.cut_off(next);
    let last = cluster.elect_any();

    assert_eq!(last, 5 - next, "the only one left that may lead");
}

/// It may again when the alarm is cleared.
#[test]
fn a_member_whose_alarm_is_cleared_leads_again() {
    let mut cluster = with_a_corrupt_leader();
    let next = cluster.elect_any();
    let mut cleared = cluster.propose(next, alarm(false, CORRUPT));
    assert!(answered(&mut cleared));
    cluster.tick();
    cluster.elect(1);
    cluster.pass(Millis(3_000));
    assert_eq!(cluster.leader(), Some(1));
}

/// When it alone has what was agreed on, it leads for as long as another one needs to get it.
#[test]
fn a_corrupt_member_leads_when_nobody_else_can() {
    let mut cluster = with_a_corrupt_leader();
    let next = cluster.elect_any();
    let last = 5 - next;
    cluster.cut_off(last);
    let _refused = cluster.propose(next, put("k"));
    cluster.heal();
    cluster.cut_off(next);

    assert_eq!(cluster.elect_any(), 1);
    cluster.pass(Millis(3_000));

    assert_eq!(cluster.leader(), Some(last));
    assert!(cluster.log_end(last) >= cluster.log_end(next));
}

/// With nobody else there is nobody to hand over to, and the alarm can still be cleared.
#[test]
fn a_member_alone_stays() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    assert!(answered(&mut cluster.propose(1, alarm(true, CORRUPT))));
    cluster.pass(Millis(3_000));
    assert_eq!(cluster.leader(), Some(1));
    cluster.crash(1);
    cluster.start(1);
    cluster.elect(1);
    assert!(answered(&mut cluster.propose(1, alarm(false, CORRUPT))));
}
