//! Which leases there are: by id, and by a small number under which the wheel knows them.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::{
    lease::wheel::{Link, Links},
    types::{LeaseId, Millis, Seconds},
};

/// How many leases share an allocation. The table grows without copying what is there, which would
/// hold up the caller when there are many.
const CHUNK_LEN: usize = 1_024;
/// How many hash tables share the ids, for the same reason: one that grows moves all it has.
const SHARDS: u64 = 256;

/// A lease as a member knows it: 64 bytes. On a leader the clock runs, elsewhere its times mean
/// nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) granted: Seconds,
    /// What the log says was left at the last checkpoint; 0 when it says nothing.
    pub(super) remaining: Seconds,
    /// Until when it lives.
    pub(super) deadline: Millis,
    /// When it was last granted, renewed, checkpointed, or taken over from another leader.
    pub(super) heard: Millis,
    pub(super) link: Link,
    /// How many keys are attached.
    pub(super) keys: u32,
    /// A revocation is on its way; from here on it cannot be renewed.
    pub(super) revoking: bool,
    /// A checkpoint is on its way into the log.
    pub(super) checkpointing: bool,
}

impl Lease {
    pub(super) fn new(id: LeaseId, granted: Seconds) -> Self {
        Self {
            id,
            granted,
            remaining: Seconds(0),
            deadline: Millis(0),
            heard: Millis(0),
            link: Link::default(),
            keys: 0,
            revoking: false,
            checkpointing: false,
        }
    }
}

/// As large as a lease: one of its flags also says which of the two it is.
#[derive(Debug)]
enum Slot {
    Used(Lease),
    Free { next: Option<u32> },
}

/// All leases. Numbers of those that are gone are given again, last in, first out.
///
/// Clients choose ids, so their hash is keyed at random: nobody can choose many that collide. The
/// hash tables are never walked, so nothing that comes out shows it.
#[derive(Debug)]
pub(super) struct Table {
    hasher: RandomState,
    shards: Box<[HashTable<u32>]>,
    chunks: Vec<Vec<Slot>>,
    free: Option<u32>,
    len: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            chunks: Vec::new(),
            free: None,
            len: 0,
        }
    }
}

impl Links for Table {
    fn link(&mut self, number: u32) -> &mut Link {
        &mut self.lease_mut(number).link
    }
}

impl Table {
    /// How many leases there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The number of a lease.
    pub(super) fn find(&self, id: LeaseId) -> Option<u32> {
        let hash = self.hasher.hash_one(id);
        let shard = self.shards.get(shard_of(hash))?;
        shard.find(hash, |number| self.has(*number, id)).copied()
    }

    /// Adds a lease, whose id is not there yet.
    pub(super) fn insert(&mut self, lease: Lease) -> u32 {
        assert!(self.find(lease.id).is_none(), "lease {} is started twice", lease.id);
        let hash = self.hasher.hash_one(lease.id);
        let number = self.place(lease);
        let Self { hasher, shards, chunks, .. } = self;
        let shard = shards.get_mut(shard_of(hash)).expect("a hash has a shard");
        shard.insert_unique(hash, number, |other| {
            hasher.hash_one(used(chunks, *other).expect("a numbered lease is there").id)
        });
        self.len += 1;
        number
    }

