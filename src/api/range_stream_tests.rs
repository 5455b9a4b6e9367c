//! Chunks against one answer, over a store that moves on while they are read.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::StreamExt;
use prost::Message as _;

use super::*;
use crate::{
    api::convert,
    node::Sink,
    proto::etcdserverpb::{RangeResponse, RangeStreamResponse},
    state::{RangeResponse as Read, Refused, RevisionFilter, Sort, schema::cur},
    types::KeyValue,
};

type Pairs = BTreeMap<Key, KeyValue>;

/// A store that keeps what it held at every revision.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<History>>);

#[derive(Default)]
struct History {
    revisions: BTreeMap<Revision, Pairs>,
    compacted: Revision,
    /// How often a quorum was asked.
    barriers: usize,
    /// Of each read, whether the keys were to be counted.
    reads: Vec<bool>,
}

impl Store {
    fn with<T>(&self, work: impl FnOnce(&mut History) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A store with this many keys, each with a value of that many bytes.
    fn filled(keys: usize, value_len: usize) -> Self {
        let store = Self::default();
        store.with(|history| history.revisions.insert(Revision::FIRST, Pairs::new()));
        for number in 0..keys {
            store.put(&format!("key-{number:05}"), value_len);
        }
        store
    }

    fn put(&self, name: &str, value_len: usize) {
        self.with(|history| {
            let (revision, pairs) = history.revisions.last_key_value().unwrap();
            let (revision, mut pairs) = (revision.next(), pairs.clone());
            let value = vec![b'v'; value_len].into();
            pairs.insert(
                key(name),
                KeyValue {
                    key: key(name),
                    value,
                    create_revision: revision,
                    mod_revision: revision,
                    version: 1,
                    lease: None,
                },
            );
            history.revisions.insert(revision, pairs);
        });
    }

    fn answer(&self, range: &Range) -> Result<(Revision, Read), RequestError> {
        self.with(|history| {
            let newest = *history.revisions.last_key_value().unwrap().0;
            let at = if range.revision > 0 { Revision(range.revision) } else { newest };
            if at < history.compacted {
                return Err(Refused::Compacted(at).into());
            }
            let pairs = history.revisions.get(&at).unwrap();
            let all: Vec<_> = pairs.values().filter(|kv| range.range.contains(&kv.key)).collect();
            let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
            let len = limit.unwrap_or(usize::MAX).min(all.len());
            let kvs = all.iter().take(len).map(|kv| (*kv).clone()).collect();
            let (kvs, more) =
                if range.count_only { (Vec::new(), false) } else { (kvs, len < all.len()) };
            Ok((newest, Read { kvs, more, count: i64::try_from(all.len()).unwrap() }))
        })
    }
}

impl Source for Store {
    async fn barrier(&self) -> Result<(), Error> {
        self.with(|history| history.barriers += 1);
        Ok(())
    }

    async fn read(
        &self,
        range: Range,
        counted: bool,
        bounds: Bounds,
    ) -> Result<Part<Answer>, RequestError> {
        self.with(|history| history.reads.push(counted));
        let (revision, read) = self.answer(&range)?;
        let (mut sink, mut taken, mut bytes) = (Answer::of_many(), 0, 0);
        for pair in &read.kvs {
            let record = cur::encode(pair);
            let full = taken > 0 && bytes + record.len() > bounds.bytes;
            if full || taken == bounds.keys {
                break;
            }
            sink.take(&record);
            (taken, bytes) = (taken + 1, bytes + record.len());
        }
        Ok(Part {
            sink,
            revision,
            taken: i64::try_from(taken).unwrap(),
            next: read.kvs.get(taken).map(|pair| pair.key.clone()),
            more: read.more,
            count: if counted { read.count } else { 0 },
        })
    }

