//! Requests that make no sense, over the wire: each is refused by its field, and nothing is written.

use quorate::proto::registry::{ClearOverrideRequest, SetOverrideRequest};

use super::*;

/// A request with one mistake, and the field that the complaint begins with.
fn mistakes() -> Vec<(RegisterRequest, &'static str)> {
    let mut requests = Vec::new();
    let mut add = |field, change: &dyn Fn(&mut RegisterRequest)| {
        let mut request = registering("u-1");
        change(&mut request);
        requests.push((request, field));
    };
    add("instance", &|request| request.instance = None);
    add("session_id", &|request| request.session_id = "a b".to_owned());
    add("lease_id", &|request| (request.session_id, request.lease_id) = ("s".to_owned(), 7));
    add("ttl", &|request| request.ttl = -1);
    add("ttl", &|request| request.ttl = 86_401);

    let mut add = |field, change: &dyn Fn(&mut Instance)| {
        let mut request = registering("u-1");
        change(request.instance.as_mut().unwrap());
        requests.push((request, field));
    };
    let long = "x".repeat(254);
    add("instance.namespace", &|it| it.namespace = "a/b".to_owned());
    add("instance.service", &|it| it.service = String::new());
    add("instance.service", &|it| it.service.clone_from(&long));
    add("instance.id", &|it| it.id = "ü".to_owned());
    add("instance.address", &|it| it.address = String::new());
    add("instance.address", &|it| it.address = "10.0.0.7:80".to_owned());
    add("instance.port", &|it| it.port = 0);
    add("instance.port", &|it| it.port = 65_536);
    add("instance.ports.m", &|it| it.ports = [("m".to_owned(), 0)].into());
    add("instance.ports", &|it| it.ports = [("a/b".to_owned(), 1)].into());
    add("instance.ports", &|it| it.ports = (0..33).map(|n| (format!("p{n}"), 1)).collect());
    add("instance.version", &|it| it.version.clone_from(&long));
    add("instance.zone", &|it| it.zone.clone_from(&long));
    add("instance.weight", &|it| it.weight = Some(65_536));
    add("instance.tags", &|it| it.tags = vec![long.clone()]);
    add("instance.tags", &|it| it.tags = (0..65).map(|n| format!("t{n}")).collect());
    let entry = |name: &str, len: usize| [(name.to_owned(), "x".repeat(len))].into();
    add("instance.metadata", &|it| it.metadata = entry(&long, 0));
    add("instance.metadata.k", &|it| it.metadata = entry("k", 4_097));
    add("instance.metadata", &|it| {
        it.metadata = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
    });
    add("instance", &|it| {
        it.metadata = (0..17).map(|n| (format!("k{n}"), "x".repeat(4_000))).collect();
    });
    requests
}

fn is_about(field: &str, said: &(Code, String)) -> bool {
    said.0 == Code::InvalidArgument && said.1.starts_with(&format!("{field}: "))
}

/// A bad request changes nothing, and grants no lease.
#[tokio::test]
async fn bad_requests_are_refused_by_their_field() {
    let cluster = Cluster::start(1).await;
    let mut registry = client(&cluster, 0);
    let mut etcd = cluster.client(0).await;
    let revision = etcd.get("x", None).await.unwrap().header().unwrap().revision();

    for (request, field) in mistakes() {
        let said = said(register(&mut registry, request).await);
        assert!(is_about(field, &said), "{field}: {said:?}");
    }
    let removal = |service: &str, id: &str, session: &str| DeregisterRequest {
        namespace: String::new(),
        service: service.to_owned(),
        id: id.to_owned(),
        session_id: session.to_owned(),
        ..DeregisterRequest::default()
    };
    for (request, field) in [
        (removal("", "", ""), "service"),
        (removal("user", "", ""), "id"),
        (removal("user", "a/b", ""), "id"),
        (removal("", "", "a/b"), "session_id"),
    ] {
        let said = said(deregister(&mut registry, request).await);
        assert!(is_about(field, &said), "{field}: {said:?}");
    }
    let (namespace, service, id) = (String::new(), "user".to_owned(), "u-1".to_owned());
    let empty = SetOverrideRequest { namespace, service, id, enabled: None, weight: None };
    let heavy = SetOverrideRequest { weight: Some(65_536), ..empty.clone() };
    let nameless = SetOverrideRequest { id: String::new(), ..heavy.clone() };
    for (request, field) in [(empty, "enabled"), (heavy, "weight"), (nameless, "id")] {
        let said = said(registry.set_override(request).await);
        assert!(is_about(field, &said), "{field}: {said:?}");
    }
    let said = said(registry.clear_override(ClearOverrideRequest::default()).await);
    assert!(is_about("service", &said), "{said:?}");

    let after = etcd.get("x", None).await.unwrap().header().unwrap().revision();
    assert_eq!(after, revision, "nothing was written");
    assert_eq!(etcd.leases().await.unwrap().leases().len(), 0);
}
