//! Traces, as a collector gets them.

use std::{collections::BTreeMap, convert::Infallible};

use axum::http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use prost::Message;
use quorate::proto::etcdserverpb::{PutRequest, kv_client::KvClient};
use tokio::{net::TcpListener, sync::mpsc};

use super::SOON;
use crate::harness::{Cluster, Timing, eventually, within};

// As much of the protocol as the test looks at: opentelemetry.proto.collector.trace.v1.

#[derive(Clone, PartialEq, Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "bytes", tag = "1")]
    trace_id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    span_id: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    parent_span_id: Bytes,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AttributeValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeValue {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(int64, optional, tag = "3")]
    number: Option<i64>,
}

fn texts(attributes: &[Attribute]) -> BTreeMap<String, String> {
    let text = |value: &AttributeValue| match (&value.text, value.number) {
        (Some(text), _) => text.clone(),
        (None, number) => number.unwrap_or_default().to_string(),
    };
    attributes.iter().map(|it| (it.key.clone(), text(it.value.as_ref().unwrap()))).collect()
}

/// Takes exports on a free port and hands them on.
async fn collector() -> (String, mpsc::UnboundedReceiver<Export>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (exports, received) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let exports = exports.clone();
            let take = move |request: Request<Incoming>| {
                let exports = exports.clone();
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    // Behind the prefix: a flag, and the length.
                    let _ = exports.send(Export::decode(body.slice(5..)).unwrap());
                    let ok = ("grpc-status".parse().unwrap(), HeaderValue::from_static("0"));
                    let trailers = HeaderMap::from_iter([ok]);
                    let body = Full::new(Bytes::from_static(&[0; 5]));
                    let body = body.with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
                    let response = Response::builder().header("content-type", "application/grpc");
                    Ok::<_, Infallible>(response.body(body).unwrap())
                }
            };
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                // It ends with the member.
                let _ = builder.serve_connection(TokioIo::new(stream), service_fn(take)).await;
            });
        }
    });
    (address, received)
}

/// A put within a trace of its client shows as a call in it, with what it is and how it ended, and with
/// the step in which it was agreed on and applied.
#[tokio::test]
async fn a_call_is_part_of_its_clients_trace() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    let (address, mut received) = collector().await;
    let address = format!("--distributed-tracing-address={address}");
    let flags = [
        "--enable-distributed-tracing",
        "--distributed-tracing-service-name=store",
        "--distributed-tracing-instance-id=first",
        &address,
    ];
    let cluster = Cluster::start_flagged(1, Timing::Alone, &flags).await;

    let mut client = KvClient::connect(cluster.endpoint(0)).await.unwrap();
    let put = || PutRequest { key: "a".into(), value: "b".into(), ..PutRequest::default() };
    client.put(put()).await.unwrap(); // of no trace: and the rate is 0
    let mut request = tonic::Request::new(put());
    let parent = format!("00-{TRACE}-{PARENT}-01");
    request.metadata_mut().insert("traceparent", parent.parse().unwrap());
    client.put(request).await.unwrap();

    let mut spans = Vec::new();
    while spans.len() < 2 {
        let export = within("spans", SOON, received.recv()).await.unwrap();
        for resource in export.resources {
            let of = texts(&resource.resource.unwrap().attributes);
            assert_eq!((&*of["service.name"], &*of["service.instance.id"]), ("store", "first"));
            spans.extend(resource.scopes.into_iter().flat_map(|scope| scope.spans));
        }
    }
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let hex = |id: &Bytes| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let call = spans.iter().find(|span| span.name == "etcdserverpb.KV/Put").unwrap();
    let step = spans.iter().find(|span| span.name == "agree and apply").unwrap();
    assert_eq!((hex(&call.trace_id).as_str(), hex(&step.trace_id).as_str()), (TRACE, TRACE));
    assert_eq!(hex(&call.parent_span_id), PARENT);
    assert_eq!(step.parent_span_id, call.span_id);
    assert!(call.start <= step.start && step.start < step.end && step.end <= call.end);
    let what = texts(&call.attributes);
    let expected = [
        ("rpc.system", "grpc"),
        ("rpc.service", "etcdserverpb.KV"),
        ("rpc.method", "Put"),
        ("rpc.grpc.status_code", "0"),
    ];
    for (name, value) in expected {
        assert_eq!(what[name], value, "{name}");
    }
}

/// With nobody to send traces to, a member says so and serves on.
#[tokio::test]
async fn a_collector_that_is_away_is_told_of() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let address = format!("--distributed-tracing-address={closed}");
    let flags =
        ["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=1000000", &address];
    let mut cluster = Cluster::start_flagged(1, Timing::Alone, &flags).await;
    let mut client = cluster.client(0).await;
    let told = "traces cannot be sent";

    eventually("the warning", SOON, async || {
        client.put("a", "b", None).await.unwrap();
        cluster.member(0).log_text().contains(told).then_some(())
    })
    .await;
    client.put("a", "b", None).await.unwrap();
}
