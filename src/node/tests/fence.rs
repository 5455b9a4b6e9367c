//! Members that lost what they had written, in a cluster in memory.

use std::sync::{Arc, Mutex};

use crate::{
    node::{
        Error, Fencing, Input,
        ports::{FenceStore, Frame, LogStore},
        tests::{
            answered,
            cluster::{Cluster, Sent},
            keep_no_log,
        },
    },
    raft::{HardState, LogWrite, Position, Role},
    state::testing::put,
    types::{Fault, Incarnation, Index, MemberId, Millis, Term},
};

/// What an identity file keeps of the fence, in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryFence(Mutex<(Incarnation, bool)>);

impl MemoryFence {
    pub(super) fn fencing(self: &Arc<Self>, member: MemberId, boot: u64) -> Fencing {
        let (incarnation, fenced) = *self.0.lock().unwrap();
        let store = Arc::clone(self);
        let mut found = Fencing::new(store, member, incarnation, fenced, boot);
        found.may_have_installed = true;
        found
    }

    fn is_fenced(&self) -> bool {
        self.0.lock().unwrap().1
    }
}

impl FenceStore for MemoryFence {
    fn raise(&self, above: Incarnation) -> Result<Incarnation, Fault> {
        let mut kept = self.0.lock().unwrap();
        *kept = (kept.0.max(above).next(0), true);
        Ok(kept.0)
    }

    fn lift(&self) -> Result<(), Fault> {
        self.0.lock().unwrap().1 = false;
        Ok(())
    }
}

/// Cuts everything behind `index` off the log of a member that does not run.
fn cut_log(cluster: &Cluster, id: u64, index: Index) {
    let (log, _) = cluster.disk(id);
    let state = log.load().unwrap();
    let kept = log.entries(state.truncated.index.next(), index.next(), u64::MAX).unwrap();
    log.reset(state.truncated, state.hard_state).unwrap();
    log.write(LogWrite { entries: kept, hard_state: None }).unwrap();
}

/// Has a member that does not run remember that the log was committed up to `index`.
fn remember_commit(cluster: &Cluster, id: u64, index: Index) {
    let (log, _) = cluster.disk(id);
    let hard_state = HardState { commit: index, ..log.load().unwrap().hard_state };
    log.write(LogWrite { entries: Vec::new(), hard_state: Some(hard_state) }).unwrap();
}

/// A cluster with a few entries, in which member 3 was stopped and its log cut. What it remembers
/// shows that.
fn with_cut_log() -> Cluster {
    let cluster = with_log_cut_without_a_trace();
    let (log, _) = cluster.disk(3);
    let end = log.load().unwrap().last.index;
    remember_commit(&cluster, 3, end.next());
    cluster
}

/// The same, but the member cannot tell.
fn with_log_cut_without_a_trace() -> Cluster {
    let mut cluster = Cluster::led_by_one();
    for _ in 0..5 {
        assert!(answered(&mut cluster.propose(1, put("k"))));
    }
    cluster.pass(Millis(300));
    cluster.crash(3);
    let end = cluster.log_end(3);
    cut_log(&cluster, 3, Index(end.0 - 3));
    cluster
}

fn is_fenced(cluster: &mut Cluster, id: u64) -> bool {
    let fenced = cluster.member(id).shared.is_fenced();
    assert_eq!(cluster.fence(id).is_fenced(), fenced);
    fenced
}

/// A member with a cut log starts fenced, is whole once it has what it lost, and goes on.
#[test]
fn rr_55_a_cut_log_is_filled_again_behind_a_fence() {
    let mut cluster = with_cut_log();
    cluster.start(3);
    assert!(is_fenced(&mut cluster, 3));
    cluster.pass(Millis(2_000));
    assert!(!is_fenced(&mut cluster, 3));
    assert_eq!(cluster.versions("k"), [5, 5, 5]);

    cluster.cut_off(1);
    cluster.elect_any();
    let leader = cluster.leader().unwrap();
    assert!(answered(&mut cluster.propose(leader, put("k"))));
}

