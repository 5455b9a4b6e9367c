//! The rules of changes of members, one by one, on quorate and on etcd.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate::proto::etcdserverpb::DefragmentRequest;
use sha1::{Digest, Sha1};
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    Asked, SOON, Servers, find, healthy, ids, member_not_found, not_enough_started, not_in_sync,
    on_both, said, settled, unhealthy,
};
use crate::harness::{Cluster, Timing, eventually};

const NEW: &str = "http://127.0.0.1:17";
const OTHER: &str = "http://127.0.0.1:18";

/// Answers about members tell cluster, member and term, and no revision; those of Defragment and
/// MoveLeader have no header at all.
#[tokio::test]
async fn case_21_headers_carry_no_revision() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        let status = asked.status().await.unwrap().header.unwrap();

        let added = asked.add(&[NEW], true).await.unwrap();
        let member = added.member.unwrap();
        let listed = [asked.list(false).await.unwrap(), asked.list(true).await.unwrap()];
        let updated = asked.update(member.id, &[OTHER]).await.unwrap();
        let removed = asked.remove(member.id).await.unwrap();

        for header in
            [added.header, listed[0].header, listed[1].header, updated.header, removed.header]
        {
            let header = header.unwrap();
            assert_eq!(header.cluster_id, status.cluster_id);
            assert_eq!(header.member_id, status.member_id);
            assert_eq!((header.revision, header.raft_term > 0), (0, true), "{header:?}");
        }
        // The new member as it was asked for, and all members in the order of their ids.
        assert_eq!((member.name.as_str(), member.is_learner), ("", true));
        assert_eq!((member.peer_ur_ls, member.client_ur_ls), (vec![NEW.to_owned()], vec![]));
        for members in [&added.members, &listed[0].members, &updated.members] {
            assert_eq!(members.len(), 2);
            assert!(members.is_sorted_by_key(|member| member.id), "{members:?}");
        }
        assert_eq!(find(&updated.members, member.id).peer_ur_ls, [OTHER]);
        assert_eq!(removed.members.len(), 1);
        let defragmented = asked.maintenance.clone().defragment(DefragmentRequest {}).await;
        assert_eq!(defragmented.unwrap().into_inner().header, None);
        asked.move_leader(status.member_id).await.unwrap();
    }
    on_both!(1, story);
}

/// A cluster in which too few have started takes no further voter, and says so without a code.
#[tokio::test]
async fn case_22_not_enough_started_members_has_no_code() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        let own = asked.status().await.unwrap().header.unwrap().member_id;
        assert_eq!(asked.remove(own).await.unwrap_err(), not_enough_started());

        // One may always become two. The second does not start, so there is no third.
        let added = asked.add(&[NEW], false).await.unwrap().member.unwrap();

        assert_eq!(asked.add(&[OTHER], false).await.unwrap_err(), not_enough_started());
        assert_eq!(asked.remove(own).await.unwrap_err(), not_enough_started());
        // Alone this one is no quorum of two any more.
        assert_eq!(asked.add(&[OTHER], true).await.unwrap_err(), unhealthy());
        let listed = asked.list(false).await.unwrap().members;
        assert!(!find(&listed, added.id).is_learner);
    }
    on_both!(1, story);
}

/// A cluster of one grows at once. In one of several, members must have been in contact for five
/// seconds, and so many that the quorum stands with the new one down, be it a learner.
#[tokio::test]
async fn case_23_members_are_added_to_a_healthy_cluster_only() {
    async fn story(servers: &mut impl Servers, begun: Instant) {
        let leader = settled(servers).await;
        let asked = Asked::at(servers, leader);
        healthy(&asked).await;
        assert!(begun.elapsed().as_secs() >= 5, "contact lasted {:?} at most", begun.elapsed());

        servers.kill((leader + 1) % 3).await;

        let refused = eventually("the death to be noticed", SOON, async || {
            match asked.add(&[NEW], true).await {
                Ok(added) => {
                    asked.remove(added.member.unwrap().id).await.unwrap();
                    None
                }
                Err(refused) => Some(refused),
            }
        })
        .await;
        assert_eq!(refused, unhealthy());
        assert_eq!(asked.add(&[NEW], false).await.unwrap_err(), unhealthy());
    }
    let begun = Instant::now();
    let mut cluster = Cluster::start(3).await;
    story(&mut cluster, begun).await;
    drop(cluster);
    let begun = Instant::now();
    if let Some(mut etcds) = super::etcd::Etcds::start(3).await {
        story(&mut etcds, begun).await;
    }
}

