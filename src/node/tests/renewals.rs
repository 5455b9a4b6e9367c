//! Renewals on a running member that leads: what they answer, and who waits for whom.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::reads::Running;
use crate::{
    node::{
        Error, Handle, KeptAlive,
        ports::{Inbox, Renewed},
    },
    state::{self, Command, RevokeCause, testing::grant},
    types::{Index, LeaseId, Millis, Seconds, limits},
};

/// Far longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);
/// Long enough for what must not happen to happen.
const A_MOMENT: Duration = Duration::from_millis(100);

/// A member that renews leases. Leases are granted for 60 seconds.
struct Renewing {
    member: Running,
    task: JoinHandle<()>,
}

impl Renewing {
    async fn with_leases(ids: impl IntoIterator<Item = i64>) -> Self {
        let member = Running::start(Arc::default(), Arc::default());
        let task = tokio::spawn(member.handle.clone().renew_leases());
        futures_util::future::join_all(ids.into_iter().map(|id| member.propose(grant(id)))).await;
        Self { member, task }
    }

    fn handle(&self) -> &Handle {
        &self.member.handle
    }

    /// A batch of these leases, on its way.
    fn ask(&self, ids: &[i64]) -> impl Future<Output = Result<Vec<Renewed>, Error>> + use<> {
        let batch = ids.iter().map(|id| KeptAlive::new(LeaseId(*id))).collect();
        let renewing = self.handle().renew(batch);
        async move {
            let kept = timeout(SOON, renewing).await.expect("it is answered in time")?;
            Ok(kept.into_iter().map(|kept| kept.renewed).collect())
        }
    }

