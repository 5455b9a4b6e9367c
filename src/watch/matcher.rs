//! Which watchers of a stream watch a key.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    types::{Key, KeyRange},
    watch::WatchId,
};

/// The ranges of one stream's watchers. Watchers of single keys, which are the many, are found by
/// the key; ranges, which are few on a stream, are looked through.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    keys: BTreeMap<Key, BTreeSet<WatchId>>,
    ranges: BTreeMap<WatchId, KeyRange>,
}

impl Matcher {
    /// Adds a watcher.
    pub(super) fn insert(&mut self, id: WatchId, range: &KeyRange) {
        match range {
            KeyRange::One(key) => {
                self.keys.entry(key.clone()).or_default().insert(id);
            }
            KeyRange::HalfOpen(..) | KeyRange::From(_) => {
                self.ranges.insert(id, range.clone());
            }
        }
    }

    /// Takes a watcher out, if it is there.
    pub(super) fn remove(&mut self, id: WatchId, range: &KeyRange) {
        match range {
            KeyRange::One(key) => {
                if let Some(ids) = self.keys.get_mut(key) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.keys.remove(key);
                    }
                }
            }
            KeyRange::HalfOpen(..) | KeyRange::From(_) => {
                self.ranges.remove(&id);
            }
        }
    }

    /// The watchers of `key`.
    pub(super) fn matching<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = WatchId> + 'a {
        let exact = self.keys.get(key).into_iter().flatten().copied();
        let ranges = self.ranges.iter().filter(|(_, range)| range.contains(key));
        exact.chain(ranges.map(|(id, _)| *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    /// Each form of range is found, and gone once removed.
    #[test]
    fn finds_keys_and_ranges() {
        let watched = [
            (WatchId(0), KeyRange::One(key("b"))),
            (WatchId(1), KeyRange::HalfOpen(key("a"), key("c"))),
            (WatchId(2), KeyRange::From(key("b"))),
            (WatchId(3), KeyRange::One(key("b"))),
        ];
        let mut matcher = Matcher::default();
        for (id, range) in &watched {
            matcher.insert(*id, range);
        }
        let found = |matcher: &Matcher, text: &str| {
            matcher.matching(&key(text)).map(|id| id.0).collect::<BTreeSet<_>>()
        };

        assert_eq!(found(&matcher, "a"), [1].into());
        assert_eq!(found(&matcher, "b"), [0, 1, 2, 3].into());
        assert_eq!(found(&matcher, "c"), [2].into());

        for (id, range) in &watched {
            matcher.remove(*id, range);
        }
        assert!(found(&matcher, "b").is_empty());
        assert!(matcher.keys.is_empty());
    }
}
