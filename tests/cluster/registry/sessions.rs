//! Streams of sessions.

use super::*;
use crate::harness::Watching;

/// Requests are answered one by one, in their order, each under its number; what is declined does not
/// end the session.
#[tokio::test]
async fn requests_are_answered_in_their_order() {
    let cluster = Cluster::start(1).await;
    let (mut session, opened) = Session::open(&cluster, 0, 0).await;
    assert_eq!((opened.session_id.as_str(), opened.ttl), ("s", 30));
    assert!(!opened.resumed && !opened.lost);

    let mut asked = Vec::new();
    for id in ["u-1", "u-2", "u-1"] {
        asked.push(session.send(register_request(id)).await);
    }
    asked.push(session.send(heartbeat()).await);
    asked.push(session.send(deregister_request("u-2")).await);
    asked.push(session.send(deregister_request("u-2")).await);
    let mut told = Vec::new();
    let mut acks = Vec::new();
    for _ in &asked {
        let answer = session.next().await.unwrap();
        told.push(answer.seq);
        let Some(Response::Ack(ack)) = answer.response else { panic!("{answer:?}") };
        acks.push((ack.changed, ack.instance_id, ack.ttl));
    }
    assert_eq!(told, asked);
    let ack = |changed, id: &str| (changed, id.to_owned(), 30);
    let expected = [
        ack(true, "u-1"),
        ack(true, "u-2"),
        ack(false, "u-1"),
        ack(false, ""),
        ack(true, ""),
        ack(false, ""),
    ];
    assert_eq!(acks, expected);

    let (code, message) = session.declined(register_request("a/b")).await;
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.starts_with("instance.id: "), "{message}");
    let twice = session.declined(opening(0)).await;
    assert_eq!(twice, (Code::InvalidArgument, "request: the session is open".to_owned()));
    register(&mut client(&cluster, 0), registering("x")).await.unwrap();
    let (code, _) = session.declined(register_request("x")).await;
    assert_eq!(code, Code::AlreadyExists);
    session.ack(heartbeat()).await;
}

/// The first request opens the session; nothing else begins one.
#[tokio::test]
async fn a_stream_begins_with_open() {
    let cluster = Cluster::start(1).await;
    for request in [heartbeat(), close(), register_request("u-1")] {
        let mut session = Session::begin(&cluster, 0).await;
        let ended = session.ask(request).await.unwrap_err();
        let expected = "request: the first one must be open";
        assert_eq!((ended.code(), ended.message()), (Code::InvalidArgument, expected));
    }
    let mut session = Session::begin(&cluster, 0).await;
    let bad = OpenSession { session_id: "a/b".to_owned(), ttl: 0, lease_id: 0 };
    let (code, message) = said(session.ask(Request::Open(bad)).await);
    assert!(code == Code::InvalidArgument && message.starts_with("session_id: "), "{message}");

    let mut nameless = Session::begin(&cluster, 0).await;
    let made_up = nameless.opened(Request::Open(OpenSession::default())).await;
    assert!(!made_up.session_id.is_empty());
    assert_eq!(made_up.ttl, 15);
}

/// Closing removes everything at one revision, which the answer names, and ends the stream.
#[tokio::test]
async fn closing_removes_everything_at_once() {
    let cluster = Cluster::start(3).await;
    let mut etcd = cluster.client(0).await;
    let (mut session, _) = Session::open(&cluster, 0, 0).await;
    for id in ["u-1", "u-2", "u-3"] {
        session.register(id).await;
    }
    let mut watch = Watching::prefix(&mut etcd, "/").await;
    let (revision, answer) = session.ask(close()).await.unwrap();
    assert!(matches!(answer, Response::Ack(SessionAck { changed: true, .. })), "{answer:?}");
    assert_eq!(session.end().await.code(), Code::Ok);
    for _ in 0..4 {
        let down = watch.next().await;
        assert_eq!((down.what, down.revision), ("DELETE", revision), "{}", down.key);
    }
    assert_eq!(etcd.leases().await.unwrap().leases().len(), 0);

    let (mut again, opened) = Session::open(&cluster, 1, 0).await;
    assert!(!opened.resumed && !opened.lost);
    again.register("u-1").await;
    let closed = deregister(&mut client(&cluster, 2), closing("s")).await.unwrap();
    assert_eq!(closed.removed, 1);
    let gone = again.ask(close()).await.unwrap();
    assert_eq!(gone, (closed.revision, Response::Ack(SessionAck::default())));
}

