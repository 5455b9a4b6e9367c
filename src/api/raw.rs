//! Calls whose answers are bytes put together here, instead of messages that the library encodes.
//!
//! The library takes a message as a whole and copies it into one buffer before the first byte
//! leaves. Here a message is a row of pieces, each handed to the connection when there is room and
//! forgotten then. Requests, statuses and the head of a response stay the library's here; in
//! [`unary`](crate::api::unary) they are not.

use std::{
    collections::VecDeque,
    future::{Future, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready as or_pending},
};

use axum::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::body::{Body as HttpBody, Frame};
use prost::Message as ProstMessage;
use tonic::{
    Status, Streaming,
    body::Body,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
    server::Grpc,
};
use tonic_prost::{ProstCodec, ProstDecoder};
use tower::{BoxError, service_fn};

use crate::{
    api::{layers::Heard, sips::Sips},
    node::Slot,
};

/// Requests with such answers are small: a key, its end and numbers.
const REQUEST_BUFFER_BYTES: usize = 512;
/// gRPC's prefix of a message: a flag and its length.
pub(super) const PREFIX_BYTES: usize = 5;
/// A stream of requests begins with room for one of them, and keeps the room it has come to need:
/// see [`Sips`].
const STREAM_BUFFER_BYTES: usize = 64;

/// Takes the one message of a call, of at most `bytes_max` bytes, and answers with the body that
/// `method` makes.
pub(super) async fn call<M, B, F>(
    request: Request<B>,
    bytes_max: usize,
    method: impl FnOnce(M) -> F + Send,
) -> Response<Body>
where
    M: ProstMessage + Default + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
    F: Future<Output = Result<Body, Status>> + Send,
{
    // The library wants a message to make a body of. It gets an empty one, and its body gives way.
    let made = Mutex::new(None);
    let (mut method, kept) = (Some(method), &made);
    let service = service_fn(move |request: tonic::Request<M>| {
        let answer = method.take().map(|method| method(request.into_inner()));
        async move {
            let body = answer.expect("a call has one request").await?;
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
            Ok(tonic::Response::new(()))
        }
    });
    let codec = RequestOnly { buffer_bytes: REQUEST_BUFFER_BYTES, message: PhantomData };
    let mut grpc = Grpc::new(codec).max_decoding_message_size(bytes_max);
    let response = grpc.unary(service, request).await;
    give_way(response, made)
}

/// Takes the messages of a call, each of at most `bytes_max` bytes, and answers at once with the
/// body that `method` makes.
pub(super) async fn streaming<M, B>(
    request: Request<B>,
    bytes_max: usize,
    method: impl FnOnce(Streaming<M>) -> Body + Send,
) -> Response<Body>
where
    M: ProstMessage + Default + 'static,
    B: HttpBody + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let made = Mutex::new(None);
    let (mut method, kept) = (Some(method), &made);
    let service = service_fn(move |request: tonic::Request<Streaming<M>>| {
        let body = method.take().map(|method| method(request.into_inner()));
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = body;
        ready(Ok(tonic::Response::new(stream::empty::<Result<(), Status>>())))
    });
    let codec = RequestOnly { buffer_bytes: STREAM_BUFFER_BYTES, message: PhantomData };
    let mut grpc = Grpc::new(codec).max_decoding_message_size(bytes_max);
    let response = grpc.streaming(service, Heard::of(request.map(Sips::new))).await;
    give_way(response, made)
}

/// The library's response with our body, if there is one; else it is a status.
fn give_way(response: Response<Body>, made: Mutex<Option<Body>>) -> Response<Body> {
    match made.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(body) => response.map(|_| body),
        None => response,
    }
}

/// Decodes requests, and encodes nothing.
struct RequestOnly<M> {
    buffer_bytes: usize,
    message: PhantomData<M>,
}

impl<M: ProstMessage + Default + 'static> Codec for RequestOnly<M> {
    type Encode = ();
    type Decode = M;
    type Encoder = Nothing;
    type Decoder = ProstDecoder<M>;

    fn encoder(&mut self) -> Nothing {
        Nothing
    }

    fn decoder(&mut self) -> ProstDecoder<M> {
        ProstCodec::<M, M>::raw_decoder(BufferSettings::new(self.buffer_bytes, 0))
    }
}

struct Nothing;

impl Encoder for Nothing {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(0, 0)
    }
}

/// A message on its way: pieces which, one after the other, are its bytes with gRPC's prefix.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) pieces: VecDeque<Bytes>,
    /// Given back when the last piece is on its way.
    pub(super) slot: Option<Slot>,
}

impl Message {
    /// How many bytes are left of it.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    pub(super) fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front();
        if self.pieces.is_empty() {
            self.slot = None;
        }
        piece
    }
}

/// A body of one message.
pub(super) fn one(message: Message) -> Body {
    many(stream::once(ready(Ok(message))))
}

/// A body of many messages. The next one is asked for when all pieces of the one before are on
/// their way.
pub(super) fn many(messages: impl Stream<Item = Result<Message, Status>> + Send + 'static) -> Body {
    Body::new(Messages { current: Message::default(), rest: Some(Box::pin(messages)) })
}

type BoxedMessages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send>>;

struct Messages {
    current: Message,
    /// Gone when the trailers are.
    rest: Option<BoxedMessages>,
}

impl HttpBody for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(piece) = self.current.next_piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
            let status = match or_pending!(rest.as_mut().poll_next(context)) {
                Some(Ok(message)) => {
                    self.current = message;
                    continue;
                }
                Some(Err(status)) => status,
                None => Status::ok(""),
            };
            self.rest = None;
            let mut trailers = HeaderMap::new();
            status.add_header(&mut trailers)?;
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }
}

#[cfg(test)]
#[path = "raw_tests.rs"]
mod tests;
