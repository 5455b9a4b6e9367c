//! The gateway before a registry that answers what is expected of it.

use std::future;

use axum::http::{Method as HttpMethod, StatusCode, header};
use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, mpsc},
    task::yield_now,
};
use tonic::{Response as Answer, Streaming};
use tower::ServiceExt;

use super::*;
use crate::proto::registry::{
    Bookmark, ClearOverrideRequest, ClearOverrideResponse, DeregisterRequest, DeregisterResponse,
    KeepAliveRequest, KeepAliveResponse, ListServicesRequest, ListServicesResponse,
    RegisterRequest, RegisterResponse, ResolveRequest, ResolveResponse, SessionRequest,
    SessionResponse, SetOverrideRequest, SetOverrideResponse, WatchRequest, WatchResponse,
    registry_server::{Registry, RegistryServer},
    watch_response::Kind,
};

/// Registers what has an instance, echoes what is resolved, and lets others wait.
struct Fake {
    /// Copied for each call that waits.
    waiting: mpsc::Sender<()>,
}

type Answered<T> = Result<Answer<T>, Status>;
type Stream<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl Registry for Fake {
    async fn register(
        &self,
        request: tonic::Request<RegisterRequest>,
    ) -> Answered<RegisterResponse> {
        let asked = request.metadata().get("authorization").is_some();
        let instance = request.into_inner().instance;
        let instance =
            instance.ok_or_else(|| Status::invalid_argument("instance: it is missing"))?;
        let session_id = if asked { "asked".to_owned() } else { String::new() };
        Ok(Answer::new(RegisterResponse {
            revision: 7,
            instance_id: instance.id,
            session_id,
            ..RegisterResponse::default()
        }))
    }

    async fn resolve(&self, request: tonic::Request<ResolveRequest>) -> Answered<ResolveResponse> {
        let code = tonic::Code::from_i32(request.into_inner().limit.try_into().unwrap());
        Err(Status::new(code, "as you like"))
    }

    async fn set_override(
        &self,
        _: tonic::Request<SetOverrideRequest>,
    ) -> Answered<SetOverrideResponse> {
        let _gone_with_the_call = self.waiting.clone();
        future::pending().await
    }

    type WatchStream = Stream<WatchResponse>;

    /// Bookmarks up to the revision, and then a failure; waits for ever before the first if there
    /// is a service.
    async fn watch(&self, request: tonic::Request<WatchRequest>) -> Answered<Self::WatchStream> {
        let WatchRequest { service, revision, .. } = request.into_inner();
        if revision < 0 {
            return Err(Status::invalid_argument("revision: it is negative"));
        }
        if !service.is_empty() {
            let gone_with_the_stream = self.waiting.clone();
            return Ok(Answer::new(Box::pin(stream::once(async move {
                let _gone_with_the_stream = gone_with_the_stream;
                future::pending().await
            }))));
        }
        let bookmark = |revision| WatchResponse {
            revision,
            more: false,
            kind: Some(Kind::Bookmark(Bookmark {})),
        };
        let answers = (1..=revision).map(move |revision| Ok(bookmark(revision)));
        let end = Err(Status::out_of_range("the end"));
        Ok(Answer::new(Box::pin(stream::iter(answers.chain([end])))))
    }

    async fn deregister(
        &self,
        _: tonic::Request<DeregisterRequest>,
    ) -> Answered<DeregisterResponse> {
        panic!("nobody asks for it")
    }

    async fn clear_override(
        &self,
        _: tonic::Request<ClearOverrideRequest>,
    ) -> Answered<ClearOverrideResponse> {
        panic!("nobody asks for it")
    }

    async fn list_services(
        &self,
        _: tonic::Request<ListServicesRequest>,
    ) -> Answered<ListServicesResponse> {
        panic!("nobody asks for it")
    }

    type KeepAliveStream = Stream<KeepAliveResponse>;

    async fn keep_alive(
        &self,
        _: tonic::Request<Streaming<KeepAliveRequest>>,
    ) -> Answered<Self::KeepAliveStream> {
        panic!("nobody asks for it")
    }

    type SessionStream = Stream<SessionResponse>;

    /// Answers each request with its number, and then ends.
    async fn session(
        &self,
        request: tonic::Request<Streaming<SessionRequest>>,
    ) -> Answered<Self::SessionStream> {
        let answers = request.into_inner().map(|request| {
            request
                .map(|request| SessionResponse { seq: request.seq, ..SessionResponse::default() })
        });
        Ok(Answer::new(Box::pin(answers)))
    }
}