    /// Takes a lease out.
    pub(super) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let hash = self.hasher.hash_one(id);
        let number = self.find(id)?;
        let shard = self.shards.get_mut(shard_of(hash))?;
        if let Ok(found) = shard.find_entry(hash, |other| *other == number) {
            found.remove();
        }
        // Memory that many leases took is given back when most of them are gone.
        if shard.len() < shard.capacity() / 8 {
            let (hasher, chunks) = (&self.hasher, &self.chunks);
            shard.shrink_to(shard.len() * 2, |other| {
                hasher.hash_one(used(chunks, *other).expect("a numbered lease is there").id)
            });
        }
        self.len -= 1;
        let slot = self.slot_mut(number).expect("a numbered lease has a slot");
        let Slot::Used(lease) = std::mem::replace(slot, Slot::Free { next: None }) else {
            unreachable!("lease {id} has a number and no place");
        };
        self.release(number);
        Some(lease)
    }

    /// The lease of a number that is in use.
    pub(super) fn lease(&self, number: u32) -> &Lease {
        used(&self.chunks, number).expect("a numbered lease is there")
    }

    /// The same, to be changed.
    pub(super) fn lease_mut(&mut self, number: u32) -> &mut Lease {
        match self.slot_mut(number) {
            Some(Slot::Used(lease)) => lease,
            Some(Slot::Free { .. }) | None => unreachable!("no lease has number {number}"),
        }
    }

    /// All leases with their numbers, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Lease)> {
        (0..).zip(self.chunks.iter().flatten()).filter_map(|(number, slot)| match slot {
            Slot::Used(lease) => Some((number, lease)),
            Slot::Free { .. } => None,
        })
    }

    /// All leases, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        self.chunks.iter_mut().flatten().filter_map(|slot| match slot {
            Slot::Used(lease) => Some(lease),
            Slot::Free { .. } => None,
        })
    }

    /// Numbers below this one may be in use.
    pub(super) fn numbers(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK_LEN;
        number_of(full + self.chunks.last().map_or(0, Vec::len))
    }

    /// Whether a number is in use.
    pub(super) fn is_used(&self, number: u32) -> bool {
        used(&self.chunks, number).is_some()
    }

    fn has(&self, number: u32, id: LeaseId) -> bool {
        used(&self.chunks, number).is_some_and(|lease| lease.id == id)
    }

    fn place(&mut self, lease: Lease) -> u32 {
        if let Some(number) = self.free {
            let slot = self.slot_mut(number).expect("a free number has a slot");
            let Slot::Free { next } = std::mem::replace(slot, Slot::Used(lease)) else {
                unreachable!("number {number} is free and in use");
            };
            self.free = next;
            return number;
        }
        let number = self.numbers();
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK_LEN) {
            Some(chunk) => chunk.push(Slot::Used(lease)),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK_LEN);
                chunk.push(Slot::Used(lease));
                self.chunks.push(chunk);
            }
        }
        number
    }

    fn release(&mut self, number: u32) {
        if self.len == 0 {
            self.chunks = Vec::new();
            self.free = None;
            return;
        }
        let next = self.free.replace(number);
        *self.slot_mut(number).expect("a numbered lease has a slot") = Slot::Free { next };
    }

    fn slot_mut(&mut self, number: u32) -> Option<&mut Slot> {
        let (chunk, slot) = position(number);
        self.chunks.get_mut(chunk)?.get_mut(slot)
    }
}

fn used(chunks: &[Vec<Slot>], number: u32) -> Option<&Lease> {
    let (chunk, slot) = position(number);
    match chunks.get(chunk)?.get(slot)? {
        Slot::Used(lease) => Some(lease),
        Slot::Free { .. } => None,
    }
}

fn position(number: u32) -> (usize, usize) {
    let number = usize::try_from(number).expect("an address has at least 32 bits");
    (number / CHUNK_LEN, number % CHUNK_LEN)
}

fn number_of(len: usize) -> u32 {
    // Memory for so many is not to be had: each takes 64 bytes here and more on disk.
    u32::try_from(len).ok().filter(|number| *number < u32::MAX).expect("leases are numbered")
}

/// By bits in the middle: the tables use the highest and the lowest.
fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 40 & (SHARDS - 1)).expect("shards are few")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of leases that are gone are used again, and all come back by id.
    #[test]
    fn leases_come_and_go() {
        let mut table = Table::default();
        for id in 0..5_000 {
            table.insert(Lease::new(LeaseId(id), Seconds(id)));
        }
        for id in (0..5_000).step_by(2) {
            assert_eq!(table.remove(LeaseId(id)).unwrap().granted, Seconds(id));
        }
        let before = table.numbers();
        for id in 5_000..7_500 {
            table.insert(Lease::new(LeaseId(id), Seconds(id)));
        }
        assert_eq!((table.len(), table.numbers()), (5_000, before));
        assert!(table.remove(LeaseId(4)).is_none());
        let found: std::collections::BTreeSet<_> =
            table.iter().map(|(number, lease)| (number, lease.id)).collect();
        assert_eq!(found.len(), 5_000);
        for (number, id) in found {
            assert_eq!((table.find(id), table.is_used(number)), (Some(number), true));
        }
    }

    /// What a million leases take of memory follows from this.
    #[test]
    fn a_lease_takes_a_cache_line() {
        assert_eq!(size_of::<Slot>(), 64);
    }

    /// An emptied table starts over.
    #[test]
    fn an_empty_table_holds_no_chunks() {
        let mut table = Table::default();
        table.insert(Lease::new(LeaseId(1), Seconds(5)));
        table.remove(LeaseId(1));
        assert_eq!((table.len(), table.numbers()), (0, 0));
        assert_eq!(table.insert(Lease::new(LeaseId(2), Seconds(5))), 0);
    }
}
