//! [`Overlay`]: writes on top of a view, readable before they are stored.

mod merge;

use std::{borrow::Borrow, cmp::Ordering, ops::Bound};

use bytes::Bytes;

use crate::{
    state::{
        Cursor, Family, View, Writes,
        map_cursor::{MapCursor, Records},
        overlay::merge::Merge,
    },
    types::Fault,
};

/// A view with writes on top: a reader sees both as one.
///
/// One lies over the stored state for a batch of entries, and one over that for each request.
pub struct Overlay<'a> {
    base: &'a dyn View,
    writes: Writes,
}

impl<'a> Overlay<'a> {
    /// No writes yet, on top of `base`.
    #[must_use]
    pub fn new(base: &'a dyn View) -> Self {
        Self { base, writes: Writes::default() }
    }

    /// Writes a record.
    pub fn put(&mut self, family: Family, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.writes.records.insert((family, key.into()), Some(value.into()));
    }

    /// Deletes a record.
    pub fn delete(&mut self, family: Family, key: impl Into<Bytes>) {
        self.writes.records.insert((family, key.into()), None);
    }

    /// Deletes the records `start <= key < end`, which no reader may still ask for: those of the
    /// base stay visible here.
    pub fn drop_range(&mut self, family: Family, start: Bytes, end: Bytes) {
        if end <= start {
            return;
        }
        // Stored writes come after dropped ranges, so what was written here before goes now.
        let (from, to) = ((family, start), (family, end));
        self.writes.records.retain(|key, _| *key < from || to <= *key);
        self.writes.dropped_ranges.push((family, from.1, to.1));
    }

    /// Puts `writes` on top of those that are here.
    pub fn absorb(&mut self, writes: Writes) {
        for (family, start, end) in writes.dropped_ranges {
            self.drop_range(family, start, end);
        }
        self.writes.records.extend(writes.records);
    }

    /// What is written to a family from `start`, which is not above `end`, to `end`.
    fn written(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<Bytes>)> + use<'_> {
        let from = (family, start);
        let to = match end {
            Some(end) => Some((family, end)),
            None => family.next().map(|next| (next, &[][..])),
        };
        let to: Option<&dyn RecordKey> = to.as_ref().map(|to| to as &dyn RecordKey);
        let bounds = (
            Bound::Included(&from as &dyn RecordKey),
            to.map_or(Bound::Unbounded, Bound::Excluded),
        );
        let written = self.writes.records.range::<dyn RecordKey, _>(bounds);
        written.map(|((_, key), value)| (key, value))
    }

    /// All writes, to be stored as one unit.
    #[must_use]
    pub fn into_writes(self) -> Writes {
        self.writes
    }
}

impl View for Overlay<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        match self.writes.records.get(&(family, key) as &dyn RecordKey) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(family, key),
        }
    }

    fn last_within(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, Fault> {
        let mut below = self.base.last_within(family, start, end)?;
        if end <= start {
            return Ok(below);
        }
        for (key, value) in self.written(family, start, Some(end)).rev() {
            let order = below.as_ref().map(|(below, _)| below.cmp(key));
            match (value, order) {
                (_, Some(Ordering::Greater)) => break,
                (Some(value), _) => return Ok(Some((key.clone(), value.clone()))),
                // What lies below is deleted here.
                (None, Some(Ordering::Equal)) => {
                    below = self.base.last_within(family, start, key)?;
                }
                (None, Some(Ordering::Less) | None) => {}
            }
        }
        Ok(below)
    }

    fn cursor<'c>(
        &'c self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'c>, Fault> {
        let base = self.base.cursor(family, start, end)?;
        let nothing_to_show = end.is_some_and(|end| end <= start);
        if nothing_to_show || self.written(family, start, end).next().is_none() {
            return Ok(base);
        }
        let written = move |start: &[u8], end: Option<&[u8]>| -> Records<'_, &Option<Bytes>> {
            let written = self.written(family, start, end);
            Box::new(written.map(|(key, value)| (&key[..], value)))
        };
        Ok(Box::new(Merge::new(base, MapCursor::new(start, end, written))))
    }
}

/// A key of [`Writes::records`], owned or borrowed. A map of owned keys can be searched for a
/// borrowed one only through a type that both can be seen as; without it every look-up would copy.
trait RecordKey {
    fn parts(&self) -> (Family, &[u8]);
}

impl RecordKey for (Family, Bytes) {
    fn parts(&self) -> (Family, &[u8]) {
        (self.0, &self.1)
    }
}

impl RecordKey for (Family, &[u8]) {
    fn parts(&self) -> (Family, &[u8]) {
        *self
    }
}

