//! [`Roster`]: the watchers of a stream by id, closely packed.
//!
//! Ids that the stream gives out itself follow one another, and a stream may have a million. So ids
//! next to each other share a block of values without gaps between them; ids that clients chose far
//! apart have a block each.

use std::collections::BTreeMap;

use crate::watch::WatchId;

/// Bits of an id that say its place in a block.
const PLACE_BITS: u32 = u32::BITS.ilog2();

/// Values by id.
#[derive(Debug)]
pub(super) struct Roster<T> {
    /// None is empty.
    blocks: BTreeMap<i64, Block<T>>,
    len: usize,
}

/// The values of up to 32 ids in a row.
#[derive(Debug)]
struct Block<T> {
    /// A bit for each id that has a value.
    taken: u32,
    /// In the order of ids.
    values: Vec<T>,
}

impl<T> Roster<T> {
    pub(super) fn new() -> Self {
        Self { blocks: BTreeMap::new(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn contains(&self, id: WatchId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn get(&self, id: WatchId) -> Option<&T> {
        let (number, bit) = place(id);
        let block = self.blocks.get(&number)?;
        block.values.get(block.rank(bit)?)
    }

    pub(super) fn get_mut(&mut self, id: WatchId) -> Option<&mut T> {
        let (number, bit) = place(id);
        let block = self.blocks.get_mut(&number)?;
        let rank = block.rank(bit)?;
        block.values.get_mut(rank)
    }

    /// Adds a value under an id that has none.
    pub(super) fn insert(&mut self, id: WatchId, value: T) {
        debug_assert!(!self.contains(id), "watcher {id} is there already");
        let (number, bit) = place(id);
        let new = || Block { taken: 0, values: Vec::new() };
        let block = self.blocks.entry(number).or_insert_with(new);
        if block.values.len() == block.values.capacity() {
            // A lone value takes no more than its own place.
            block.values.reserve_exact(block.values.len().max(1));
        }
        block.taken |= bit;
        block.values.insert(block.lower(bit), value);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, id: WatchId) -> Option<T> {
        let (number, bit) = place(id);
        let block = self.blocks.get_mut(&number)?;
        let value = block.values.remove(block.rank(bit)?);
        block.taken &= !bit;
        if block.taken == 0 {
            self.blocks.remove(&number);
        }
        self.len -= 1;
        Some(value)
    }

    /// All values, by id.
    pub(super) fn into_values(self) -> impl Iterator<Item = T> {
        self.blocks.into_values().flat_map(|block| block.values)
    }
}

impl<T> Block<T> {
    /// Where the value of an id is, if it has one.
    fn rank(&self, bit: u32) -> Option<usize> {
        (self.taken & bit != 0).then(|| self.lower(bit))
    }

    /// How many values there are before that of an id.
    fn lower(&self, bit: u32) -> usize {
        usize::try_from((self.taken & (bit - 1)).count_ones()).unwrap_or(usize::MAX)
    }
}

/// The block of an id, and its bit there.
fn place(WatchId(id): WatchId) -> (i64, u32) {
    let number = id >> PLACE_BITS;
    let place = id - (number << PLACE_BITS);
    (number, 1 << u32::try_from(place).expect("what is left of an id is small and not negative"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_id() -> impl Strategy<Value = WatchId> {
        let far = prop::sample::select(vec![i64::MIN, i64::MIN + 31, i64::MAX - 40, i64::MAX]);
        prop_oneof![4 => -40..40_i64, 1 => far].prop_map(WatchId)
    }

    proptest! {
        /// It holds what a map holds, in the same order.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any_id(), any::<bool>()), 0..200)) {
            let (mut roster, mut map) = (Roster::new(), BTreeMap::new());
            for (at, (id, add)) in steps.into_iter().enumerate() {
                if !add {
                    prop_assert_eq!(roster.remove(id), map.remove(&id));
                } else if !roster.contains(id) {
                    roster.insert(id, at);
                    map.insert(id, at);
                }
                prop_assert_eq!(roster.get(id), map.get(&id));
                prop_assert_eq!(roster.get_mut(id), map.get_mut(&id));
                prop_assert_eq!((roster.len(), roster.is_empty()), (map.len(), map.is_empty()));
            }
            prop_assert!(roster.into_values().eq(map.into_values()));
        }
    }

    /// Nothing is left behind of blocks that were emptied, and full ones have no room to spare.
    #[test]
    fn it_is_packed() {
        let mut roster = Roster::new();
        (0..96).for_each(|id| roster.insert(WatchId(id), id));
        assert_eq!(roster.blocks.len(), 3);
        assert!(roster.blocks.values().all(|block| block.values.capacity() == 32));
        (0..96).for_each(|id| assert_eq!(roster.remove(WatchId(id)), Some(id)));
        assert!(roster.blocks.is_empty());
    }
}
