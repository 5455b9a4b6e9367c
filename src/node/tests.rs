//! What a member promises, on a cluster in memory that is driven step by step.

mod agreement;
mod auto_compaction;
mod cluster;
mod disk;
mod fan_out;
mod fence;
mod force;
mod hang;
mod hub;
mod leases;
mod members;
mod quota;
mod reads;
mod renewals;
mod version;

use tokio::sync::oneshot;

use crate::{
    node::{Error, Input, Settings, pending::Outcome, ports::Frame},
    raft::Role,
    state::{Request, codec, testing::put},
    types::{Identity, Incarnation, Index, MemberId, Millis, RequestId, limits},
};

pub(crate) use self::reads::Running;

use self::cluster::Cluster;

fn answered(outcome: &mut oneshot::Receiver<Outcome>) -> bool {
    match outcome.try_recv() {
        Ok(outcome) => {
            outcome.unwrap().unwrap();
            true
        }
        Err(oneshot::error::TryRecvError::Empty) => false,
        Err(oneshot::error::TryRecvError::Closed) => panic!("nobody answers"),
    }
}

fn is_forward(_: MemberId, frame: &Frame) -> bool {
    matches!(frame, Frame::Forward { .. })
}

fn is_forward_answer(_: MemberId, frame: &Frame) -> bool {
    matches!(frame, Frame::ForwardAnswer { .. })
}

/// Keeps hardly anything of the log, so that who was away needs a checkpoint.
fn keep_no_log(settings: &mut Settings) {
    settings.log_kept_bytes = 1;
    settings.log_kept_for_laggards_bytes = 1;
    settings.unflushed_bytes_max = 2;
}

/// Puts far more than a mark's worth of log, so that it can be cut.
fn fill_log(cluster: &mut Cluster, leader: u64) {
    let value = "x".repeat(70_000);
    for n in 0..6 {
        let mut outcome = cluster.propose(leader, put(&format!("fill{n}")).value(&value));
        assert!(answered(&mut outcome));
    }
    cluster.pass(Millis(1_000));
}

/// What is put on any member is answered there and held by all.
#[test]
fn puts_are_answered_where_they_were_asked_and_held_everywhere() {
    let mut cluster = Cluster::led_by_one();
    for id in 1..=3 {
        let mut outcome = cluster.propose(id, put("k"));
        cluster.tick();
        assert!(answered(&mut outcome), "member {id}");
    }
    assert_eq!(cluster.versions("k"), [3, 3, 3]);
}

/// A cluster of one elects itself, answers, and starts again from its log alone.
#[test]
fn a_single_member_is_a_cluster() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    assert!(answered(&mut cluster.propose(1, put("k"))));
    assert!(cluster.read(1).try_recv().is_ok());
    cluster.crash(1);
    cluster.start(1);
    cluster.elect(1);
    assert_eq!(cluster.versions("k"), [1]);
    assert!(answered(&mut cluster.propose(1, put("k"))));
}

/// A leader that is far behind with applying takes no more writes until it has caught up.
#[test]
fn case_67_writes_are_sent_away_while_apply_lags() {
    let mut cluster = Cluster::led_by_one();
    let shared = &cluster.member(1).shared;
    let applied = shared.applied();
    shared.set_committed(Index(applied.0 + limits::APPLY_LAG_ENTRIES_MAX));
    assert_eq!(shared.check_apply_lag(), Ok(()));
    shared.set_committed(Index(applied.0 + limits::APPLY_LAG_ENTRIES_MAX + 1));
    assert_eq!(shared.check_apply_lag(), Err(Error::TooManyRequests));
    // One that follows has just started, and catches up.
    let shared = &cluster.member(2).shared;
    shared.set_committed(Index(applied.0 + limits::APPLY_LAG_ENTRIES_MAX + 1));
    assert_eq!(shared.check_apply_lag(), Ok(()));
}

/// While the log hangs, requests wait and share the next entry; they are answered when it goes on.
#[test]
fn requests_wait_for_a_log_that_hangs() {
    let mut cluster = Cluster::led_by_one();
    for id in 1..=3 {
        cluster.member(id).log_hangs = true;
    }
    let mut outcomes: Vec<_> = (0..50).map(|_| cluster.propose(1, put("k"))).collect();
    outcomes.extend((0..50).map(|_| cluster.propose(2, put("k"))));
    cluster.pass(Millis(500));
    assert!(outcomes.iter_mut().all(|outcome| !answered(outcome)));
    for id in 1..=3 {
        cluster.member(id).log_hangs = false;
    }
    cluster.pass(Millis(1_000));
    assert!(outcomes.iter_mut().all(answered));
    assert_eq!(cluster.versions("k"), [100; 3]);
}