/// While one of the others is away, the member stays fenced, over a restart too: it neither votes
/// nor acknowledges, nobody is served, and so nothing is decided.
#[test]
fn rr_54_with_one_other_member_the_fence_stays() {
    let mut cluster = with_cut_log();
    cluster.cut_off(1);
    cluster.start(3);
    for _ in 0..2 {
        cluster.pass(Millis(5_000));
        assert!(is_fenced(&mut cluster, 3));
        assert_eq!(cluster.leader(), None);
        assert_ne!(cluster.member(2).replica.role(), Role::Leader);
        let mut undecided = cluster.propose(2, put("k"));
        cluster.pass(Millis(1_000));
        assert!(undecided.try_recv().is_err());
        cluster.crash(3);
        cluster.start(3);
    }
    cluster.heal();
    cluster.pass(Millis(3_000));
    assert!(!is_fenced(&mut cluster, 3));
    let versions = cluster.versions("k");
    assert_eq!(versions, [versions[0]; 3]);
}

/// The fence stands while the leader is away too: the other member alone cannot say what was lost.
#[test]
fn two_members_of_which_one_is_fenced_elect_nobody() {
    let mut cluster = with_cut_log();
    cluster.crash(1);
    cluster.start(3);
    cluster.pass(Millis(10_000));
    assert!(is_fenced(&mut cluster, 3));
    assert_eq!(cluster.leader(), None);
    cluster.start(1);
    cluster.pass(Millis(3_000));
    assert!(!is_fenced(&mut cluster, 3));
    assert_eq!(cluster.versions("k"), [5, 5, 5]);
}

/// What an older incarnation acknowledged, and comes late, does not count.
#[test]
fn late_acknowledgements_of_an_older_incarnation_do_not_count() {
    let mut cluster = Cluster::led_by_one();
    assert!(answered(&mut cluster.propose(1, put("k"))));
    cluster.pass(Millis(300));
    // Member 2 hears nothing, and what member 3 says is under way for long.
    cluster.cut_off(2);
    cluster.hold.insert(3);
    let mut undecided = cluster.propose(1, put("k"));
    cluster.pass(Millis(200));
    let acknowledged: Vec<Sent> = std::mem::take(&mut cluster.held);
    assert!(!acknowledged.is_empty());
    cluster.hold.clear();
    cluster.crash(3);
    let end = cluster.log_end(3);
    cut_log(&cluster, 3, Index(end.0 - 1));
    remember_commit(&cluster, 3, end);
    cluster.start(3);
    assert!(is_fenced(&mut cluster, 3));

    cluster.held = acknowledged;
    cluster.release_held();
    cluster.settle();
    assert!(undecided.try_recv().is_err(), "an entry was committed that one member holds");
}

/// An empty log beside a state is a loss as well; the member catches up with a checkpoint when the
/// entries are gone.
#[test]
fn a_missing_log_is_begun_anew_from_a_checkpoint() {
    let mut cluster = Cluster::new(3, keep_no_log);
    cluster.elect(1);
    assert!(answered(&mut cluster.propose(1, put("k"))));
    cluster.pass(Millis(300));
    let flushed = cluster.flush(3);
    cluster.give(3, flushed);
    cluster.crash(3);
    super::fill_log(&mut cluster, 1);
    let flushed = cluster.flush(1);
    cluster.give(1, flushed);
    let (log, _) = cluster.disk(3);
    log.reset(Position::default(), HardState::default()).unwrap();

    cluster.start(3);
    assert!(is_fenced(&mut cluster, 3));
    cluster.pass(Millis(3_000));
    assert!(!is_fenced(&mut cluster, 3));
    assert_eq!(cluster.versions("fill5"), [1, 1, 1]);
}

