//! Writing: a first walk that measures, and a second one that makes chunks.

use std::ops::ControlFlow;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::{
    Head, Origin,
    content::{END, TOTALS_BYTES, prefix},
    head::{CHUNK_BYTES, HEAD_BYTES, SUM_BYTES},
};
use crate::{
    state::{Family, View, image, meta},
    types::{Fault, Position},
};

/// Called with the bytes of each record before it is looked at; `Break` ends the walk.
pub type Between<'a> = dyn FnMut(usize) -> ControlFlow<()> + 'a;

/// Takes the next piece of the file; `Break` ends the walk.
pub type Sink<'a> = dyn FnMut(Bytes) -> ControlFlow<()> + 'a;

/// Walks a state, and says what the head of its file is. `None`: the walk was ended.
pub fn measure(
    view: &dyn View,
    origin: Origin,
    between: &mut Between<'_>,
) -> Result<Option<Head>, Fault> {
    let (mut records, mut keys, mut bytes) = (0, 0, 0_u64);
    let (mut head, mut ended) = (Vec::new(), false);
    image::records(view, &mut |family, key, value| {
        if between(key.len() + value.len()).is_break() {
            ended = true;
            return Ok(ControlFlow::Break(()));
        }
        records += 1;
        keys += u64::from(family == Family::Current);
        for (family, part) in [(Some(family), key), (None, value)] {
            prefix(family, part.len(), &mut head);
            bytes += (head.len() + part.len()) as u64;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if ended {
        return Ok(None);
    }
    let (store, (index, term)) = (meta::store(view)?, meta::applied(view)?);
    Ok(Some(Head {
        origin,
        applied: Position { index, term },
        revision: store.revision,
        compacted: store.compacted,
        records,
        keys,
        content_bytes: bytes + 1 + TOTALS_BYTES as u64,
    }))
}

/// Walks the state that `head` was measured of, and hands out its file piece by piece: the head, the
/// chunks, the SHA-256. Returns whether it came to the end.
pub fn write(
    view: &dyn View,
    head: &Head,
    between: &mut Between<'_>,
    sink: &mut Sink<'_>,
) -> Result<bool, Fault> {
    let mut file = Draft::begin(head, sink);
    let mut flow = file.emit_head();
    let (mut prefixed, mut records) = (Vec::new(), 0);
    if flow.is_continue() {
        image::records(view, &mut |family, key, value| {
            flow = between(key.len() + value.len());
            for (family, part) in [(Some(family), key), (None, value)] {
                prefix(family, part.len(), &mut prefixed);
                if flow.is_continue() {
                    flow = file.put(&prefixed);
                }
                if flow.is_continue() {
                    flow = file.put(part);
                }
            }
            records += 1;
            Ok(flow)
        })?;
    }
    if file.is_overfull || (flow.is_continue() && records != head.records) {
        return Err(Fault::new("the saved state changed while it was read"));
    }
    if flow.is_break() {
        return Ok(false);
    }
    file.finish(head)
}

/// The file as far as it is made.
struct Draft<'a, 'b> {
    head: [u8; HEAD_BYTES],
    sum: u32,
    /// The number of the chunk that is being filled, and how long it becomes.
    number: u64,
    chunk_bytes: usize,
    chunk: BytesMut,
    /// Bytes of data behind that chunk.
    left: u64,
    /// Whether there was more than was measured.
    is_overfull: bool,
    hash: Sha256,
    sink: &'a mut Sink<'b>,
}

impl<'a, 'b> Draft<'a, 'b> {
    fn begin(head: &Head, sink: &'a mut Sink<'b>) -> Self {
        let encoded = head.encode();
        let mut draft = Self {
            head: encoded,
            sum: Head::sum(&encoded),
            number: 0,
            chunk_bytes: 0,
            chunk: BytesMut::new(),
            left: head.data_bytes() - HEAD_BYTES as u64,
            is_overfull: false,
            hash: Sha256::new(),
            sink,
        };
        draft.begin_chunk();
        draft
    }

    fn emit_head(&mut self) -> ControlFlow<()> {
        self.hash.update(self.head);
        (self.sink)(Bytes::copy_from_slice(&self.head))
    }

    fn begin_chunk(&mut self) {
        let len = self.left.min(CHUNK_BYTES as u64);
        self.left -= len;
        self.chunk_bytes = usize::try_from(len).expect("a chunk is small");
        self.chunk = BytesMut::with_capacity(self.chunk_bytes);
        self.chunk.put_bytes(0, SUM_BYTES.min(self.chunk_bytes));
    }

    fn put(&mut self, mut bytes: &[u8]) -> ControlFlow<()> {
        while !bytes.is_empty() {
            let room = self.chunk_bytes - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.put_slice(now);
            bytes = later;
            if self.chunk.len() == self.chunk_bytes {
                if self.left == 0 && !bytes.is_empty() {
                    self.is_overfull = true; // nothing may follow the last chunk
                    return ControlFlow::Break(());
                }
                self.emit_chunk()?;
            }
        }
        ControlFlow::Continue(())
    }

    fn emit_chunk(&mut self) -> ControlFlow<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let payload = chunk.get(SUM_BYTES..).unwrap_or_default();
        let sum = chunk_sum(self.sum, self.number, payload);
        let place = chunk.first_chunk_mut::<SUM_BYTES>();
        *place.expect("every chunk begins with room for its checksum") = sum.to_be_bytes();
        let chunk = chunk.freeze();
        self.hash.update(&chunk);
        self.number += 1;
        self.begin_chunk();
        (self.sink)(chunk)
    }

    fn finish(mut self, head: &Head) -> Result<bool, Fault> {
        let mut end = Vec::with_capacity(1 + TOTALS_BYTES);
        end.put_u8(END);
        end.put_u64(head.records);
        end.put_u64(head.keys);
        let mut flow = self.put(&end);
        let filled = self.chunk.len().saturating_sub(SUM_BYTES);
        if flow.is_continue() && filled > 0 {
            let zeros = vec![0; self.chunk_bytes - self.chunk.len()];
            flow = self.put(&zeros);
        }
        if self.is_overfull || (flow.is_continue() && self.chunk_bytes > 0) {
            return Err(Fault::new("the saved state changed while it was read"));
        }
        if flow.is_break() {
            return Ok(false);
        }
        let hash: [u8; 32] = self.hash.finalize().into();
        Ok((self.sink)(Bytes::copy_from_slice(&hash)).is_continue())
    }
}

/// The checksum of a chunk: of the file's head, its number, and what it holds.
pub(super) fn chunk_sum(head_sum: u32, number: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head_sum.to_be_bytes());
    hasher.update(&number.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}
