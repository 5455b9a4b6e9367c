//! [`View`]: ordered reads of the stored state as of one moment, and [`Writes`], what a step of
//! the state machine leaves behind.
//!
//! Reading in order is done with a [`Cursor`]. It is pulled, not pushed, so that two families can be
//! read side by side, and what is of no interest can be jumped over.
//!
//! The state is a set of ordered maps from bytes to bytes, one per [`Family`]. This room gives
//! every key and value its meaning; who stores them needs to know none of it. That is why the same
//! state machine runs on RocksDB and, in the simulator, on plain maps.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::types::Fault;

/// One of the ordered maps that the state consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// User key to the newest pair, in etcd's wire form.
    Current,
    /// Escaped user key and inverted revision to a pair that was replaced or deleted.
    Versions,
    /// Event id to what happened.
    Events,
    /// Bucket boundary to the number of keys in the bucket.
    Counts,
    /// Fixed keys: applied index, revision, members, alarms, counters, format version.
    Meta,
    /// Lease records and the keys attached to them.
    Leases,
    /// Users, roles and the revision of the auth store.
    Auth,
}

impl Family {
    /// All families, in a fixed order.
    pub const ALL: [Self; 7] = [
        Self::Current,
        Self::Versions,
        Self::Events,
        Self::Counts,
        Self::Meta,
        Self::Leases,
        Self::Auth,
    ];

    /// The family after this one in that order.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::ALL.into_iter().find(|other| *other > self)
    }

    /// The family's name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "cur",
            Self::Versions => "ver",
            Self::Events => "evt",
            Self::Counts => "cnt",
            Self::Meta => "meta",
            Self::Leases => "lease",
            Self::Auth => "auth",
        }
    }
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the largest key down.
    Backward,
}

/// What a scan does with each record; `Break` ends it.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Fault> + 'a;

/// A place among the records of one family, within the bounds it was made with.
///
/// It stands at a record or, behind the last one, at none, as it does when it is new.
pub trait Cursor {
    /// Goes to the first record there is in this direction, and on from there in it.
    fn begin(&mut self, direction: Direction) -> Result<(), Fault>;

    /// Goes to the record next to the gap before `key`, and on from there in `direction`: forward
    /// to the first record not below `key`, backward to the last one below it.
    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault>;

    /// Goes to the next record in the direction of the last `begin` or `seek`.
    fn step(&mut self) -> Result<(), Fault>;

    /// Key and value of the record it stands at.
    fn item(&self) -> Option<(&[u8], &[u8])>;
}

/// Ordered reads of the stored state as of one moment.
pub trait View {
    /// The value stored under `key`.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault>;

    /// A cursor over the records with `start <= key < end` (`end: None` is open).
    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault>;

    /// The last of the records with `start <= key < end`.
    fn last_within(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, Fault> {
        let mut last = None;
        self.scan(family, start, Some(end), Direction::Backward, &mut |key, value| {
            last = Some((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(last)
    }

    /// Visits the records with `start <= key < end` in the given direction.
    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        let mut cursor = self.cursor(family, start, end)?;
        cursor.begin(direction)?;
        while let Some((key, value)) = cursor.item() {
            if visit(key, value)?.is_break() {
                break;
            }
            cursor.step()?;
        }
        Ok(())
    }
}

/// What to write, each record at most once: `None` deletes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// Puts and deletes by family and key.
    pub records: BTreeMap<(Family, Bytes), Option<Bytes>>,
    /// Records `start <= key < end` to delete, applied before `records`. Only of records no reader may
    /// still ask for (history below the compacted revision).
    pub dropped_ranges: Vec<(Family, Bytes, Bytes)>,
}