/// Four with one down are enough for a fifth.
#[tokio::test]
async fn case_23_four_of_which_three_are_there_take_a_fifth() {
    async fn story(servers: &mut impl Servers) {
        let leader = settled(servers).await;
        servers.kill((leader + 1) % 4).await;
        let asked = Asked::at(servers, leader);
        let refused_or_added = eventually("contact with two others to last", SOON, async || {
            let added = asked.add(&[NEW], false).await;
            (added != Err(unhealthy())).then_some(added)
        })
        .await;
        assert_eq!(refused_or_added.unwrap().members.len(), 5);
    }
    on_both!(4, story);
}

/// Without the check everything is taken at once.
#[tokio::test]
async fn case_23_the_check_can_be_switched_off() {
    let flags = ["--strict-reconfig-check=false"];
    let mut cluster = Cluster::start_flagged(3, Timing::Default, &flags).await;
    cluster.kill(2).await;
    let asked = Asked::at(&cluster, cluster.leader().await);

    asked.add(&[NEW], true).await.unwrap();
    let added = asked.add(&[OTHER], false).await.unwrap();

    assert_eq!(added.members.len(), 5);
}

/// Who is down is no loss; who is up is one while another is down.
#[tokio::test]
async fn case_24_the_member_that_is_down_can_be_removed() {
    async fn story(servers: &mut impl Servers) {
        let leader = settled(servers).await;
        let ids = ids(servers).await;
        let (down, up) = ((leader + 1) % 3, (leader + 2) % 3);
        let asked = Asked::at(servers, leader);
        healthy(&asked).await;
        servers.kill(down).await;
        eventually("the death to be noticed", SOON, async || {
            match asked.add(&[NEW], true).await {
                Ok(added) => drop(asked.remove(added.member.unwrap().id).await.unwrap()),
                Err(refused) => {
                    assert_eq!(refused, unhealthy());
                    return Some(());
                }
            }
            None
        })
        .await;

        assert_eq!(asked.remove(ids[up]).await.unwrap_err(), unhealthy());
        assert_eq!(asked.remove(ids[leader]).await.unwrap_err(), unhealthy());
        let removed = asked.remove(ids[down]).await.unwrap();

        assert_eq!(removed.members.len(), 2);
        assert_eq!(asked.remove(ids[down]).await.unwrap_err(), member_not_found());
        assert_eq!(asked.list(true).await.unwrap().members.len(), 2);
    }
    on_both!(3, story);
}

/// An update changes where a member is reached and nothing else; no two may be reached in one place.
#[tokio::test]
async fn case_25_an_update_changes_urls_only() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        let own = asked.list(true).await.unwrap().members.remove(0);
        let learner = asked.add(&[NEW], true).await.unwrap().member.unwrap();

        let updated = asked.update(learner.id, &[OTHER, "http://127.0.0.1:16"]).await.unwrap();

        let now = find(&updated.members, learner.id);
        assert!(now.is_learner, "{now:?}");
        assert_eq!(now.peer_ur_ls, [OTHER, "http://127.0.0.1:16"]);
        assert_eq!(find(&updated.members, own.id), own);
        let taken = said(Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
        assert_eq!(asked.update(own.id, &[OTHER]).await.unwrap_err(), taken);
        assert_eq!(asked.add(&[OTHER], false).await.unwrap_err(), taken);
        assert_eq!(asked.update(7, &[NEW]).await.unwrap_err(), member_not_found());
        // Its own addresses are not in its way.
        asked.update(learner.id, &[OTHER]).await.unwrap();
    }
    on_both!(1, story);
}

