//! Calls through the guard, with a service behind it that answers as told.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue},
};
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;
use tonic::{Code, Status};
use tower::{ServiceExt, service_fn};

use super::*;

/// A message with its prefix.
const MESSAGE: &[u8] = b"\0\0\0\0\x04word";

const UNARY: &str = "/etcdserverpb.KV/Put";
const STREAM: &str = "/etcdserverpb.Watch/Watch";

/// A leader that comes and goes as told.
#[derive(Clone, Default)]
struct Leader {
    here: Arc<AtomicBool>,
    learner: Arc<AtomicBool>,
    corrupt: Arc<AtomicBool>,
    lost: Arc<Notify>,
}

impl Leadership for Leader {
    fn is_learner(&self) -> bool {
        self.learner.load(Ordering::SeqCst)
    }

    fn has_leader(&self) -> bool {
        self.here.load(Ordering::SeqCst)
    }

    fn lost(&self) -> Lost {
        let lost = Arc::clone(&self.lost);
        Box::pin(async move { lost.notified().await })
    }

    fn is_corrupt(&self) -> bool {
        self.corrupt.load(Ordering::SeqCst)
    }
}

struct Bench {
    leader: Leader,
    gate: LearnerGate,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new() -> Self {
        let leader = Leader::default();
        leader.here.store(true, Ordering::SeqCst);
        let gate = LearnerGate { serves_reads: false };
        Self { leader, gate, metrics: Metrics::new() }
    }

    fn guard(&self) -> Guard {
        Guard::new(self.leader.clone(), self.gate, Arc::clone(&self.metrics), 2_097_152)
    }

    /// Sends a call through the guard to a service that answers `answer`.
    async fn call(
        &self,
        request: Request<()>,
        answer: Response<Body>,
    ) -> Response<GuardedBody<Body>> {
        let mut answer = Some(answer);
        let inner = service_fn(move |_: Request<()>| {
            future::ready(Ok::<_, Infallible>(answer.take().expect("one call")))
        });
        self.guard().layer(inner).oneshot(request).await.expect("infallible")
    }

    /// The counters of a method that are not zero, in the order of the text: code, then count.
    fn handled(&self, path: &str) -> Vec<(String, u64)> {
        let method = path.rsplit('/').next().unwrap();
        let text = self.metrics.encode();
        text.lines()
            .filter(|line| line.starts_with("grpc_server_handled_total{"))
            .filter(|line| line.contains(&format!("grpc_method=\"{method}\"")))
            .filter(|line| line.contains("etcdserverpb."))
            .filter_map(|line| {
                let code = line.split("grpc_code=\"").nth(1)?.split('"').next()?;
                let count = line.rsplit(' ').next()?.parse().ok()?;
                (count > 0).then(|| (code.to_owned(), count))
            })
            .collect()
    }
}

fn request(path: &str, headers: &[(&'static str, &[u8])]) -> Request<()> {
    let mut request = Request::post(path).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request
}

/// A message, then trailers with this status.
fn streamed(status: &Status) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).unwrap();
    let frames = [
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(MESSAGE))),
        Ok(Frame::trailers(trailers)),
    ];
    Response::new(Body::new(StreamBody::new(stream::iter(frames))))
}

fn ok() -> Response<Body> {
    streamed(&Status::new(Code::Ok, ""))
}

/// A message, and then nothing for ever.
fn endless() -> Response<Body> {
    let first = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(MESSAGE)))]);
    Response::new(Body::new(StreamBody::new(first.chain(stream::pending()))))
}

fn refusal<B>(response: &Response<B>) -> Option<(i32, String)> {
    let status = Status::from_header_map(response.headers())?;
    Some((status.code().into(), status.message().to_owned()))
}

/// A call that asks for a leader fails at once without one; others go on.
#[tokio::test]
async fn calls_that_need_a_leader_fail_without_one() {
    let bench = Bench::new();
    bench.leader.here.store(false, Ordering::SeqCst);
    for path in [UNARY, STREAM] {
        let needs = bench.call(request(path, &[("hasleader", b"true")]), ok()).await;
        assert_eq!(refusal(&needs), Some((14, "etcdserver: no leader".to_owned())));
        assert_eq!(needs.headers().get("content-type").unwrap(), "application/grpc");
        assert_eq!(bench.handled(path), [("Unavailable".to_owned(), 1)]);
        for value in [&b"1"[..], b"TRUE", b""] {
            let goes_on = bench.call(request(path, &[("hasleader", value)]), ok()).await;
            assert_eq!(refusal(&goes_on), None);
        }
    }
    bench.leader.here.store(true, Ordering::SeqCst);
    let led = bench.call(request(UNARY, &[("hasleader", b"true")]), ok()).await;
    assert_eq!(refusal(&led), None);
}

