//! What a watch stream has to send, as the bytes of gRPC messages.
//!
//! Everything that is ready is put together in chunks of exactly the size of a frame, because each
//! frame costs the connection and the client more than a small event does; messages are cut where a
//! chunk is full. Events come encoded, one encoding for all streams: small ones are copied, into the
//! chunk under way and, if that is enough for them, the next one; a large one is never copied but
//! becomes frames of its own. So a stream whose client does not read has two chunks to itself, the one
//! that the connection waits to send and the next, and shares the rest.

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
    /// The beginning of what is to be sent, put together.
    chunk: Vec<u8>,
    /// The beginning of the next chunk: what of the last message the full chunk did not take.
    next: Vec<u8>,
    /// What comes behind the chunks, shared with other streams but for the heads of messages.
    rest: VecDeque<Bytes>,
    /// Why nothing more can be sent.
    failure: Option<Status>,
}

impl Frames {
    pub(super) fn new(message_bytes_max: usize) -> Self {
        Self {
            header: ResponseHeader::default(),
            message_bytes_max,
            chunk: Vec::new(),
            next: Vec::new(),
            rest: VecDeque::new(),
            failure: None,
        }
    }

    /// Gives the messages from here on this header.
    pub(super) fn set_header(&mut self, header: ResponseHeader) {
        self.header = header;
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_empty() && self.rest.is_empty()
    }

    /// Whether there is not even a buffer.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.chunk.capacity() + self.next.capacity() == 0 && self.rest.capacity() == 0
    }

    /// The bytes that nobody shares, and those that others share.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> (usize, usize) {
        let bytes = |shared| self.rest.iter().filter(move |piece| piece.is_unique() != shared);
        let [own, shared] = [bytes(false), bytes(true)].map(|pieces| pieces.map(Bytes::len).sum());
        (self.chunk.capacity() + self.next.capacity() + own, shared)
    }

    /// Puts the next chunk together, as far as there is something for it. If there is room after
    /// that, the chunk is not full, and can wait for more.
    pub(super) fn fill(&mut self) {
        let mut room = self.room();
        while let Some(next) = self.rest.front_mut()
            && is_copied(next.len())
            && room > 0
        {
            let next = next.split_to(next.len().min(room));
            room -= next.len();
            self.forget_sent();
            self.grow(next.len());
            self.chunk.put_slice(&next);
        }
    }

    /// The next bytes to send.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.fill();
        if !self.chunk.is_empty() {
            let next = mem::take(&mut self.next);
            return Some(mem::replace(&mut self.chunk, next).into());
        }
        let next = self.rest.front_mut()?;
        let next = next.split_to(next.len().min(WATCH_CHUNK_BYTES));
        self.forget_sent();
        Some(next)
    }

    /// Forgets the first of the rest if nothing of it is left.
    fn forget_sent(&mut self) {
        self.rest.pop_front_if(|first| first.is_empty());
        if self.rest.is_empty() {
            self.rest = VecDeque::new();
        }
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
        let head_len = head.encoded_len();
        let (mut len, mut copied_len) = (head_len, PREFIX_BYTES + head_len);
        for field_len in events.iter().map(|event| field(event).len()) {
            len += field_len;
            copied_len += if is_copied(field_len) { field_len } else { 0 };
        }
        let spilled_len = copied_len.saturating_sub(self.room());
        let Some(prefix) = u32::try_from(len).ok().filter(|_| len <= SENT_BYTES_MAX) else {
            self.failure = Some(status::answer_too_large(len, SENT_BYTES_MAX));
            return;
        };
        if self.rest.is_empty() && self.room() >= PREFIX_BYTES + head_len {
            self.grow(copied_len);
            put_head(&mut self.chunk, head, prefix);
        } else {
            let mut apart = Vec::with_capacity(PREFIX_BYTES + head_len);
            put_head(&mut apart, head, prefix);
            self.rest.push_back(apart.into());
        }
        let mut fields = events.iter().map(field);
        while let Some(field) = fields.next() {
            if !self.copy(field, spilled_len) {
                self.rest.reserve_exact(1 + fields.len());
                self.rest.push_back(field.clone());
            }
        }
    }

    /// Copies a field into the chunk, and what the chunk does not take into the next one, if that takes
    /// all that is spilled of the message. False if the field is to be shared.
    fn copy(&mut self, field: &[u8], spilled_len: usize) -> bool {
        let (fitting, spilled) = field.split_at(self.room().min(field.len()));
        if !self.rest.is_empty()
            || !is_copied(field.len())
            || (!spilled.is_empty() && spilled_len > WATCH_CHUNK_BYTES)
        {
            return false;
        }
        if !spilled.is_empty() && self.next.capacity() == 0 {
            self.next.reserve_exact(spilled_len);
        }
        self.chunk.extend_from_slice(fitting);
        self.next.extend_from_slice(spilled);
        true
    }

    /// The bytes that the chunk still takes.
    fn room(&self) -> usize {
        WATCH_CHUNK_BYTES.saturating_sub(self.chunk.len())
    }

    /// Makes room for so many bytes in the buffer of the chunk, as far as the chunk takes them.
    fn grow(&mut self, more: usize) {
        let needed = self.chunk.len() + more.min(self.room());
        if needed > self.chunk.capacity() {
            let capacity = needed.max((2 * self.chunk.capacity()).min(WATCH_CHUNK_BYTES));
            self.chunk.reserve_exact(capacity - self.chunk.len());
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
        self.rest.is_empty() && self.room() > 0 && self.failure.is_none()
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

fn put_head(buffer: &mut Vec<u8>, head: &WatchResponse, message_len: u32) {
    buffer.put_u8(0); // not compressed
    buffer.put_u32(message_len);
    head.encode(buffer).expect("a vector grows as needed");
}

fn is_copied(field_len: usize) -> bool {
    field_len <= WATCH_COPIED_EVENT_BYTES_MAX
}