/// URLs that are none are refused when a member is added.
#[tokio::test]
async fn case_25_a_bad_url_is_refused() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        let bad = said(Code::InvalidArgument, "etcdserver: given member URLs are invalid");
        for urls in [
            &[][..],
            &[""],
            &["127.0.0.1:17"],
            &["ftp://127.0.0.1:17"],
            &["http://127.0.0.1"],
            &["http://127.0.0.1:17/path"],
            &["http://127.0.0.1:port"],
            &[NEW, "http://[::1"],
        ] {
            assert_eq!(asked.add(urls, false).await.unwrap_err(), bad, "{urls:?}");
        }
        assert_eq!(asked.list(true).await.unwrap().members.len(), 1);
    }
    on_both!(1, story);
}

/// A cluster takes one learner at a time. Only learners that are in sync are given a vote.
#[tokio::test]
async fn case_26_learners_are_few_and_promoted_when_in_sync() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        let own = asked.status().await.unwrap().header.unwrap().member_id;
        let learner = asked.add(&[NEW], true).await.unwrap().member.unwrap();

        let many = "etcdserver: too many learner members in cluster";
        let many = said(Code::FailedPrecondition, many);
        assert_eq!(asked.add(&[OTHER], true).await.unwrap_err(), many);
        assert_eq!(asked.promote(7).await.unwrap_err(), member_not_found());
        let voter = "etcdserver: can only promote a learner member";
        let voter = said(Code::FailedPrecondition, voter);
        assert_eq!(asked.promote(own).await.unwrap_err(), voter);
        assert_eq!(asked.promote(learner.id).await.unwrap_err(), not_in_sync());
        // It is no voter: its going needs no check.
        asked.remove(learner.id).await.unwrap();
    }
    on_both!(1, story);
}

/// As many learners as the setting says.
#[tokio::test]
async fn case_26_more_learners_can_be_allowed() {
    let cluster = Cluster::start_flagged(1, Timing::Alone, &["--max-learners=2"]).await;
    let asked = Asked::at(&cluster, 0);

    asked.add(&[NEW], true).await.unwrap();
    asked.add(&[OTHER], true).await.unwrap();
    let third = asked.add(&["http://127.0.0.1:16"], true).await.unwrap_err();

    let many = "etcdserver: too many learner members in cluster";
    assert_eq!(third, said(Code::FailedPrecondition, many));
}

/// A member that does not lead has the leader promote, and tells what it said.
#[tokio::test]
async fn case_27_followers_have_the_leader_promote() {
    async fn story(servers: &mut impl Servers) {
        let leader = settled(servers).await;
        let ids = ids(servers).await;
        let follower = (leader + 1) % servers.len();
        healthy(&Asked::at(servers, leader)).await;
        let asked = Asked::at(servers, follower);
        let learner = eventually("the follower to be healthy", SOON, async || {
            asked.add(&[NEW], true).await.ok()
        })
        .await;

        assert_eq!(asked.promote(7).await.unwrap_err(), member_not_found());
        let voter = "etcdserver: can only promote a learner member";
        let voter = said(Code::FailedPrecondition, voter);
        assert_eq!(asked.promote(ids[leader]).await.unwrap_err(), voter);
        assert_eq!(asked.promote(ids[follower]).await.unwrap_err(), voter);
        let learner = learner.member.unwrap().id;
        assert_eq!(asked.promote(learner).await.unwrap_err(), not_in_sync());
    }
    on_both!(3, story);
}

/// The first eight bytes of a SHA-1 over the sorted URLs and the time, as etcd makes an id.
fn id_at(urls: &[&str], seconds: u64) -> u64 {
    let mut urls = urls.to_vec();
    urls.sort_unstable();
    let digest = Sha1::digest(format!("{}{seconds}", urls.concat()));
    u64::from_be_bytes(digest[..8].try_into().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the id of a member is made of the time")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An id is made of the URLs and the time: who comes back is somebody else.
#[tokio::test]
async fn case_29_who_comes_back_has_another_id() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        let urls = [OTHER, NEW];

        let before = now();
        let added = asked.add(&urls, true).await.unwrap().member.unwrap();
        let after = now();
        assert!((before..=after).any(|seconds| id_at(&urls, seconds) == added.id), "{added:?}");
        assert_eq!(added.peer_ur_ls, [NEW, OTHER], "they are sorted");
        asked.remove(added.id).await.unwrap();

        // Within the same second it would have the id that was removed.
        let again = eventually("the next second", SOON, async || {
            let again = asked.add(&urls, true).await;
            if let Err(refused) = &again {
                assert_eq!(*refused, member_not_found());
            }
            again.ok()
        })
        .await;
        assert_ne!(again.member.unwrap().id, added.id);
        assert_eq!(asked.promote(added.id).await.unwrap_err(), member_not_found());
        assert_eq!(asked.update(added.id, &[NEW]).await.unwrap_err(), member_not_found());
        assert_eq!(asked.remove(added.id).await.unwrap_err(), member_not_found());
    }
    on_both!(1, story);
}

