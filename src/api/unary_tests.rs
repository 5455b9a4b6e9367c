//! Calls of both ways, held against each other.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use proptest::prelude::*;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::*;
use crate::proto::etcdserverpb::{PutRequest, PutResponse};

const BYTES_MAX: usize = 100;

type Part = Result<Frame<Bytes>, Status>;

/// Answers with what it was told, or refuses, saying it.
async fn put(request: tonic::Request<PutRequest>) -> Result<tonic::Response<PutResponse>, Status> {
    let told = request.metadata().get("told").map(|told| told.as_bytes().to_vec());
    let request = request.into_inner();
    if request.ignore_lease {
        return Err(Status::failed_precondition(format!("{request:?} \u{e9} {told:?}")));
    }
    let mut answer = PutResponse::default();
    if request.prev_kv {
        let pair = answer.prev_kv.get_or_insert_default();
        pair.key = request.key;
        pair.value = request.value;
        pair.lease = request.lease;
    }
    Ok(tonic::Response::new(answer))
}

fn request<B>(body: B, headers: &[(&'static str, &'static str)]) -> Request<B> {
    let mut request = Request::post("/etcdserverpb.KV/Put").body(body).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    request
}

/// How the library serves it.
async fn by_library<B>(request: Request<B>) -> Response<Body>
where
    B: HttpBody + Send + 'static,
    B::Error: Into<tower::BoxError> + Send,
{
    let codec = ProstCodec::<PutResponse, PutRequest>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(BYTES_MAX);
    grpc.unary(service_fn(put), request).await
}

/// All that a client sees of an answer: status, headers, data and trailers.
type Seen = (u16, HeaderMap, Bytes, Option<HeaderMap>);

async fn seen<B>(response: Response<B>) -> Seen
where
    B: HttpBody<Data = Bytes, Error = Status>,
{
    let (head, body) = response.into_parts();
    let ended = body.is_end_stream();
    let mut body = pin!(body);
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        assert!(!ended && trailers.is_none(), "nothing follows the end");
        match frame.unwrap().into_data() {
            Ok(piece) => data.extend(piece),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    assert!(body.is_end_stream());
    (head.status.as_u16(), head.headers, data.into(), trailers)
}

/// What comes of a request here and in the library; and whether the library was asked here.
fn both_ways<B>(new: impl Fn() -> Request<B>) -> (Seen, Seen, bool)
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<tower::BoxError> + Send,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let library = service_fn(move |request: Request<Replay<B>>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(by_library(request).await) }
    });
    let here = async {
        let answer = call(new(), BYTES_MAX, library, put);
        let Ok(response) = answer.await;
        seen(response).await
    };
    let here = here.now_or_never().expect("nothing is waited for");
    let there = async { seen(by_library(new()).await).await };
    let there = there.now_or_never().expect("nothing is waited for");
    (here, there, asked.load(Ordering::SeqCst) > 0)
}

fn asked(ignore_lease: bool) -> PutRequest {
    let (key, value) = ("key".into(), "value".into());
    PutRequest { key, value, lease: 300, prev_kv: true, ignore_lease, ..PutRequest::default() }
}

fn prefixed(flag: u8, len: usize, message: &[u8]) -> Bytes {
    [&[flag][..], &u32::try_from(len).unwrap().to_be_bytes(), message].concat().into()
}

fn wire(request: &PutRequest) -> Bytes {
    let message = request.encode_to_vec();
    prefixed(0, message.len(), &message)
}

