//! Watch as lines of JSON.

use serde_json::{Value, json};

use super::{
    authority, delete, get,
    http::{Coming, open},
    number, post, put,
};
use crate::harness::Cluster;

const PATH: &str = "/v1/registry/watch";

async fn watch(cluster: &Cluster, member: usize, request: &Value) -> Coming {
    let watch = open(&authority(cluster, member), "POST", PATH, &[], &request.to_string()).await;
    assert_eq!(watch.status, 200);
    watch
}

/// What is told next, bookmarks aside.
async fn told(watch: &mut Coming) -> Value {
    loop {
        let line = watch.json().await.expect("the stream goes on");
        if line["result"]["bookmark"].is_null() {
            return line["result"].clone();
        }
    }
}

/// The changes of a revision, each as its kind and its id.
fn changes(answer: &Value) -> Vec<(String, String)> {
    let changes = answer["changes"]["changes"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let side = |change: &Value| match &change["after"] {
        Value::Null => text(&change["before"]["id"]),
        after => text(&after["id"]),
    };
    changes.iter().map(|change| (text(&change["kind"]), side(change))).collect()
}

fn change(kind: &str, id: &str) -> Vec<(String, String)> {
    vec![(kind.to_owned(), id.to_owned())]
}

/// A snapshot, then what happens, in lines that come when it does; resumed, nothing is told twice.
#[tokio::test]
async fn a_watch_is_lines_of_json() {
    let cluster = Cluster::start(1).await;
    let first = put(&cluster, "user", "a", "10.0.0.1:80").await;
    // What the member knows of services has it.
    get(&cluster, 0, "/v1/registry/services/default/user?linearizable=true").await.ok();
    let mut watch_user = watch(&cluster, 0, &json!({ "service": "user" })).await;

    let snapshot = told(&mut watch_user).await;
    assert!(number(&snapshot["revision"]) >= first);
    assert_eq!(snapshot["snapshot"]["instances"][0]["id"], "a");

    put(&cluster, "order", "x", "10.0.0.9:80").await;
    let up = put(&cluster, "user", "b", "10.0.0.2:80").await;
    let answer = told(&mut watch_user).await;
    assert_eq!((number(&answer["revision"]), changes(&answer)), (up, change("UP", "b")));
    put(&cluster, "user", "b", "10.0.0.3:80").await;
    assert_eq!(changes(&told(&mut watch_user).await), change("CHANGED", "b"));
    let down = delete(&cluster, "user", "b").await;
    let answer = told(&mut watch_user).await;
    assert_eq!((number(&answer["revision"]), changes(&answer)), (down, change("DOWN", "b")));
    assert_eq!(answer["changes"]["changes"][0]["reason"], "DEREGISTERED");
    assert_eq!(answer["changes"]["changes"][0]["before"]["port"], 80);

    let resume = json!({ "service": "user", "revision": up.to_string() });
    let mut resumed = watch(&cluster, 0, &resume).await;
    assert_eq!(changes(&told(&mut resumed).await), change("CHANGED", "b"));
    assert_eq!(changes(&told(&mut resumed).await), change("DOWN", "b"));
}

/// A member that stops says so in the last line, and is not kept by those who watch.
#[tokio::test]
async fn a_watch_ends_when_the_member_stops() {
    let mut cluster = Cluster::start(1).await;
    let mut stream = watch(&cluster, 0, &json!({})).await;
    assert_eq!(told(&mut stream).await["snapshot"], json!({}));

    cluster.member(0).terminate().await;

    let last = loop {
        let line = stream.json().await.expect("the last line says why");
        if line["error"].is_object() {
            break line;
        }
    };
    let error = json!({ "code": 14, "message": "etcdserver: server stopped", "details": [] });
    assert_eq!(last["error"], error);
    assert_eq!(stream.json().await, None);
    assert!(cluster.member(0).ended().await.success());
}

/// A watch that makes no sense is refused with a status.
#[tokio::test]
async fn bad_watches() {
    let cluster = Cluster::start(1).await;
    for (request, field) in [
        (json!({ "namespace": "a/b" }), "namespace"),
        (json!({ "service": "a b" }), "service"),
        (json!({ "revision": -1 }), "revision"),
    ] {
        let refused = post(&cluster, 0, PATH, &request).await;
        assert_eq!(refused.status, 400, "{request}");
        let error = &refused.json()["error"];
        assert_eq!(error["code"], 3, "{request}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
}
