//! The gateway with the manners of etcd, before the same fake as with ours.

use axum::http::{Method as HttpMethod, StatusCode, header};
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt;

use super::{
    tests::{MESSAGE_BYTES_MAX, Served, serve, text},
    *,
};

/// An answer, and what has the member stop when it is dropped.
async fn ask(request: Request) -> (Response, mpsc::Sender<()>) {
    let Served { router, runs, .. } = serve();
    (router.oneshot(request).await.unwrap(), runs)
}

async fn post(path: &str, body: impl Into<Body>) -> (StatusCode, String) {
    let (answer, _runs) = ask(Request::post(path).body(body.into()).unwrap()).await;
    text(answer).await
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}

/// What is not known, and what follows the message, is passed over; an answer has the fields in their
/// order, and says that it came by gRPC.
#[tokio::test]
async fn a_unary_call() {
    let body = r#"{"nope":[1,{}],"instance":{"id":"a","colour":"red"}} and more"#;
    let request = Request::post("/v3/fake/register").body(Body::from(body)).unwrap();
    let (response, _) = ask(request).await;
    assert_eq!(response.headers()["grpc-metadata-content-type"], "application/grpc");
    let (code, said) = text(response).await;
    assert_eq!((code.as_u16(), said.as_str()), (200, r#"{"revision":"7","instance_id":"a"}"#));
}

/// A refusal has its code and message, and no details.
#[tokio::test]
async fn refusals() {
    for (code, status) in [(3, 400), (5, 404), (8, 429), (12, 501), (14, 503), (16, 401)] {
        let (found, said) = post("/v3/fake/resolve", format!(r#"{{"limit":{code}}}"#)).await;
        let expected = json!({ "code": code, "message": "as you like" });
        assert_eq!((found.as_u16(), said.parse::<Value>().unwrap()), (status, expected));
    }
    let body = Body::from(r#"{"limit":16}"#);
    let (response, _) = ask(Request::post("/v3/fake/resolve").body(body).unwrap()).await;
    assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "as you like");
    let (found, said) = post("/v3/fake/resolve", "{").await;
    assert_eq!((found.as_u16(), said.as_str()), (400, r#"{"code":3,"message":"unexpected EOF"}"#));
}

/// A path that is not there is a refusal in JSON, and so is another method.
#[tokio::test]
async fn other_paths_and_methods() {
    for path in ["/v3/", "/v3/nope", "/v3/kv/range/", "/v3/kv", "/v3/kv/nope"] {
        let (code, said) = post(path, "{}").await;
        let expected = r#"{"code":5,"message":"Not Found"}"#;
        assert_eq!((code.as_u16(), said.as_str()), (404, expected), "{path}");
    }
    for method in ["GET", "PUT", "DELETE", "HEAD"] {
        let request = Request::builder().method(method).uri("/v3/kv/range");
        let (code, said) = text(ask(request.body(Body::empty()).unwrap()).await.0).await;
        assert_eq!(code, 501, "{method}");
        if method != "HEAD" {
            assert_eq!(said, r#"{"code":12,"message":"Method Not Allowed"}"#, "{method}");
        }
    }
    let (moved, _) = ask(Request::post("/v3").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (moved.status().as_u16(), &moved.headers()[header::LOCATION]),
        (307, &"/v3/".parse().unwrap())
    );
    // A method that no service here has.
    assert_eq!(post("/v3/kv/range", "{}").await.0, 501);
}

/// Requests that are too large are refused as gRPC refuses them, one of a stream included.
#[tokio::test]
async fn large_requests() {
    let with = |len: usize| format!(r#"{{"instance":{{"id":"{}"}}}}"#, "x".repeat(len));
    for len in [MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX * 2] {
        let (code, said) = post("/v3/fake/register", with(len)).await;
        assert_eq!(code, 429);
        assert!(said.contains("grpc: received message larger than max ("), "{said}");
    }
    let body = format!(r#"{{"seq":1}}{{"nope":"{}"}}"#, "x".repeat(MESSAGE_BYTES_MAX * 2));
    let (code, said) = post("/v3/fake/session", body).await;
    let said = lines(&said);
    assert_eq!((code.as_u16(), &said[0]), (200, &json!({ "result": { "seq": "1" } })));
    assert_eq!(said[1]["error"]["code"], 8, "{said:?}");
}

/// A stream that fails before its first answer has the status of its error; an empty one is empty.
#[tokio::test]
async fn a_stream_begins_with_its_first_answer() {
    let (code, said) = post("/v3/fake/watch", "{}").await;
    let error = json!({ "error": { "code": 11, "message": "the end" } });
    assert_eq!((code.as_u16(), lines(&said)), (400, vec![error.clone()]));
    let (code, said) = post("/v3/fake/watch", r#"{"revision":"1"}"#).await;
    let bookmark = json!({ "result": { "revision": "1", "bookmark": {} } });
    assert_eq!((code.as_u16(), lines(&said)), (200, vec![bookmark, error]));
    assert_eq!(post("/v3/fake/session", "").await, (StatusCode::OK, String::new()));
}

/// Requests are taken while they are answered.
#[tokio::test]
async fn requests_and_answers_take_turns() {
    let (client, requests) = mpsc::channel::<Result<&str, Status>>(1);
    let body = Body::from_stream(ReceiverStream::new(requests));
    client.send(Ok(r#"{"seq":"#)).await.unwrap();
    let called = tokio::spawn(ask(Request::post("/v3/fake/session").body(body).unwrap()));
    client.send(Ok(r#"1} {"se"#)).await.unwrap();
    let (answer, _runs) = called.await.unwrap();
    let mut answers = answer.into_body();
    let mut line = async || {
        let line = answers.frame().await?.unwrap().into_data().unwrap();
        Some(String::from_utf8(line.to_vec()).unwrap())
    };
    assert_eq!(line().await.unwrap(), "{\"result\":{\"seq\":\"1\"}}\n");
    client.send(Ok(r#"q":2}"#)).await.unwrap();
    assert_eq!(line().await.unwrap(), "{\"result\":{\"seq\":\"2\"}}\n");
    drop(client);
    assert_eq!(line().await, None);
}

/// What is wrong with the first request of a stream refuses it; with another one it ends the requests,
/// and is told behind their answers.
#[tokio::test]
async fn bad_requests_of_a_stream() {
    let problem = "Failed to decode request: proto: syntax error (line 1:1): unexpected token [";
    let error = json!({ "error": { "code": 3, "message": problem } });
    let (code, said) = post("/v3/fake/session", r#"[]{"seq":1}"#).await;
    assert_eq!((code.as_u16(), lines(&said)), (400, vec![error.clone()]));
    let (code, said) = post("/v3/fake/session", r#"{"seq":1}[]{"seq":2}"#).await;
    let result = json!({ "result": { "seq": "1" } });
    assert_eq!((code.as_u16(), lines(&said)), (200, vec![result, error]));
}

/// A call ends with the time that its client gives it, and nothing of it is left.
#[tokio::test]
async fn calls_end_in_time() {
    let error = json!({ "code": 4, "message": "context deadline exceeded" });
    for (path, body, error) in [
        ("/v3/fake/wait", "{}", error.clone()),
        ("/v3/fake/watch", r#"{"service":"x"}"#, json!({ "error": error.clone() })),
        (
            "/v1/registry/set-override",
            "{}",
            json!({ "code": 4, "message": "context deadline exceeded", "details": [] }),
        ),
    ] {
        let Served { router, waiting, runs: _runs } = serve();
        let request = Request::post(path).header("grpc-timeout", "1m").body(Body::from(body));
        let (code, said) = text(router.clone().oneshot(request.unwrap()).await.unwrap()).await;
        assert_eq!((code.as_u16(), said.parse::<Value>().unwrap()), (504, error), "{path}");
        assert_eq!(waiting.sender_strong_count(), 1, "{path}");
    }
    let bad = Request::post("/v3/fake/wait").header("grpc-timeout", "1x").body(Body::empty());
    let (code, said) = text(ask(bad.unwrap()).await.0).await;
    assert_eq!(code, 400);
    assert!(said.contains("invalid grpc-timeout: 1x"), "{said}");
}

/// A client that goes away in the midst of its requests ends its call.
#[tokio::test]
async fn a_client_that_leaves_ends_its_call() {
    let broken = stream::iter([Ok(r#"{"seq":1}{"#), Err(Status::aborted("it left"))]);
    let (code, said) = post("/v3/fake/session", Body::from_stream(broken)).await;
    assert_eq!(code, 200);
    let said = lines(&said);
    assert_eq!(said[0], json!({ "result": { "seq": "1" } }));
    assert_eq!(said.len(), 2, "{said:?}");
}

/// The table has the paths of etcd's own gateway: all are asked for with POST, and none twice.
#[test]
fn the_table_is_etcds() {
    let mut paths: Vec<_> = ETCD.iter().map(|(_, path, _)| path).collect();
    assert!(
        ETCD.iter().all(|(http, path, _)| *http == HttpMethod::POST && path.starts_with("/v3/"))
    );
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 51);
}
