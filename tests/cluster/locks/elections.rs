//! Elections.

use super::*;

/// A leader that stands again changes its value, under the revisions of its first campaign.
#[tokio::test]
async fn case_65_a_leader_campaigns_again() {
    let cluster = Cluster::start(1).await;
    let client = Client::of(&cluster, 0);
    client.lease(0x2a, 60).await;

    let first = client.campaign(0x2a, "one").await.unwrap();
    let again = client.campaign(0x2a, "two").await.unwrap();

    let leader = LeaderKey { name: NAME.into(), key: "job/2a".into(), rev: 2, lease: 0x2a };
    assert_eq!(first.leader, Some(leader));
    assert_eq!(first.header.unwrap().revision, 2);
    assert_eq!(again, first);
    let shown = client.leader().await.unwrap();
    let kv = shown.kv.unwrap();
    assert_eq!((&kv.value[..], kv.version, kv.create_revision), (&b"two"[..], 2, 2));
    assert_eq!(shown.header.unwrap().revision, 3);
}

/// To resign from what one does not lead is no mistake; to proclaim then is.
#[tokio::test]
async fn case_66_a_wrong_revision() {
    let cluster = Cluster::start(1).await;
    let client = Client::of(&cluster, 0);
    client.lease(1, 60).await;
    let leader = client.campaign(1, "one").await.unwrap().leader.unwrap();
    let wrong = || Some(LeaderKey { rev: 77, ..leader.clone() });

    let resigned = client.resign(wrong()).await.unwrap();
    assert_eq!(resigned.header.unwrap().revision, 2);
    assert_eq!(client.line().await, ["job/1"], "nothing is deleted");
    let not_leader = unknown("election: not leader");
    assert_eq!(said(client.proclaim(wrong(), "two").await), not_leader);

    let proclaimed = client.proclaim(Some(leader.clone()), "two").await.unwrap();
    assert_eq!(proclaimed.header.unwrap().revision, 3);
    assert_eq!(client.leader().await.unwrap().kv.unwrap().value, "two");
    client.resign(Some(leader.clone())).await.unwrap();
    assert_eq!(said(client.proclaim(Some(leader), "three").await), not_leader);
    assert_eq!(said(client.leader().await), unknown("election: no leader"));
}

/// Observers at every member see each leader and what it shows, also when one member goes.
#[tokio::test]
async fn observers_follow_leaders() {
    let cluster = Cluster::start(3).await;
    let clients: Vec<_> = (0..3).map(|index| Client::of(&cluster, index)).collect();
    let mut observers = Vec::new();
    for client in &clients {
        observers.push(client.observe().await);
    }
    for id in [1, 2] {
        clients[0].lease(id, 60).await;
    }

    let first = clients[0].campaign(1, "one").await.unwrap().leader;
    for observer in &mut observers {
        assert_eq!(shown(observer).await, "one");
    }
    let second = clients[1].campaigning(2, "other");
    clients[1].until_line(2).await;
    clients[2].proclaim(first, "two").await.unwrap();
    for observer in &mut observers {
        assert_eq!(shown(observer).await, "two");
    }
    clients[2].revoke(1).await;
    for observer in &mut observers {
        assert_eq!(shown(observer).await, "other");
    }
    answered(second).await.unwrap();
}
