//! Unary calls, answered below the library where they come as most do: one message in one piece.
//!
//! The library is made for streams. It takes a request through a buffer and a decoder, gives the
//! answer to a stream and an encoder, and boxes each. Here a request is decoded from the bytes that came, and
//! an answer encoded into a buffer of its size. What comes otherwise goes to the library's service
//! as it came: a request in many pieces, in an encoding, too large, or no message at all. So nothing
//! here says what is wrong with a request, and both ways call the same method.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{CONTENT_TYPE, HeaderName},
};
use bytes::{BufMut, Bytes};
use futures_util::{TryFutureExt, future::BoxFuture};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use prost::Message as ProstMessage;
use tonic::{Status, body::Body, metadata::MetadataMap};
use tower::Service;

use crate::api::{
    SENT_BYTES_MAX,
    raw::{Message, PREFIX_BYTES},
    status,
};

/// Says that messages of a request may be compressed.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// A request of so many bytes is copied out of the connection's buffer.
const COPIED_BYTES_MAX: usize = 1024;

/// An answer under way.
pub(super) type Answering = BoxFuture<'static, Result<Response<Answer>, Infallible>>;

/// Answers a call of at most `bytes_max` bytes with what `method` makes of its message, or has
/// `library` answer it.
pub(super) fn call<M, A, B, F, S>(
    request: Request<B>,
    bytes_max: usize,
    mut library: S,
    method: impl FnOnce(tonic::Request<M>) -> F + Send + 'static,
) -> Answering
where
    M: ProstMessage + Default,
    A: ProstMessage,
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Send,
    F: Future<Output = Result<tonic::Response<A>, Status>> + Send,
    S: Service<Request<Replay<B>>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    Box::pin(async move {
        match take(request, bytes_max).await {
            Ok(request) => {
                let answer = method(request).await;
                Ok(respond(answer.and_then(|answer| encode(&answer.into_inner()))))
            }
            Err(request) => Ok(library.call(request).await?.map(Answer::of_library)),
        }
    })
}

/// Has the library answer a call.
pub(super) fn by_library<B, S>(mut library: S, request: Request<B>) -> Answering
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    Box::pin(library.call(request).map_ok(|response| response.map(Answer::of_library)))
}

/// A request whose message came in one piece. Any other is handed back as if nobody had looked.
pub(super) async fn take<M, B>(
    request: Request<B>,
    bytes_max: usize,
) -> Result<tonic::Request<M>, Request<Replay<B>>>
where
    M: ProstMessage + Default,
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, mut body) = request.into_parts();
    if head.headers.contains_key(GRPC_ENCODING) {
        return Err(Request::from_parts(head, Replay { taken: [None, None], rest: body }));
    }
    let first = body.frame().await;
    let message = whole(first.as_ref(), bytes_max);
    let mut second = None;
    if message.is_some() && !body.is_end_stream() {
        // Some clients say that they have said everything with an empty piece.
        second = body.frame().await.filter(|piece| !is_empty(piece) || !body.is_end_stream());
    }
    match message.filter(|_| second.is_none()).map(M::decode) {
        Some(Ok(message)) => {
            let metadata = MetadataMap::from_headers(head.headers);
            Ok(tonic::Request::from_parts(metadata, head.extensions, message))
        }
        Some(Err(_)) | None => {
            Err(Request::from_parts(head, Replay { taken: [first, second], rest: body }))
        }
    }
}

/// The message of a piece, if it is a whole one, neither compressed nor too large, and nothing else.
fn whole<E>(piece: Option<&Result<Frame<Bytes>, E>>, bytes_max: usize) -> Option<Bytes> {
    let data = piece?.as_ref().ok()?.data_ref()?;
    let ([0, len @ ..], message) = data.split_first_chunk::<PREFIX_BYTES>()? else { return None };
    let fits = message.len() <= bytes_max
        && usize::try_from(u32::from_be_bytes(*len)).is_ok_and(|len| len == message.len());
    // A slice of the connection's buffer would keep all of it for as long as the request waits.
    let is_small = message.len() <= COPIED_BYTES_MAX;
    fits.then(|| if is_small { Bytes::copy_from_slice(message) } else { data.slice_ref(message) })
}

fn is_empty<E>(piece: &Result<Frame<Bytes>, E>) -> bool {
    piece.as_ref().is_ok_and(|frame| frame.data_ref().is_some_and(Bytes::is_empty))
}

/// What a body gives.
type Piece<B> = Result<Frame<<B as HttpBody>::Data>, <B as HttpBody>::Error>;

/// The body of a request of which something was taken: that comes first, and then the rest.
pub(super) struct Replay<B: HttpBody> {
    taken: [Option<Piece<B>>; 2],
    rest: B,
}

impl<B: HttpBody + Unpin> Unpin for Replay<B> {}

impl<B: HttpBody + Unpin> HttpBody for Replay<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.taken.iter_mut().find_map(Option::take) {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.iter().all(Option::is_none) && self.rest.is_end_stream()
    }
}

/// A message as it is sent.
fn encode(answer: &impl ProstMessage) -> Result<Message, Status> {
    let len = answer.encoded_len();
    let prefix_len = u32::try_from(len)
        .ok()
        .filter(|_| len <= SENT_BYTES_MAX)
        .ok_or_else(|| status::answer_too_large(len, SENT_BYTES_MAX))?;
    let mut piece = Vec::with_capacity(PREFIX_BYTES + len);
    piece.put_u8(0); // not compressed
    piece.put_u32(prefix_len);
    answer.encode(&mut piece).expect("a vector has room for everything");
    Ok(Message { pieces: [piece.into()].into(), slot: None })
}

/// The response to a call, as the library would make it.
pub(super) fn respond(answer: Result<Message, Status>) -> Response<Answer> {
    match answer {
        Ok(message) => {
            let mut response = Response::new(Answer(Kind::Message(message)));
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(status) => status.into_http(),
    }
}

/// The body of an answer.
#[derive(Debug, Default)]
pub struct Answer(Kind);

#[derive(Debug, Default)]
enum Kind {
    /// What is left of one message; then come the trailers.
    Message(Message),
    Library(Body),
    #[default]
    Over,
}

impl Answer {
    pub(super) fn of_library(body: Body) -> Self {
        Self(Kind::Library(body))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match &mut self.0 {
            Kind::Message(message) => Poll::Ready(Some(Ok(match message.next_piece() {
                Some(piece) => Frame::data(piece),
                None => {
                    self.0 = Kind::Over;
                    let ok = (Status::GRPC_STATUS, HeaderValue::from_static("0"));
                    Frame::trailers(HeaderMap::from_iter([ok]))
                }
            }))),
            Kind::Library(body) => Pin::new(body).poll_frame(context),
            Kind::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Message(_) => false,
            Kind::Library(body) => body.is_end_stream(),
            Kind::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            // Trailers follow, so the length of the message is not that of the body.
            Kind::Message(_) => SizeHint::default(),
            Kind::Library(body) => body.size_hint(),
            Kind::Over => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
#[path = "unary_tests.rs"]
mod tests;