/// While an entry is on its way to disk and entries wait for their commit, requests wait and share
/// the next one. They go on when it is synced, although nothing is committed.
#[test]
fn requests_wait_for_commits_as_long_as_for_a_sync() {
    let mut cluster = Cluster::led_by_one();
    cluster.cut_off(2);
    cluster.cut_off(3);
    let before = cluster.log_end(1).0;
    let _uncommitted = cluster.propose(1, put("k"));
    assert_eq!(cluster.log_end(1).0, before + 1);

    cluster.member(1).log_hangs = true;
    let _outcomes: Vec<_> = (0..3).map(|_| cluster.propose(1, put("k"))).collect();
    cluster.member(1).log_hangs = false;
    cluster.settle();

    assert_eq!(cluster.log_end(1).0, before + 3, "the first by itself, the others together");
}

/// A request whose leader dies before it is replicated is proposed again, and counts once.
#[test]
fn a_request_survives_its_leader() {
    let mut cluster = Cluster::led_by_one();
    cluster.lost = |from, frame| from == MemberId(1) && matches!(frame, Frame::Raft(_));
    let mut outcomes = [cluster.propose(1, put("k")), cluster.propose(2, put("k"))];
    cluster.cut_off(1);
    assert_ne!(cluster.elect_any(), 1);
    cluster.pass(Millis(1_000));
    assert!(answered(&mut outcomes[1]));
    assert_eq!(cluster.versions("k")[1..], [1, 1]);

    cluster.heal();
    cluster.pass(Millis(2_000));
    assert!(answered(&mut outcomes[0]));
    assert_eq!(cluster.versions("k"), [2, 2, 2]);
}

/// A forward that gets lost is sent again, also when the leader was out of sight for a while and
/// came back in the same term.
#[test]
fn a_lost_forward_is_sent_again_in_the_same_term() {
    let mut cluster = Cluster::led_by_one();
    let term = cluster.member(1).shared.leadership().0;
    cluster.lost = is_forward;
    let mut outcome = cluster.propose(2, put("k"));
    cluster.cut_off(2);
    for _ in 0..50 {
        cluster.tick();
    }
    assert_eq!(cluster.member(2).shared.leadership(), (term, None));
    cluster.heal();
    cluster.pass(Millis(1_000));
    assert_eq!(cluster.member(2).shared.leadership(), (term, Some(MemberId(1))));
    assert!(answered(&mut outcome));
    assert_eq!(cluster.versions("k"), [1, 1, 1]);
}

/// A forward that gets lost under load is not forgotten because many younger ones pass it.
#[test]
fn a_lost_forward_is_not_overtaken_for_good() {
    let mut cluster = Cluster::led_by_one();
    cluster.lost = is_forward;
    let mut first = cluster.propose(2, put("k"));
    cluster.lost = |_, _| false;
    let mut younger: Vec<_> = (0..600).map(|_| cluster.propose(2, put("k"))).collect();
    cluster.pass(Millis(1_000));
    assert!(answered(&mut first));
    assert!(younger.iter_mut().all(answered));
    assert_eq!(cluster.versions("k"), [601; 3]);
}

/// A leader accepts a forward, but its answer gets lost, and it steps down. The same forward, sent
/// again, must not be called refused: the entry stands in the log.
#[test]
fn a_forward_that_was_accepted_is_never_refused_later() {
    for restarts in [false, true] {
        let mut cluster = Cluster::led_by_one();
        cluster.lost = is_forward_answer;
        // Nothing is committed, but member 3 holds the entry and will lead.
        cluster.member(2).log_hangs = true;
        cluster.member(1).log_hangs = true;
        let mut outcome = cluster.propose(2, put("k"));
        cluster.member(1).log_hangs = false;
        if restarts {
            cluster.settle();
            cluster.crash(1);
            cluster.start(1);
        } else {
            cluster.give(1, Input::HandOver(Some(MemberId(3))));
        }
        cluster.lost = |_, _| false;
        cluster.pass(Millis(500));
        cluster.member(2).log_hangs = false;
        cluster.elect(3);
        cluster.pass(Millis(2_000));
        assert!(answered(&mut outcome), "restarts: {restarts}");
        assert_eq!(cluster.versions("k"), [1, 1, 1], "restarts: {restarts}");
    }
}

