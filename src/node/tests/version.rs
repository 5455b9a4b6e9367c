//! What a member does with what a later release says.

use bytes::{BufMut, Bytes, BytesMut};

use super::answered;
use crate::{
    node::{Input, tests::cluster::Cluster},
    state::{Level, testing::publish_level},
    types::Millis,
};

/// A group with a request of command 99, which says nothing more.
fn from_the_future() -> Bytes {
    let mut request = BytesMut::new();
    request.put_slice(&[0x9a, 0x06, 0x00]); // field 99, a message of no bytes
    let mut group = BytesMut::new();
    group.put_slice(&[0x0a, 0x03]); // field 1, three bytes
    group.put_slice(&request);
    group.freeze()
}

/// An entry that a member cannot read stops it where it stands, with the entry named. It skips
/// nothing, and stops there again after a restart.
#[test]
fn an_unknown_command_stops_whoever_must_apply_it() {
    let mut cluster = Cluster::led_by_one();
    let shared = cluster.member(1).shared.clone();
    let entry = cluster.log_end(1).next();
    let sequence = shared.pending.next_sequence();
    let _outcome = shared.pending.wait(sequence, from_the_future(), None).unwrap();
    cluster.give(1, Input::Proposal(sequence));
    cluster.pass(Millis(300));

    for id in 1..=3 {
        let fault = cluster.member(id).fault.clone().expect("it has stopped").to_string();
        assert!(fault.contains(&format!("decoding entry {entry}: ")), "{fault}");
        assert!(fault.contains("command 99 is unknown, this program is quorate "), "{fault}");
        assert!(cluster.member(id).shared.applied() < entry);
    }
}

/// A leader takes nothing from a follower that it cannot read itself.
#[test]
fn an_unknown_command_is_not_taken_from_a_follower() {
    let mut cluster = Cluster::led_by_one();
    let before = cluster.log_end(1);
    let shared = cluster.member(2).shared.clone();
    let sequence = shared.pending.next_sequence();
    let mut outcome = shared.pending.wait(sequence, from_the_future(), None).unwrap();
    cluster.give(2, Input::Proposal(sequence));
    cluster.pass(Millis(3_000));

    assert!(!answered(&mut outcome));
    assert_eq!(cluster.log_end(1), before);
    assert!((1..=3).all(|id| cluster.member(id).fault.is_none()));
}

/// The cluster's level is there when the last member has told its own. A member that understands less
/// stops before it applies that.
#[test]
fn a_member_that_is_older_than_its_cluster_stops() {
    let mut cluster = Cluster::led_by_one();
    for id in 1..=3 {
        assert_eq!(cluster.member(id).shared.level(), Level::UNKNOWN);
        assert!(answered(&mut cluster.propose(1, publish_level(id, 1))));
    }
    cluster.tick();
    assert!((1..=3).all(|id| cluster.member(id).shared.level() == Level::OWN));

    for id in 1..=3 {
        let _outcome = cluster.propose(1, publish_level(id, 2));
    }
    cluster.pass(Millis(300));
    for id in 1..=3 {
        let fault = cluster.member(id).fault.clone().expect("it has stopped").to_string();
        assert!(fault.starts_with("the members have agreed on level 2, "), "{fault}");
    }
}