/// What a member knows of the others it tells without a quorum, but vouches for nothing.
#[tokio::test]
async fn case_30_members_are_listed_without_a_quorum() {
    async fn story(servers: &mut impl Servers) {
        settled(servers).await;
        let asked = Asked::at(servers, 0);
        servers.kill(1).await;
        servers.kill(2).await;

        assert_eq!(asked.list(false).await.unwrap().members.len(), 3);
        let refused = asked.list(true).await.unwrap_err();

        let codes = [Code::Unavailable, Code::DeadlineExceeded];
        assert!(codes.contains(&refused.0), "{}: {refused:?}", name_of(servers));
    }
    on_both!(3, story);
}

fn name_of<S: Servers>(_: &S) -> &'static str {
    S::NAME
}

/// Only the leader hands its place over, and only to a voter.
#[tokio::test]
async fn case_38_leadership_is_handed_to_voters() {
    async fn story(servers: &mut impl Servers) {
        let leader = settled(servers).await;
        let ids = ids(servers).await;
        let follower = (leader + 1) % servers.len();
        let asked = Asked::at(servers, leader);
        healthy(&asked).await;
        let learner = asked.add(&[NEW], true).await.unwrap().member.unwrap();

        let bad = said(Code::FailedPrecondition, "etcdserver: bad leader transferee");
        assert_eq!(asked.move_leader(learner.id).await.unwrap_err(), bad);
        assert_eq!(asked.move_leader(7).await.unwrap_err(), bad);
        let not_leader = said(Code::FailedPrecondition, "etcdserver: not leader");
        let other = Asked::at(servers, follower);
        assert_eq!(other.move_leader(ids[leader]).await.unwrap_err(), not_leader);
        assert_eq!(other.move_leader(7).await.unwrap_err(), not_leader);
        asked.move_leader(ids[follower]).await.unwrap();

        assert_eq!(asked.status().await.unwrap().leader, ids[follower]);
    }
    on_both!(3, story);
}

/// A member has a health as a whole, and tells nobody what services it has.
#[tokio::test]
async fn case_50_health_is_served_and_reflection_by_us_alone() {
    async fn story<S: Servers>(servers: &mut S) {
        settled(servers).await;
        let channel = tonic::transport::Channel::from_shared(servers.endpoint(0)).unwrap();
        let channel = channel.connect().await.unwrap();
        let mut health = HealthClient::new(channel.clone());
        let mut check = async |service: &str| {
            let request = HealthCheckRequest { service: service.to_owned() };
            super::answer(health.check(request).await).map(|answer| answer.status)
        };
        assert_eq!(check("").await, Ok(1));
        assert_eq!(check("etcdserverpb.KV").await, Err(said(Code::NotFound, "unknown service")));

        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let service = "grpc.reflection.v1.ServerReflection";
        let path = format!("/{service}/ServerReflectionInfo").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
        let request = tonic::Request::new(HealthCheckRequest::default());
        let reflected = super::answer(grpc.unary(request, path, codec).await).unwrap_err();
        // What asks for nothing is refused by whoever could answer.
        let expected = match S::NAME {
            "quorate" => said(Code::InvalidArgument, "invalid MessageRequest"),
            _ => said(Code::Unimplemented, &format!("unknown service {service}")),
        };
        assert_eq!(reflected, expected);
    }
    on_both!(1, story);
}