impl<'k> Borrow<dyn RecordKey + 'k> for (Family, Bytes) {
    fn borrow(&self) -> &(dyn RecordKey + 'k) {
        self
    }
}

impl PartialEq for dyn RecordKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn RecordKey + '_ {}

impl PartialOrd for dyn RecordKey + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn RecordKey + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::ControlFlow};

    use proptest::prelude::*;

    use super::*;
    use crate::state::{Direction, testing::MapView};

    type Map = BTreeMap<Vec<u8>, Vec<u8>>;

    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 0xff]), 1..4)
    }

    fn collect(
        view: &dyn View,
        start: &[u8],
        end: Option<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let visited = view.scan(Family::Current, start, end, direction, &mut |key, value| {
            seen.push([key, value].concat());
            Ok(if seen.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        visited.unwrap();
        seen
    }

    proptest! {
        /// Reading through an overlay is reading the state that has its writes.
        #[test]
        fn an_overlay_reads_as_the_state_it_will_become(
            stored in prop::collection::btree_map(any_key(), any_key(), 0..12),
            written in prop::collection::btree_map(any_key(), prop::option::of(any_key()), 0..12),
            start in any_key(),
            end in prop::option::of(any_key()),
            limit in 1..8_usize,
            probe in any_key(),
        ) {
            let mut base = MapView::default();
            let mut model: Map = stored;
            let mut first = Overlay::new(&base);
            for (key, value) in &model {
                first.put(Family::Current, key.clone(), value.clone());
            }
            let writes = first.into_writes();
            base.commit(writes);
            let mut overlay = Overlay::new(&base);
            for (key, value) in written {
                match value {
                    Some(value) => {
                        overlay.put(Family::Current, key.clone(), value.clone());
                        model.insert(key, value);
                    }
                    None => {
                        overlay.delete(Family::Current, key.clone());
                        model.remove(&key);
                    }
                }
            }

            let within = |key: &Vec<u8>| *key >= start && end.as_ref().is_none_or(|end| key < end);
            let mut expected: Vec<_> =
                model.iter().filter(|(key, _)| within(key)).map(|(key, value)| [&key[..], value].concat()).collect();
            let got = collect(&overlay, &start, end.as_deref(), Direction::Forward, limit);
            prop_assert_eq!(&got[..], &expected[..limit.min(expected.len())]);
            expected.reverse();
            let got = collect(&overlay, &start, end.as_deref(), Direction::Backward, limit);
            prop_assert_eq!(&got[..], &expected[..limit.min(expected.len())]);
            if let Some(end) = &end {
                let last = overlay.last_within(Family::Current, &start, end).unwrap();
                let last = last.map(|(key, value)| [key, value].concat());
                prop_assert_eq!(last.as_ref(), expected.first());
            }
            let mut cursor = overlay.cursor(Family::Current, &start, end.as_deref()).unwrap();
            for direction in [Direction::Forward, Direction::Backward] {
                cursor.seek(&probe, direction).unwrap();
                let mut within = model.keys().filter(|key| within(key));
                let expected = match direction {
                    Direction::Forward => within.find(|key| **key >= probe),
                    Direction::Backward => within.rfind(|key| **key < probe),
                };
                prop_assert_eq!(cursor.item().map(|(key, _)| key), expected.map(|key| &key[..]));
            }
            drop(cursor);
            let value = overlay.get(Family::Current, &start).unwrap().map(|value| value.to_vec());
            prop_assert_eq!(value.as_ref(), model.get(&start));

            let writes = overlay.into_writes();
            base.commit(writes);
            expected.reverse();
            let all = collect(&base, &start, end.as_deref(), Direction::Forward, usize::MAX);
            prop_assert_eq!(all, expected);
        }
    }

    /// A dropped range takes with it what the same batch wrote there before, and nothing later.
    #[test]
    fn a_dropped_range_spares_what_is_written_after_it() {
        let mut base = MapView::default();
        let mut overlay = Overlay::new(&base);
        overlay.put(Family::Events, "a", "before");
        overlay.put(Family::Events, "c", "outside");
        overlay.drop_range(Family::Events, "a".into(), "c".into());
        overlay.put(Family::Events, "b", "after");
        let writes = overlay.into_writes();
        base.commit(writes);

        assert_eq!(base.get(Family::Events, b"a").unwrap(), None);
        assert_eq!(base.get(Family::Events, b"b").unwrap(), Some("after".into()));
        assert_eq!(base.get(Family::Events, b"c").unwrap(), Some("outside".into()));
    }
}
