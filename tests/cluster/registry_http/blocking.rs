//! Queries that wait for a change.

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};

use super::{
    SOON, authority, delete, figure, get,
    http::{Answer, ask},
    ids, number, put,
};
use crate::harness::{Cluster, eventually};

const PAGE: &str = "/v1/registry/services/default/user";

/// An answer that comes at once has the revision everywhere.
#[tokio::test]
async fn a_query_without_an_index_answers_at_once() {
    let cluster = Cluster::start(1).await;
    let empty = get(&cluster, 0, PAGE).await;
    assert!(ids(&empty.ok()).is_empty());
    put(&cluster, "user", "b", "10.0.0.2:80").await;
    let written = put(&cluster, "user", "a", "10.0.0.1:80").await;

    let path = format!("{PAGE}?index=0&linearizable=true");
    let answer = get(&cluster, 0, &path).await;

    assert_eq!(ids(&answer.ok()), ["a", "b"]);
    assert!(answer.index() >= written, "{answer:?}");
    assert_eq!(number(&answer.ok()["revision"]), answer.index());
    assert_eq!(answer.headers["etag"], format!("\"{}\"", answer.index()));
    assert_eq!(ids(&get(&cluster, 0, &format!("{PAGE}?zone=eu")).await.ok()), [""; 0]);
}

/// A query that waits on a member, once the member has it.
async fn waiting(cluster: &Cluster, member: usize, query: &str) -> JoinHandle<Answer> {
    let series = "grpc_server_handled_total{grpc_type=\"unary\",\
                  grpc_service=\"quorate.registry.v1.Registry\",\
                  grpc_method=\"Resolve\",grpc_code=\"OK\"}";
    let before = figure(cluster, member, series).await;
    let (authority, path) = (authority(cluster, member), format!("{PAGE}?{query}"));
    let waiting = tokio::spawn(async move { ask(&authority, "GET", &path, &[], "").await });
    // It resolves once before it waits, and once afterwards.
    eventually("the query to arrive", SOON, async || {
        (figure(cluster, member, series).await > before).then_some(())
    })
    .await;
    waiting
}

/// What happens to another service lets a query wait on; what happens to its own ends it.
#[tokio::test]
async fn a_query_waits_for_its_service() {
    let cluster = Cluster::start(3).await;
    let asked = cluster.follower().await;
    put(&cluster, "user", "a", "10.0.0.1:80").await;
    let now = get(&cluster, asked, &format!("{PAGE}?linearizable=true")).await;
    assert_eq!(ids(&now.ok()), ["a"]);
    let query = format!("index={}&wait=25s", now.index());
    let waiting = waiting(&cluster, asked, &query).await;

    let other = put(&cluster, "order", "x", "10.0.0.9:80").await;
    // The member asked has seen it, and would have answered with what there was.
    let others = "/v1/registry/services/default/order?linearizable=true";
    assert!(get(&cluster, asked, others).await.index() >= other);
    let own = put(&cluster, "user", "b", "10.0.0.2:80").await;

    let answer = waiting.await.unwrap();
    assert_eq!(ids(&answer.ok()), ["a", "b"]);
    assert!(answer.index() >= own, "{answer:?}");
}

/// The end of the last instance is a change, and what happened before the question is told at once.
#[tokio::test]
async fn what_has_happened_since_is_told_at_once() {
    let cluster = Cluster::start(1).await;
    put(&cluster, "user", "a", "10.0.0.1:80").await;
    let before = get(&cluster, 0, &format!("{PAGE}?linearizable=true")).await.index();
    let deleted = delete(&cluster, "user", "a").await;

    let answer = get(&cluster, 0, &format!("{PAGE}?index={before}&wait=25s")).await;

    assert!(ids(&answer.ok()).is_empty());
    assert!(answer.index() >= deleted);
}