/// A body that comes in pieces, and may know after the last that it was the last.
struct Pieces {
    left: VecDeque<Part>,
    knows_end: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Part>> {
        Poll::Ready(self.left.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.knows_end && self.left.is_empty()
    }
}

fn pieces(pieces: &[Part], knows_end: bool) -> Pieces {
    let copies = pieces.iter().map(|piece| match piece {
        Ok(frame) => Ok(match frame.data_ref() {
            Some(data) => Frame::data(data.clone()),
            None => Frame::trailers(frame.trailers_ref().unwrap().clone()),
        }),
        Err(status) => Err(status.clone()),
    });
    Pieces { left: copies.collect(), knows_end }
}

/// A request in one piece is answered here, with the library's bytes; so is a refusal. That it has
/// ended may come with the piece, after it, or with an empty one.
#[test]
fn one_piece_is_answered_here() {
    let headers = [("told", "a"), ("content-type", "application/grpc")];
    for request_of in [PutRequest::default(), asked(false), asked(true)] {
        let data = || Ok(Frame::data(wire(&request_of)));
        let empty = Ok(Frame::data(Bytes::new()));
        for (body, knows_end) in
            [(vec![data()], true), (vec![data()], false), (vec![data(), empty], true)]
        {
            let new = || request(pieces(&body, knows_end), &headers);
            let (here, there, asked) = both_ways(new);
            assert_eq!((&here, asked), (&there, false), "{body:?} {knows_end}");
        }
    }
}

/// Whatever is not a message in one piece is the library's to answer, from its first byte.
#[test]
fn everything_else_goes_to_the_library() {
    let data = || Ok(Frame::data(wire(&asked(false))));
    let cut = |at: usize| {
        let data = wire(&asked(false));
        [Ok(Frame::data(data.slice(..at))), Ok(Frame::data(data.slice(at..)))]
    };
    let large = PutRequest { value: vec![7; BYTES_MAX].into(), ..asked(false) };
    let one = |data: Bytes| vec![Ok(Frame::data(data))];
    let empty = || Ok(Frame::data(Bytes::new()));
    let cases: [(&str, Vec<Part>); 17] = [
        ("nothing", vec![]),
        ("no data", one(Bytes::new())),
        ("half a prefix", one(Bytes::from_static(b"\0\0"))),
        ("cut in the prefix", cut(3).into()),
        ("cut after the prefix", cut(PREFIX_BYTES).into()),
        ("cut in the message", cut(9).into()),
        ("half a message", one(wire(&asked(false)).slice(..9))),
        ("more than a message", one([wire(&asked(false)), wire(&asked(true))].concat().into())),
        ("two messages", vec![data(), data()]),
        ("messages around nothing", vec![data(), empty(), data()]),
        ("a tail", vec![data(), Ok(Frame::data("tail".into()))]),
        ("trailers", vec![data(), Ok(Frame::trailers(HeaderMap::from_iter([told()])))]),
        ("too large", one(wire(&large))),
        ("a compressed message", one(prefixed(1, 2, b"ab"))),
        ("an unknown flag", one(prefixed(7, 2, b"ab"))),
        ("no message", one(prefixed(0, 2, b"\x0a\x05"))),
        ("an error", vec![data(), Err(Status::data_loss("the connection broke"))]),
    ];
    for (case, body) in &cases {
        for knows_end in [true, false] {
            let (here, there, asked) = both_ways(|| request(pieces(body, knows_end), &[]));
            assert_eq!((&here, asked), (&there, true), "{case} {knows_end}");
        }
    }
    for encoding in ["identity", "gzip"] {
        let (here, there, asked) =
            both_ways(|| request(pieces(&[data()], true), &[("grpc-encoding", encoding)]));
        assert_eq!((&here, asked), (&there, true), "{encoding}");
    }
}

fn told() -> (HeaderName, HeaderValue) {
    (HeaderName::from_static("told"), HeaderValue::from_static("late"))
}

/// A message may have many pieces; the trailers come after the last.
#[test]
fn pieces_of_a_message_precede_the_trailers() {
    let message = Message { pieces: ["a".into(), "b".into()].into(), slot: None };
    let mut body = respond(Ok(message)).into_body();
    assert!(body.size_hint().exact().is_none());
    for expected in ["a", "b"] {
        let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), expected);
        assert!(!body.is_end_stream());
    }
    let frame = body.frame().now_or_never().unwrap().unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap().get("grpc-status").unwrap(), "0");
    assert!(body.is_end_stream());
}

proptest! {
    /// However a body looks and however it is cut, a client sees the same of both ways.
    #[test]
    fn both_ways_answer_the_same(
        start in prop_oneof![
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..60)).prop_map(|(refused, value)| {
                wire(&PutRequest { value: value.into(), ..asked(refused) }).to_vec()
            }),
            prop::collection::vec(0..3_u8, 0..20),
        ],
        tail in prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(any::<u8>(), 0..9)],
        changed in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        knows_end: bool,
    ) {
        let mut data = [start, tail].concat();
        if let Some((at, byte)) = changed && !data.is_empty() {
            let at = at.index(data.len());
            data[at] = byte;
        }
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(data.len() + 1)).collect();
        ends.push(data.len());
        ends.sort_unstable();
        let data = Bytes::from(data);
        let starts = [0].into_iter().chain(ends.iter().copied());
        let cut: Vec<Part> =
            starts.zip(&ends).map(|(start, end)| Ok(Frame::data(data.slice(start..*end)))).collect();

        let (here, there, _) = both_ways(|| request(pieces(&cut, knows_end), &[]));

        prop_assert_eq!(here, there);
    }
}
