//! From a key to the groups that watch it, in a time that hardly depends on how many there are.
//!
//! A group is one range of keys and one filter, with whatever its owner keeps for it. Groups of
//! single keys, which may be a million, are found through a hash table of group numbers; groups of
//! ranges through an interval tree. Both look ranges up in one slab, which holds each range once, in
//! an allocation of its own and never as a share of a request.
//!
//! Promised: a key costs one look-up and one descent, however unluckily clients choose their keys.
//! What comes out, and in which order, depends on what was put in and on nothing else; the hash table
//! is keyed at random, and therefore never walked.
//!
//! Absent: any judgement of filters. Ranges that hold the same keys but are written differently, as
//! one key and as that key up to its successor, are different ranges here.

mod exact;
mod slab;
mod span;
mod tree;

#[cfg(test)]
mod tests;

use crate::{
    types::{Key, KeyRange},
    watch::{
        Filter,
        index::{
            exact::Exact,
            slab::{Slab, Spans},
            span::Span,
            tree::Tree,
        },
    },
};

pub(super) use span::{End, Extent};

/// Names a group for as long as it exists; the number is given again after its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GroupId(u32);

impl GroupId {
    /// Its number: small, for lists with a place for each group.
    pub(super) fn number(self) -> usize {
        usize::try_from(self.0).expect("a usize has 32 bits or more")
    }
}

/// The groups, by number, by range and filter, and by the keys they watch.
#[derive(Debug)]
pub(super) struct Index<T> {
    slab: Slab<T>,
    exact: Exact,
    ranges: Tree,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Index<T> {
    /// An index without groups.
    pub(super) fn new() -> Self {
        Self { slab: Slab::default(), exact: Exact::default(), ranges: Tree::default() }
    }

    #[cfg(test)]
    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    #[cfg(test)]
    /// Whether there is no group.
    pub(super) fn is_empty(&self) -> bool {
        self.slab.len() == 0
    }

    /// The group of this range and filter.
    pub(super) fn find(&self, range: &KeyRange, filter: Filter) -> Option<GroupId> {
        match range {
            KeyRange::One(key) => self.exact.find(key.as_bytes(), filter, &self.slab),
            KeyRange::HalfOpen(..) | KeyRange::From(_) => {
                self.ranges.find(Extent::of(range), filter, &self.slab)
            }
        }
    }

    /// Adds a group. There is none of this range and filter yet, and the range is not empty.
    ///
    /// `None`, and no group, when the numbers have run out.
    pub(super) fn insert(&mut self, range: &KeyRange, filter: Filter, value: T) -> Option<GroupId> {
        debug_assert!(!range.is_empty(), "a group watches no key");
        debug_assert!(self.find(range, filter).is_none(), "there is such a group already");

        let id = self.slab.insert(Span::new(range, filter), value)?;
        match range {
            KeyRange::One(_) => self.exact.insert(id, &self.slab),
            KeyRange::HalfOpen(..) | KeyRange::From(_) => self.ranges.insert(id, &self.slab),
        }
        Some(id)
    }

    /// Takes a group out, if it is there.
    pub(super) fn remove(&mut self, id: GroupId) -> Option<T> {
        // The look-ups find the group by its range, so the slab lets go of it last.
        match self.extent(id)?.end {
            End::Single => self.exact.remove(id, &self.slab),
            End::Before(_) | End::Open => self.ranges.remove(id, &self.slab),
        }
        self.slab.remove(id)
    }

    /// What the owner keeps for the group.
    pub(super) fn get(&self, id: GroupId) -> Option<&T> {
        self.slab.get(id)
    }

    /// What the owner keeps for the group, to be changed.
    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut T> {
        self.slab.get_mut(id)
    }

    /// What the owner keeps for each group, by group number.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slab.iter_mut()
    }

    /// The filter of the group.
    pub(super) fn filter(&self, id: GroupId) -> Option<Filter> {
        self.slab.span(id).map(Span::filter)
    }

    /// The range of the group, borrowed.
    pub(super) fn extent(&self, id: GroupId) -> Option<Extent<'_>> {
        self.slab.span(id).map(Span::extent)
    }

    #[cfg(test)]
    /// Whether the group watches the key.
    pub(super) fn contains(&self, id: GroupId, key: &Key) -> bool {
        self.extent(id).is_some_and(|extent| extent.contains(key.as_bytes()))
    }

    /// Calls `found` for every group that watches the key, whatever its filter: first those of the
    /// single key, then those of ranges by start, end (open ends last) and filter.
    pub(super) fn matching(&self, key: &Key, mut found: impl FnMut(GroupId)) {
        self.exact.matching(key.as_bytes(), &self.slab, &mut found);
        self.ranges.stab(key.as_bytes(), &self.slab, &mut found);
    }
}
