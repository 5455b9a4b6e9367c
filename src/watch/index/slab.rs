//! The groups by number: a range, a filter, and what the owner keeps.

use std::mem;

use crate::watch::index::{GroupId, span::Span};

/// How many groups share an allocation. With chunks the slab grows without copying what is there,
/// which would hold up the caller when there are many groups.
const CHUNK_LEN: usize = 1024;

/// Where look-ups find the range behind a group number.
pub(super) trait Spans {
    /// The range and filter of the group.
    fn span(&self, id: GroupId) -> Option<&Span>;
}

/// Groups by number; the numbers of removed ones are given again, last in, first out.
///
/// All chunks but the last are full, of used slots and of free ones, and every free slot is in the
/// chain that begins at `free`. An empty slab holds no memory.
#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<Slot<T>>>,
    free: Option<GroupId>,
    len: usize,
}

/// As large as its content: the pointer of the range also says which of the two it is.
#[derive(Debug)]
enum Slot<T> {
    Used { span: Span, value: T },
    Free { next: Option<GroupId> },
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: None, len: 0 }
    }
}

impl<T> Spans for Slab<T> {
    fn span(&self, id: GroupId) -> Option<&Span> {
        match self.slot(id)? {
            Slot::Used { span, .. } => Some(span),
            Slot::Free { .. } => None,
        }
    }
}

impl<T> Slab<T> {
    #[cfg(test)]
    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a group, or returns `None` when the numbers have run out.
    pub(super) fn insert(&mut self, span: Span, value: T) -> Option<GroupId> {
        let slot = Slot::Used { span, value };
        let id = match self.free {
            Some(id) => {
                self.reuse(id, slot);
                id
            }
            None => self.push(slot)?,
        };
        self.len += 1;
        Some(id)
    }

    /// Takes a group out, if it is there.
    pub(super) fn remove(&mut self, id: GroupId) -> Option<T> {
        let free = Slot::Free { next: self.free };
        let slot = self.slot_mut(id)?;
        match mem::replace(slot, free) {
            Slot::Used { value, .. } => {
                self.free = Some(id);
                self.len -= 1;
                if self.len == 0 {
                    *self = Self::default();
                }
                Some(value)
            }
            was @ Slot::Free { .. } => {
                *slot = was;
                None
            }
        }
    }

    /// What the owner keeps for the group.
    pub(super) fn get(&self, id: GroupId) -> Option<&T> {
        match self.slot(id)? {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// What the owner keeps for the group, to be changed.
    pub(super) fn get_mut(&mut self, id: GroupId) -> Option<&mut T> {
        self.slot_mut(id)?.value_mut()
    }

    /// What the owner keeps for each group.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten().filter_map(Slot::value_mut)
    }

    /// Uses the first slot of the chain of free ones.
    fn reuse(&mut self, id: GroupId, slot: Slot<T>) {
        let first = self.slot_mut(id).expect("a free group number has a slot");
        self.free = match mem::replace(first, slot) {
            Slot::Free { next } => next,
            Slot::Used { .. } => unreachable!("group {id:?} is free and used"),
        };
    }

    fn push(&mut self, slot: Slot<T>) -> Option<GroupId> {
        let number = match self.chunks.last() {
            None => 0,
            Some(last) => (self.chunks.len() - 1) * CHUNK_LEN + last.len(),
        };
        // The largest number stays unused, so that there are no more groups than a u32 counts.
        let id = u32::try_from(number).ok().filter(|number| *number < u32::MAX).map(GroupId)?;

        if number.is_multiple_of(CHUNK_LEN) {
            self.chunks.push(Vec::new());
        }
        self.chunks.last_mut().expect("there is a chunk with room").push(slot);
        Some(id)
    }

    fn slot(&self, id: GroupId) -> Option<&Slot<T>> {
        let number = usize::try_from(id.0).ok()?;
        self.chunks.get(number / CHUNK_LEN)?.get(number % CHUNK_LEN)
    }

    fn slot_mut(&mut self, id: GroupId) -> Option<&mut Slot<T>> {
        let number = usize::try_from(id.0).ok()?;
        self.chunks.get_mut(number / CHUNK_LEN)?.get_mut(number % CHUNK_LEN)
    }
}

impl<T> Slot<T> {
    fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Used { value, .. } => Some(value),
            Self::Free { .. } => None,
        }
    }
}

/// How large a slot is.
#[cfg(test)]
pub(super) const fn slot_size<T>() -> usize {
    size_of::<Slot<T>>()
}