/// A forward that still waits when its leader steps down is not proposed when that member leads
/// again: by then it was forwarded anew.
#[test]
fn a_forward_does_not_outlive_the_term_it_was_made_for() {
    let mut cluster = Cluster::led_by_one();
    cluster.member(1).log_hangs = true;
    let own: Vec<_> = (0..10).map(|_| cluster.propose(1, put("own"))).collect();
    let mut outcome = cluster.propose(2, put("k"));
    cluster.cut_off(1);
    let next = cluster.elect_any();
    cluster.pass(Millis(1_000));
    assert!(answered(&mut outcome));

    cluster.heal();
    cluster.member(1).log_hangs = false;
    cluster.pass(Millis(2_000));
    cluster.elect(1);
    cluster.pass(Millis(1_000));
    assert_ne!(next, 1);
    assert_eq!(cluster.versions("k"), [1, 1, 1]);
    assert_eq!(cluster.versions("own"), [10, 10, 10]);
    drop(own);
}

/// A frame that is repeated long after, when its answer is forgotten, is not proposed again.
#[test]
fn a_forward_is_proposed_once_however_late_it_is_repeated() {
    let mut cluster = Cluster::led_by_one();
    let (term, _) = cluster.member(1).shared.leadership();
    let id = RequestId { member: MemberId(2), ..RequestId::default() };
    let request = Request { id, identity: Identity::anonymous(), command: put("k").into() };
    let group = codec::encode_group(&[request]);
    for _ in 0..2 {
        for ticket in 1..=300 {
            let group = group.clone();
            cluster.hand_in(
                1,
                Input::Frame(MemberId(2), Incarnation(0), Frame::Forward { ticket, term, group }),
            );
        }
        cluster.tick();
    }
    cluster.tick();
    assert_eq!(cluster.versions("k"), [300, 300, 300]);
}

/// A read barrier on a follower shows what was acknowledged before, and waits for the state.
#[test]
fn a_read_on_a_follower_sees_what_was_acknowledged() {
    let mut cluster = Cluster::led_by_one();
    cluster.member(2).apply_hangs = true;
    assert!(answered(&mut cluster.propose(1, put("k"))));
    let mut read = cluster.read(2);
    cluster.pass(Millis(300));
    assert!(read.try_recv().is_err());
    cluster.member(2).apply_hangs = false;
    cluster.tick();
    assert!(read.try_recv().is_ok());
    assert_eq!(cluster.versions("k"), [1, 1, 1]);
}

/// A leader that was replaced without knowing it confirms no read, and a read waits for the heal.
#[test]
fn a_cut_off_leader_confirms_no_read() {
    let mut cluster = Cluster::led_by_one();
    cluster.cut_off(1);
    let mut read = cluster.read(1);
    let next = cluster.elect_any();
    assert!(answered(&mut cluster.propose(next, put("k"))));
    cluster.pass(limits::READ_INDEX_RETRY);
    assert!(read.try_recv().is_err());
    cluster.heal();
    cluster.pass(Millis(2_000));
    assert!(read.try_recv().is_ok());
    assert_eq!(cluster.pair(1, "k").unwrap().version, 1);
}

/// Members that all crash with nothing flushed replay their logs and lose nothing.
#[test]
fn a_cluster_starts_again_from_its_logs() {
    let mut cluster = Cluster::led_by_one();
    for _ in 0..20 {
        assert!(answered(&mut cluster.propose(1, put("k"))));
    }
    (1..=3).for_each(|id| cluster.crash(id));
    (1..=3).for_each(|id| cluster.start(id));
    let leader = cluster.elect_any();
    assert!(answered(&mut cluster.propose(leader, put("k"))));
    cluster.tick();
    assert_eq!(cluster.versions("k"), [21, 21, 21]);
}

/// A member that was away while the log was cut gets a checkpoint, and nothing of it stays behind.
#[test]
fn who_was_away_for_long_gets_a_checkpoint() {
    let mut cluster = Cluster::new(3, keep_no_log);
    cluster.elect(1);
    cluster.cut_off(3);
    fill_log(&mut cluster, 1);
    cluster.heal();
    cluster.pass(Millis(3_000));
    assert!(cluster.pair(3, "fill5").is_some());
    assert!(answered(&mut cluster.propose(1, put("k"))));
    assert!(answered(&mut cluster.propose(3, put("k"))));
    cluster.tick();
    assert_eq!(cluster.versions("k"), [2, 2, 2]);
    assert_eq!((1..=3).map(|id| cluster.kept_checkpoints(id)).sum::<usize>(), 0);

    // It starts again from the checkpoint and the log behind it.
    cluster.crash(3);
    cluster.start(3);
    cluster.pass(Millis(1_000));
    assert_eq!(cluster.versions("k"), [2, 2, 2]);
}