    /// Grants a lease that is the first to run out, lets the clock count it as ended, and nobody
    /// propose that.
    async fn ends(&self, id: i64) {
        let ttl = Seconds(20);
        self.member.propose(Command::LeaseGrant { id: LeaseId(id), ttl }).await;
        assert_eq!(self.handle().keep_alive(LeaseId(id)).await, Ok(Some(ttl)));
        let never = Millis(u64::MAX / 2);
        assert_eq!(self.handle().shared().lessor().due(never, 1).expired, [LeaseId(id)]);
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn renewed() -> Renewed {
    Renewed::For(Seconds(60))
}

/// Each lease of a batch has its answer in its place, however large the batch is and however often
/// a lease stands in it.
#[tokio::test]
async fn case_56_a_batch_is_answered_in_its_order() {
    let member = Renewing::with_leases([5, 6]).await;
    let row = [5, 0, 6, 5, 7].repeat(limits::RENEWALS_PER_LOCK_MAX / 2);

    let answers = member.ask(&row).await.unwrap();

    let expected = [renewed(), Renewed::Unknown, renewed(), renewed(), Renewed::Unknown];
    assert_eq!(answers, expected.repeat(limits::RENEWALS_PER_LOCK_MAX / 2));
    assert_eq!(member.handle().keep_alive(LeaseId(5)).await, Ok(Some(Seconds(60))));
    assert_eq!(member.handle().keep_alive(LeaseId(0)).await, Ok(None));
}

/// A renewal of a lease whose end is on its way waits for the end and finds nothing; it does not
/// bring the lease back, and nobody else waits with it.
#[tokio::test]
async fn case_60_a_lease_that_ends_holds_up_its_own_batch_only() {
    let member = Renewing::with_leases([6, 7]).await;
    member.ends(5).await;

    let first = member.ask(&[6, 5, 7]).await;
    assert_eq!(first, Ok(vec![renewed(), Renewed::NotYet, renewed()]));
    let mut waits = Box::pin(member.ask(&[5, 6]));
    assert!(timeout(A_MOMENT, &mut waits).await.is_err());
    assert_eq!(member.ask(&[6, 7, 8]).await, Ok(vec![renewed(), renewed(), Renewed::Unknown]));
    let answer = member.handle().renew_here(vec![LeaseId(5), LeaseId(6)]).await;
    assert_eq!(answer, Ok(vec![Renewed::NotYet, renewed()]));
    assert!(timeout(A_MOMENT, &mut waits).await.is_err());

    let revoke = Command::LeaseRevoke { id: LeaseId(5), cause: RevokeCause::Client };
    member.member.propose(revoke).await;
    assert_eq!(waits.await, Ok(vec![Renewed::Unknown, renewed()]));
}

/// What is promised of a lease comes from the round that is answered: one that ends while the lease
/// before it in its batch holds it up is not told to live.
#[tokio::test]
async fn an_answer_is_not_older_than_its_round() {
    let member = Renewing::with_leases([]).await;
    member.ends(5).await;
    let ttl = Seconds(20);
    member.member.propose(Command::LeaseGrant { id: LeaseId(6), ttl }).await;
    let mut waits = Box::pin(member.ask(&[5, 6]));
    assert!(timeout(A_MOMENT, &mut waits).await.is_err());

    for id in [6, 5] {
        let revoke = Command::LeaseRevoke { id: LeaseId(id), cause: RevokeCause::Client };
        member.member.propose(revoke).await;
    }

    assert_eq!(waits.await, Ok(vec![Renewed::Unknown, Renewed::Unknown]));
}

/// What the log holds of the time a lease had left is forgotten before its renewal is acknowledged.
#[tokio::test]
async fn a_remaining_time_is_cleared_before_the_answer() {
    let member = Renewing::with_leases(1..=20).await;
    let left = || {
        let leases = state::lease::list(&*member.handle().view().unwrap()).unwrap();
        leases.iter().filter(|lease| lease.remaining.is_some()).count()
    };
    let checkpoint = (1..=10).map(|id| (LeaseId(id), Seconds(30))).collect();
    member
        .member
        .propose(Command::LeaseCheckpoint { leases: checkpoint, known: Index(u64::MAX) })
        .await;
    assert_eq!(left(), 10);

    // From the back, so that those which can be renewed at once come first, and then the others.
    let all: Vec<i64> = (1..=20).rev().collect();
    let first = member.ask(&all).await.unwrap();
    assert_eq!(first[..10], [renewed(); 10]);
    assert_eq!(first[10], Renewed::NotYet);
    assert_eq!(member.ask(&all[10..]).await, Ok(vec![renewed(); 10]));

    assert_eq!(left(), 0);
}

/// Batches that wait at the same time are all answered, each with its own leases.
#[tokio::test]
async fn many_batches_are_answered_together() {
    let member = Renewing::with_leases(1..=100).await;

    let asks = (0..2_000).map(|n| member.ask(&[n % 100 + 1, -1 - n]));
    let answers = futures_util::future::join_all(asks).await;

    let expected = vec![renewed(), Renewed::Unknown];
    assert!(answers.into_iter().all(|answer| answer.as_ref() == Ok(&expected)));
    let waiting = member.handle().shared().renewals.leases_waiting();
    assert_eq!(waiting, 0);
}

/// More than a round takes is refused, and so is anything once far too much waits.
#[tokio::test]
async fn what_waits_is_bounded() {
    let member = Running::start(Arc::default(), Arc::default());
    let row = |len| vec![KeptAlive::new(LeaseId(1)); len];
    let handle = &member.handle;
    let too_long = handle.renew(row(limits::RENEWALS_PER_ROUND_MAX + 1));
    assert_eq!(too_long.await, Err(Error::TooManyRequests));

    let rounds = limits::RENEWALS_WAITING_MAX / limits::RENEWALS_PER_ROUND_MAX;
    let waiting: Vec<_> =
        (0..rounds).map(|_| handle.renew(row(limits::RENEWALS_PER_ROUND_MAX))).collect();
    assert_eq!(handle.renew(row(1)).await, Err(Error::TooManyRequests));

    // Nobody waits any more: what was left is passed over, and there is room.
    drop(waiting);
    let task = tokio::spawn(handle.clone().renew_leases());
    let answered = async {
        while handle.keep_alive(LeaseId(1)).await != Ok(None) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, answered).await.expect("there is room again");
    task.abort();
}

/// When the member stops, whoever waits is told so, and so is whoever comes later.
#[tokio::test]
async fn who_waits_is_told_that_the_member_stops() {
    let member = Renewing::with_leases([]).await;
    member.ends(5).await;
    let waits = member.ask(&[5]);

    member.handle().shutdown();

    assert_eq!(waits.await, Err(Error::Stopped));
    assert_eq!(member.ask(&[5]).await, Err(Error::Stopped));
}