    fn header(&self, revision: Revision) -> ResponseHeader {
        ResponseHeader { member_id: 7, revision: revision.0, ..Default::default() }
    }
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn all() -> Range {
    Range {
        range: KeyRange::From(Key::MIN),
        revision: 0,
        limit: 0,
        sort: Sort::default(),
        keys_only: false,
        count_only: false,
        filter: RevisionFilter::default(),
    }
}

/// All chunks merged, and the number of keys in each.
async fn merged(
    chunks: impl Stream<Item = Result<Message, Status>>,
) -> (RangeResponse, Vec<usize>) {
    let chunks: Vec<_> = chunks.map(|chunk| decoded(&chunk.unwrap())).collect().await;
    let lens = chunks.iter().map(|chunk| chunk.kvs.len()).collect();
    let (last, before) = chunks.split_last().unwrap();
    for chunk in before {
        assert_eq!((chunk.header, chunk.more, chunk.count), (None, false, 0));
    }
    let kvs = chunks.iter().flat_map(|chunk| chunk.kvs.iter().cloned()).collect();
    (RangeResponse { kvs, ..last.clone() }, lens)
}

fn decoded(message: &Message) -> RangeResponse {
    let bytes: Bytes = message.pieces.iter().flatten().copied().collect();
    let response = RangeStreamResponse::decode(bytes.slice(5..)).unwrap();
    response.range_response.unwrap()
}

fn expected(store: &Store, range: &Range) -> RangeResponse {
    let (revision, read) = store.answer(range).unwrap();
    convert::kv::range_response(store.header(revision), read)
}

/// Merged, the chunks are what a read answers, whatever range, limit and form are asked for.
#[tokio::test]
async fn chunks_merge_to_the_answer() {
    let store = Store::filled(100, 10);
    let half_open = KeyRange::HalfOpen(key("key-00010"), key("key-00073"));
    let one = KeyRange::One(key("key-00010"));
    let none = KeyRange::HalfOpen(key("x"), key("y"));
    for range in [KeyRange::From(Key::MIN), half_open, one, none] {
        for limit in [-1, 0, 1, 9, 10, 11, 30, 63, 100, 1_000] {
            for (revision, count_only) in [(0, false), (40, false), (0, true)] {
                let asked = Range { range: range.clone(), limit, revision, count_only, ..all() };
                let (got, _) = merged(chunks(store.clone(), asked.clone(), false, 1_000_000)).await;
                assert_eq!(got, expected(&store, &asked), "{asked:?}");
            }
        }
    }
}

/// The first chunk has few keys; the others are as large as they may be, or hold a single pair.
#[tokio::test]
async fn chunks_are_as_large_as_they_may_be() {
    let small = Store::filled(1_000, 1);
    let (_, lens) = merged(chunks(small, all(), false, 1_000_000)).await;
    assert_eq!(lens, [10, 990]);

    let large = Store::filled(20, 1_000);
    let (_, lens) = merged(chunks(large.clone(), all(), false, 5_000)).await;
    assert_eq!(lens, [4, 4, 4, 4, 4]);
    let (_, lens) = merged(chunks(large, all(), false, 1)).await;
    assert_eq!(lens, [1; 20]);
}

/// Writes after the first chunk do not show, not even in count and header. A quorum is asked once,
/// and keys are counted once.
#[tokio::test]
async fn the_first_chunk_pins_the_revision() {
    let store = Store::filled(50, 10);
    let before = expected(&store, &all());
    let mut stream = Box::pin(chunks(store.clone(), all(), false, 1_000_000));
    let first = stream.next().await.unwrap();
    store.put("key-00005x", 10);
    store.put("key-00040x", 10);

    let (got, _) = merged(stream::iter([first]).chain(stream)).await;

    assert_eq!(got, before);
    assert_eq!(store.with(|history| history.reads.clone()), [true, false]);
    assert_eq!(store.with(|history| history.barriers), 1);
}

/// A compaction past the pinned revision ends the stream with an error.
#[tokio::test]
async fn a_compaction_ends_the_stream() {
    let store = Store::filled(50, 10);
    let mut stream = Box::pin(chunks(store.clone(), all(), true, 1_000_000));
    assert!(stream.next().await.unwrap().is_ok());
    store.put("new", 10);
    store.with(|history| history.compacted = *history.revisions.last_key_value().unwrap().0);

    let error = stream.next().await.unwrap().unwrap_err();

    assert_eq!(error.message(), "etcdserver: mvcc: required revision has been compacted");
    assert!(stream.next().await.is_none());
}
