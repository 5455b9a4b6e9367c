//! Streams of renewals without a connection: what they ask for, and what they say in which frames.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::Waker,
};

use bytes::Buf;
use futures_util::FutureExt;
use http_body_util::StreamBody;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use super::*;
use crate::{node::ports::Renewed, types::Seconds};

type Reply = oneshot::Sender<Result<Vec<KeptAlive>, Error>>;
/// What is asked for, and where the answer goes.
type Asked = (Vec<KeptAlive>, Reply);

/// A member that renews when a test says so.
#[derive(Clone, Default)]
struct Member {
    asked: Arc<Mutex<VecDeque<Asked>>>,
    revision: Arc<Mutex<i64>>,
    stopping: Arc<watch::Sender<bool>>,
}

impl Renews for Member {
    type Renewing = BoxFuture<'static, Result<Vec<KeptAlive>, Error>>;

    fn renew(&self, batch: Vec<KeptAlive>) -> Self::Renewing {
        let (reply, renewing) = oneshot::channel();
        self.asked.lock().unwrap().push_back((batch, reply));
        Box::pin(async move { renewing.await.unwrap() })
    }

    fn header(&self) -> ResponseHeader {
        let revision = *self.revision.lock().unwrap();
        ResponseHeader { cluster_id: 1, member_id: u64::MAX, revision, raft_term: 300 }
    }

    fn stopped(&self) -> BoxFuture<'static, ()> {
        let mut stopping = self.stopping.subscribe();
        Box::pin(async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        })
    }
}

impl Member {
    fn next_batch(&self) -> Asked {
        self.asked.lock().unwrap().pop_front().expect("something is to be renewed")
    }

    /// Renews the next batch: leases with a positive id live for so many seconds, others do not
    /// exist. Returns what was asked for.
    fn renew_next(&self) -> Vec<i64> {
        let (mut batch, reply) = self.next_batch();
        for kept in &mut batch {
            kept.renewed = match kept.lease.0 {
                ..1 => Renewed::Unknown,
                ttl => Renewed::For(Seconds(ttl)),
            };
        }
        let asked = batch.iter().map(|kept| kept.lease.0).collect();
        reply.send(Ok(batch)).unwrap();
        asked
    }

    fn is_idle(&self) -> bool {
        self.asked.lock().unwrap().is_empty()
    }
}

/// A client of one stream.
struct Client {
    /// None when it has closed its side.
    requests: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>>,
    body: Body,
}

/// What a stream has sent.
#[derive(Debug, Default)]
struct Sent {
    frames: usize,
    answers: Vec<(i64, i64)>,
    revisions: Vec<i64>,
    end: Option<(Code, String)>,
}

impl Client {
    fn open(member: &Member) -> Self {
        let (requests, sent) = mpsc::unbounded_channel();
        let request = Request::new(StreamBody::new(UnboundedReceiverStream::new(sent)));
        let member = member.clone();
        let open = |requests| Body::new(Session::new(member, requests));
        let response = raw::streaming(request, 1_000, open).now_or_never().unwrap();
        assert_eq!(response.headers().get("content-type").unwrap(), "application/grpc");
        Self { requests: Some(requests), body: response.into_body() }
    }

    /// Sends bytes, whatever they mean.
    fn send(&self, bytes: &[u8]) {
        let frame = Frame::data(Bytes::copy_from_slice(bytes));
        self.requests.as_ref().expect("the side is open").send(Ok(frame)).unwrap();
    }

    fn ask(&self, ids: impl IntoIterator<Item = i64>) {
        for id in ids {
            let message = LeaseKeepAliveRequest { id }.encode_to_vec();
            let len = u32::try_from(message.len()).unwrap().to_be_bytes();
            self.send(&[&[0][..], &len, &message].concat());
        }
    }

    /// What the stream sends without anybody's doing.
    fn sent(&mut self) -> Sent {
        let (mut sent, mut context) = (Sent::default(), Context::from_waker(Waker::noop()));
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(&mut context) {
            let Some(frame) = frame else { break };
            match frame.unwrap().into_data() {
                Ok(data) => {
                    sent.frames += 1;
                    sent.take(data);
                }
                Err(trailers) => {
                    let trailers = trailers.into_trailers().unwrap();
                    let status = Status::from_header_map(&trailers).unwrap();
                    sent.end = Some((status.code(), status.message().to_owned()));
                }
            }
        }
        sent
    }
}

impl Sent {
    fn take(&mut self, mut data: Bytes) {
        while data.has_remaining() {
            assert_eq!(data.get_u8(), 0, "not compressed");
            let len = usize::try_from(data.get_u32()).unwrap();
            let message = data.split_to(len);
            let answer = LeaseKeepAliveResponse::decode(message.clone()).unwrap();
            assert_eq!(answer.encode_to_vec(), message, "as the library encodes it");
            let header = answer.header.unwrap();
            let whole = ResponseHeader { revision: 0, ..header };
            assert_eq!(whole, Member::default().header());
            self.answers.push((answer.id, answer.ttl));
            self.revisions.push(header.revision);
        }
    }
}

/// Each request has an answer, in order, whether there is such a lease or not, and however often it
/// is asked for; the answers leave together, and the stream goes on.
#[test]
fn case_56_each_request_is_answered_in_order() {
    let member = Member::default();
    let mut client = Client::open(&member);
    client.ask([-7, 5, 0, 5, i64::MAX, i64::MIN]);

    assert_eq!(client.sent().frames, 0);
    assert_eq!(member.renew_next(), [-7, 5, 0, 5, i64::MAX, i64::MIN]);
    let sent = client.sent();

    let expected = [(-7, 0), (5, 5), (0, 0), (5, 5), (i64::MAX, i64::MAX), (i64::MIN, 0)];
    assert_eq!((sent.frames, sent.answers), (1, expected.into()));
    assert_eq!(sent.end, None);
    client.ask([6]);
    assert_eq!(client.sent().frames, 0);
    member.renew_next();
    assert_eq!(client.sent().answers, [(6, 6)]);
}

