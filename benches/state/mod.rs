//! A state on RocksDB for the benchmarks, and the way entries get into it; gone when it is dropped.

use std::sync::Arc;

use bytes::Bytes;
use quorate::{
    node::ports::{OwnedView, StateStore},
    state::{Command, Family, Member, Overlay, Put, Request, apply, bootstrap, codec, meta},
    storage::{DataDir, Store, StoreOptions},
    types::{ClusterId, Identity, Index, Key, MemberId, Position, RequestId, Term},
};
use tempfile::TempDir;

const AT: Position = Position { index: Index(2), term: Term(1) };

/// A member's state, without the member.
pub(crate) struct State {
    store: Store,
    applied: Index,
    /// Dropped after the store that lives in it.
    _dir: TempDir,
}

impl State {
    /// With a value under each of these keys.
    pub(crate) fn with_keys(keys: impl IntoIterator<Item = u64>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, member) = (ClusterId(1), MemberId(1));
        let data = DataDir::open(dir.path()).unwrap();
        data.begin(cluster, member, "bench").unwrap();
        let store = Store::open(&Arc::new(data), StoreOptions::default()).unwrap();
        let first = Member { id: member, ..Member::default() };
        store.commit(bootstrap(cluster, &[first])).unwrap();
        let mut state = Self { store, applied: Index(1), _dir: dir };
        state.put_all(keys);
        state
    }

    /// Puts a value under each of these keys, a thousand of them in an entry.
    pub(crate) fn put_all(&mut self, keys: impl IntoIterator<Item = u64>) {
        let keys: Vec<_> = keys.into_iter().collect();
        for some in keys.chunks(1_000) {
            self.apply(puts(some.iter().copied()));
        }
    }

    /// Applies an entry as a member does: its requests one after the other, and one commit.
    pub(crate) fn apply(&mut self, entry: Bytes) {
        let view = self.view();
        let mut overlay = Overlay::new(&*view);
        for request in codec::decode_group(entry).unwrap() {
            let applied = apply(&overlay, AT, &request).unwrap();
            assert!(applied.outcome.is_ok());
            overlay.absorb(applied.writes);
        }
        self.applied = self.applied.next();
        let (key, value) = meta::applied_record(self.applied, AT.term);
        overlay.put(Family::Meta, key, value);
        self.store.commit(overlay.into_writes()).unwrap();
    }

    /// What is stored now.
    pub(crate) fn view(&self) -> OwnedView {
        self.store.view().unwrap()
    }
}

/// A key of 32 bytes.
pub(crate) fn key(number: u64) -> Key {
    Key::new(format!("/registry/service/{number:014}")).unwrap()
}

/// An entry that puts 100 bytes under each of these keys.
pub(crate) fn puts(keys: impl IntoIterator<Item = u64>) -> Bytes {
    let request = |number| {
        let put = Put {
            key: key(number),
            value: Bytes::from_static(&[b'v'; 100]),
            lease: None,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        let command = Command::Put(put);
        Request { id: RequestId::default(), identity: Identity::anonymous(), command }
    };
    let requests: Vec<_> = keys.into_iter().map(request).collect();
    codec::encode_group(&requests)
}
