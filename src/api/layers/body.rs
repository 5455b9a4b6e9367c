//! The body of an answer, watched for the code with which the call ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Bytes, HttpBody},
    http::HeaderMap,
};
use hyper::body::{Frame, SizeHint};
use tonic::{Code, Status};

use super::{
    Ending,
    call::{self, Call},
};
use crate::{api::status, node};

/// A body that counts the end of its call, and ends it itself when the leader is lost.
pub struct GuardedBody<B> {
    /// Gone when the leader is lost, and all that is behind the stream with it.
    inner: Option<B>,
    /// Taken when the call has ended.
    call: Option<Call>,
    leader_lost: Option<Ending>,
    message_bytes_max: usize,
}

impl<B> GuardedBody<B> {
    pub(super) fn new(
        inner: B,
        call: Call,
        leader_lost: Option<Ending>,
        message_bytes_max: usize,
    ) -> Self {
        Self { inner: Some(inner), call: Some(call), leader_lost, message_bytes_max }
    }

    /// A body that is not watched: its call has ended already, or somebody else watches it.
    #[must_use]
    pub fn unwatched(inner: Option<B>) -> Self {
        Self { inner, call: None, leader_lost: None, message_bytes_max: 0 }
    }

    fn end(&mut self, code: Code) {
        self.leader_lost = None;
        if let Some(call) = self.call.take() {
            call.end(code);
        }
    }

    /// The trailers of a stream whose leader is lost, when it is.
    fn poll_leader_lost(&mut self, context: &mut Context<'_>) -> Option<HeaderMap> {
        match self.leader_lost.as_mut()?.poll(context) {
            Poll::Pending => None,
            Poll::Ready(()) => {
                let status = status::of_node(node::Error::NoLeader);
                let trailers = trailers(&status);
                self.inner = None;
                self.end(status.code());
                Some(trailers)
            }
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It can only fail for a message that no header can carry, and ours are plain text.
    let _ = status.add_header(&mut trailers);
    trailers
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for GuardedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(trailers) = self.poll_leader_lost(context) {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(context);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(ending) = &mut self.leader_lost {
                    frame = ending.pass(frame);
                }
                if let Some(trailers) = frame.trailers_mut() {
                    call::reword_too_large(trailers, self.message_bytes_max);
                    let code = call::code(trailers).unwrap_or(Code::Unknown);
                    self.end(code);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end @ (None | Some(Err(_)))) => {
                self.end(Code::Unknown);
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint)
    }
}
