//! [`Ending`]: how a stream is ended by others than its body.
//!
//! A body may cut a gRPC message anywhere between its frames. Whoever ends a stream before its body
//! does may only do so between two messages: a client that was sent half a message takes the end for
//! a broken connection, whatever the status says. So what is left of the message under way passes,
//! and nothing after it.

use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::Frame;

use super::Lost;

/// The bytes of gRPC's prefix of a message: a flag, and the length of what follows.
const PREFIX_BYTES: usize = 5;

/// Says when a stream is to end, which is between two messages.
pub struct Ending {
    /// Comes to an end when the stream has to. None when it has.
    signal: Option<Lost>,
    boundary: Boundary,
}

impl Ending {
    /// An end that is due when `signal` comes to an end.
    #[must_use]
    pub fn new(signal: Lost) -> Self {
        Self { signal: Some(signal), boundary: Boundary::default() }
    }

    /// Ready when the stream is to end now. Asked before each frame.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(signal) = &mut self.signal {
            match signal.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.signal = None,
            }
        }
        // Within a message it is the body that wakes the stream.
        if self.boundary.is_here() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Lets a frame of the body pass: all of it, or, when the end is due, what belongs to the
    /// message under way.
    #[must_use]
    pub fn pass(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return trailers,
        };
        match self.signal {
            Some(_) => self.boundary.pass(&data),
            None => data.truncate(self.boundary.pass_one(&data)),
        }
        Frame::data(data)
    }
}

/// Where one message ends and the next begins.
#[derive(Debug, Default)]
struct Boundary {
    /// Bytes of the prefix that have passed.
    prefix: usize,
    /// What the prefix says so far, and then the bytes of the message that are still to pass.
    rest: u32,
}

impl Boundary {
    /// Whether every message that began has passed as a whole.
    fn is_here(&self) -> bool {
        self.prefix == 0
    }

    fn pass(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            (_, data) = split(data, self.pass_one(data));
        }
    }

    /// Lets the first message in `data` pass, or what there is of it; returns how much that is.
    fn pass_one(&mut self, data: &[u8]) -> usize {
        let (prefix, data) = split(data, PREFIX_BYTES - self.prefix);
        self.prefix += prefix.len();
        // The flag comes first, and is shifted out by the length.
        self.rest = prefix.iter().fold(self.rest, |rest, byte| (rest << 8) | u32::from(*byte));
        if self.prefix < PREFIX_BYTES {
            return prefix.len();
        }
        let (part, _) = split(data, usize::try_from(self.rest).unwrap_or(usize::MAX));
        self.rest = self.rest.saturating_sub(u32::try_from(part.len()).unwrap_or(u32::MAX));
        if self.rest == 0 {
            *self = Self::default();
        }
        prefix.len() + part.len()
    }
}

/// At most so many bytes, and those after them.
fn split(data: &[u8], len: usize) -> (&[u8], &[u8]) {
    data.split_at_checked(len).unwrap_or((data, &[]))
}

#[cfg(test)]
mod tests {
    use std::{future, task::Waker};

    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;

    /// Messages of these lengths, and where each ends.
    fn messages(lens: &[usize]) -> (Bytes, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for len in lens {
            bytes.push(u8::from(len % 2 == 1));
            bytes.extend(u32::try_from(*len).unwrap().to_be_bytes());
            bytes.extend(vec![0xff; *len]);
            ends.push(bytes.len());
        }
        (bytes.into(), ends)
    }

    proptest! {
        /// However messages are cut and whenever the end is due, everything passes up to the end of
        /// the message that is under way then.
        #[test]
        fn streams_end_between_messages(
            lens in prop::collection::vec(prop_oneof![Just(0), 1..700_usize], 1..8),
            pieces in prop::collection::vec(1..400_usize, 1..20),
            due_after in 0..3_000_usize,
        ) {
            let (bytes, ends) = messages(&lens);
            let (due, signal) = oneshot::channel::<()>();
            let mut due = Some(due);
            let mut ending = Ending::new(Box::pin(async move {
                if signal.await.is_err() {
                    future::pending::<()>().await;
                }
            }));
            let mut context = Context::from_waker(Waker::noop());
            let (mut sent, mut due_at, mut passed) = (0, None, 0);
            for len in pieces.into_iter().cycle() {
                if sent >= due_after && let Some(due) = due.take() {
                    due.send(()).unwrap();
                    due_at = Some(sent);
                }
                if ending.poll(&mut context).is_ready() || sent == bytes.len() {
                    break;
                }
                let piece = bytes.slice(sent..bytes.len().min(sent + len));
                sent += piece.len();
                passed += ending.pass(Frame::data(piece)).into_data().unwrap().len();
            }
            let end = ends.iter().find(|end| due_at.is_none_or(|due_at| **end >= due_at));
            let expected = if due_at.is_none() { bytes.len() } else { *end.unwrap() };
            assert_eq!(passed, expected, "due at {due_at:?}, messages end at {ends:?}");
        }
    }
}