/// The client's version must be UTF-8; what it says does not matter.
#[tokio::test]
async fn the_client_version_must_be_text() {
    let bench = Bench::new();
    let version = |version| request(UNARY, &[("client-api-version", version)]);
    let refused = bench.call(version(b"3.\xff"), ok()).await;
    assert_eq!(refusal(&refused), Some((3, "etcdserver: invalid client api version".to_owned())));
    for fine in [&b"3.7"[..], b"", "\u{e9}".as_bytes()] {
        assert_eq!(refusal(&bench.call(version(fine), ok()).await), None);
    }
}

const LEARNER_SERVES: &[&str] = &[
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.Maintenance/Status",
];

const OBSERVER_SERVES_TOO: &[&str] = &[
    "/etcdserverpb.Cluster/MemberList",
    "/etcdserverpb.KV/RangeStream",
    "/etcdserverpb.Watch/Watch",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
];

/// Each method there is: a learner serves three, an observer some more, and refuses all others, before
/// it looks at metadata. A voter serves them all.
#[tokio::test]
async fn learners_refuse_what_they_cannot_answer() {
    let refused = Some((9, "etcdserver: rpc not supported for learner".to_owned()));
    let mut bench = Bench::new();
    let text = bench.metrics.encode();
    let label = |line: &str, name: &str| {
        line.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let methods: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("grpc_server_started_total{"))
        .map(|line| format!("/{}/{}", label(line, "grpc_service"), label(line, "grpc_method")))
        .collect();
    assert!(methods.len() > 40, "{methods:?}");
    bench.leader.here.store(false, Ordering::SeqCst);

    for (learner, serves_reads) in [(true, false), (true, true), (false, false)] {
        bench.leader.learner.store(learner, Ordering::SeqCst);
        bench.gate.serves_reads = serves_reads;
        for path in &methods {
            let needs_leader = request(path, &[("hasleader", b"true")]);
            let answers = [
                refusal(&bench.call(request(path, &[]), ok()).await),
                refusal(&bench.call(needs_leader, ok()).await),
            ];

            let path = path.as_str();
            let serves = !learner
                || LEARNER_SERVES.contains(&path)
                || serves_reads && OBSERVER_SERVES_TOO.contains(&path);
            let no_leader = Some((14, "etcdserver: no leader".to_owned()));
            let expected =
                if serves { [None, no_leader] } else { [refused.clone(), refused.clone()] };
            assert_eq!(answers, expected, "{path}, learner: {learner}, reads: {serves_reads}");
        }
    }
}

/// A method that is not there is not there on a learner either.
#[tokio::test]
async fn learners_name_unknown_methods() {
    let bench = Bench::new();
    bench.leader.learner.store(true, Ordering::SeqCst);
    let unknown = Status::new(Code::Unimplemented, "");
    let response = bench.call(request("/etcdserverpb.KV/Nope", &[]), unknown.into_http()).await;
    let expected = (12, "unknown method Nope for service etcdserverpb.KV".to_owned());
    assert_eq!(refusal(&response), Some(expected));
}

/// A call counts under the code of its trailers, once they were read.
#[tokio::test]
async fn a_call_counts_under_its_code() {
    let bench = Bench::new();
    let response = bench.call(request(UNARY, &[]), ok()).await;
    assert_eq!(bench.handled(UNARY), []);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap().get("grpc-status").unwrap(), "0");
    assert_eq!(body.to_bytes(), MESSAGE);
    assert_eq!(bench.handled(UNARY), [("OK".to_owned(), 1)]);
}

/// A refusal comes in the head and counts at once.
#[tokio::test]
async fn a_refusal_counts_at_once() {
    let bench = Bench::new();
    let answer = Status::not_found("etcdserver: requested lease not found").into_http();
    let response = bench.call(request(UNARY, &[]), answer).await;
    let expected = (5, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refusal(&response), Some(expected));
    assert_eq!(bench.handled(UNARY), [("NotFound".to_owned(), 1)]);
}

/// A client that goes away counts as cancelled: before the answer, and in the midst of it.
#[tokio::test]
async fn a_client_that_goes_away_counts_as_cancelled() {
    let bench = Bench::new();
    let guard = bench.guard();
    let never =
        service_fn(|_: Request<()>| future::pending::<Result<Response<Body>, Infallible>>());
    let call = guard.layer(never).oneshot(request(UNARY, &[]));
    assert!(call.now_or_never().is_none());
    assert_eq!(bench.handled(UNARY), [("Canceled".to_owned(), 1)]);

    let mut body = bench.call(request(STREAM, &[]), endless()).await.into_body();
    assert!(body.frame().await.is_some());
    drop(body);
    assert_eq!(bench.handled(STREAM), [("Canceled".to_owned(), 1)]);
}

