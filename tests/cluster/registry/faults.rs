//! Sessions while members end.

use futures_util::future::{join, join_all};

use super::*;
use crate::harness::{Watching, eventually};

/// The leader is killed while a session stands at it and another one at a follower. Both go on, the
/// one elsewhere with the lease that it had, and nobody who watches sees anything.
#[tokio::test]
async fn sessions_survive_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let mut etcd = cluster.client(follower).await;
    let (mut at_leader, first) = Session::open(&cluster, leader, 0).await;
    at_leader.register("u-1").await;
    let mut at_follower = Session::begin(&cluster, follower).await;
    let second = OpenSession { session_id: "t".to_owned(), ttl: 30, lease_id: 0 };
    let second = at_follower.opened(Request::Open(second)).await;
    at_follower.register("u-2").await;
    let mut watch = Watching::prefix(&mut etcd, "/services/").await;

    let member = cluster.member(leader);
    member.kill();
    member.ended().await;
    assert_ne!(at_leader.end().await.code(), Code::Ok);
    let (mut moved, opened) = Session::open(&cluster, follower, first.lease_id).await;
    assert_eq!(opened, SessionOpened { resumed: true, ..first });
    assert!(!moved.ack_at_last(register_request("u-1")).await.changed);
    assert!(!at_follower.ack_at_last(register_request("u-2")).await.changed);
    assert_eq!(at_follower.ack_at_last(heartbeat()).await.ttl, second.ttl);

    moved.ack_at_last(register_request("u-3")).await;
    let told = watch.next().await;
    assert_eq!((told.what, told.key.as_str()), ("PUT", "/services/default/user/u-3"));
}

/// A member that is asked to stop ends its streams with a code that sends their clients elsewhere,
/// and leaves what they registered.
#[tokio::test]
async fn a_member_that_stops_sends_its_clients_away() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let other = cluster.follower().await;
    let (mut session, first) = Session::open(&cluster, leader, 0).await;
    session.register("u-1").await;
    let (requests, waiting) = mpsc::channel(1);
    let mut registry = client(&cluster, leader);
    let renewals = registry.keep_alive(ReceiverStream::new(waiting)).await.unwrap();
    let mut renewals = renewals.into_inner();
    requests.send(KeepAliveRequest { lease_id: first.lease_id }).await.unwrap();
    assert_eq!(renewals.message().await.unwrap().unwrap().ttl, 30);

    cluster.member(leader).terminate().await;
    assert_eq!(session.end().await.code(), Code::Unavailable);
    let ended = within("the end of the renewals", SOON, renewals.message()).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    let (_moved, opened) = Session::open(&cluster, other, first.lease_id).await;
    assert_eq!(opened, SessionOpened { resumed: true, ..first });
    cluster.member(leader).ended().await;
}

/// Sessions that register without a pause, through all members, while one leader after the other is
/// killed: what was acknowledged stays, on one lease for each session, and each key is put once.
#[tokio::test]
async fn what_was_acknowledged_stays() {
    const SESSIONS: usize = 4;
    let mut cluster = Cluster::start(3).await;
    let endpoints: Vec<String> = (0..3).map(|index| cluster.endpoint(index)).collect();
    let workers = join_all((0..SESSIONS).map(|number| work(number, &endpoints)));
    let faults = async {
        for _ in 0..2 {
            let leader = cluster.leader().await;
            let member = cluster.member(leader);
            member.kill();
            member.ended().await;
            member.restart().await;
        }
    };
    let (done, ()) = within("the end of the work", SOON * 4, join(workers, faults)).await;
    let mut etcd = cluster.client(0).await;
    for (lease, ids) in done {
        for id in ids {
            let key = format!("/services/default/user/{id}");
            let found = etcd.get(key.as_str(), None).await.unwrap();
            let [pair] = found.kvs() else { panic!("{key} is gone") };
            assert_eq!((pair.lease(), pair.version()), (lease, 1), "{key}");
        }
    }
}

/// Registers instances in a session of its own, each until that is acknowledged. Returns the lease
/// and the instances.
async fn work(number: usize, endpoints: &[String]) -> (i64, Vec<String>) {
    const INSTANCES: usize = 100;
    let mut lease = None;
    let mut ids = Vec::new();
    for count in 0..INSTANCES {
        let id = format!("w{number}-{count:03}");
        let request =
            RegisterRequest { session_id: format!("w{number}"), ttl: 300, ..registering(&id) };
        let mut turn = count;
        let made = eventually("a registration", SOON, async || {
            let mut registry = RegistryClient::new(channel(&endpoints[turn % endpoints.len()]));
            turn += 1;
            registry.register(request.clone()).await.ok()
        })
        .await
        .into_inner();
        assert_eq!(*lease.get_or_insert(made.lease_id), made.lease_id, "the session has one lease");
        ids.push(id);
    }
    (lease.expect("there were registrations"), ids)
}
