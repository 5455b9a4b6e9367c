//! Members of this room talking to each other over real sockets.

mod snapshots;

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};

use super::{
    testing::{CLUSTER, Happened, INCARNATION, PATIENCE, Served, TestMember},
    wire::PROTOCOL,
};
use crate::{
    node::{
        Error, TimeoutCause,
        ports::{Frame, Hashed, Peers, Promotion, Renewed, Span, TimeLeft},
    },
    proto::internal::{Handshake, PeerFrame, peer_client::PeerClient, peer_frame::Frame as Kind},
    types::{LeaseId, MemberId, Revision, Seconds, Term, limits},
};

pub(super) const A: u64 = 0xa;
pub(super) const B: u64 = 0xb;

/// Two members that know each other, the second one serving.
pub(super) async fn pair() -> (TestMember, TestMember, Served) {
    let (a, b) = (TestMember::new(A), TestMember::new(B));
    let served = introduce(&a, &b).await;
    (a, b, served)
}

async fn introduce(a: &TestMember, b: &TestMember) -> Served {
    let served = b.serve().await;
    // Nothing listens where `b` looks for `a`; it only has to know that `a` is a member.
    b.knows(a.id, "127.0.0.1:1".parse().unwrap());
    a.knows(b.id, served.address);
    served
}

pub(super) fn message(text: &str) -> Frame {
    Frame::Raft(Bytes::copy_from_slice(text.as_bytes()))
}

pub(super) fn greeting(change: impl FnOnce(&mut Handshake)) -> PeerFrame {
    let mut handshake = handshake();
    change(&mut handshake);
    PeerFrame { frame: Some(Kind::Handshake(handshake)) }
}

fn handshake() -> Handshake {
    let (cluster, protocol, incarnation) = (CLUSTER.0, PROTOCOL, INCARNATION.0);
    Handshake { cluster, from: A, to: B, protocol, incarnation, ..Handshake::default() }
}

/// What a stream of these frames is answered with.
pub(super) async fn answer_to(served: &Served, frames: Vec<PeerFrame>) -> Result<(), Status> {
    let mut client = PeerClient::connect(format!("http://{}", served.address)).await.unwrap();
    client.messages(tokio_stream::iter(frames)).await.map(|_| ())
}

/// Members are connected once a stream of each has reached the other, and not any more when one of
/// the streams has ended.
#[tokio::test]
async fn contact_is_told_while_streams_run_both_ways() {
    let (a, b) = (TestMember::new(A), TestMember::new(B));
    let (a_served, b_served) = (a.serve().await, b.serve().await);
    let contact = |it: &TestMember, other| it.peers.connected_for(MemberId(other));
    a.knows(b.id, b_served.address);
    assert_eq!(contact(&a, B), None);
    b.knows(a.id, a_served.address);

    eventually(|| contact(&a, B).is_some() && contact(&b, A).is_some()).await;
    b_served.stop().await;

    eventually(|| contact(&a, B).is_none() && contact(&b, A).is_none()).await;
}

async fn eventually(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect("it holds in time");
}

/// Frames arrive as they were sent, in their order, with the sender's name.
#[tokio::test]
async fn frames_arrive_in_order() {
    let (a, mut b, _served) = pair().await;
    let sent: Vec<Frame> = (0..1_000)
        .map(|ticket| match ticket % 3 {
            0 => message(&format!("message {ticket}")),
            1 => Frame::Forward { ticket, term: Term(7), group: Bytes::from_static(b"group") },
            _ => Frame::ForwardAnswer { ticket, accepted: ticket % 2 == 0 },
        })
        .collect();

    for frame in &sent {
        a.peers.send(vec![(b.id, frame.clone())]);
    }

    for frame in sent {
        let arrived = b.next(|it| {
            let Happened::Frame(from, frame) = it else { return None };
            Some((from, frame))
        });
        assert_eq!(arrived.await, (MemberId(A), frame));
    }
}

/// A call that does not name this cluster, this member and another one as its sender is refused
/// before anything of it is looked at.
#[tokio::test]
async fn a_wrong_handshake_is_refused() {
    let (_a, mut b, served) = pair().await;
    let raft = || PeerFrame { frame: Some(Kind::Raft(Bytes::from_static(b"forged"))) };
    let cases = [
        (greeting(|it| it.cluster = 0xd), "sender's cluster d is not this member's cluster c"),
        (greeting(|it| it.to = 0xe), "call is for member e, but this is member b"),
        (greeting(|it| it.from = B), "sender has this member's own id b"),
        (greeting(|it| it.protocol = 9), "peer protocol 9 is not known, this member speaks 1"),
        (raft(), "the first message has no handshake"),
    ];

    for (first, text) in cases {
        let status = answer_to(&served, vec![first, raft()]).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, text));
    }

    // The first frame that arrives is the one with a right handshake before it.
    let right = PeerFrame { frame: Some(Kind::Raft(Bytes::from_static(b"right"))) };
    answer_to(&served, vec![greeting(|_| ()), right]).await.unwrap();
    assert_eq!(b.frame().await, message("right"));
}