pub(super) const MESSAGE_BYTES_MAX: usize = 3_000;

/// What the fake answers, with the manners of etcd.
const AS_ETCD: &[Route] = &[
    (HttpMethod::POST, "/v3/fake/register", "quorate.registry.v1.Registry/Register"),
    (HttpMethod::POST, "/v3/fake/resolve", "quorate.registry.v1.Registry/Resolve"),
    (HttpMethod::POST, "/v3/fake/wait", "quorate.registry.v1.Registry/SetOverride"),
    (HttpMethod::POST, "/v3/fake/watch", "quorate.registry.v1.Registry/Watch"),
    (HttpMethod::POST, "/v3/fake/session", "quorate.registry.v1.Registry/Session"),
];

pub(super) struct Served {
    pub(super) router: Router,
    /// Each call that waits has a sender, and the service has one.
    pub(super) waiting: mpsc::Receiver<()>,
    /// Dropped, it has the member stop.
    pub(super) runs: mpsc::Sender<()>,
}

pub(super) fn serve() -> Served {
    let (sender, waiting) = mpsc::channel(1);
    let (runs, stopped) = mpsc::channel::<()>(1);
    let stopped = Arc::new(Mutex::new(stopped));
    let stopping = move || {
        let stopped = Arc::clone(&stopped);
        async move {
            let _ = stopped.lock().await.recv().await;
        }
    };
    let gateway =
        Gateway::new(RegistryServer::new(Fake { waiting: sender }), MESSAGE_BYTES_MAX, stopping);
    let session: Route = (HttpMethod::POST, "/session", "quorate.registry.v1.Registry/Session");
    let own = gateway.routes(Manners::Own, REGISTRY);
    let own = own.merge(gateway.routes(Manners::Own, std::slice::from_ref(&session)));
    let etcd = gateway.etcd().merge(gateway.routes(Manners::Etcd, AS_ETCD));
    Served { router: own.merge(etcd), waiting, runs }
}

async fn post(path: &str, body: impl Into<Body>) -> (StatusCode, String) {
    let request = Request::post(path).header("authorization", "me").body(body.into()).unwrap();
    text(serve().router.oneshot(request).await.unwrap()).await
}

pub(super) async fn text(response: Response) -> (StatusCode, String) {
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "application/json");
    let code = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

fn refused(code: i32, message: &str) -> Value {
    json!({ "code": code, "message": message, "details": [] })
}

