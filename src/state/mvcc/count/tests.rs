//! Counts beside sets of keys, now and at every kept revision.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    buckets::{Bounds, Change},
    *,
};
use crate::{
    state::{
        Overlay,
        schema::{
            cur,
            meta::{STORE_KEY, Store, encode_store},
            ver,
        },
        testing::{MapView, wrong_counts},
    },
    types::{KeyValue, Revision},
};

const SMALL: Bounds = Bounds { keys: 4, buckets: 3, changes: 2 };

fn any_key() -> impl Strategy<Value = Key> {
    prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), 1..5)
        .prop_map(|bytes| Key::new(bytes).unwrap())
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        any_key().prop_map(KeyRange::One),
        any_key().prop_map(KeyRange::From),
        (any_key(), any_key()).prop_map(|(start, end)| KeyRange::HalfOpen(start, end)),
    ]
}

/// A state of counted keys, and which of them lived at every revision.
struct Counted {
    state: MapView,
    revision: Revision,
    compacted: Revision,
    lived: Vec<BTreeSet<Key>>,
}

impl Counted {
    fn new() -> Self {
        Self {
            state: MapView::default(),
            revision: Revision(0),
            compacted: Revision::NEVER_COMPACTED,
            lived: vec![BTreeSet::new()],
        }
    }

    /// Creates each of the keys, or deletes it if it lives, all at one revision.
    fn toggle(&mut self, keys: &[Key]) {
        self.revision = self.revision.next();
        let mut live = self.lived.last().unwrap().clone();
        let base = self.state.clone();
        let mut draft = Overlay::new(&base);
        let moment = Moment { revision: self.revision, compacted: self.compacted };
        for key in keys {
            if live.remove(key) {
                let old = draft.get(Family::Current, key.as_bytes()).unwrap().unwrap();
                let modified = cur::decode(&old).unwrap().mod_revision;
                let end = ver::encode(self.revision, &old);
                draft.put(Family::Versions, ver::key(key.as_bytes(), modified), end);
                draft.delete(Family::Current, key.bytes().clone());
                Change { draft: &mut draft, moment, bounds: SMALL }.deleted(key).unwrap();
            } else {
                let pair = cur::encode(&pair(key, self.revision));
                draft.put(Family::Current, key.bytes().clone(), pair);
                Change { draft: &mut draft, moment, bounds: SMALL }.created(key).unwrap();
                live.insert(key.clone());
            }
        }
        self.state.commit(draft.into_writes());
        self.lived.push(live);
        let wrong = wrong_counts(&self.state, SMALL.keys, SMALL.buckets).unwrap();
        assert_eq!(wrong, Vec::<String>::new());
    }

    fn compact(&mut self, to: Revision, collect_garbage: bool) {
        self.compacted = to;
        let store = Store { compacted: to, ..Store::default() };
        let base = MapView::default();
        let mut draft = Overlay::new(&base);
        draft.put(Family::Meta, STORE_KEY, encode_store(&store));
        self.state.commit(draft.into_writes());
        if collect_garbage {
            self.state.collect_garbage().unwrap();
        }
    }

    /// Every range counts right at every kept revision.
    fn check(&self, ranges: &[KeyRange]) {
        let first = self.compacted.0.max(0);
        for revision in first..=self.revision.0 {
            let live = &self.lived[usize::try_from(revision).unwrap()];
            for range in ranges {
                let expected = live.iter().filter(|key| range.contains(key)).count();
                let expected = u64::try_from(expected).unwrap();
                let mut times = vec![At::Past(Revision(revision))];
                times.extend((revision == self.revision.0).then_some(At::Newest));
                // Buckets are small here: each way to count their edges gets its turn.
                for (at, few) in times.iter().flat_map(|at| [(*at, 1), (*at, 2), (*at, 64)]) {
                    let counted = Buckets { view: &self.state, at, few }.keys(range).unwrap();
                    assert_eq!(counted, expected, "{range:?} {at:?} {few}");
                }
            }
        }
    }
}

fn pair(key: &Key, revision: Revision) -> KeyValue {
    KeyValue {
        key: key.clone(),
        value: Bytes::new(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// However keys come and go, every bucket holds what it says, none is too large, and every
    /// range counts right, now and at every kept revision.
    #[test]
    fn counts_are_exact(
        steps in prop::collection::vec(prop::collection::vec(any_key(), 1..6), 1..40),
        ranges in prop::collection::vec(any_range(), 1..12),
        compactions in prop::collection::vec((0..40_usize, any::<bool>()), 0..4),
    ) {
        let mut counted = Counted::new();
        for (step, keys) in steps.iter().enumerate() {
            counted.toggle(keys);
            for (_, collect_garbage) in compactions.iter().filter(|(after, _)| *after == step) {
                // Half of what was kept is given up.
                let kept = counted.revision.0 - counted.compacted.0;
                counted.compact(Revision(counted.revision.0 - kept / 2), *collect_garbage);
                counted.check(&ranges);
            }
        }
        counted.check(&ranges);
        // All go, the largest keys first, so that buckets empty in an order they did not fill in.
        for key in counted.lived.last().unwrap().clone().into_iter().rev() {
            counted.toggle(&[key]);
        }
        counted.check(&ranges);
        prop_assert_eq!(keys_at(&counted.state, At::Newest, &KeyRange::From(Key::MIN)).unwrap(), 0);
        // What is left after a compaction up to now does not tell how much there once was.
        counted.compact(counted.revision, true);
        counted.check(&ranges);
        let left = counted.state.records(Family::Counts).count();
        prop_assert!(left <= 4, "{left} records of counts are left");
    }
}

/// A count that disagrees with the keys is found out at the latest when the bucket is split.
#[test]
fn a_wrong_count_is_a_fault() {
    let state = MapView::default();
    let mut draft = Overlay::new(&state);
    let moment = Moment { revision: Revision(2), compacted: Revision::NEVER_COMPACTED };
    let mut change = Change { draft: &mut draft, moment, bounds: SMALL };
    let key = Key::new("a").unwrap();
    assert!(change.deleted(&key).is_err());
    for _ in 0..SMALL.keys {
        change.created(&key).unwrap();
    }
    let fault = change.created(&key).unwrap_err();
    assert_eq!(fault.to_string(), "a bucket of 5 keys holds 0");
}
