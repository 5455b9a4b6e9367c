//! A checksum of the pairs kept, to compare members.
//!
//! It covers every pair that a reader of some kept revision up to the one asked for can see, and
//! from when to when. A pair counts the same whether it still lives or has been replaced since, so
//! members agree although one is ahead of the other, provided that both compacted equally far, or
//! that whoever asks says from where on history counts and neither has compacted further.

use std::ops::ControlFlow;

use crate::{
    state::{
        ApplyError, Direction, Family, Refused, View, meta,
        mvcc::ensure_kept,
        schema::{cur::PairRef, ver, versioned},
    },
    types::{Fault, Revision},
};

/// How [`since`] is computed. A release that computes it otherwise has another number: its checksums
/// do not compare with these.
pub const FORMULA: u32 = 1;

/// The checksum of the state as of `revision`, with all history that is kept.
pub fn state(view: &dyn View, revision: Revision) -> Result<u32, ApplyError> {
    since(view, meta::compacted(view)?, revision)
}

/// The same with the history from `floor` on, as if that was the compacted revision.
///
/// Pairs are summed up one by one, so that their place (live ones lie apart from old ones) and
/// garbage do not matter.
pub fn since(view: &dyn View, floor: Revision, revision: Revision) -> Result<u32, ApplyError> {
    let store = meta::store(view)?;
    ensure_kept(view, revision)?;
    if floor < store.compacted {
        return Err(Refused::Compacted(floor).into());
    }
    if revision > store.revision {
        return Err(Refused::FutureRevision(revision).into());
    }

    let mut pairs = OfPairs::new(floor, revision);
    view.scan(Family::Current, &[], None, Direction::Forward, &mut |_, record| {
        pairs.take_current(record)?;
        Ok(ControlFlow::Continue(()))
    })?;
    view.scan(Family::Versions, &[], None, Direction::Forward, &mut |key, value| {
        pairs.take_version(key, value)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(pairs.finish())
}

/// The checksum of [`since`] while records are taken in, in whatever order.
#[derive(Debug)]
pub struct OfPairs {
    floor: Revision,
    revision: Revision,
    sum: u32,
}

impl OfPairs {
    /// Of no pairs yet: for the state as of `revision` with the history from `floor` on.
    #[must_use]
    pub fn new(floor: Revision, revision: Revision) -> Self {
        Self { floor, revision, sum: 0 }
    }

    /// Takes a pair that lives.
    pub fn take_current(&mut self, record: &[u8]) -> Result<(), Fault> {
        if PairRef::parse(record)?.mod_revision <= self.revision {
            self.sum = self.sum.wrapping_add(of_pair(record, None));
        }
        Ok(())
    }

    /// Takes a pair that was replaced or deleted.
    pub fn take_version(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let (end, record) = ver::split(value)?;
        if end > self.floor && ver::modified(key)? <= self.revision {
            let end = Some(end).filter(|end| *end <= self.revision);
            self.sum = self.sum.wrapping_add(of_pair(record, end));
        }
        Ok(())
    }

    /// The checksum of what was taken.
    #[must_use]
    pub fn finish(self) -> u32 {
        self.sum
    }
}

/// A checksum of every record, the same on members that have applied the same log.
///
/// Left out are the applied index, which also counts entries that change nothing, old versions that
/// are garbage, which members drop at different times, and the counts, which follow from the keys.
pub fn whole(view: &dyn View) -> Result<u32, Fault> {
    let mut all = OfAll::new(meta::compacted(view)?);
    for family in Family::ALL {
        view.scan(family, &[], None, Direction::Forward, &mut |key, value| {
            all.take(family, key, value);
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(all.finish())
}

/// The checksum of [`whole`] while records are taken in: family by family in the order of
/// [`Family::ALL`], each in the order of its keys.
#[derive(Debug)]
pub struct OfAll {
    hasher: crc32fast::Hasher,
    compacted: Revision,
    /// The families whose names were taken in.
    named: usize,
}

impl OfAll {
    /// Of no records yet, of a state that was compacted up to here.
    #[must_use]
    pub fn new(compacted: Revision) -> Self {
        Self { hasher: crc32fast::Hasher::new(), compacted, named: 0 }
    }

    /// Takes the next record.
    pub fn take(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.name_up_to(Some(family));
        let applied = family == Family::Meta && key == meta::APPLIED_KEY;
        let garbage = family == Family::Versions && versioned::is_garbage(value, self.compacted);
        if family == Family::Counts || applied || garbage {
            return;
        }
        for part in [key, value] {
            self.hasher.update(&(part.len() as u64).to_be_bytes());
            self.hasher.update(part);
        }
    }

    /// The checksum of what was taken.
    #[must_use]
    pub fn finish(mut self) -> u32 {
        self.name_up_to(None);
        self.hasher.finalize()
    }

    /// Takes in the names of the families up to this one, those without records too.
    fn name_up_to(&mut self, last: Option<Family>) {
        for family in Family::ALL.into_iter().skip(self.named) {
            if last.is_some_and(|last| family > last) {
                break;
            }
            if family != Family::Counts {
                self.hasher.update(family.name().as_bytes());
            }
            self.named += 1;
        }
    }
}

/// `end` is the revision that ended the pair, if it is part of what is covered.
fn of_pair(record: &[u8], end: Option<Revision>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&end.map_or(0, |end| end.0).to_be_bytes());
    hasher.update(record);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{Machine, compact, delete, grant, put};

    fn hash(machine: &Machine, revision: i64) -> u32 {
        state(machine.view(), Revision(revision)).unwrap()
    }

    /// The checksum of a revision does not change when the store moves on.
    #[test]
    fn later_changes_do_not_matter() {
        let mut machine =
            Machine::after([put("a").value("1"), put("b").value("2"), put("a").value("3")]);
        let before = hash(&machine, 4);
        assert_ne!(before, hash(&machine, 3));
        machine.apply(delete("a"));
        machine.apply(put("b"));
        assert_eq!(hash(&machine, 4), before);
        assert_ne!(hash(&machine, 5), before);
    }

    /// Garbage does not matter, whether the storage has dropped it yet or not.
    #[test]
    fn garbage_does_not_matter() {
        let mut machine = Machine::after([put("a"), put("a"), put("a")]);
        machine.apply(compact(3));
        let before = hash(&machine, 4);
        machine.collect_garbage();
        assert_eq!(hash(&machine, 4), before);
    }

    /// Who has compacted less far finds the same, when told from where on history counts.
    #[test]
    fn members_need_not_have_compacted_equally_far() {
        let mut machine = Machine::after([put("a"), put("a"), put("b"), put("a")]);
        machine.apply(delete("b"));
        let behind = machine.clone();
        machine.apply(compact(4));
        machine.collect_garbage();
        let ahead = hash(&machine, 5);
        assert_ne!(hash(&behind, 5), ahead);
        let floor = Revision(4);
        assert_eq!(since(behind.view(), floor, Revision(5)), Ok(ahead));
        assert_eq!(
            since(machine.view(), Revision(3), Revision(5)),
            Err(Refused::Compacted(Revision(3)).into())
        );
    }

    /// One changed byte shows.
    #[test]
    fn different_values_differ() {
        let one = Machine::after([put("a").value("1")]);
        let other = Machine::after([put("a").value("2")]);
        assert_ne!(hash(&one, 2), hash(&other, 2));
    }

    /// The checksum of everything shows a lease too, and neither garbage nor the applied index.
    #[test]
    fn the_checksum_of_everything_leaves_out_what_may_differ() {
        let mut machine = Machine::after([put("a"), put("a"), put("a")]);
        machine.apply(compact(3));
        let before = whole(machine.view()).unwrap();
        machine.collect_garbage();
        machine.apply(delete("missing"));
        assert_eq!(whole(machine.view()).unwrap(), before);
        machine.apply(grant(7));
        assert_ne!(whole(machine.view()).unwrap(), before);
    }

    /// A revision that cannot be read has no checksum.
    #[test]
    fn only_kept_revisions_have_a_checksum() {
        let mut machine = Machine::after([put("a"), put("a")]);
        machine.apply(compact(3));
        assert_eq!(state(machine.view(), Revision(2)), Err(Refused::Compacted(Revision(2)).into()));
        assert_eq!(
            state(machine.view(), Revision(4)),
            Err(Refused::FutureRevision(Revision(4)).into())
        );
    }
}
