//! Calls and bodies, without a connection.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{FutureExt, StreamExt};
use http_body_util::{BodyExt, Full};
use tonic::Code;

use super::*;
use crate::proto::etcdserverpb::RangeRequest;

fn message(pieces: &[&'static str]) -> Message {
    Message { pieces: pieces.iter().copied().map(Bytes::from).collect(), slot: None }
}

/// The data frames of a body, and the status in its trailers.
async fn read(mut body: Body) -> (Vec<Bytes>, Status) {
    let mut data = Vec::new();
    loop {
        let frame = body.frame().await.expect("trailers come last").unwrap();
        match frame.into_data() {
            Ok(piece) => data.push(piece),
            Err(trailers) => {
                assert!(body.is_end_stream());
                let trailers = trailers.into_trailers().unwrap();
                return (data, Status::from_header_map(&trailers).unwrap());
            }
        }
    }
}

fn request(body: &[u8]) -> Request<Full<Bytes>> {
    Request::new(Full::new(Bytes::copy_from_slice(body)))
}

/// A request as it is on the wire.
fn encoded(request: &RangeRequest) -> Vec<u8> {
    let message = request.encode_to_vec();
    let len = u32::try_from(message.len()).unwrap();
    [&[0][..], &len.to_be_bytes(), &message].concat()
}

/// What the method makes is the body; the head is that of every gRPC answer.
#[tokio::test]
async fn a_call_is_answered_with_the_pieces() {
    let asked = RangeRequest { key: "k".into(), ..RangeRequest::default() };

    let response = call(request(&encoded(&asked)), 100, |got: RangeRequest| async move {
        assert_eq!(got, asked);
        Ok(one(message(&["first", "second"])))
    })
    .await;

    assert_eq!(response.status(), 200);
    assert_eq!(response.headers().get("content-type").unwrap(), "application/grpc");
    let (data, status) = read(response.into_body()).await;
    assert_eq!(data, ["first", "second"]);
    assert_eq!(status.code(), Code::Ok);
}

/// A status of the method, and one about the request itself, stand in the head, and no body follows.
#[tokio::test]
async fn a_status_stands_in_the_head() {
    let of = async |body: &[u8]| {
        let refuse = |_: RangeRequest| async { Err(Status::not_found("no")) };
        let response = call(request(body), 100, refuse).await;
        assert!(response.body().is_end_stream());
        let status = Status::from_header_map(response.headers()).unwrap();
        (status.code(), status.message().to_owned())
    };
    let large = RangeRequest { key: vec![b'k'; 200].into(), ..RangeRequest::default() };
    let too_large = "Error, decoded message length too large: found 203 bytes, \
                     the limit is: 100 bytes";

    assert_eq!(of(&encoded(&RangeRequest::default())).await, (Code::NotFound, "no".into()));
    assert_eq!(of(b"").await, (Code::Internal, "Missing request message.".into()));
    assert_eq!(of(&encoded(&large)).await, (Code::OutOfRange, too_large.into()));
}

/// The next message is made when the pieces of the one before are gone, and a status ends the body.
#[tokio::test]
async fn messages_are_made_as_they_are_taken() {
    let made = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&made);
    let messages = stream::iter(0..3).map(move |number| {
        counted.fetch_add(1, Ordering::SeqCst);
        if number < 2 { Ok(message(&["a", "b"])) } else { Err(Status::data_loss("gone")) }
    });
    let mut body = many(messages);

    for expected in [1, 1, 2, 2] {
        let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
        assert!(frame.is_data());
        assert_eq!(made.load(Ordering::SeqCst), expected);
    }
    let (data, status) = read(body).await;
    assert!(data.is_empty());
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "gone"));
}

/// A stream of requests is answered at once, with the body that is made of it; what is wrong with a
/// request is the body's to say.
#[tokio::test]
async fn a_stream_of_requests_is_answered_by_a_body() {
    let asked = ["a", "b"].map(|key| RangeRequest { key: key.into(), ..RangeRequest::default() });
    let sent = [encoded(&asked[0]), encoded(&asked[1]), vec![0, 0, 0, 1, 0]].concat();

    let response = streaming(request(&sent), 100, |requests: Streaming<RangeRequest>| {
        many(requests.map(|request| Ok(Message { pieces: [request?.key].into(), slot: None })))
    })
    .await;

    assert_eq!(response.headers().get("content-type").unwrap(), "application/grpc");
    let (data, status) = read(response.into_body()).await;
    assert_eq!(data, ["a", "b"]);
    assert_eq!(status.code(), Code::OutOfRange);
}

/// Requests in an encoding that is not taken are refused before a body is made.
#[tokio::test]
async fn an_unknown_encoding_is_refused_in_the_head() {
    let mut compressed = request(b"");
    compressed.headers_mut().insert("grpc-encoding", "gzip".parse().unwrap());

    let response =
        streaming(compressed, 100, |_: Streaming<RangeRequest>| panic!("a body was made")).await;

    assert!(response.body().is_end_stream());
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), Code::Unimplemented);
}