/// A frame above the limit is neither sent nor taken.
#[tokio::test]
async fn a_frame_above_the_limit_is_refused() {
    let (a, mut b, served) = pair().await;
    let large = Bytes::from(vec![0; limits::PEER_MESSAGE_BYTES_MAX]);

    let frame = PeerFrame { frame: Some(Kind::Raft(large.clone())) };
    let status = answer_to(&served, vec![greeting(|_| ()), frame]).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);

    a.peers.send(vec![(b.id, Frame::Raft(large))]);
    a.peers.send(vec![(b.id, message("small"))]);
    assert_eq!(b.frame().await, message("small"));
}

/// When a member goes the node hears of it, and when it comes back frames flow again.
#[tokio::test]
async fn a_stream_comes_back_after_a_restart() {
    let (mut a, mut b, served) = pair().await;
    let address = served.address;
    a.peers.send(vec![(b.id, message("before"))]);
    assert_eq!(b.frame().await, message("before"));

    served.stop().await;
    a.next(|it| (it == Happened::Unreachable(MemberId(B))).then_some(())).await;

    let _served = b.serve_at(address).await;
    // What is sent while the member is away may be lost, so it is sent until it arrives.
    let arrived = async {
        loop {
            a.peers.send(vec![(b.id, message("after"))]);
            let pause = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                frame = b.frame() => return frame,
                () = pause => {}
            }
        }
    };
    assert_eq!(arrived.await, message("after"));
}

/// A member that calls is there: our own stream to it is opened at once.
#[tokio::test]
async fn a_member_that_calls_is_called_back() {
    let (mut a, mut b) = (TestMember::new(A), TestMember::new(B));
    let a_served = a.serve().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    a.knows(b.id, free);
    a.next(|it| (it == Happened::Unreachable(MemberId(B))).then_some(())).await;

    let _b_served = b.serve_at(free).await;
    b.knows(a.id, a_served.address);
    b.peers.send(vec![(a.id, message("ping"))]);
    assert_eq!(a.frame().await, message("ping"));

    a.peers.send(vec![(b.id, message("pong"))]);
    assert_eq!(b.frame().await, message("pong"));
}

/// The leader's clock answers for leases it knows and for those it does not.
#[tokio::test]
async fn leases_are_renewed_on_the_leaders_clock() {
    let (a, b, served) = pair().await;

    let renewed = a.peers.renew(b.id, [5, -1, 0, 6].map(LeaseId).into()).await;
    let expected =
        [Renewed::For(Seconds(5)), Renewed::Unknown, Renewed::NotYet, Renewed::For(Seconds(6))];
    assert_eq!(renewed, Ok(expected.into()));

    let left = TimeLeft { left: Seconds(5), granted: Seconds(100) };
    assert_eq!(a.peers.time_left(b.id, LeaseId(5)).await, Ok(Some(left)));
    assert_eq!(a.peers.time_left(b.id, LeaseId(-1)).await, Ok(None));

    served.stop().await;
    let lost = Err(Error::TimedOut(TimeoutCause::ConnectionLost));
    assert_eq!(a.peers.renew(b.id, vec![LeaseId(5)]).await, lost);
    assert_eq!(a.peers.renew(MemberId(0xf), vec![LeaseId(5)]).await, Err(Error::NoLeader));
}

/// A member is asked for the checksum of a part of its history; that there is no answer now says
/// nothing.
#[tokio::test]
async fn checksums_are_asked_for() {
    let (a, b) = (TestMember::new(A), TestMember::new(B));
    let served = introduce(&a, &b).await;
    let span = |floor| Span { floor: Revision(floor), revision: Revision(20) };

    let hashed = Hashed { hash: 20, worked_micros: 7 };
    assert_eq!(a.peers.state_hash(b.id, span(10)).await, Ok(Some(hashed)));
    assert_eq!(a.peers.state_hash(b.id, span(-1)).await, Ok(None));

    served.stop().await;
    assert_eq!(a.peers.state_hash(b.id, span(10)).await, Ok(None));
    assert_eq!(a.peers.state_hash(MemberId(0xf), span(10)).await, Ok(None));
}

/// A member that does not lead says so.
#[tokio::test]
async fn a_follower_renews_nothing() {
    let (a, b) =
        (TestMember::new(A), TestMember::with(B, false, std::collections::BTreeMap::new()));
    let _served = introduce(&a, &b).await;

    assert_eq!(a.peers.renew(b.id, vec![LeaseId(5)]).await, Err(Error::NotLeader));
    assert_eq!(a.peers.time_left(b.id, LeaseId(5)).await, Err(Error::NotLeader));
}

/// The leader tells what came of a promotion, a follower that it does not lead.
#[tokio::test]
async fn the_leader_promotes() {
    let (a, b, _served) = pair().await;
    let promote = |learner| a.peers.promote(b.id, MemberId(learner));
    assert_eq!(promote(3).await, Ok(Promotion::Done));
    assert_eq!(promote(4).await, Ok(Promotion::NotALearner));

    let follower = TestMember::with(0xc, false, std::collections::BTreeMap::new());
    let _served = introduce(&a, &follower).await;
    assert_eq!(a.peers.promote(follower.id, MemberId(3)).await, Err(Error::NotLeader));
}
