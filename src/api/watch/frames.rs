//! What a watch stream has to send, as the bytes of gRPC messages.
//!
//! Everything that is ready is put together in one chunk, because each frame costs the connection
//! and the client more than a small event does. Events come encoded, one encoding for all streams:
//! a small one is copied, a large one stays where it lies and becomes a frame of its own.

use std::{collections::VecDeque, mem};

use bytes::{BufMut, Bytes};
use prost::Message as _;
use tonic::Status;

use crate::{
    api::{
        SENT_BYTES_MAX,
        convert::watch::{event_field, head, response},
        status,
    },
    proto::etcdserverpb::{ResponseHeader, WatchResponse},
    types::limits::{WATCH_CHUNK_BYTES, WATCH_COPIED_EVENT_BYTES_MAX},
    watch::{Delivery, Response, Shown, Sink},
};

/// gRPC's prefix of a message: a flag and its length.
const PREFIX_BYTES: usize = 5;

/// Whole messages on their way to the connection. Empty, it holds no buffer.
#[derive(Debug)]
pub(super) struct Frames {
    /// Of all messages, but for the revision.
    header: ResponseHeader,
    /// The size below which pieces of a response stay, where its watcher takes it in pieces.
    message_bytes_max: usize,
    /// To be sent as they are, before the chunk.
    sealed: VecDeque<Bytes>,
    /// The end of what is to be sent.
    chunk: Vec<u8>,
    /// Why nothing more can be sent.
    failure: Option<Status>,
}

impl Frames {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            header: ResponseHeader::default(),
            message_bytes_max,
            sealed: VecDeque::new(),
            chunk: Vec::new(),
            failure: None,
        }
    }

    /// Gives the messages from here on this header.
    pub(super) fn set_header(&mut self, header: ResponseHeader) {
        self.header = header;
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.chunk.is_empty()
    }

    /// Whether there is not even a buffer.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.sealed.capacity() == 0 && self.chunk.capacity() == 0
    }

    /// The next bytes to send.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if let Some(sealed) = self.sealed.pop_front() {
            if self.sealed.is_empty() {
                self.sealed = VecDeque::new();
            }
            return Some(sealed);
        }
        (!self.chunk.is_empty()).then(|| mem::take(&mut self.chunk).into())
    }

    /// Why nothing more can be sent, once.
    pub(super) fn take_failure(&mut self) -> Option<Status> {
        self.failure.take()
    }

    /// Puts a message together: the head, and behind it the events.
    fn put(&mut self, head: &WatchResponse, events: &[Shown<'_>]) {
        if self.failure.is_some() {
            return; // after a gap nothing may follow
        }
        let (mut len, mut copied_len) = (head.encoded_len(), PREFIX_BYTES + head.encoded_len());
        for field_len in events.iter().map(|event| field(event).len()) {
            len += field_len;
            copied_len += if is_copied(field_len) { field_len } else { 0 };
        }
        let Some(prefix) = u32::try_from(len).ok().filter(|_| len <= SENT_BYTES_MAX) else {
            self.failure = Some(status::answer_too_large(len, SENT_BYTES_MAX));
            return;
        };
        self.chunk.reserve(copied_len.min(WATCH_CHUNK_BYTES));
        self.chunk.put_u8(0); // not compressed
        self.chunk.put_u32(prefix);
        head.encode(&mut self.chunk).expect("a vector grows as needed");
        for event in events {
            let field = field(event);
            if !is_copied(field.len()) {
                self.seal();
                self.sealed.push_back(field.clone());
                continue;
            }
            // What is already there leaves while the rest is copied elsewhere, not moved to a
            // buffer twice as large.
            if self.chunk.len() >= WATCH_CHUNK_BYTES {
                self.seal();
                self.chunk.reserve(WATCH_CHUNK_BYTES);
            }
            self.chunk.put_slice(field);
        }
    }

    /// Ends the chunk: what comes next is sent apart from it.
    fn seal(&mut self) {
        if !self.chunk.is_empty() {
            self.sealed.push_back(mem::take(&mut self.chunk).into());
        }
    }

    /// The events of a delivery that fit into a message after such a head, at least one.
    fn piece_len(&self, head: &WatchResponse, events: &[Shown<'_>]) -> usize {
        let mut len = head.encoded_len();
        let fitting = events.iter().take_while(|event| {
            len += field(event).len();
            len < self.message_bytes_max
        });
        fitting.count().max(1)
    }
}

impl Sink for Frames {
    fn has_room(&self) -> bool {
        self.sealed.is_empty() && self.chunk.len() < WATCH_CHUNK_BYTES && self.failure.is_none()
    }

    fn say(&mut self, said: Response) {
        self.put(&response(self.header, &said), &[]);
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let about = (delivery.id, delivery.revision);
        let last = head(self.header, about, false);
        let mut rest = delivery.events;
        if delivery.fragment && self.piece_len(&last, rest) < rest.len() {
            let piece = head(self.header, about, true);
            while let Some((events, after)) = rest.split_at_checked(self.piece_len(&piece, rest))
                && !after.is_empty()
            {
                self.put(&piece, events);
                rest = after;
            }
        }
        self.put(&last, rest);
    }
}

/// An event as it stands in the messages of all streams that show it.
fn field<'a>(event: &Shown<'a>) -> &'a Bytes {
    event.encoded(event_field)
}

fn is_copied(field_len: usize) -> bool {
    field_len <= WATCH_COPIED_EVENT_BYTES_MAX
}