/// A stream that asked for a leader is ended when the leader is lost; what came before arrives.
#[tokio::test]
async fn a_stream_that_needs_a_leader_ends_with_it() {
    let bench = Bench::new();
    let needs = request(STREAM, &[("hasleader", b"true")]);
    let mut body = bench.call(needs, endless()).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), MESSAGE);

    bench.leader.lost.notify_one();

    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: no leader"));
    assert!(body.frame().await.is_none());
    drop(body);
    assert_eq!(bench.handled(STREAM), [("Unavailable".to_owned(), 1)]);
}

/// The loss of the leader does not cut a message: what is left of it passes first.
#[tokio::test]
async fn a_message_under_way_passes_before_the_end() {
    let bench = Bench::new();
    let frames = MESSAGE.chunks(6).map(|part| Frame::data(Bytes::from_static(part)));
    let frames = stream::iter(frames.map(Ok::<_, Infallible>)).chain(stream::pending());
    let answer = Response::new(Body::new(StreamBody::new(frames)));
    let needs = request(STREAM, &[("hasleader", b"true")]);
    let mut body = bench.call(needs, answer).await.into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), MESSAGE[..6]);

    bench.leader.lost.notify_one();

    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), MESSAGE[6..]);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "14");
    assert!(body.frame().await.is_none());
}

/// A stream that did not ask for a leader outlives it.
#[tokio::test]
async fn other_streams_outlive_the_leader() {
    let bench = Bench::new();
    let mut body = bench.call(request(STREAM, &[]), endless()).await.into_body();
    assert!(body.frame().await.is_some());
    bench.leader.lost.notify_one();
    assert!(body.frame().now_or_never().is_none());
}

/// A member whose data are known to be wrong answers nothing from them, and lets no further message
/// of a stream pass. Operators reach it.
#[tokio::test]
async fn a_corrupt_member_serves_no_data() {
    let bench = Bench::new();
    let mut body = bench.call(request(STREAM, &[]), endless()).await.into_body();
    assert!(body.frame().await.is_some());

    bench.leader.corrupt.store(true, Ordering::SeqCst);

    let expected = (15, "etcdserver: corrupt cluster".to_owned());
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!((status.code().into(), status.message().to_owned()), expected);
    assert!(body.frame().await.is_none());
    for path in [UNARY, STREAM, "/etcdserverpb.Lease/LeaseLeases", "/v3lockpb.Lock/Lock"] {
        assert_eq!(refusal(&bench.call(request(path, &[]), ok()).await), Some(expected.clone()));
    }
    for path in ["/etcdserverpb.Maintenance/HashKV", "/etcdserverpb.Cluster/MemberList"] {
        assert_eq!(refusal(&bench.call(request(path, &[]), ok()).await), None);
    }
}

/// A message above the limit of the transport is refused in the words of etcd's transport, in the
/// head of a unary call and in the trailers of a stream; other statuses of that code stay.
#[tokio::test]
async fn messages_above_the_limit() {
    let said = Status::out_of_range(
        "Error, decoded message length too large: found 2200000 bytes, the limit is: 2097152 bytes",
    );
    let expected = (8, "grpc: received message larger than max (2200000 vs. 2097152)".to_owned());
    let bench = Bench::new();
    let unary = bench.call(request(UNARY, &[]), said.clone().into_http()).await;
    assert_eq!(refusal(&unary), Some(expected.clone()));
    assert_eq!(bench.handled(UNARY), [("ResourceExhausted".to_owned(), 1)]);

    let body = bench.call(request(STREAM, &[]), streamed(&said)).await.into_body();
    let body = body.collect().await.unwrap();
    let status = Status::from_header_map(body.trailers().unwrap()).unwrap();
    assert_eq!((status.code().into(), status.message().to_owned()), expected);
    assert_eq!(bench.handled(STREAM), [("ResourceExhausted".to_owned(), 1)]);

    let compacted = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
    let other = bench.call(request(UNARY, &[]), compacted.clone().into_http()).await;
    assert_eq!(refusal(&other), Some((11, compacted.message().to_owned())));
}

/// A method that its service does not have is named; a status with words of its own keeps them.
#[tokio::test]
async fn unknown_methods_are_named() {
    let bench = Bench::new();
    let unknown = Status::new(Code::Unimplemented, "");
    let response = bench.call(request("/etcdserverpb.KV/Nope", &[]), unknown.into_http()).await;
    let expected = (12, "unknown method Nope for service etcdserverpb.KV".to_owned());
    assert_eq!(refusal(&response), Some(expected));

    let unserved = Status::unimplemented("not yet");
    let response = bench.call(request(UNARY, &[]), unserved.into_http()).await;
    assert_eq!(refusal(&response), Some((12, "not yet".to_owned())));
}
