//! The JSON gateway and what is around it on the client port: who may use it, how much at once, and
//! what is left of a client that goes away.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{Cluster, Timing, eventually, within},
    registry_http::http::{Answer, ask, open},
};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn authority(cluster: &Cluster) -> String {
    cluster.endpoint(0).trim_start_matches("http://").to_owned()
}

async fn post(cluster: &Cluster, path: &str, body: &str) -> Answer {
    ask(&authority(cluster), "POST", path, &[], body).await
}

async fn started(flags: &[&str]) -> Cluster {
    Cluster::start_flagged(1, Timing::Alone, flags).await
}

/// Sends a request as it stands, and returns the answer as it comes.
async fn raw(cluster: &Cluster, request: &str) -> String {
    let asked = async {
        let mut stream = TcpStream::connect(authority(cluster)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    within("an answer", SOON, asked).await
}

/// What is written by gRPC is read as JSON, and the other way round.
#[tokio::test]
async fn json_and_grpc_are_two_faces_of_one_store() {
    let cluster = started(&[]).await;
    let mut client = cluster.client(0).await;
    client.put("foo", "bar", None).await.unwrap();

    let read = post(&cluster, "/v3/kv/range", r#"{"key":"Zm9v"}"#).await.ok();
    assert_eq!((&read["kvs"][0]["value"], &read["count"]), (&json!("YmFy"), &json!("1")));
    post(&cluster, "/v3/kv/put", r#"{"key":"Zm9v","value":"YmF6"}"#).await.ok();

    assert_eq!(client.get("foo", None).await.unwrap().kvs()[0].value(), b"baz");
}

/// With the gateway switched off nothing is left of its paths, and everything else is there.
#[tokio::test]
async fn the_gateway_can_be_switched_off() {
    let cluster = started(&["--enable-grpc-gateway=false"]).await;
    for path in ["/v3/kv/range", "/v3beta/kv/range", "/v3/", "/v3"] {
        let answer = post(&cluster, path, "{}").await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
    let registry = post(&cluster, "/v1/registry/list-services", "{}").await;
    assert_eq!(registry.status, 200);
    assert_eq!(ask(&authority(&cluster), "GET", "/health", &[], "").await.status, 200);
}

/// A list of hosts holds for everything but gRPC, and a list of origins says whose pages may read it.
#[tokio::test]
async fn hosts_and_origins_may_be_listed() {
    let flags = ["--host-whitelist=good.example", "--cors=http://page.example:80"];
    let cluster = started(&flags).await;
    let asked = async |path: &str, host: &str, more: &str| {
        raw(&cluster, &format!("POST {path} HTTP/1.1\r\n{host}connection: close\r\n{more}content-length: 2\r\n\r\n{{}}"))
            .await
    };
    for path in ["/v3/maintenance/status", "/health", "/metrics", "/v1/registry/list-services"] {
        let refused = asked(path, "host: evil.example:2379\r\n", "").await;
        assert!(refused.starts_with("HTTP/1.1 421 "), "{path}: {refused}");
        assert!(refused.contains("--host-whitelist \"evil.example\""), "{refused}");
        let nameless = asked(path, "", "").await;
        assert!(nameless.starts_with("HTTP/1.1 400 "), "{path}: {nameless}");
    }
    // No browser can say that it speaks gRPC where it cannot.
    let disguised = "content-type: application/grpc\r\n";
    let refused = asked("/etcdserverpb.KV/Put", "host: evil.example\r\n", disguised).await;
    assert!(refused.starts_with("HTTP/1.1 421 "), "{refused}");

    let host = "host: good.example:2379\r\n";
    let read = asked("/v3/maintenance/status", host, "origin: http://page.example:80\r\n").await;
    assert!(read.starts_with("HTTP/1.1 200 "), "{read}");
    assert!(read.contains("access-control-allow-origin: http://page.example:80\r\n"), "{read}");
    let unread = asked("/v3/maintenance/status", host, "origin: http://other.example\r\n").await;
    assert!(unread.starts_with("HTTP/1.1 200 "), "{unread}");
    assert!(!unread.contains("access-control"), "{unread}");
    cluster.client(0).await.put("k", "v", None).await.unwrap();
}

/// An upgrade to HTTP/2 that nobody needs is not made: the answer comes as the request did.
#[tokio::test]
async fn an_upgrade_to_http2_is_not_made() {
    let cluster = started(&[]).await;
    let asked = "GET /version HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\n\
                 upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let mut stream = TcpStream::connect(authority(&cluster)).await.unwrap();
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        // The connection stays as it is; the page ends with a brace.
        while answer.last() != Some(&b'}') {
            let len = stream.read_buf(&mut answer).await.unwrap();
            assert!(len > 0, "the connection ended within the answer");
        }
    };
    within("an answer", SOON, read).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("etcdserver"), "{answer}");
}

/// Each request of a stream over HTTP/2 is answered before the next one is sent.
#[tokio::test]
async fn a_watch_takes_requests_while_it_answers() {
    let cluster = started(&[]).await;
    let stream = TcpStream::connect(authority(&cluster)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let uri = format!("{}/v3/watch", cluster.endpoint(0));
    let request = axum::http::Request::post(uri).body(()).unwrap();
    let (response, mut requests) = client.send_request(request, false).unwrap();
    let send = |requests: &mut h2::SendStream<Bytes>, text: &'static str, end| {
        requests.send_data(Bytes::from_static(text.as_bytes()), end).unwrap();
    };
    send(&mut requests, r#"{"create_request":{"key":"Zm9v","#, false);
    send(&mut requests, r#""watch_id":"7"}}"#, false);
    let response = within("the head", SOON, response).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut line = async || -> Value {
        let piece = within("a line", SOON, body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        serde_json::from_slice::<Value>(&piece).unwrap()["result"].clone()
    };
    assert_eq!(line().await["created"], true);
    cluster.client(0).await.put("foo", "<&>", None).await.unwrap();
    let event = line().await["events"][0].clone();
    assert_eq!((&event["kv"]["key"], &event["kv"]["value"]), (&json!("Zm9v"), &json!("PCY+")));
    send(&mut requests, r#"{"cancel_request":{"watch_id":7}}"#, true);
    assert_eq!(line().await["canceled"], true);
}

/// A client that goes away leaves no watcher behind, whether it was reading or not.
#[tokio::test]
async fn a_client_that_leaves_takes_its_watchers_along() {
    let cluster = started(&[]).await;
    let authority = authority(&cluster);
    let watchers = async || -> u64 {
        let metrics = ask(&authority, "GET", "/metrics", &[], "").await.body;
        let name = "etcd_debugging_mvcc_watcher_total ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the metric is there").parse().unwrap()
    };
    let body = r#"{"create_request":{"key":"AA==","range_end":"AA=="}}"#;
    let mut reading = open(&authority, "POST", "/v3/watch", &[], body).await;
    assert_eq!(reading.json().await.unwrap()["result"]["created"], true);
    // One that takes nothing, while more happens than connections hold.
    let idle = open(&authority, "POST", "/v3/watch", &[], body).await;
    let mut client = cluster.client(0).await;
    for number in 0..200 {
        client.put(format!("k{number}"), vec![b'x'; 50_000], None).await.unwrap();
    }
    assert_eq!(watchers().await, 2);

    drop((reading, idle));

    // A member notices when it has something to say.
    eventually("no watcher to be left", SOON, async || {
        client.put("k", "v", None).await.unwrap();
        (watchers().await == 0).then_some(())
    })
    .await;
}

/// A connection may have so many calls at once as the setting says.
#[tokio::test]
async fn streams_are_limited() {
    let cluster = started(&["--max-concurrent-streams=3"]).await;
    let stream = TcpStream::connect(authority(&cluster)).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    eventually("the limit to be told", SOON, async || {
        (client.current_max_send_streams() == 3).then_some(())
    })
    .await;
}

/// A client that gives no sign of life is asked for one, and let go.
#[tokio::test]
async fn silent_connections_are_pinged() {
    /// The type of a ping among frames, which begin with three bytes of length.
    const PING: u8 = 6;
    let flags = ["--grpc-keepalive-interval=200ms", "--grpc-keepalive-timeout=200ms"];
    let cluster = started(&flags).await;
    let mut stream = TcpStream::connect(authority(&cluster)).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let read = async {
        let mut pinged = false;
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let len = usize::from(head[1]) << 8 | usize::from(head[2]);
            pinged |= head[3] == PING && head[4] & 1 == 0;
            if stream.read_exact(&mut vec![0; len]).await.is_err() {
                break;
            }
        }
        pinged
    };
    assert!(within("the end of the connection", SOON, read).await, "it was not asked before");
}

/// What has no effect is said at the start.
#[tokio::test]
async fn a_setting_without_effect_is_named() {
    let mut cluster = started(&["--grpc-keepalive-min-time=10s"]).await;
    let log = cluster.member(0).log_text();
    assert!(log.contains("grpc-keepalive-min-time has no effect"), "{log}");
}
