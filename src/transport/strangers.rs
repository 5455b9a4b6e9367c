//! Tests of who is heard: members that are not known yet, and members that are none any more.

use std::time::Duration;

use tonic::Code;

use super::{
    ClusterMembers, membership_at,
    testing::{CLUSTER, Happened, TestMember},
    tests::{A, B, answer_to, greeting, message, pair},
};
use crate::{
    node::ports::{Member, Membership, Peers},
    tls::Dialer,
    types::{ClusterId, MemberId, limits},
};

const PATIENCE: Duration = Duration::from_secs(10);

async fn members_at(url: &str, cluster: Option<ClusterId>) -> Result<ClusterMembers, String> {
    membership_at(&Dialer::default(), url, cluster, PATIENCE).await
}

/// Whether `member` is in the list of `at`, and not only heard.
fn is_listed(at: &TestMember, member: MemberId) -> bool {
    let members = at.peers.members.read().unwrap();
    members.get(&member).is_some_and(|it| it.unlisted.is_none())
}

/// A member that the receiver has not heard of is heard all the same, and answered where it says it
/// is reached.
#[tokio::test]
async fn a_sender_that_is_not_known_yet_is_heard_and_answered() {
    let (mut a, mut b) = (TestMember::new(A), TestMember::new(B));
    let (a_served, b_served) = (a.serve().await, b.serve().await);
    a.reached_at(&format!("http://{}", a_served.address));
    a.knows(b.id, b_served.address);

    a.peers.send(vec![(b.id, message("question"))]);
    assert_eq!(b.frame().await, message("question"));
    b.peers.send(vec![(a.id, message("answer"))]);
    assert_eq!(a.frame().await, message("answer"));

    // Once the list names it, it stays when its stream ends.
    assert!(!is_listed(&b, a.id));
    b.knows(a.id, a_served.address);
    assert!(is_listed(&b, a.id));
    a.peers.set_members(&Membership::default());
    b.peers.send(vec![(a.id, message("more"))]);
    assert_eq!(a.frame().await, message("more"));
    assert!(is_listed(&b, a.id));
}

/// What a sender that is in no list had goes with its stream.
#[tokio::test]
async fn a_sender_that_is_not_known_is_forgotten_with_its_stream() {
    let b = TestMember::new(B);
    let served = b.serve().await;
    let frames = vec![greeting(|it| it.peer_urls = vec!["http://127.0.0.1:1".into()])];
    answer_to(&served, frames).await.unwrap();
    let entries = || b.peers.members.read().unwrap().len();
    let gone = async {
        while entries() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

/// URLs that are none harm nobody.
#[tokio::test]
async fn a_bad_url_harms_nobody() {
    let (_a, b, served) = pair().await;
    let bad =
        ["", "http://", "::::", "http://[::1", "https://a:1", "unix:///x", "\u{0}", "http://a b"];
    for (number, url) in (0x100..).zip(bad) {
        let frames = vec![greeting(|it| {
            it.from = number;
            it.peer_urls = vec![url.to_owned()];
        })];
        answer_to(&served, frames).await.unwrap();
    }
    let member = |(id, url): (u64, &str)| Member {
        id: MemberId(id),
        peer_urls: vec![url.to_owned()],
        ..Member::default()
    };
    let members: Vec<_> = (0x100..).zip(bad).map(member).collect();
    let listed = Membership { members, removed: Vec::new() };
    b.peers.set_members(&listed);
    for member in &listed.members {
        b.peers.send(vec![(member.id, message("lost"))]);
    }
    answer_to(&served, vec![greeting(|_| ())]).await.unwrap();
}

/// So many that are in no list are heard, and no more.
#[tokio::test]
async fn unknown_senders_are_bounded() {
    let b = TestMember::new(B);
    let admit = |id: usize| b.peers.admit(MemberId(id as u64 + 0x100), &[]);
    let mut admitted: Vec<_> = (0..limits::UNLISTED_PEERS_MAX)
        .map(|id| admit(id).unwrap_or_else(|refusal| panic!("{refusal}")))
        .collect();

    let refusal = admit(limits::UNLISTED_PEERS_MAX).err().map(|refusal| refusal.to_string());
    assert_eq!(refusal.as_deref(), Some("sender 110 is not a member of cluster c"));
    assert!(admit(0).is_ok(), "another stream of one that is heard");

    admitted.pop();
    assert!(admit(limits::UNLISTED_PEERS_MAX).is_ok());
}

/// A removed member's stream ends, and its calls are refused; it is told so, and by whom.
#[tokio::test]
async fn a_removed_member_is_told() {
    let (mut a, mut b, served) = pair().await;
    a.peers.send(vec![(b.id, message("member"))]);
    assert_eq!(b.frame().await, message("member"));

    b.removes(a.id);

    let told = a.next(|it| {
        let Happened::Removed(by) = it else { return None };
        Some(by)
    });
    assert_eq!(told.await, MemberId(B));
    let status = answer_to(&served, vec![greeting(|_| ())]).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "sender a was removed from cluster c");
}

/// Whoever is about to join learns who the members are; whoever is of another cluster does not.
#[tokio::test]
async fn members_are_told_to_newcomers() {
    let b = TestMember::new(B);
    let served = b.serve().await;
    let member = Member { id: MemberId(0xe), ..Member::default() };
    let gone = vec![MemberId(0xd)];
    let url = format!("http://{}", served.address);
    let empty = members_at(&url, None).await.unwrap_err();
    assert_eq!(empty, "this member has no state yet");
    let membership = Membership { members: vec![member], removed: gone };
    b.peers.set_members(&membership);

    for cluster in [None, Some(CLUSTER)] {
        let told = members_at(&url, cluster).await.unwrap();
        assert_eq!((told.cluster, &told.membership), (CLUSTER, &membership));
    }
    let refused = members_at(&url, Some(ClusterId(0xf))).await.unwrap_err();
    assert_eq!(refused, "sender's cluster f is not this member's cluster c");

    served.stop().await;
    let gone = members_at(&url, None).await.unwrap_err();
    assert!(gone.contains("onnection refused"), "{gone}");
    let bad = members_at("http://", None).await.unwrap_err();
    assert!(!bad.is_empty());
}
