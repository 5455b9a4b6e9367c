//! Every unary method as JSON.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{SOON, authority, get, http::ask, ids, number, post};
use crate::harness::{Cluster, within};

/// Every method with a route, and that of the stream.
const METHODS: [&str; 7] = [
    "register",
    "deregister",
    "resolve",
    "list-services",
    "set-override",
    "clear-override",
    "watch",
];

fn path(method: &str) -> String {
    format!("/v1/registry/{method}")
}

async fn call(cluster: &Cluster, member: usize, method: &str, request: Value) -> Value {
    post(cluster, member, &path(method), &request).await.ok()
}

fn instance(id: &str) -> Value {
    json!({
        "service": "user", "id": id, "address": "10.0.0.7", "port": 8080, "zone": "eu",
        "ports": { "metrics": 9100 }, "tags": ["b", "a"], "metadata": { "team": "core" },
    })
}

/// From a registration to its end, each step through another member.
#[tokio::test]
async fn an_instance_comes_and_goes() {
    let cluster = Cluster::start(3).await;
    let registered =
        call(&cluster, 0, "register", json!({ "instance": instance("u-1"), "ttl": "60" })).await;
    assert_eq!((&registered["instance_id"], &registered["ttl"]), (&json!("u-1"), &json!("60")));
    assert_eq!(registered["changed"], true);
    let lease = number(&registered["lease_id"]);
    let again = json!({ "instance": instance("u-1"), "leaseId": lease.to_string() });
    // What has its default, like `changed`, is left out.
    assert_eq!(call(&cluster, 1, "register", again).await["changed"], Value::Null);

    let user = json!({ "service": "user", "linearizable": true });
    let resolved = call(&cluster, 2, "resolve", user.clone()).await;
    let found = &resolved["instances"][0];
    assert_eq!(found["lease_id"], lease.to_string());
    assert_eq!(found["tags"], json!(["a", "b"]));
    assert_eq!(found["ports"], json!({ "metrics": 9100 }));
    assert_eq!((&found["enabled"], &found["weight"]), (&json!(true), &json!(100)));
    assert!(number(&resolved["revision"]) >= number(&registered["revision"]));

    let named = json!({ "service": "user", "id": "u-1" });
    let drain = json!({ "service": "user", "id": "u-1", "enabled": false, "weight": 7 });
    assert_eq!(call(&cluster, 0, "set-override", drain).await["changed"], true);
    assert!(ids(&call(&cluster, 1, "resolve", user.clone()).await).is_empty());
    let every = json!({ "service": "user", "linearizable": true, "include_disabled": true });
    let overridden = call(&cluster, 2, "resolve", every).await["instances"][0].clone();
    assert_eq!(overridden["overridden"], true);
    assert_eq!((&overridden["enabled"], &overridden["weight"]), (&json!(false), &json!(7)));
    let listed = call(&cluster, 1, "list-services", json!({ "linearizable": true })).await;
    let summary = json!([{ "namespace": "default", "service": "user", "total": 1 }]);
    assert_eq!(listed["services"], summary);

    assert_eq!(call(&cluster, 1, "clear-override", named.clone()).await["changed"], true);
    assert_eq!(ids(&call(&cluster, 2, "resolve", user.clone()).await), ["u-1"]);
    assert_eq!(call(&cluster, 2, "deregister", named.clone()).await["removed"], "1");
    assert_eq!(call(&cluster, 0, "deregister", named).await["removed"], Value::Null);
    assert!(ids(&call(&cluster, 1, "resolve", user).await).is_empty());
}

