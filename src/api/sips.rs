//! [`Sips`]: a body in small pieces.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame};

/// The size of a piece: several small requests, and little where a stream keeps room for it.
const SIP_BYTES: usize = 256;

/// Hands the data of a body on in small pieces, none of which is copied.
///
/// The library puts what it gets together in a buffer, takes messages out of it, and keeps it at the
/// size that it once needed. A client that sends many requests at once sends them in one frame; an
/// idle stream would hold room for all of them from then on.
pub(super) struct Sips<B> {
    body: Pin<Box<B>>,
    rest: Bytes,
}

impl<B> Sips<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body: Box::pin(body), rest: Bytes::new() }
    }
}

impl<B: HttpBody> HttpBody for Sips<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        while self.rest.is_empty() {
            let frame = match ready!(self.body.as_mut().poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            };
            match frame.into_data() {
                Ok(mut data) => self.rest = data.copy_to_bytes(data.remaining()),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers.map_data(|_| Bytes::new())))),
            }
        }
        let len = self.rest.len().min(SIP_BYTES);
        let sip = self.rest.split_to(len);
        if self.rest.is_empty() {
            // An empty rest still holds what it was split from.
            self.rest = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(sip))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Waker};

    use axum::http::HeaderMap;
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    /// Everything arrives in its order, in pieces of the size, and the trailers at the end.
    #[test]
    fn a_large_frame_comes_in_pieces() {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(2 * SIP_BYTES + 10).collect();
        let frames: Vec<Result<Frame<Bytes>, Infallible>> = vec![
            Ok(Frame::data(data.clone().into())),
            Ok(Frame::data(Bytes::new())),
            Ok(Frame::data(Bytes::from_static(b"end"))),
            Ok(Frame::trailers(HeaderMap::new())),
        ];
        let mut sips = Sips::new(StreamBody::new(stream::iter(frames)));
        let context = &mut Context::from_waker(Waker::noop());
        let (mut sizes, mut all) = (Vec::new(), Vec::new());
        loop {
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut sips).poll_frame(context) else {
                panic!("the body ends before its trailers");
            };
            match frame.into_data() {
                Ok(sip) => {
                    sizes.push(sip.len());
                    all.extend(sip);
                }
                Err(frame) => break assert!(frame.is_trailers()),
            }
        }
        assert_eq!(sizes, [SIP_BYTES, SIP_BYTES, 10, 3]);
        assert_eq!(all, [&data[..], b"end"].concat());
        assert!(matches!(Pin::new(&mut sips).poll_frame(context), Poll::Ready(None)));
    }
}