/// A session that goes from member to member keeps its lease and its instances, and nobody who
/// watches sees anything.
#[tokio::test]
async fn a_session_moves_between_members() {
    let cluster = Cluster::start(3).await;
    let mut etcd = cluster.client(0).await;
    let (mut session, first) = Session::open(&cluster, 0, 0).await;
    session.register("u-1").await;
    session.register("u-2").await;
    let mut watch = Watching::prefix(&mut etcd, "/").await;
    let before = etcd.get(KEY, None).await.unwrap();

    for turn in 1..=10_usize {
        drop(session);
        let opened;
        (session, opened) = Session::open(&cluster, turn % 3, first.lease_id).await;
        assert_eq!(opened, SessionOpened { resumed: true, ..first.clone() }, "turn {turn}");
        assert!(!session.register("u-1").await.changed, "turn {turn}");
        session.ack(heartbeat()).await;
    }

    let after = etcd.get(KEY, None).await.unwrap();
    assert_eq!(only(&after), only(&before));
    let revision = |response: &GetResponse| response.header().unwrap().revision();
    assert_eq!(revision(&after), revision(&before), "nothing was written");
    etcd.put("/services/end", "", None).await.unwrap();
    assert_eq!(watch.next().await.key, "/services/end", "nothing was told before");
}

/// A session whose lease is gone is told so with the next answer, whatever was asked, and goes on
/// with a new lease.
#[tokio::test]
async fn a_lost_session_is_told_and_goes_on() {
    let cluster = Cluster::start(1).await;
    let mut etcd = cluster.client(0).await;
    let (mut session, first) = Session::open(&cluster, 0, 0).await;
    let mut lease = first.lease_id;
    for request in [heartbeat(), register_request("u-1"), deregister_request("u-1")] {
        session.register("u-1").await;
        etcd.lease_revoke(lease).await.unwrap();
        let opened = session.opened(request.clone()).await;
        assert!(opened.lost && !opened.resumed, "{opened:?}");
        assert_eq!((opened.session_id.as_str(), opened.ttl), ("s", 30));
        assert_ne!(opened.lease_id, lease);
        lease = opened.lease_id;
        let is_registered = matches!(request, Request::Register(_));
        assert_eq!(session.register("u-1").await.changed, !is_registered);
        assert_eq!(session.ack(heartbeat()).await.ttl, 30);
    }

    etcd.lease_revoke(lease).await.unwrap();
    drop(session);
    let (mut session, opened) = Session::open(&cluster, 0, lease).await;
    assert!(opened.lost && !opened.resumed && opened.lease_id != lease);
    assert!(session.register("u-1").await.changed);
    etcd.lease_revoke(opened.lease_id).await.unwrap();
    assert!(!session.ack(close()).await.changed, "nothing was there any more");
}

/// A stream whose client says no more ends, and leaves the session as it is.
#[tokio::test]
async fn the_end_of_a_stream_is_not_the_end_of_its_session() {
    let cluster = Cluster::start(1).await;
    let mut etcd = cluster.client(0).await;
    let (mut session, opened) = Session::open(&cluster, 0, 0).await;
    session.register("u-1").await;
    session.requests = None;
    assert_eq!(session.end().await.code(), Code::Ok);
    assert_eq!(etcd.get(KEY, None).await.unwrap().kvs()[0].lease(), opened.lease_id);
}