/// A call with one answer, who asks included.
#[tokio::test]
async fn a_unary_call() {
    let (code, body) = post("/v1/registry/register", r#"{"instance":{"id":"a"}}"#).await;
    assert_eq!(code, 200);
    let expected = json!({ "revision": "7", "instance_id": "a", "session_id": "asked" });
    assert_eq!(body.parse::<Value>().unwrap(), expected);
}

/// What the service refuses has its message, and the status that belongs to the code.
#[tokio::test]
async fn a_refusal_of_the_service() {
    let (code, body) = post("/v1/registry/register", "").await;
    assert_eq!(code, 400);
    assert_eq!(body.parse::<Value>().unwrap(), refused(3, "instance: it is missing"));
    for (code, expected) in [
        (1, 499),
        (2, 500),
        (3, 400),
        (4, 504),
        (5, 404),
        (6, 409),
        (7, 403),
        (8, 429),
        (9, 400),
        (10, 409),
        (11, 400),
        (12, 501),
        (13, 500),
        (14, 503),
        (15, 500),
        (16, 401),
    ] {
        let (status, body) = post("/v1/registry/resolve", format!(r#"{{"limit":{code}}}"#)).await;
        assert_eq!(status, expected, "code {code}");
        assert_eq!(body.parse::<Value>().unwrap(), refused(code, "as you like"));
    }
}

/// What is no request is refused before the service sees it.
#[tokio::test]
async fn bad_requests() {
    for body in ["{", "[]", r#"{"x":1}"#, r#"{"limit":"x"}"#, "{}{}"] {
        let (code, said) = post("/v1/registry/resolve", body).await;
        assert_eq!(code, 400, "{body}");
        assert_eq!(said.parse::<Value>().unwrap()["code"], 3, "{body}: {said}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::builder().method(method).uri("/v1/registry/resolve");
        let response = serve().router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers().get(header::ALLOW).unwrap(), "POST");
        let (code, said) = text(response).await;
        assert_eq!(code, 405);
        assert_eq!(said.parse::<Value>().unwrap(), refused(12, "Method Not Allowed"));
    }
}

/// A message of the largest size passes; a larger one does not, whether it is announced or not.
#[tokio::test]
async fn large_requests() {
    let with = |len: usize| format!(r#"{{"instance":{{"id":"{}"}}}}"#, "x".repeat(len));
    // What surrounds the id in the message.
    let around = 6;
    let (code, _) = post("/v1/registry/register", with(MESSAGE_BYTES_MAX - around)).await;
    assert_eq!(code, 200);
    for len in [MESSAGE_BYTES_MAX - around + 1, MESSAGE_BYTES_MAX * 2] {
        let (code, said) = post("/v1/registry/register", with(len)).await;
        assert_eq!(code, 413, "{said}");
        assert_eq!(said.parse::<Value>().unwrap()["code"], 8);
        let pieces =
            with(len).into_bytes().chunks(100).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        let unannounced = stream::iter(pieces.into_iter().map(Ok::<_, Status>));
        let (code, _) = post("/v1/registry/register", Body::from_stream(unannounced)).await;
        assert_eq!(code, 413);
    }
}

/// A stream is lines of results, and an error for the last one.
#[tokio::test]
async fn a_stream_is_lines() {
    let (code, lines) = post("/v1/registry/watch", r#"{"revision":2}"#).await;
    assert_eq!(code, 200);
    let lines: Vec<Value> = lines.lines().map(|line| line.parse().unwrap()).collect();
    let bookmark = |revision: &str| json!({ "result": { "revision": revision, "bookmark": {} } });
    let end = json!({ "error": refused(11, "the end") });
    assert_eq!(lines, [bookmark("1"), bookmark("2"), end]);
}

/// A stream that is refused has the status of its error.
#[tokio::test]
async fn a_stream_that_is_refused() {
    let (code, lines) = post("/v1/registry/watch", r#"{"revision":-1}"#).await;
    assert_eq!(code, 400);
    let error = json!({ "error": refused(3, "revision: it is negative") });
    assert_eq!(lines, format!("{error}\n"));
}

/// Several requests go to a method that takes many.
#[tokio::test]
async fn a_stream_of_requests() {
    let (code, lines) = post("/session", r#"{"seq":1}{"seq":"2"} {}"#).await;
    assert_eq!(code, 200);
    let lines: Vec<Value> = lines.lines().map(|line| line.parse().unwrap()).collect();
    let results = [json!({ "seq": "1" }), json!({ "seq": "2" }), json!({})];
    assert_eq!(lines, results.map(|result| json!({ "result": result })));
}

/// A client that leaves ends its call, whether it has an answer or is a stream that began.
#[tokio::test]
async fn a_client_that_leaves_ends_its_call() {
    for (path, body) in
        [("/v1/registry/set-override", "{}"), ("/v1/registry/watch", r#"{"service":"x"}"#)]
    {
        let Served { router, waiting, runs: _runs } = serve();
        let request = Request::post(path).body(Body::from(body)).unwrap();
        let mut called = Box::pin(router.clone().oneshot(request));
        let mut began = None;
        while waiting.sender_strong_count() == 1 {
            began = began.or((&mut called).now_or_never());
            yield_now().await;
        }
        drop((began, called));
        assert_eq!(waiting.sender_strong_count(), 1, "{path}");
    }
}

/// A member that stops ends its streams with an error line.
#[tokio::test]
async fn a_member_that_stops_ends_its_streams() {
    let Served { router, waiting: _waiting, runs } = serve();
    let request =
        Request::post("/v1/registry/watch").body(Body::from(r#"{"service":"x"}"#)).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    drop(runs);
    let (_, lines) = text(response).await;
    let error = json!({ "error": refused(14, "etcdserver: server stopped") });
    assert_eq!(lines, format!("{error}\n"));
}

/// Every route of every table names a method that exists.
#[test]
fn tables_name_methods() {
    for (_, path, method) in REGISTRY.iter().chain(ETCD) {
        let method_path = Method::named(method, Manners::Own).path;
        assert_eq!(method_path, format!("/{method}"), "{path}");
    }
}
