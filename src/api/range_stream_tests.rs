//! Chunks against one answer, over a store that moves on while they are read.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::StreamExt;

use super::*;
use crate::{
    state::{Refused, RevisionFilter, Sort},
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
    /// Of each read, whether it needed no quorum.
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
    async fn read(
        &self,
        range: Range,
        serializable: bool,
    ) -> Result<(Revision, Read), RequestError> {
        self.with(|history| history.reads.push(serializable));
        self.answer(&range)
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
    chunks: impl Stream<Item = Result<RangeStreamResponse, Status>>,
) -> (RangeResponse, Vec<usize>) {
    let chunks: Vec<_> = chunks.map(|chunk| chunk.unwrap().range_response.unwrap()).collect().await;
    let lens = chunks.iter().map(|chunk| chunk.kvs.len()).collect();
    let (last, before) = chunks.split_last().unwrap();
    for chunk in before {
        assert_eq!((chunk.header, chunk.more, chunk.count), (None, false, 0));
    }
    let kvs = chunks.iter().flat_map(|chunk| chunk.kvs.iter().cloned()).collect();
    (RangeResponse { kvs, ..last.clone() }, lens)
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

/// Small chunks double, so that many keys take few messages; large ones shrink.
#[tokio::test]
async fn chunks_follow_the_size_of_values() {
    let small = Store::filled(100, 1);
    let (_, lens) = merged(chunks(small, all(), false, 1_000_000)).await;
    assert_eq!(lens, [10, 20, 40, 30]);

    let large = Store::filled(20, 1_000);
    let (_, lens) = merged(chunks(large, all(), false, 2_000)).await;
    assert_eq!(lens, [10, 5, 2, 2, 1]);
}

/// Writes after the first chunk do not show, not even in count and header; only the first chunk
/// needs a quorum.
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
    assert_eq!(store.with(|history| history.reads.clone()), [false, true, true]);
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

/// What follows a key begins right after it and ends where the range ended.
#[test]
fn the_rest_begins_right_after_the_last_key() {
    let (a, c) = (key("a"), key("c"));
    let half_open = KeyRange::HalfOpen(a.clone(), c.clone());
    assert_eq!(rest_after(&half_open, &key("b")), Some(KeyRange::HalfOpen(key("b\0"), c)));
    let from = KeyRange::From(a.clone());
    assert_eq!(rest_after(&from, &key("b")), Some(KeyRange::From(key("b\0"))));
    assert_eq!(rest_after(&KeyRange::One(a.clone()), &a), None);
}

/// Chunks double while they are below half the wanted size, halve above twice, never below one.
#[test]
fn chunks_are_steered_by_their_size() {
    assert_eq!(next_chunk_keys(10, 49, 100), 20);
    assert_eq!(next_chunk_keys(10, 50, 100), 10);
    assert_eq!(next_chunk_keys(10, 200, 100), 10);
    assert_eq!(next_chunk_keys(10, 201, 100), 5);
    assert_eq!(next_chunk_keys(1, 1_000, 100), 1);
    assert_eq!(next_chunk_keys(i64::MAX, 0, 100), i64::MAX);
}
