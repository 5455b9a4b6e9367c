//! Locks.

use futures_util::FutureExt;

use super::*;

/// Who has the lock with a lease has it at once when it asks again, and nothing is written. Negative
/// ids are written as the numbers they are.
#[tokio::test]
async fn case_64_the_same_lease_has_the_same_lock() {
    let member = Member::with_leases([0x1f, -1]).await;

    let first = member.lock(0x1f).await;
    let again = member.lock(0x1f).await;
    member.unlock(&first).await;
    let negative = member.lock(-1).await;

    assert_eq!(first, Locked { key: Key::new("l/1f").unwrap(), revision: Revision(2) });
    assert_eq!(again, first);
    assert_eq!(negative.key.as_bytes(), b"l/-1");
    assert_eq!(negative.revision, Revision(4), "a put, a delete and a put");
}

/// Waiters get the lock in the order in which they came, one at a time, each with a greater token.
#[tokio::test]
async fn waiters_are_served_in_order() {
    let member = Member::with_leases(1..=10).await;
    let mut waiting = Vec::new();
    for lease in 1..=10 {
        waiting.push(member.locking(lease));
        member.until_keys(waiting.len()).await;
    }

    let mut last = Revision(0);
    for (waiter, lease) in waiting.into_iter().zip(1..) {
        let locked = soon(waiter).await.unwrap().unwrap();
        assert_eq!(locked.key.as_bytes(), format!("l/{lease:x}").as_bytes());
        assert!(last < locked.revision, "{last} is not before {locked:?}");
        last = locked.revision;
        assert_eq!(member.keys().len(), 11 - usize::try_from(lease).unwrap());
        member.unlock(&locked).await;
    }
}

/// A waiter follows the one before it alone. When that one goes it waits for whoever is before it
/// then, and does not get the lock.
#[tokio::test]
async fn who_leaves_the_line_gives_nobody_the_lock() {
    let member = Member::with_leases([1, 2, 3]).await;
    let held = member.lock(1).await;
    let second = member.locking(2);
    member.until_keys(2).await;
    let third = member.locking(3);
    member.until_keys(3).await;

    second.abort();
    until(|| member.keys() == ["l/1", "l/3"]).await;
    assert!(!third.is_finished(), "the first still has it");
    member.unlock(&held).await;

    assert_eq!(soon(third).await.unwrap().unwrap().key.as_bytes(), b"l/3");
    assert_eq!(member.leases(), [1, 2, 3], "whose leases they are, they stay");
}

/// Whoever gives up leaves neither key nor lease, however far it had come.
#[tokio::test]
async fn who_gives_up_leaves_nothing() {
    let member = Member::with_leases([1, 2, 3]).await;
    let held = member.lock(1).await;
    for polls in [1, 2, 3, 5, 8, 1_000] {
        for lease in [0, 2] {
            // A lease that would not end by itself while the test looks on.
            let locks = Locks::new(member.running.handle.clone(), OwnLease::default());
            let mut locking = Box::pin(locks.lock(nobody(), "l".into(), LeaseId(lease)));
            for _ in 0..polls {
                assert!((&mut locking).now_or_never().is_none());
                yield_now().await;
            }
            drop(locking);
        }
    }
    // This one stands behind whatever was left, and gets the lock only when that is gone.
    let last = member.locking(3);
    until(|| member.keys().last().is_some_and(|key| key == "l/3")).await;
    member.unlock(&held).await;
    let locked = soon(last).await.unwrap().unwrap();
    member.unlock(&locked).await;
    until(|| member.keys().is_empty() && member.leases() == [1, 2, 3]).await;
}

/// Who has the lock and asks for it again does not lose it by not waiting for the answer.
#[tokio::test]
async fn a_holder_that_gives_up_asking_again_keeps_the_lock() {
    let member = Member::with_leases([1, 2]).await;
    let held = member.lock(1).await;

    let locks = member.locks();
    let mut again = Box::pin(locks.lock(nobody(), "l".into(), LeaseId(1)));
    assert!((&mut again).now_or_never().is_none());
    drop(again);

    // The transaction of another is behind the one that nobody waited for.
    let second = member.locking(2);
    member.until_keys(2).await;
    assert_eq!(member.lock(1).await.key, held.key);
    assert_eq!(member.keys(), ["l/1", "l/2"]);
    second.abort();
}

