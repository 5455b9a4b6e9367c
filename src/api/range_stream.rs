//! A range in chunks, all as of the revision at which the first was read.
//!
//! The stream holds a revision and the next key, not a view of the state: a client that reads
//! slowly keeps nothing alive but one chunk. If history is compacted past that revision before the
//! last chunk, the stream ends with that error and nothing is passed off as complete.

use futures_util::{Stream, stream};
use tonic::Status;

use crate::{
    api::{
        header::header,
        range_answer::{Answer, Rest},
        raw::Message,
        status,
    },
    node::{Bounds, Error, Handle, Part, RequestError},
    proto::etcdserverpb::ResponseHeader,
    state::Range,
    types::{Key, KeyRange, Revision},
};

/// Keys in the first chunk at most, so that it comes soon.
const FIRST_CHUNK_KEYS: usize = 10;

/// The chunks of a range, each of at most `chunk_bytes` unless a single pair is larger. Only the
/// last has header, count and whether the limit cut keys off.
pub(super) fn chunks(
    source: impl Source,
    range: Range,
    serializable: bool,
    chunk_bytes: usize,
) -> impl Stream<Item = Result<Message, Status>> + Send + 'static {
    let cursor = Cursor { source, range, serializable, chunk_bytes, pinned: None };
    stream::try_unfold(Some(cursor), |cursor| async {
        match cursor {
            Some(cursor) => cursor.advance().await.map(Some),
            None => Ok(None),
        }
    })
}

/// Where chunks are read from.
pub(super) trait Source: Send + Sync + 'static {
    /// Returns when a read shows every write that was acknowledged before.
    fn barrier(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Reads the beginning of a range, and counts its keys if asked to.
    fn read(
        &self,
        range: Range,
        counted: bool,
        bounds: Bounds,
    ) -> impl Future<Output = Result<Part<Answer>, RequestError>> + Send;

    /// The header of an answer at this revision.
    fn header(&self, revision: Revision) -> ResponseHeader;
}

impl Source for Handle {
    async fn barrier(&self) -> Result<(), Error> {
        self.read_barrier().await
    }

    async fn read(
        &self,
        range: Range,
        counted: bool,
        bounds: Bounds,
    ) -> Result<Part<Answer>, RequestError> {
        self.list_part(range, counted, bounds, Answer::of_many()).await
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
    async fn advance(mut self) -> Result<(Message, Option<Self>), Status> {
        let first = self.pinned.is_none();
        // One barrier is enough: the chunks after the first read a revision that is already here.
        if first && !self.serializable {
            self.source.barrier().await.map_err(status::of_node)?;
        }
        let keys = if first { FIRST_CHUNK_KEYS } else { usize::MAX };
        let bounds = Bounds { keys, bytes: self.chunk_bytes };
        let part = self
            .source
            .read(self.range.clone(), first, bounds)
            .await
            .map_err(status::of_request)?;
        let Pinned { header, count } = *self.pinned.get_or_insert_with(|| Pinned {
            header: self.source.header(part.revision),
            count: part.count,
        });
        if self.range.revision <= 0 {
            self.range.revision = part.revision.0;
        }
        let Some(next) = part.next else {
            let rest = Rest { header, more: part.more, count };
            return Ok((part.sink.part(Some(rest))?, None));
        };
        if self.range.limit > 0 {
            // What comes next is within the limit, so this stays above 0.
            self.range.limit -= part.taken;
        }
        self.range.range = starting_at(next, &self.range.range);
        Ok((part.sink.part(None)?, Some(self)))
    }
}

/// The keys of `range` from `next` on, which is one of them.
fn starting_at(next: Key, range: &KeyRange) -> KeyRange {
    match range {
        KeyRange::One(_) => KeyRange::One(next),
        KeyRange::HalfOpen(_, end) => KeyRange::HalfOpen(next, end.clone()),
        KeyRange::From(_) => KeyRange::From(next),
    }
}

#[cfg(test)]
#[path = "range_stream_tests.rs"]
mod tests;
