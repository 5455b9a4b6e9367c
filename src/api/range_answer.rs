//! The answer to a range read, put together from records as they lie in the state.
//!
//! A record is a pair in etcd's wire form already, so an answer is a row of copies with a few bytes
//! between them. What stands before the records is known only after the last: room is left for it.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};
use tonic::Status;

use crate::{
    api::{SENT_BYTES_MAX, raw::Message, status},
    node::Sink,
    proto::etcdserverpb::{RangeResponse, ResponseHeader},
};

/// The field of pairs in an answer.
const KVS: u32 = 2;
/// The field of the answer in a message of a stream.
const RANGE_RESPONSE: u32 = 1;

/// gRPC's prefix of a message: a flag and its length.
const PREFIX_BYTES: usize = 5;
/// Room for all that stands before the records: the prefix, the field of a stream's message with
/// its length, and a header with four numbers of ten bytes.
const FRONT_BYTES_MAX: usize = 64;
/// Room for all that stands behind them: a flag and a number.
const BACK_BYTES_MAX: usize = 16;

/// The first piece of an answer of many records; each next one is twice as large.
const PIECE_BYTES_MIN: usize = 1024;
/// Large enough for the connection to have something to do, small enough to be freed soon.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// An answer while it takes records.
#[derive(Debug)]
pub(super) struct Answer {
    /// A record is in one piece, and room for the front and the back is in the first and the last.
    pieces: Vec<Vec<u8>>,
    next_piece_bytes: usize,
    /// Bytes of the records and what is around each. Past what can be sent, only they are counted.
    len: usize,
}

/// What an answer says beside its records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub(super) header: ResponseHeader,
    pub(super) more: bool,
    pub(super) count: i64,
}

impl Answer {
    /// An answer with at most one record.
    pub(super) fn of_one() -> Self {
        Self { pieces: Vec::new(), next_piece_bytes: 0, len: 0 }
    }

    /// An answer with however many records.
    pub(super) fn of_many() -> Self {
        Self { next_piece_bytes: PIECE_BYTES_MIN, ..Self::of_one() }
    }

    /// The whole answer to a read.
    ///
    /// # Errors
    ///
    /// It is too large to be sent.
    pub(super) fn whole(self, rest: Rest) -> Result<Message, Status> {
        self.finish(Some(rest), false)
    }

    /// A part of the answer as a message of a stream; only the last one has a `rest`.
    ///
    /// # Errors
    ///
    /// It is too large to be sent.
    pub(super) fn part(self, rest: Option<Rest>) -> Result<Message, Status> {
        self.finish(rest, true)
    }

    fn finish(mut self, rest: Option<Rest>, of_stream: bool) -> Result<Message, Status> {
        let (front, back) = match rest {
            Some(Rest { header, more, count }) => (
                RangeResponse { header: Some(header), ..RangeResponse::default() },
                RangeResponse { more, count, ..RangeResponse::default() },
            ),
            None => Default::default(),
        };
        let answer_len = front.encoded_len() + self.len + back.encoded_len();
        let wrap_len = if of_stream {
            key_len(RANGE_RESPONSE) + encoded_len_varint(wide(answer_len))
        } else {
            0
        };
        let message_len = wrap_len + answer_len;
        let prefix_len = u32::try_from(message_len)
            .ok()
            .filter(|_| message_len <= SENT_BYTES_MAX)
            .ok_or_else(|| status::answer_too_large(message_len, SENT_BYTES_MAX))?;

        back.encode(self.room(0)).expect("there is room for the back");

        let front_len = PREFIX_BYTES + wrap_len + front.encoded_len();
        let unused = FRONT_BYTES_MAX - front_len;
        let first = self.pieces.first_mut().expect("room was asked for");
        let mut room = first.get_mut(unused..FRONT_BYTES_MAX).expect("room was left for the front");
        room.put_u8(0); // not compressed
        room.put_u32(prefix_len);
        if of_stream {
            encode_key(RANGE_RESPONSE, WireType::LengthDelimited, &mut room);
            encode_varint(wide(answer_len), &mut room);
        }
        front.encode(&mut room).expect("there is room for the front");

        let mut pieces: VecDeque<_> = self.pieces.into_iter().map(Bytes::from).collect();
        if let Some(first) = pieces.front_mut() {
            first.advance(unused);
        }
        Ok(Message { pieces, slot: None })
    }

    /// The piece in which there is room for so many bytes and, always, for the back.
    fn room(&mut self, len: usize) -> &mut Vec<u8> {
        let wanted = len + BACK_BYTES_MAX;
        if self.pieces.last().is_none_or(|last| last.capacity() - last.len() < wanted) {
            let front = if self.pieces.is_empty() { FRONT_BYTES_MAX } else { 0 };
            let mut piece = Vec::with_capacity(self.next_piece_bytes.max(front + wanted));
            piece.resize(front, 0);
            self.pieces.push(piece);
            self.next_piece_bytes = (self.next_piece_bytes * 2).min(PIECE_BYTES_MAX);
        }
        self.pieces.last_mut().expect("there is a piece by now")
    }
}

impl Sink for Answer {
    fn take(&mut self, record: &[u8]) {
        let len = key_len(KVS) + encoded_len_varint(wide(record.len())) + record.len();
        self.len = self.len.saturating_add(len);
        if self.len > SENT_BYTES_MAX {
            // Nobody will get it. How long it would have been is still of interest.
            self.pieces = Vec::new();
            return;
        }
        let piece = self.room(len);
        encode_key(KVS, WireType::LengthDelimited, piece);
        encode_varint(wide(record.len()), piece);
        piece.put_slice(record);
    }
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits in 64 bits")
}

#[cfg(test)]
#[path = "range_answer_tests.rs"]
mod tests;
