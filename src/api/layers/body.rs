//! The body of an answer, watched for the code with which the call ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Bytes, HttpBody},
    http::HeaderMap,
};
use hyper::body::{Frame, SizeHint};
use tonic::{Code, Status};

use super::{
    Ending, Shared,
    call::{self, Call},
    corrupt,
    messages::Framing,
};
use crate::{api::status, node};

/// A body that counts the end of its call, and ends it itself when the leader is lost, or when what
/// it is made of is known to be wrong.
pub struct GuardedBody<B> {
    /// Gone when the body was ended here, and all that is behind the stream with it.
    inner: Option<B>,
    /// Taken when the call has ended.
    call: Option<Call>,
    leader_lost: Option<Ending>,
    /// It is a stream of this member's data.
    streams_data: bool,
    /// Where messages begin in what a stream sends.
    sent: Option<Framing>,
    /// Gone when nobody has to be asked.
    guard: Option<Arc<Shared>>,
}

impl<B> GuardedBody<B> {
    pub(super) fn new(
        inner: B,
        call: Call,
        leader_lost: Option<Ending>,
        streams_data: bool,
        guard: Arc<Shared>,
    ) -> Self {
        let sent = call.is_stream().then(Framing::default);
        let (inner, call, guard) = (Some(inner), Some(call), Some(guard));
        Self { inner, call, leader_lost, streams_data, sent, guard }
    }

    /// A body that is not watched: its call has ended already, or somebody else watches it.
    #[must_use]
    pub fn unwatched(inner: Option<B>) -> Self {
        Self { inner, call: None, leader_lost: None, streams_data: false, sent: None, guard: None }
    }

    fn end(&mut self, code: Code) {
        self.leader_lost = None;
        self.streams_data = false;
        if let Some(call) = self.call.take() {
            call.end(code);
        }
    }

    /// The trailers of a stream that must not go on: its leader is lost, or the member's data are
    /// known to be wrong. In the latter case not even the message under way is completed. A stream
    /// that has nothing to say ends later: when it has.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Option<HeaderMap> {
        let corrupt = |guard: &Arc<Shared>| guard.leadership.is_corrupt();
        let status = if self.streams_data && self.guard.as_ref().is_some_and(corrupt) {
            corrupt::refusal()
        } else {
            match self.leader_lost.as_mut()?.poll(context) {
                Poll::Pending => return None,
                Poll::Ready(()) => status::of_node(node::Error::NoLeader),
            }
        };
        self.inner = None;
        self.end(status.code());
        Some(trailers(&status))
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
        if let Some(trailers) = self.poll_ended(context) {
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
                if let Some(data) = frame.data_ref()
                    && let Some(messages) = self.sent.as_mut().map(|sent| sent.count(data))
                    && let Some(call) = &self.call
                {
                    call.sent(messages);
                }
                if let Some(trailers) = frame.trailers_mut() {
                    let message_bytes_max =
                        self.guard.as_ref().map_or(0, |guard| guard.message_bytes_max);
                    call::reword_too_large(trailers, message_bytes_max);
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