/// When the wait is over the answer is what there is; a client that has it is told no more.
#[tokio::test]
async fn a_wait_that_is_over_ends_with_what_there_is() {
    let cluster = Cluster::start(1).await;
    // A view that is loaded later does not know when anything changed before.
    eventually("the view to be in memory", SOON, async || {
        let page = get(&cluster, 0, "/metrics").await;
        page.body.contains("quorate_registry_view_in_memory 1").then_some(())
    })
    .await;
    put(&cluster, "user", "a", "10.0.0.1:80").await;
    let now = get(&cluster, 0, &format!("{PAGE}?linearizable=true")).await;
    let path = format!("{PAGE}?index={}&wait=200ms", now.index());

    let began = Instant::now();
    let answer = get(&cluster, 0, &path).await;
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!(ids(&answer.ok()), ["a"]);

    // Something else moves the revision on, and the service stays as it is.
    put(&cluster, "order", "x", "10.0.0.9:80").await;
    let tag = now.headers["etag"].as_str();
    for path in [PAGE, &path] {
        let unchanged =
            ask(&authority(&cluster, 0), "GET", path, &[("if-none-match", tag)], "").await;
        assert_eq!((unchanged.status, unchanged.body.as_str()), (304, ""), "{path}");
    }
    put(&cluster, "user", "b", "10.0.0.2:80").await;
    let path = format!("{PAGE}?linearizable=true");
    let changed = ask(&authority(&cluster, 0), "GET", &path, &[("if-none-match", tag)], "").await;
    assert_eq!(ids(&changed.ok()), ["a", "b"]);
}

/// A revision that is to come is waited for, and no longer than is said.
#[tokio::test]
async fn an_index_in_the_future() {
    let cluster = Cluster::start(1).await;
    let revision = put(&cluster, "user", "a", "10.0.0.1:80").await;
    let query = format!("index={}&wait=25s", revision + 2);
    let waiting = waiting(&cluster, 0, &query).await;

    put(&cluster, "user", "b", "10.0.0.2:80").await;
    put(&cluster, "order", "x", "10.0.0.9:80").await;

    let answer = waiting.await.unwrap();
    assert!(answer.index() >= revision + 2, "{answer:?}");
    assert_eq!(ids(&answer.ok()), ["a", "b"]);

    let path = format!("{PAGE}?index=999999999&wait=100ms");
    assert_eq!(ids(&get(&cluster, 0, &path).await.ok()), ["a", "b"]);
}

/// A member that stops does not keep who waits.
#[tokio::test]
async fn a_wait_ends_when_the_member_stops() {
    let mut cluster = Cluster::start(1).await;
    let revision = put(&cluster, "user", "a", "10.0.0.1:80").await;
    let waiting = waiting(&cluster, 0, &format!("index={revision}&wait=10m")).await;

    cluster.member(0).terminate().await;

    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["message"], "etcdserver: server stopped");
    assert!(cluster.member(0).ended().await.success());
}

/// What is wrong with a question is named.
#[tokio::test]
async fn bad_questions() {
    let cluster = Cluster::start(1).await;
    for (path, field) in [
        (format!("{PAGE}?index=x"), "index"),
        (format!("{PAGE}?index=-1"), "index"),
        (format!("{PAGE}?index=1&wait=soon"), "wait"),
        (format!("{PAGE}?linearizable=perhaps"), "linearizable"),
        (format!("{PAGE}?tag="), "selector.tags"),
        (format!("{PAGE}?colour=red"), "query"),
        ("/v1/registry/services/default/a%20b".to_owned(), "service"),
        ("/v1/registry/services/%2A/user?index=1&wait=10m".to_owned(), "namespace"),
    ] {
        let answer = get(&cluster, 0, &path).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        let error = answer.json();
        assert_eq!(error["code"], 3, "{path}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field}: ")), "{path}: {message}");
    }
    let posted = ask(&authority(&cluster, 0), "POST", PAGE, &[], "").await;
    assert_eq!((posted.status, posted.headers["allow"].as_str()), (405, "GET"));
    for path in ["/v1/registry/services/default", "/v1/registry", "/v1/registry/services/a/b/c"] {
        let nothing = get(&cluster, 0, path).await;
        assert_eq!(
            (nothing.status, nothing.body.as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
}
