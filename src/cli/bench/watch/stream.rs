//! One watch stream of a client that spends as little as it can: plain frames of HTTP/2 on a
//! connection of the ordinary kind.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::Frame,
    http::{HeaderMap, Request, StatusCode, header},
};
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt};

use super::wire::{Frames, walk};
use crate::{
    cli::Error,
    proto::etcdserverpb::{WatchCreateRequest, WatchRequest, watch_request::RequestUnion},
};

const METHOD: &str = "/etcdserverpb.Watch/Watch";
/// Chunks of requests that wait for the connection; each is answered before the next is sent.
const REQUESTS_MAX: usize = 1;

/// A stream whose first watchers are registered.
pub(super) struct OpenStream {
    requests: mpsc::Sender<Bytes>,
    responses: Body,
    frames: Frames,
}

/// What has arrived in one chunk.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Watchers that were registered.
    pub(super) created: usize,
    /// Events of all watchers.
    pub(super) events: u64,
}

impl OpenStream {
    /// Opens a stream and asks for these watchers. Nothing is received yet.
    pub(super) async fn start(
        mut channel: Channel,
        watchers: impl IntoIterator<Item = WatchCreateRequest>,
    ) -> Result<Self, Error> {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        // Some servers do not begin their answer before there is something to answer.
        requests.try_send(encode(watchers)).expect("the channel is empty and open");
        let body = ReceiverStream::new(receiver).map(|chunk| Ok::<_, Status>(Frame::data(chunk)));
        let request = Request::post(METHOD)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Body::new(StreamBody::new(body)))
            .map_err(Error::failed)?;
        let response = channel.ready().await.map_err(Error::failed)?.call(request);
        let (head, responses) = response.await.map_err(Error::failed)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Error::failed(format!("a watch was answered with {}", head.status)));
        }
        check_status(&head.headers)?;
        Ok(Self { requests, responses, frames: Frames::default() })
    }

    /// The same, and waits until all of these watchers are registered. Events that come between are
    /// dropped.
    pub(super) async fn open(
        channel: Channel,
        watchers: Vec<WatchCreateRequest>,
    ) -> Result<Self, Error> {
        let count = watchers.len();
        let mut stream = Self::start(channel, watchers).await?;
        stream.registered(count).await?;
        Ok(stream)
    }

    /// Registers further watchers.
    pub(super) async fn add(&mut self, watchers: Vec<WatchCreateRequest>) -> Result<(), Error> {
        let count = watchers.len();
        let closed = |_| Error::failed("a watch stream was closed");
        self.requests.send(encode(watchers)).await.map_err(closed)?;
        self.registered(count).await
    }

    async fn registered(&mut self, mut missing: usize) -> Result<(), Error> {
        while missing > 0 {
            missing = missing.saturating_sub(self.receive(|_| {}).await?.created);
        }
        Ok(())
    }

    /// Waits for the next chunk, and shows the value of each event in it.
    pub(super) async fn receive(
        &mut self,
        mut event: impl FnMut(&[u8]),
    ) -> Result<Received, Error> {
        let frame = self.responses.frame().await;
        let frame = frame.ok_or_else(|| Error::failed("a watch stream ended"))??;
        let mut received = Received::default();
        match frame.into_data() {
            Ok(chunk) => self.take(&chunk, &mut received, &mut event)?,
            Err(other) => {
                check_status(other.trailers_ref().unwrap_or(&HeaderMap::new()))?;
                return Err(Error::failed("a watch stream ended"));
            }
        }
        Ok(received)
    }

    fn take(
        &mut self,
        chunk: &[u8],
        received: &mut Received,
        event: &mut impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let mut canceled = None;
        let each = |message: &[u8]| {
            let head = walk(message, |value| {
                received.events += 1;
                event(value);
            })?;
            received.created += usize::from(head.created);
            if head.canceled {
                canceled = Some(head.reason);
            }
            Ok(())
        };
        self.frames.push(chunk, each).map_err(Error::failed)?;
        match canceled {
            None => Ok(()),
            Some(reason) => Err(Error::failed(format!("a watch was canceled: {reason}"))),
        }
    }
}

/// Requests as the bytes of a stream.
fn encode(watchers: impl IntoIterator<Item = WatchCreateRequest>) -> Bytes {
    let mut bytes = BytesMut::new();
    for create in watchers {
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let len = u32::try_from(request.encoded_len()).expect("a request is far below 4 GiB");
        bytes.put_u8(0);
        bytes.put_u32(len);
        request.encode(&mut bytes).expect("the buffer grows as it must");
    }
    bytes.freeze()
}

fn check_status(headers: &HeaderMap) -> Result<(), Error> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status.into()),
        Some(_) | None => Ok(()),
    }
}
