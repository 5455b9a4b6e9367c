//! May the keys of a transaction collide? The rule that no key is put twice, or put and deleted.
//!
//! All writes of a transaction share one revision, so which of two writes to a key lasts would be
//! a matter of taste. etcd refuses what it recognises as such, and lets some of it pass; clients
//! rely on both, so this is the same rule with the same blind spots:
//!
//! - a put in a nested transaction followed by a delete of its key in a *later* sibling passes,
//!   while the same two the other way round do not;
//! - deletes with an open end, or with an end at or before their start, collide with nothing.
//!
//! What passes is carried out in order, one operation after the other.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::convert::Invalid,
    state::Op,
    types::{Key, KeyRange},
};

/// Refuses a branch of a transaction in which a key may be put twice, or put and deleted.
///
/// Both branches of a nested transaction count, though only one of them will run; between the two
/// a key may be put twice. Reads collide with nothing.
pub(super) fn check(ops: &[Op]) -> Result<(), Invalid> {
    Changes::of(ops).map(|_| ())
}

/// What a list of operations may put and delete, itself and in transactions within.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a Key>,
    deleted: Spans,
}

impl<'a> Changes<'a> {
    fn of(ops: &'a [Op]) -> Result<Self, Invalid> {
        let mut changes = Self::default();

        // This level's deletes first: they collide with the puts of every transaction within.
        for op in ops {
            match op {
                Op::DeleteRange(delete) => changes.deleted.insert(&delete.range),
                Op::Range(_) | Op::Put(_) | Op::Txn(_) => {}
            }
        }

        // Then the transactions within, in order: the deletes of one join ours only after its puts
        // were looked at, so that they collide with those of later siblings and not of earlier ones.
        for op in ops {
            match op {
                Op::Txn(txn) => {
                    changes.join(Self::of(&txn.success)?, Self::of(&txn.failure)?)?;
                }
                Op::Range(_) | Op::Put(_) | Op::DeleteRange(_) => {}
            }
        }

        for op in ops {
            match op {
                Op::Put(put) => changes.put(&put.key)?,
                Op::Range(_) | Op::DeleteRange(_) | Op::Txn(_) => {}
            }
        }
        Ok(changes)
    }

    /// Takes in the two branches of a transaction within, of which one will run.
    fn join(&mut self, success: Self, failure: Self) -> Result<(), Invalid> {
        for key in &failure.puts {
            // What both branches put is put once, and is looked at with the success branch.
            if !success.puts.contains(key) {
                self.put(key)?;
            }
        }
        for key in success.puts {
            self.put(key)?;
        }
        self.deleted.extend(success.deleted);
        self.deleted.extend(failure.deleted);
        Ok(())
    }

    fn put(&mut self, key: &'a Key) -> Result<(), Invalid> {
        if self.deleted.covers(key) || !self.puts.insert(key) {
            return Err(Invalid::DuplicateKey);
        }
        Ok(())
    }
}

/// A union of ranges of keys as disjoint spans, start to end, so that a lookup is one step
/// however many deletes a request brings.
#[derive(Default)]
struct Spans(BTreeMap<Key, Key>);

impl Spans {
    /// Adds a range. Open-ended and reversed ones are not added: the blind spots above.
    fn insert(&mut self, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        if let Some(end) = range.end() {
            self.insert_span(range.start().clone(), end);
        }
    }

    fn insert_span(&mut self, mut start: Key, mut end: Key) {
        // Swallow every span that the new one touches.
        while let Some((other_start, other_end)) = self.0.range(..=&end).next_back() {
            if *other_end < start {
                break;
            }
            let other_start = other_start.clone();
            if let Some(other_end) = self.0.remove(&other_start) {
                end = end.max(other_end);
            }
            start = start.min(other_start);
        }
        self.0.insert(start, end);
    }

    fn extend(&mut self, other: Self) {
        for (start, end) in other.0 {
            self.insert_span(start, end);
        }
    }

    fn covers(&self, key: &Key) -> bool {
        self.0.range(..=key).next_back().is_some_and(|(_, end)| key < end)
    }
}

#[cfg(test)]
#[path = "puts_tests.rs"]
mod tests;