/// The leader falls silent while a checkpoint is being installed: the member waits with elections
/// until it is done, whatever else arrives.
#[test]
fn no_election_while_a_checkpoint_is_being_installed() {
    let mut cluster = Cluster::new(3, keep_no_log);
    cluster.elect(1);
    cluster.cut_off(3);
    fill_log(&mut cluster, 1);
    cluster.member(3).apply_hangs = true;
    cluster.heal();
    cluster.pass(Millis(1_000));
    cluster.cut_off(3);
    cluster.pass(Millis(5_000));
    assert_eq!(cluster.member(3).replica.role(), Role::Follower);
    cluster.member(3).apply_hangs = false;
    cluster.heal();
    cluster.pass(Millis(3_000));
    assert!(cluster.pair(3, "fill5").is_some());
}

/// A crash after the checkpoint became the state, and before the log started anew, while the log
/// holds entries beyond it that lost an election.
#[test]
fn rr_09_a_crash_between_state_and_log_of_an_install() {
    let mut cluster = Cluster::new(3, keep_no_log);
    cluster.elect(3);
    cluster.lost = |from, frame| from == MemberId(3) && matches!(frame, Frame::Raft(_));
    for _ in 0..40 {
        drop(cluster.propose(3, put("lost")));
    }
    cluster.heal();
    cluster.cut_off(3);
    let leader = cluster.elect_any();
    fill_log(&mut cluster, leader);
    cluster.member(3).apply_hangs = true;
    cluster.heal();
    cluster.pass(Millis(1_000));
    cluster.member(3).log_hangs = true;
    cluster.member(3).apply_hangs = false;
    cluster.tick();
    cluster.crash(3);
    cluster.start(3);
    cluster.pass(Millis(3_000));
    assert!(cluster.pair(3, "fill5").is_some());
    assert_eq!(cluster.pair(3, "lost"), None);
}

/// A leader that makes a snapshot message and steps down in the same round sends none without its
/// checkpoint: whoever got it would have nothing to install.
#[test]
fn a_snapshot_message_never_travels_alone() {
    let mut cluster = Cluster::new(3, keep_no_log);
    cluster.elect(1);
    cluster.cut_off(3);
    fill_log(&mut cluster, 1);
    cluster.heal();
    while cluster.kept_checkpoints(1) == 0 {
        cluster.tick();
    }
    // In one round, member 3 asks for the checkpoint and member 2 for a vote.
    cluster.hold.extend([2, 3]);
    cluster.tick();
    cluster.give(1, Input::HandOver(Some(MemberId(2))));
    cluster.hold.clear();
    let (of_two, of_three): (Vec<_>, Vec<_>) =
        std::mem::take(&mut cluster.held).into_iter().partition(|(from, ..)| from.0 == 2);
    cluster.held.extend(of_three.into_iter().chain(of_two).filter(|(_, to, ..)| to.0 == 1));
    cluster.release_held();
    cluster.settle();
    cluster.pass(Millis(5_000));
    assert_eq!(cluster.member(3).fault, None);
    assert!(cluster.pair(3, "fill5").is_some());
    assert_eq!((1..=3).map(|id| cluster.kept_checkpoints(id)).sum::<usize>(), 0);
}

/// A member asks for entries that are only on disk, and in the same round the log is cut.
#[test]
fn entries_that_were_asked_for_may_be_cut_before_they_are_read() {
    let mut cluster = Cluster::new(3, |settings| {
        settings.log_kept_bytes = 1;
        settings.log_kept_for_laggards_bytes = 1;
    });
    cluster.elect(1);
    cluster.cut_off(3);
    fill_log(&mut cluster, 1);
    cluster.crash(1);
    cluster.start(1);
    cluster.elect(1);
    fill_log(&mut cluster, 1);
    cluster.heal();
    cluster.hold.insert(3);
    cluster.tick();
    cluster.release_held();
    cluster.settle();
    // Now the leader has probed, and learns where member 3 ends.
    cluster.release_held();
    cluster.hold.clear();
    let flushed = cluster.flush(1);
    cluster.give(1, flushed);
    cluster.pass(Millis(3_000));
    assert!(cluster.pair(3, "fill5").is_some());
}
