//! A range in chunks, all as of the revision at which the first was read.
//!
//! The stream holds a revision and the next key, not a view of the state: a client that reads
//! slowly keeps nothing alive. If history is compacted past that revision before the last chunk,
//! the stream ends with that error and nothing is passed off as complete.

use futures_util::{Stream, stream};
use prost::Message;
use tonic::Status;

use crate::{
    api::{convert, header::header, status},
    node::{Handle, RequestError},
    proto::etcdserverpb::{RangeResponse, RangeStreamResponse, ResponseHeader},
    state::{Range, RangeResponse as Read},
    types::{Key, KeyRange, Revision},
};

/// Keys in the first chunk; how large they are is not known before.
const FIRST_CHUNK_KEYS: i64 = 10;

/// The chunks of a range. Only the last has header, count and whether the limit cut keys off.
pub(super) fn chunks(
    source: impl Source,
    range: Range,
    serializable: bool,
    request_bytes_max: usize,
) -> impl Stream<Item = Result<RangeStreamResponse, Status>> + Send + 'static {
    let cursor = Cursor {
        left: if range.limit > 0 { range.limit } else { i64::MAX },
        chunk_keys: FIRST_CHUNK_KEYS,
        chunk_bytes: request_bytes_max,
        pinned: None,
        range,
        serializable,
        source,
    };
    stream::try_unfold(Some(cursor), |cursor| async {
        match cursor {
            Some(cursor) => cursor.advance().await.map(Some),
            None => Ok(None),
        }
    })
}

/// Where chunks are read from.
pub(super) trait Source: Send + Sync + 'static {
    /// Reads a range; beside it the store's revision. `serializable` needs no quorum's consent.
    fn read(
        &self,
        range: Range,
        serializable: bool,
    ) -> impl Future<Output = Result<(Revision, Read), RequestError>> + Send;

    /// The header of an answer at this revision.
    fn header(&self, revision: Revision) -> ResponseHeader;
}

impl Source for Handle {
    async fn read(
        &self,
        range: Range,
        serializable: bool,
    ) -> Result<(Revision, Read), RequestError> {
        self.range(range, serializable).await
    }

    fn header(&self, revision: Revision) -> ResponseHeader {
        header(self, revision)
    }
}

/// What is still to be read.
struct Cursor<S> {
    source: S,
    range: Range,
    serializable: bool,
    /// Keys the client still wants.
    left: i64,
    chunk_keys: i64,
    /// The size that chunks are steered to.
    chunk_bytes: usize,
    /// Known from the first chunk on.
    pinned: Option<Pinned>,
}

/// What the first chunk settles for all of them.
#[derive(Clone, Copy)]
struct Pinned {
    header: ResponseHeader,
    count: i64,
}

impl<S: Source> Cursor<S> {
    /// Reads the next chunk; without a cursor in the answer it is the last.
    async fn advance(mut self) -> Result<(RangeStreamResponse, Option<Self>), Status> {
        self.range.limit = if self.range.count_only { 0 } else { self.chunk_keys.min(self.left) };
        // One barrier is enough: the chunks after the first read a revision that is already here.
        let serializable = self.serializable || self.pinned.is_some();
        let (revision, read) =
            self.source.read(self.range.clone(), serializable).await.map_err(status::of_request)?;
        let pinned = *self.pinned.get_or_insert_with(|| Pinned {
            header: self.source.header(revision),
            count: read.count,
        });
        if self.range.revision <= 0 {
            self.range.revision = revision.0;
        }

        let keys = i64::try_from(read.kvs.len()).unwrap_or(i64::MAX);
        self.left = self.left.saturating_sub(keys);
        let rest = read.kvs.last().and_then(|last| rest_after(&self.range.range, &last.key));
        let mut chunk = RangeResponse {
            kvs: read.kvs.into_iter().map(convert::kv::key_value).collect(),
            ..Default::default()
        };
        let next = rest.filter(|_| read.more && self.left > 0);
        if let Some(rest) = next {
            self.chunk_keys =
                next_chunk_keys(self.chunk_keys, chunk.encoded_len(), self.chunk_bytes);
            self.range.range = rest;
            return Ok((response(chunk), Some(self)));
        }
        chunk.header = Some(pinned.header);
        chunk.more = read.more;
        chunk.count = pinned.count;
        Ok((response(chunk), None))
    }
}

fn response(chunk: RangeResponse) -> RangeStreamResponse {
    RangeStreamResponse { range_response: Some(chunk) }
}

/// The keys of `range` after `last`; `None` when there can be none.
fn rest_after(range: &KeyRange, last: &Key) -> Option<KeyRange> {
    let next = KeyRange::One(last.clone()).end()?;
    match range {
        KeyRange::One(_) => None,
        KeyRange::HalfOpen(_, end) => Some(KeyRange::HalfOpen(next, end.clone())),
        KeyRange::From(_) => Some(KeyRange::From(next)),
    }
}

/// Steers chunks to between half and twice the wanted size.
fn next_chunk_keys(keys: i64, bytes: usize, wanted_bytes: usize) -> i64 {
    if bytes < wanted_bytes / 2 {
        keys.saturating_mul(2)
    } else if bytes > wanted_bytes.saturating_mul(2) {
        (keys / 2).max(1)
    } else {
        keys
    }
}

#[cfg(test)]
#[path = "range_stream_tests.rs"]
mod tests;