/// What makes no sense is refused with the name of the field, and nothing is written.
#[tokio::test]
async fn bad_requests_name_the_field() {
    let cluster = Cluster::start(1).await;
    let before = number(&call(&cluster, 0, "list-services", json!({})).await["revision"]);
    let with = |field: &str, value: Value| {
        let mut instance = instance("u-1");
        instance[field] = value;
        json!({ "instance": instance })
    };
    let cases = [
        ("register", json!({}), "instance"),
        ("register", with("service", json!("a/b")), "instance.service"),
        ("register", with("port", json!(0)), "instance.port"),
        ("register", with("port", json!(65_536)), "instance.port"),
        ("register", json!({ "instance": instance("x"), "ttl": 86_401 }), "ttl"),
        ("deregister", json!({ "service": "user" }), "id"),
        ("resolve", json!({}), "service"),
        ("resolve", json!({ "service": "user", "namespace": "*" }), "namespace"),
        ("resolve", json!({ "service": "user", "revision": "-1" }), "revision"),
        ("resolve", json!({ "service": "user", "selector": { "tags": [""] } }), "selector.tags"),
        ("list-services", json!({ "page_size": 1_001 }), "page_size"),
        ("list-services", json!({ "page_token": "7" }), "page_token"),
        ("list-services", json!({ "prefix": "a b" }), "prefix"),
        ("set-override", json!({ "service": "user", "id": "a", "weight": 65_536 }), "weight"),
        ("clear-override", json!({ "service": "", "id": "a" }), "service"),
    ];
    for (method, request, field) in cases {
        let refused = post(&cluster, 0, &path(method), &request).await;
        assert_eq!(refused.status, 400, "{method} {request}: {refused:?}");
        let error = refused.json();
        assert_eq!((&error["code"], &error["details"]), (&json!(3), &json!([])), "{method}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{field}: ")), "{method} {request}: {message}");
    }
    let missing = json!({ "instance": instance("x"), "lease_id": 77 });
    let refused = post(&cluster, 0, &path("register"), &missing).await;
    assert_eq!((refused.status, &refused.json()["code"]), (404, &json!(5)));
    let after = call(&cluster, 0, "list-services", json!({ "linearizable": true })).await;
    assert_eq!(number(&after["revision"]), before);
}

/// Lists of services go on where the page before ended, as of the same revision.
#[tokio::test]
async fn lists_come_in_pages() {
    let cluster = Cluster::start(1).await;
    for index in 0..7 {
        super::put(&cluster, &format!("s{index}"), "a", "10.0.0.1:80").await;
    }
    let mut request = json!({ "namespace": "default", "page_size": 3, "linearizable": true });
    let (mut names, mut revisions) = (Vec::new(), Vec::new());
    loop {
        let page = call(&cluster, 0, "list-services", request.clone()).await;
        revisions.push(number(&page["revision"]));
        let services = page["services"].as_array().unwrap();
        names.extend(services.iter().map(|it| it["service"].as_str().unwrap().to_owned()));
        if page["next_page_token"].is_null() {
            break;
        }
        request["page_token"] = page["next_page_token"].clone();
        // What comes meanwhile is not on pages of before.
        super::put(&cluster, "s9", "a", "10.0.0.1:80").await;
    }
    assert_eq!(names, (0..7).map(|index| format!("s{index}")).collect::<Vec<_>>());
    assert_eq!(revisions, [revisions[0]; 3]);

    request["prefix"] = json!("s");
    let other = post(&cluster, 0, &path("list-services"), &request).await;
    assert_eq!(other.status, 400, "{other:?}");
    assert!(other.json()["message"].as_str().unwrap().starts_with("page_token: "));
}

/// What is no call of a method has the status for it.
#[tokio::test]
async fn what_is_no_call() {
    let cluster = Cluster::start(1).await;
    let authority = authority(&cluster, 0);
    for method in METHODS {
        let refused = get(&cluster, 0, &path(method)).await;
        assert_eq!((refused.status, refused.headers["allow"].as_str()), (405, "POST"), "{method}");
        for body in ["{", r#"{"colour":1}"#, "[]", "\u{ff}"] {
            let refused = ask(&authority, "POST", &path(method), &[], body).await;
            assert_eq!(refused.status, 400, "{method} {body}");
            assert_eq!(refused.json()["code"], 3, "{method} {body}");
        }
        let large = format!(r#"{{"namespace":"{}"}}"#, "x".repeat(4 << 20));
        let refused = ask(&authority, "POST", &path(method), &[], &large).await;
        assert_eq!(refused.status, 413, "{method}");
        let nothing = ask(&authority, "POST", &(path(method) + "/x"), &[], "{}").await;
        assert_eq!((nothing.status, nothing.body.as_str()), (404, "404 page not found\n"));
    }
}

/// The same over HTTP/2.
#[tokio::test]
async fn http2_is_served_too() {
    let cluster = Cluster::start(1).await;
    let asked = async {
        let stream = tokio::net::TcpStream::connect(authority(&cluster, 0)).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let uri = format!("{}{}", cluster.endpoint(0), path("resolve"));
        let request = axum::http::Request::post(uri).body(()).unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(br#"{"service":"user"}"#), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut json = Vec::new();
        while let Some(piece) = body.data().await {
            json.extend(piece.unwrap());
        }
        serde_json::from_slice::<Value>(&json).unwrap()
    };
    let answer = within("an answer", SOON, asked).await;
    assert!(number(&answer["revision"]) > 0);
}
