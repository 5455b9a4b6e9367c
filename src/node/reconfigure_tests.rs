//! The checks before a change of the members.

use super::*;

const OK: Result<(), MembershipError> = Ok(());
const NOT_STARTED: Result<(), MembershipError> = Err(MembershipError::NotEnoughStarted);
const UNHEALTHY: Result<(), MembershipError> = Err(MembershipError::Unhealthy);

/// Voters 1 to `count`, so many of them started.
fn cluster(count: u64, started: u64) -> Vec<Member> {
    (1..=count)
        .map(|id| Member {
            id: MemberId(id),
            name: if id <= started { format!("n{id}") } else { String::new() },
            ..Member::default()
        })
        .collect()
}

/// As etcd decides for all small clusters: with the new member counted as one that is down.
#[test]
fn a_voter_is_added_to_a_cluster_that_can_spare_it() {
    // Voters, started, connected.
    for (count, started, connected, expected) in [
        (1, 1, 1, OK),
        (1, 0, 1, NOT_STARTED),
        (2, 1, 2, NOT_STARTED),
        (2, 2, 1, UNHEALTHY),
        (2, 2, 2, OK),
        (3, 2, 3, NOT_STARTED),
        (3, 3, 2, UNHEALTHY),
        (3, 3, 3, OK),
        (4, 3, 3, OK),
        (4, 4, 3, OK),
        (4, 4, 2, UNHEALTHY),
        (5, 4, 4, OK),
        (5, 5, 3, UNHEALTHY),
    ] {
        let allowed = may_add(&cluster(count, started), false, connected);
        assert_eq!(allowed, expected, "{count} voters, {started} started, {connected} connected");
    }
}

/// For a learner it does not matter who has started, but who is there.
#[test]
fn a_learner_is_added_to_a_cluster_that_is_there() {
    for (count, started, connected, expected) in
        [(1, 0, 1, OK), (3, 1, 3, OK), (3, 3, 2, UNHEALTHY), (4, 4, 3, OK)]
    {
        let allowed = may_add(&cluster(count, started), true, connected);
        assert_eq!(allowed, expected, "{count} voters, {started} started, {connected} connected");
    }
}

/// A member that is down is no loss; one that is there is, if others are down.
#[test]
fn a_voter_is_removed_if_a_quorum_is_left() {
    for (count, started, connected, expected) in [
        (1, 1, Some(1), NOT_STARTED),
        (2, 2, Some(2), OK),
        (2, 2, None, OK),
        (3, 3, Some(3), OK),
        (3, 3, Some(2), UNHEALTHY),
        (3, 3, None, OK),
        (3, 2, None, OK),
        (3, 1, None, NOT_STARTED),
        (4, 4, Some(3), OK),
        (4, 4, Some(2), UNHEALTHY),
        (5, 5, Some(4), OK),
        (5, 5, Some(3), UNHEALTHY),
    ] {
        // The last one goes.
        let allowed = may_remove(&cluster(count, started), MemberId(count), connected);
        assert_eq!(allowed, expected, "{count} voters, {started} started, {connected:?} connected");
    }
    // Nobody is removed by an unknown id; that is for the state to say.
    assert_eq!(may_remove(&cluster(1, 1), MemberId(9), None), OK);
}

/// The learner counts as started.
#[test]
fn a_learner_is_promoted_if_enough_have_started() {
    for (count, started, expected) in
        [(1, 1, OK), (1, 0, NOT_STARTED), (2, 1, OK), (3, 1, NOT_STARTED), (3, 2, OK)]
    {
        assert_eq!(may_promote(&cluster(count, started)), expected, "{started} of {count}");
    }
}

/// Nine tenths of the leader's log are enough, and a member that the leader does not know is none.
#[test]
fn a_learner_must_be_in_sync() {
    let allowed = |matched, last| {
        let progress = [(1, last, false), (2, matched, true)].map(|(id, index, learner)| {
            Progress { member: MemberId(id), matched: Index(index), recent_active: true, learner }
        });
        may_be_promoted(&progress, MemberId(1), MemberId(2))
    };
    assert_eq!(allowed(90, 100), OK);
    assert_eq!(allowed(100, 100), OK);
    assert_eq!(allowed(89, 100), Err(MembershipError::LearnerNotReady));
    assert_eq!(allowed(0, 1), Err(MembershipError::LearnerNotReady));
    assert_eq!(allowed(u64::MAX, u64::MAX), OK);
    assert_eq!(
        may_be_promoted(&[], MemberId(1), MemberId(2)),
        Err(refused(Refused::MemberNotFound))
    );
}

/// A leader that is lost while it promotes may have done so: then a voter is what was wanted.
#[test]
fn a_promotion_is_asked_for_again() {
    let id = MemberId(2);
    let lost = Err(Error::TimedOut(TimeoutCause::ConnectionLost));
    assert_eq!(heard(lost.clone(), id, false), Next::AskUncertain);
    assert_eq!(heard(Ok(Promotion::NotALearner), id, true), Next::Done);
    let voter = Next::Refused(refused(Refused::NotALearner(id)));
    assert_eq!(heard(Ok(Promotion::NotALearner), id, false), voter);
    for uncertain in [false, true] {
        assert_eq!(heard(Ok(Promotion::Done), id, uncertain), Next::Done);
        assert_eq!(heard(Err(Error::NotLeader), id, uncertain), Next::Ask);
        let not_ready = Next::Refused(MembershipError::LearnerNotReady);
        assert_eq!(heard(Ok(Promotion::NotReady), id, uncertain), not_ready);
        let busy = Next::Refused(Error::TooManyRequests.into());
        assert_eq!(heard(Err(Error::TooManyRequests), id, uncertain), busy);
    }
}
