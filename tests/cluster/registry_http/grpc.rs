//! Resolve, ListServices and Watch over gRPC.

use quorate::proto::registry::{
    Instance, ListServicesRequest, ResolveRequest, Selector, WatchRequest, WatchResponse,
    registry_client::RegistryClient, watch_response::Kind,
};
use serde_json::json;
use tonic::{
    Code, Streaming,
    transport::{Channel, Endpoint},
};

use super::{SOON, put};
use crate::harness::{Cluster, within};

async fn client(cluster: &Cluster, member: usize) -> RegistryClient<Channel> {
    let endpoint = Endpoint::from_shared(cluster.endpoint(member)).unwrap();
    RegistryClient::new(endpoint.connect().await.unwrap())
}

/// What every request here asks about.
fn user() -> ResolveRequest {
    ResolveRequest { service: "user".to_owned(), linearizable: true, ..ResolveRequest::default() }
}

async fn ids(client: &mut RegistryClient<Channel>, request: ResolveRequest) -> Vec<String> {
    let answer = client.resolve(request).await.unwrap().into_inner();
    answer.instances.into_iter().map(|it| it.id).collect()
}

/// Puts an instance with a zone, a version and a tag.
async fn put_in(cluster: &Cluster, id: &str, zone: &str, enabled: bool) {
    let value = json!({
        "Addr": "10.0.0.1:80", "zone": zone, "version": "v1", "tags": [zone, "all"],
        "enabled": enabled, "team": "core",
    });
    let key = format!("/services/user/{id}");
    cluster.client(0).await.put(key, value.to_string(), None).await.unwrap();
}

/// All that can be called, and what a selector leaves of it.
#[tokio::test]
async fn resolve_selects() {
    let cluster = Cluster::start(1).await;
    for (id, zone, enabled) in [("c", "eu", true), ("a", "us", true), ("b", "eu", false)] {
        put_in(&cluster, id, zone, enabled).await;
    }
    let mut client = client(&cluster, 0).await;
    let selecting = |selector| ResolveRequest { selector: Some(selector), ..user() };
    let zone = |zone: &str| Selector { zone: zone.to_owned(), ..Selector::default() };
    let tags = |tags: &[&str]| Selector {
        tags: tags.iter().map(|tag| tag.to_string()).collect(),
        ..Selector::default()
    };
    let metadata = |value: &str| Selector {
        metadata: [("team".to_owned(), value.to_owned())].into(),
        ..Selector::default()
    };
    let prefer = |zone: &str| ResolveRequest { prefer_zone: zone.to_owned(), ..user() };
    for (request, expected) in [
        (user(), &["a", "c"][..]),
        (ResolveRequest { include_disabled: true, ..user() }, &["a", "b", "c"]),
        (ResolveRequest { limit: 1, ..user() }, &["a"]),
        (selecting(zone("eu")), &["c"]),
        (selecting(tags(&["all", "us"])), &["a"]),
        (selecting(tags(&["us", "eu"])), &[]),
        (selecting(metadata("core")), &["a", "c"]),
        (selecting(metadata("other")), &[]),
        (prefer("eu"), &["c"]),
        (prefer("asia"), &["a", "c"]),
        (ResolveRequest { service: "nobody".to_owned(), ..user() }, &[]),
    ] {
        assert_eq!(ids(&mut client, request.clone()).await, expected, "{request:?}");
    }
}

/// The past is told as it was, until it is compacted; what others have shown is waited for.
#[tokio::test]
async fn resolve_knows_the_past() {
    let cluster = Cluster::start(3).await;
    let first = put(&cluster, "user", "a", "10.0.0.1:80").await;
    let second = put(&cluster, "user", "b", "10.0.0.2:80").await;
    for member in 0..3 {
        let mut client = client(&cluster, member).await;
        let at = |revision| ResolveRequest { revision, ..user() };
        let newest = client.resolve(at(second)).await.unwrap().into_inner();
        assert_eq!((newest.revision, newest.instances.len()), (second, 2));
        assert_eq!(ids(&mut client, at(first)).await, ["a"]);
        let future = client.resolve(at(second + 1_000)).await.unwrap_err();
        assert_eq!(future.code(), Code::OutOfRange, "{future}");
    }
    cluster.client(0).await.compact(second, None).await.unwrap();
    let gone = ResolveRequest { revision: first, ..user() };
    let refused = client(&cluster, 0).await.resolve(gone).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

/// A page goes on through any member.
#[tokio::test]
async fn pages_go_on_through_other_members() {
    let cluster = Cluster::start(3).await;
    for service in ["a", "b", "c"] {
        put(&cluster, service, "x", "10.0.0.1:80").await;
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    for member in 0..3 {
        let request = ListServicesRequest {
            page_size: 1,
            page_token,
            linearizable: true,
            ..ListServicesRequest::default()
        };
        let page = client(&cluster, member).await.list_services(request).await.unwrap();
        let page = page.into_inner();
        names.extend(page.services.into_iter().map(|it| it.service));
        page_token = page.next_page_token;
    }
    assert_eq!((names.join(""), page_token.as_str()), ("abc".to_owned(), ""));
}

/// The next answer that is no bookmark.
async fn told(answers: &mut Streaming<WatchResponse>) -> WatchResponse {
    let next = async {
        loop {
            let answer = answers.message().await.unwrap().expect("the stream goes on");
            if !matches!(answer.kind, Some(Kind::Bookmark(_))) {
                return answer;
            }
        }
    };
    within("an answer", SOON, next).await
}

/// A large snapshot comes in answers of a bounded size, and all of it; then come changes. A member
/// that stops sends its clients elsewhere.
#[tokio::test]
async fn watch_begins_with_everything_and_ends_with_the_member() {
    let mut cluster = Cluster::start(1).await;
    let note = "x".repeat(10_000);
    let mut expected = Vec::new();
    for index in 0..60 {
        let id = format!("i{index:02}");
        let value = json!({ "Addr": "10.0.0.1:80", "note": note }).to_string();
        let key = format!("/services/default/user/{id}");
        cluster.client(0).await.put(key, value, None).await.unwrap();
        expected.push(id);
    }
    let mut client = client(&cluster, 0).await;
    assert_eq!(ids(&mut client, user()).await, expected);

    let mut answers = client.watch(WatchRequest::default()).await.unwrap().into_inner();
    let (mut instances, mut pieces): (Vec<Instance>, _) = (Vec::new(), 0);
    let revision = loop {
        let answer = told(&mut answers).await;
        let Some(Kind::Snapshot(snapshot)) = answer.kind else { panic!("{answer:?}") };
        instances.extend(snapshot.instances);
        pieces += 1;
        if !answer.more {
            break answer.revision;
        }
    };
    assert_eq!(instances.into_iter().map(|it| it.id).collect::<Vec<_>>(), expected);
    assert_eq!(pieces, 3);
    let up = put(&cluster, "user", "new", "10.0.0.2:80").await;
    let answer = told(&mut answers).await;
    let Some(Kind::Changes(changes)) = &answer.kind else { panic!("{answer:?}") };
    assert_eq!((answer.revision, changes.changes.len(), answer.more), (up, 1, false));
    assert!(revision < up);

    cluster.member(0).terminate().await;
    let end = async {
        loop {
            if let Err(end) = answers.message().await {
                return end;
            }
        }
    };
    let end = within("the end of the stream", SOON, end).await;
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "etcdserver: server stopped"));
    assert!(cluster.member(0).ended().await.success());
}