/// A member that lost its log's end without a trace learns it from the leader, ends, and is fenced
/// when it starts again.
#[test]
fn a_loss_that_only_the_leader_can_see_ends_the_member() {
    let mut cluster = with_log_cut_without_a_trace();
    cluster.start(3);
    assert!(!is_fenced(&mut cluster, 3));
    cluster.settle();
    let fault = cluster.member(3).fault.clone().expect("it was told");
    assert!(fault.to_string().contains("put back from an older copy"), "{fault}");
    assert!(cluster.fence(3).is_fenced());

    cluster.crash(3);
    cluster.start(3);
    assert!(is_fenced(&mut cluster, 3));
    cluster.pass(Millis(3_000));
    assert!(!is_fenced(&mut cluster, 3));
    assert_eq!(cluster.versions("k"), [5, 5, 5]);
}

/// A heartbeat that rests on entries which are not here ends the member too.
#[test]
fn a_heartbeat_beyond_the_log_raises_the_fence() {
    let mut cluster = with_log_cut_without_a_trace();
    // Nobody hears where its log ends.
    cluster.cut_off(3);
    cluster.start(3);
    cluster.cut_off.clear();
    cluster.tick();

    let fault = cluster.member(3).fault.clone().expect("it was told");
    assert!(fault.to_string().contains("synced entries are lost"), "{fault}");
    assert!(cluster.fence(3).is_fenced());
}

/// A restart without a loss is nobody's business: nothing is forgotten, nobody is fenced.
#[test]
fn a_restart_raises_no_fence() {
    let mut cluster = Cluster::led_by_one();
    for id in [3, 2, 3] {
        assert!(answered(&mut cluster.propose(1, put("k"))));
        cluster.crash(id);
        cluster.start(id);
        cluster.pass(Millis(300));
        assert!(!is_fenced(&mut cluster, id));
    }
    assert_eq!(cluster.versions("k"), [3, 3, 3]);
}

/// A member alone has nobody to ask: it does not start, and nothing of it is changed.
#[test]
fn a_member_alone_refuses_to_start_without_its_log() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.elect(1);
    assert!(answered(&mut cluster.propose(1, put("k"))));
    let end = cluster.log_end(1);
    cluster.crash(1);
    cut_log(&cluster, 1, Index(end.0 - 1));
    remember_commit(&cluster, 1, end);
    let error = cluster.refuses_to_start(1).to_string();
    assert!(error.contains("the only one that votes"), "{error}");
    assert!(!cluster.fence(1).is_fenced());
    assert_eq!(cluster.log_end(1), Index(end.0 - 1));
}

/// A fenced member answers no question, and a member that is whole answers with its term.
#[test]
fn only_whole_members_answer() {
    let mut cluster = with_cut_log();
    cluster.cut_off(3);
    cluster.start(3);
    cluster.hold.extend([1, 3]);
    let question = Frame::Question { start: 9 };
    for id in [1, 3] {
        cluster.give(id, Input::Frame(MemberId(2), Incarnation(0), question.clone()));
    }
    let answers: Vec<_> = cluster
        .held
        .iter()
        .filter(|(.., frame)| matches!(frame, Frame::Answer { .. }))
        .map(|(from, _, _, frame)| (from.0, frame.clone()))
        .collect();
    let term = cluster.member(1).shared.term();
    let committed = Some(cluster.member(1).shared.committed());
    assert!(term > Term(0));
    assert_eq!(answers, [(1, Frame::Answer { start: 9, term, committed })]);
}

/// Nothing is proposed by, and no read confirmed on, a member that is fenced.
#[test]
fn a_fenced_member_serves_nobody() {
    let mut cluster = with_cut_log();
    cluster.cut_off(1);
    cluster.start(3);
    cluster.pass(Millis(500));
    assert_eq!(cluster.member(3).shared.refuse_if_fenced(), Err(Error::Fenced));
    cluster.heal();
    cluster.pass(Millis(3_000));
    assert_eq!(cluster.member(3).shared.refuse_if_fenced(), Ok(()));
}
