//! Elections.

use super::*;
use crate::{
    recipes::{Elected, Leadership, Observer, Shown},
    state::testing::put,
};

impl Member {
    fn campaigning(&self, lease: i64, value: &str) -> JoinHandle<Result<Elected, Error>> {
        let (elections, value) = (self.elections(), Bytes::from(value.to_owned()));
        tokio::spawn(async move {
            elections.campaign(nobody(), "e".into(), LeaseId(lease), value).await
        })
    }

    async fn campaign(&self, lease: i64, value: &str) -> Elected {
        soon(self.campaigning(lease, value)).await.unwrap().unwrap()
    }

    async fn proclaim(&self, leadership: &Leadership, value: &str) -> Result<Revision, Error> {
        let value = Bytes::from(value.to_owned());
        soon(self.elections().proclaim(nobody(), leadership.clone(), value)).await
    }

    async fn resign(&self, leadership: &Leadership) -> Revision {
        soon(self.elections().resign(nobody(), leadership.clone())).await.unwrap()
    }

    async fn leader(&self) -> Result<Shown, Error> {
        soon(self.elections().leader(nobody(), "e".into())).await
    }
}

async fn next(observer: &mut Observer) -> String {
    value(soon(observer.next()).await.unwrap())
}

fn value(shown: Shown) -> String {
    shown.leader.value.escape_ascii().to_string()
}

/// A leader that stands again shows its new value, under the revisions of its first campaign.
#[tokio::test]
async fn case_65_a_leader_campaigns_again() {
    let member = Member::with_leases([7]).await;

    let first = member.campaign(7, "one").await;
    let again = member.campaign(7, "two").await;

    assert_eq!(first.revision, Revision(2));
    assert_eq!(first.leadership.created, Revision(2));
    assert_eq!(again, first, "the header is that of the look, not that of the overwrite");
    let shown = member.leader().await.unwrap();
    assert_eq!((shown.leader.version, shown.revision), (2, Revision(3)));
    assert_eq!(value(shown), "two");
}

/// To resign from what one does not lead is no mistake; to proclaim then is.
#[tokio::test]
async fn case_66_only_the_leader_proclaims() {
    let member = Member::with_leases([7]).await;
    let leadership = member.campaign(7, "one").await.leadership;
    let wrong = Leadership { created: Revision(99), ..leadership.clone() };

    assert_eq!(member.resign(&wrong).await, Revision(2), "nothing was deleted");
    assert_eq!(member.proclaim(&wrong, "x").await, Err(Error::NotLeader));
    assert_eq!(member.proclaim(&leadership, "two").await, Ok(Revision(3)));
    assert_eq!(value(member.leader().await.unwrap()), "two");

    assert_eq!(member.resign(&leadership).await, Revision(4));
    assert_eq!(member.leader().await, Err(Error::NoLeader));
    assert_eq!(member.proclaim(&leadership, "three").await, Err(Error::NotLeader));
}

/// To proclaim without a lease grants one, as a campaign does; it stays only with the value.
#[tokio::test]
async fn a_proclamation_without_a_lease_gets_one() {
    let member = Member::with_leases([7]).await;
    let leadership = member.campaign(7, "one").await.leadership;
    let without = Leadership { lease: LeaseId(0), ..leadership };

    let wrong = Leadership { created: Revision(99), ..without.clone() };
    assert_eq!(member.proclaim(&wrong, "x").await, Err(Error::NotLeader));
    until(|| member.leases() == [7]).await;
    member.proclaim(&without, "two").await.unwrap();

    let lease = member.leader().await.unwrap().leader.lease.unwrap();
    assert_ne!(lease, LeaseId(7));
    assert!(member.leases().contains(&lease.0));
}

/// Who is overtaken by the end of its lease does not lead.
#[tokio::test]
async fn a_candidate_without_a_lease_is_not_elected() {
    let member = Member::with_leases([1, 2]).await;
    let leader = member.campaign(1, "one").await;
    let candidate = member.campaigning(2, "two");
    member.until_keys(2).await;

    member.revoke(2).await;
    member.resign(&leader.leadership).await;

    assert_eq!(soon(candidate).await.unwrap(), Err(Error::NotLeader));
}

/// A candidate that gives up leaves neither key nor lease.
#[tokio::test]
async fn a_candidate_that_gives_up_leaves_nothing() {
    let member = Member::with_leases([1, 2]).await;
    member.campaign(1, "one").await;
    let candidates = [member.campaigning(2, "two"), member.campaigning(0, "three")];
    member.until_keys(3).await;

    candidates.iter().for_each(JoinHandle::abort);

    until(|| member.keys() == ["e/1"] && member.leases() == [1, 2]).await;
}

/// An observer sees the leader, what it shows, and the next leader; before there is one it waits.
#[tokio::test]
async fn an_observer_follows_leaders() {
    let member = Member::with_leases([1, 2]).await;
    let mut observer = member.elections().observe(nobody(), "e".into());
    assert!(timeout(Duration::from_millis(20), observer.next()).await.is_err());

    let leadership = member.campaign(1, "one").await.leadership;
    assert_eq!(next(&mut observer).await, "one");
    let second = member.campaigning(2, "other");
    member.proclaim(&leadership, "two").await.unwrap();
    assert_eq!(next(&mut observer).await, "two");
    member.until_keys(2).await;
    member.resign(&leadership).await;
    assert_eq!(next(&mut observer).await, "other");
    let leadership = soon(second).await.unwrap().unwrap().leadership;
    member.resign(&leadership).await;
    assert!(timeout(Duration::from_millis(20), observer.next()).await.is_err());
}

/// An observer that was away while history was compacted goes on with the leader of now, and keeps
/// nothing meanwhile.
#[tokio::test]
async fn an_observer_survives_a_compaction() {
    let member = Member::with_leases([1]).await;
    let leadership = member.campaign(1, "0").await.leadership;
    let mut observer = member.elections().observe(nobody(), "e".into());
    assert_eq!(next(&mut observer).await, "0");

    for n in 1..=50 {
        member.proclaim(&leadership, &n.to_string()).await.unwrap();
        member.running.propose(put("other")).await;
    }
    member.running.propose(Command::Compact(member.running.handle.revision())).await;

    let mut seen = 0;
    while seen != 50 {
        let now: u32 = next(&mut observer).await.parse().unwrap();
        assert!(seen < now, "{now} after {seen}");
        seen = now;
    }
    member.proclaim(&leadership, "51").await.unwrap();
    assert_eq!(next(&mut observer).await, "51");
}

/// An observer ends with its member.
#[tokio::test]
async fn an_observer_ends_with_its_member() {
    let member = Member::start().await;
    let mut observer = member.elections().observe(nobody(), "e".into());
    let observing = tokio::spawn(async move { observer.next().await });

    member.running.handle.retire();

    let error = soon(observing).await.unwrap().unwrap_err();
    assert_eq!(error, crate::node::Error::Stopped.into());
}