/// A lease of the call's own lives as long as the call waits, however short it is, and is not renewed
/// after the answer.
#[tokio::test]
async fn a_lease_of_its_own_lives_while_the_call_waits() {
    let member = Member::with_leases([1]).await;
    let held = member.lock(1).await;
    let waiting = member.locking(0);
    member.until_keys(2).await;
    let ttl = Duration::from_secs(1);

    tokio::time::sleep(ttl * 3).await;
    assert!(!waiting.is_finished());
    member.unlock(&held).await;
    let locked = soon(waiting).await.unwrap().unwrap();
    let answered = Instant::now();
    until(|| member.keys().is_empty()).await;

    let lived = answered.elapsed();
    assert!(lived >= ttl - Duration::from_millis(300), "{locked:?} lived for {lived:?}");
    assert_eq!(member.leases(), [1]);
}

/// A waiter whose lease ends is told so when its turn comes, and whoever is behind it goes on.
#[tokio::test]
async fn a_waiter_without_a_lease_does_not_get_the_lock() {
    let member = Member::with_leases([1, 2, 3]).await;
    let held = member.lock(1).await;
    let second = member.locking(2);
    member.until_keys(2).await;
    let third = member.locking(3);
    member.until_keys(3).await;

    member.revoke(2).await;
    member.unlock(&held).await;

    assert_eq!(soon(second).await.unwrap(), Err(Error::SessionExpired));
    assert_eq!(soon(third).await.unwrap().unwrap().key.as_bytes(), b"l/3");
}

/// A waiter that lost its own lease ends by itself.
#[tokio::test]
async fn a_waiter_whose_own_lease_is_revoked_ends() {
    let member = Member::with_leases([1]).await;
    let _held = member.lock(1).await;
    let waiting = member.locking(0);
    member.until_keys(2).await;
    let own = *member.leases().iter().find(|lease| **lease != 1).unwrap();

    member.revoke(own).await;

    assert_eq!(soon(waiting).await.unwrap(), Err(Error::SessionExpired));
    assert_eq!(member.keys(), ["l/1"]);
}

/// The lock passes on when the lease of its holder is revoked, and when it runs out.
#[tokio::test]
async fn the_lock_passes_on_with_the_lease() {
    let member = Member::with_leases([1, 2]).await;
    member.lock(1).await;
    let second = member.locking(2);
    member.until_keys(2).await;

    member.revoke(1).await;
    soon(second).await.unwrap().unwrap();
    member.revoke(2).await;
    // Nobody renews this one.
    member.lock(0).await;
    let last = member.locking(0);

    soon(last).await.unwrap().unwrap();
}

/// A member that is about to stop ends those who wait, and cleans up for them.
#[tokio::test]
async fn a_member_that_stops_sends_waiters_away() {
    let member = Member::with_leases([1, 2]).await;
    member.lock(1).await;
    let waiting = [member.locking(2), member.locking(0)];
    member.until_keys(3).await;

    member.running.handle.retire();

    for waiter in waiting {
        let error = soon(waiter).await.unwrap().unwrap_err();
        assert_eq!(error, crate::node::Error::Stopped.into());
    }
    assert_eq!((member.keys(), member.leases()), (vec!["l/1".to_owned()], vec![1, 2]));
}

/// History that is compacted while a waiter looks for it does not end the wait.
#[tokio::test]
async fn a_compaction_ends_no_wait() {
    let member = Member::with_leases([1, 2]).await;
    let held = member.lock(1).await;
    let waiting = member.locking(2);
    member.until_keys(2).await;

    for _ in 0..20 {
        member.running.propose(crate::state::testing::put("other")).await;
        member.running.propose(Command::Compact(member.running.handle.revision())).await;
    }
    member.unlock(&held).await;

    soon(waiting).await.unwrap().unwrap();
}
