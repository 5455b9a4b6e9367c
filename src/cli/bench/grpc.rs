//! A stream of gRPC of a client that spends as little as it can: plain frames of HTTP/2 on a
//! connection of the ordinary kind.

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::Frame,
    http::{HeaderMap, Request, StatusCode, header},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt};

use super::wire::{Frames, Malformed};
use crate::cli::Error;

/// A stream in both directions.
pub(super) struct RawStream {
    requests: mpsc::Sender<Bytes>,
    responses: Body,
    frames: Frames,
}

impl RawStream {
    /// Opens a stream and sends the first requests on it, since some servers do not begin their
    /// answer before there is something to answer. So many chunks of requests may wait for the
    /// connection.
    pub(super) async fn open(
        mut channel: Channel,
        method: &'static str,
        first: Bytes,
        chunks_max: usize,
    ) -> Result<Self, Error> {
        let (requests, receiver) = mpsc::channel(chunks_max);
        requests.try_send(first).expect("the channel is empty and open");
        let body = ReceiverStream::new(receiver).map(|chunk| Ok::<_, Status>(Frame::data(chunk)));
        let request = Request::post(method)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Body::new(StreamBody::new(body)))
            .map_err(Error::failed)?;
        let response = channel.ready().await.map_err(Error::failed)?.call(request);
        let (head, responses) = response.await.map_err(Error::failed)?.into_parts();
        if head.status != StatusCode::OK {
            return Err(Error::failed(format!("{method} was answered with {}", head.status)));
        }
        check_status(&head.headers)?;
        Ok(Self { requests, responses, frames: Frames::default() })
    }

    /// Sends requests as one chunk.
    pub(super) async fn send(&mut self, requests: Bytes) -> Result<(), Error> {
        self.requests.send(requests).await.map_err(|_| Error::failed("a stream was closed"))
    }

    /// Waits for the next chunk, and shows each response that is whole then. Nothing is lost when
    /// it is dropped while it waits.
    pub(super) async fn receive(
        &mut self,
        each: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), Error> {
        let frame = self.responses.frame().await;
        let frame = frame.ok_or_else(|| Error::failed("a stream ended"))??;
        match frame.into_data() {
            Ok(chunk) => self.frames.push(&chunk, each).map_err(Error::failed),
            Err(other) => {
                check_status(other.trailers_ref().unwrap_or(&HeaderMap::new()))?;
                Err(Error::failed("a stream ended"))
            }
        }
    }
}

/// What the headers say of the call, if they do.
pub(super) fn check_status(headers: &HeaderMap) -> Result<(), Status> {
    // Nearly all of them, and a status is far more to make than this is to see.
    if headers.get(Status::GRPC_STATUS).is_some_and(|code| code == "0") {
        return Ok(());
    }
    match Status::from_header_map(headers) {
        Some(status) if status.code() != tonic::Code::Ok => Err(status),
        Some(_) | None => Ok(()),
    }
}