/// A stream reads no further while it waits for a batch, and no batch is larger than its bound.
#[test]
fn what_comes_during_a_batch_is_the_next_one() {
    let member = Member::default();
    let mut client = Client::open(&member);
    client.ask([1]);
    assert_eq!(client.sent().frames, 0);
    client.ask(2..=1_500);
    assert_eq!(client.sent().frames, 0);
    assert_eq!(member.renew_next(), [1]);
    assert!(member.is_idle());

    assert_eq!(client.sent().answers, [(1, 1)]);
    let bound = i64::try_from(RENEWALS_PER_BATCH_MAX).unwrap();
    assert_eq!(member.renew_next(), (2..=1 + bound).collect::<Vec<_>>());
    assert!(member.is_idle());
    assert_eq!(client.sent().answers.len(), RENEWALS_PER_BATCH_MAX);
    assert_eq!(member.renew_next(), (2 + bound..=1_500).collect::<Vec<_>>());
    assert_eq!(client.sent().frames, 1);
}

/// The revision in an answer is from before the renewal: it may not be above the one at which the
/// lease ends.
#[test]
fn case_62_the_revision_is_from_before_the_renewal() {
    let member = Member::default();
    let mut client = Client::open(&member);
    *member.revision.lock().unwrap() = 7;
    client.ask([5, 0]);
    assert_eq!(client.sent().frames, 0);
    *member.revision.lock().unwrap() = 9;
    member.renew_next();
    assert_eq!(client.sent().revisions, [7, 7]);
}

/// A client that asks for no more gets what is due, and then a good end.
#[test]
fn a_client_that_asks_no_more_is_answered_first() {
    let member = Member::default();
    let mut client = Client::open(&member);
    client.ask([5, 6]);
    client.requests = None;
    assert_eq!(client.sent().end, None);
    member.renew_next();

    let sent = client.sent();

    assert_eq!(sent.answers, [(5, 5), (6, 6)]);
    assert_eq!(sent.end, Some((Code::Ok, String::new())));
    assert!(client.body.is_end_stream());
}

/// What is no request ends the stream with the library's words, behind the answers to what came
/// before it.
#[test]
fn what_is_no_request_ends_the_stream() {
    let compressed: &[u8] = &[1, 0, 0, 0, 1, 0];
    let malformed: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0xff];
    let too_large: &[u8] = &[0, 0, 0, 0xff, 0xff];
    for (bytes, code) in
        [(compressed, Code::Internal), (malformed, Code::Internal), (too_large, Code::OutOfRange)]
    {
        let member = Member::default();
        let mut client = Client::open(&member);
        client.ask([5]);
        client.send(bytes);
        client.ask([6]);
        assert_eq!(client.sent().end, None);
        assert_eq!(member.renew_next(), [5]);

        let sent = client.sent();

        assert_eq!(sent.answers, [(5, 5)]);
        assert_eq!(sent.end.unwrap().0, code, "{bytes:?}");
        assert!(member.is_idle());
    }
}

/// A batch that nobody can renew ends the stream by the name of the error.
#[test]
fn an_error_ends_the_stream() {
    let member = Member::default();
    let mut client = Client::open(&member);
    client.ask([5]);
    assert_eq!(client.sent().frames, 0);
    member.next_batch().1.send(Err(Error::NoLeader)).unwrap();

    let sent = client.sent();

    assert_eq!((sent.frames, sent.answers.len()), (0, 0));
    assert_eq!(sent.end, Some((Code::Unavailable, "etcdserver: no leader".to_owned())));
}

/// A stream that waits for requests ends when its member stops.
#[test]
fn an_idle_stream_ends_with_its_member() {
    let member = Member::default();
    let mut client = Client::open(&member);
    assert_eq!(client.sent().end, None);

    member.stopping.send_replace(true);

    let stopped = (Code::Unavailable, "etcdserver: server stopped".to_owned());
    assert_eq!(client.sent().end, Some(stopped));
}

/// A stream gives back the room of a large batch, and keeps that of a small one.
#[test]
fn an_idle_stream_holds_little() {
    let member = Member::default();
    let requests =
        futures_util::stream::iter((1..=1_000).map(|id| Ok(LeaseKeepAliveRequest { id })))
            .chain(futures_util::stream::pending());
    let mut session = Session::new(member.clone(), requests);
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut session).poll_frame(&mut context).is_pending());
    member.renew_next();

    assert!(Pin::new(&mut session).poll_frame(&mut context).is_ready());

    assert!(session.batch.capacity() <= BATCH_KEPT);
}

/// A lease that cannot be answered for yet holds up what was asked after it, and nothing before it;
/// the rest is asked for again, whatever came of it the first time.
#[test]
fn what_stands_before_an_open_lease_is_answered() {
    let member = Member::default();
    let mut client = Client::open(&member);
    client.ask([5, 9, 6]);
    assert_eq!(client.sent().frames, 0);
    let (mut batch, reply) = member.next_batch();
    for (kept, renewed) in
        batch.iter_mut().zip([Renewed::For(Seconds(5)), Renewed::NotYet, Renewed::For(Seconds(6))])
    {
        kept.renewed = renewed;
    }
    reply.send(Ok(batch)).unwrap();
    client.ask([7]);

    assert_eq!(client.sent().answers, [(5, 5)]);
    assert_eq!(member.renew_next(), [9, 6, 7]);
    assert_eq!(client.sent().answers, [(9, 9), (6, 6), (7, 7)]);
}
