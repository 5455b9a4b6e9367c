//! The groups of single keys, by key.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use crate::watch::{
    Filter,
    index::{
        GroupId,
        slab::Spans,
        span::{End, Extent, Span, filter_bits},
    },
};

/// How many tables share the groups. A table that grows moves all it has while the caller waits;
/// with a million groups that is a few thousand in one of these, and a million in a single one.
const SHARDS: usize = 1 << u8::BITS;

/// A hash table of group numbers; the keys are looked up behind them.
///
/// Clients choose the keys, so the hash is keyed at random: nobody can choose many that collide. The
/// tables are asked about one key at a time and never walked, so nothing that comes out shows it.
#[derive(Debug)]
pub(super) struct Exact {
    hasher: RandomState,
    shards: Box<[HashTable<GroupId>]>,
}

impl Default for Exact {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Exact {
    /// The group of this key and filter.
    pub(super) fn find(&self, key: &[u8], filter: Filter, spans: &impl Spans) -> Option<GroupId> {
        self.of_key(key, spans).get(usize::from(filter_bits(filter))).copied().flatten()
    }

    /// Adds a group that has its span already.
    pub(super) fn insert(&mut self, id: GroupId, spans: &impl Spans) {
        let hash = hash_of(&self.hasher, id, spans);
        if let Some(shard) = self.shards.get_mut(shard_number(hash)) {
            let hasher = &self.hasher;
            shard.insert_unique(hash, id, |other| hash_of(hasher, *other, spans));
        }
    }

    /// Takes a group out that still has its span, if it is there.
    pub(super) fn remove(&mut self, id: GroupId, spans: &impl Spans) {
        let hash = hash_of(&self.hasher, id, spans);
        let Some(shard) = self.shards.get_mut(shard_number(hash)) else { return };
        if let Ok(entry) = shard.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        // Memory that many groups took is given back when most of them are gone. The rest moves to
        // a table that it fills by half, so that neither this nor growing follows soon.
        if shard.len() < shard.capacity() / 8 {
            let hasher = &self.hasher;
            shard.shrink_to(shard.len() * 2, |other| hash_of(hasher, *other, spans));
        }
    }

    /// Calls `found` for every group of the key, in the order of their filters.
    pub(super) fn matching(&self, key: &[u8], spans: &impl Spans, found: &mut impl FnMut(GroupId)) {
        self.of_key(key, spans).into_iter().flatten().for_each(found);
    }

    /// The groups of the key, each in the place of its filter.
    fn of_key(&self, key: &[u8], spans: &impl Spans) -> [Option<GroupId>; Span::FILTERS] {
        let mut groups = [None; Span::FILTERS];
        let wanted = Extent { start: key, end: End::Single };
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(shard_number(hash));
        for id in shard.into_iter().flat_map(|shard| shard.iter_hash(hash)) {
            let span = spans.span(*id).filter(|span| span.extent() == wanted);
            let place = span.and_then(|span| groups.get_mut(usize::from(span.filter_bits())));
            if let Some(place) = place {
                *place = Some(*id);
            }
        }
        groups
    }
}

/// The hash of the group's key; 0 for a group that is not there, which no caller asks about.
fn hash_of(hasher: &RandomState, id: GroupId, spans: &impl Spans) -> u64 {
    spans.span(id).map_or(0, |span| hasher.hash_one(span.extent().start))
}

/// Which table a hash belongs to: a byte of it from which the tables take neither the place of an
/// entry, which are the low bits, nor its tag, the highest.
fn shard_number(hash: u64) -> usize {
    let [_, _, _, _, byte, ..] = hash.to_le_bytes();
    usize::from(byte)
}
