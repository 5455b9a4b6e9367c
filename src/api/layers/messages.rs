//! Messages of a stream, counted as they pass by.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::{Bytes, HttpBody},
    http::Request,
};
use hyper::body::{Frame, SizeHint};

use crate::telemetry::GrpcMethod;

/// Bytes of gRPC's prefix of a message: a flag, and its length.
const PREFIX_BYTES: u8 = 5;

/// Finds where messages begin in data that come in pieces of any size.
#[derive(Debug, Default)]
pub(super) struct Framing {
    /// Bytes of a prefix that were seen.
    seen: u8,
    /// What they say of the length.
    len: u32,
    /// Bytes of the message that are still to come.
    rest: u32,
}

impl Framing {
    /// How many messages begin in a piece.
    pub(super) fn count(&mut self, mut data: &[u8]) -> u64 {
        let mut messages = 0;
        loop {
            let passed = usize::try_from(self.rest).unwrap_or(usize::MAX).min(data.len());
            self.rest -= u32::try_from(passed).unwrap_or(self.rest);
            data = data.split_at_checked(passed).map_or(&[], |(_, rest)| rest);
            let Some((byte, rest)) = data.split_first() else { return messages };
            data = rest;
            if self.seen > 0 {
                self.len = (self.len << 8) | u32::from(*byte);
            }
            self.seen += 1;
            if self.seen == PREFIX_BYTES {
                messages += 1;
                *self = Self { seen: 0, len: 0, rest: self.len };
            }
        }
    }
}

/// Put into a request whose messages are to be counted by who reads them.
#[derive(Clone, Debug)]
pub(super) struct Counted(pub(super) Arc<GrpcMethod>);

/// A body of requests that counts them, if its call is one whose messages are counted.
#[derive(Debug)]
pub struct Heard<B> {
    inner: B,
    method: Option<Arc<GrpcMethod>>,
    framing: Framing,
}

impl<B> Heard<B> {
    /// The request with its messages counted.
    pub fn of(request: Request<B>) -> Request<Self> {
        let method = request.extensions().get::<Counted>().map(|counted| Arc::clone(&counted.0));
        request.map(|inner| Self { inner, method, framing: Framing::default() })
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Heard<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if let Some(method) = &this.method
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            method.received(this.framing.count(data));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages are counted whatever the pieces in which they come.
    #[test]
    fn messages_are_counted_in_any_pieces() {
        let messages: [&[u8]; 4] = [b"", b"a", &[0; 300], b"bcd"];
        let mut data = Vec::new();
        for message in messages {
            data.push(0);
            data.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
            data.extend(message);
        }
        for size in [1, 2, 3, 5, 7, 64, 1_000] {
            let mut framing = Framing::default();
            let count: u64 = data.chunks(size).map(|piece| framing.count(piece)).sum();
            assert_eq!(count, 4, "in pieces of {size}");
        }
    }
}
