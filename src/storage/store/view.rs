//! Reads: a snapshot that can be kept, direct reads for the store's own records, and cursors.

use std::{fmt::Display, sync::Arc};

use bytes::Bytes;
use rocksdb::{
    ColumnFamily, DB, DBAccess, DBRawIteratorWithThreadMode, ReadOptions, ReadTier, Snapshot,
};
use self_cell::self_cell;

use crate::{
    state::{Cursor, Direction, Family, View},
    storage::store::database::Database,
    types::Fault,
};

self_cell!(
    struct Pinned {
        owner: Arc<Database>,
        #[covariant]
        dependent: Snapshot,
    }
);

/// Whether the blocks that a cursor passes are kept in the block cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caching {
    On,
    Off,
}

/// The state as of the moment this was made; it keeps its database open, and its directory alive.
pub(super) struct StoredView {
    pinned: Pinned,
    caching: Caching,
}

impl StoredView {
    pub(super) fn new(database: Arc<Database>, caching: Caching) -> Self {
        let pinned = Pinned::new(database, |database| database.db().snapshot());
        Self { pinned, caching }
    }
}

impl View for StoredView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.pinned.with_dependent(|database, snapshot| {
            let found = snapshot
                .get_pinned_cf(handle(database.db(), family), key)
                .map_err(|error| read_fault(database.db(), family, &error))?;
            Ok(found.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        let db = self.pinned.borrow_owner().db();
        let mut options = within(start, end);
        options.fill_cache(self.caching == Caching::On);
        let records =
            self.pinned.borrow_dependent().raw_iterator_cf_opt(handle(db, family), options);
        Ok(Box::new(Records { records, direction: Direction::Forward, db, family }))
    }
}

/// What is stored now, or, with [`ReadTier::Persisted`], what of it is on disk.
pub(super) struct Direct<'a> {
    pub(super) db: &'a DB,
    pub(super) tier: ReadTier,
}

impl View for Direct<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let mut options = ReadOptions::default();
        options.set_read_tier(self.tier);
        let found = self
            .db
            .get_cf_opt(handle(self.db, family), key, &options)
            .map_err(|error| read_fault(self.db, family, &error))?;
        Ok(found.map(Bytes::from))
    }

    fn cursor<'c>(
        &'c self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'c>, Fault> {
        let mut options = within(start, end);
        options.set_read_tier(self.tier);
        let records = self.db.raw_iterator_cf_opt(handle(self.db, family), options);
        Ok(Box::new(Records { records, direction: Direction::Forward, db: self.db, family }))
    }
}

/// A cursor over what is stored, whose blocks are not kept in the block cache.
pub(super) fn bulk_cursor<'a>(
    db: &'a DB,
    family: Family,
    start: &[u8],
    end: Option<&[u8]>,
) -> Box<dyn Cursor + 'a> {
    let mut options = within(start, end);
    options.fill_cache(false);
    let records = db.raw_iterator_cf_opt(handle(db, family), options);
    Box::new(Records { records, direction: Direction::Forward, db, family })
}

/// A cursor: the engine's iterator, and which way it goes.
struct Records<'a, D: DBAccess> {
    records: DBRawIteratorWithThreadMode<'a, D>,
    direction: Direction,
    db: &'a DB,
    family: Family,
}

impl<D: DBAccess> Records<'_, D> {
    /// An iterator also ends where it can read no further.
    fn checked(&self) -> Result<(), Fault> {
        if self.records.valid() {
            return Ok(());
        }
        self.records.status().map_err(|error| read_fault(self.db, self.family, &error))
    }
}

impl<D: DBAccess> Cursor for Records<'_, D> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        self.direction = direction;
        match direction {
            Direction::Forward => self.records.seek_to_first(),
            Direction::Backward => self.records.seek_to_last(),
        }
        self.checked()
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        self.direction = direction;
        match direction {
            Direction::Forward => self.records.seek(key),
            Direction::Backward => {
                self.records.seek_for_prev(key);
                if self.records.key() == Some(key) {
                    self.records.prev();
                }
            }
        }
        self.checked()
    }

    fn step(&mut self) -> Result<(), Fault> {
        match self.direction {
            Direction::Forward => self.records.next(),
            Direction::Backward => self.records.prev(),
        }
        self.checked()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.records.item()
    }
}

/// The handle of a family.
pub(super) fn handle(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("a database is opened with all families it is asked for")
}

/// Options for reading `start <= key < end`.
fn within(start: &[u8], end: Option<&[u8]>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(start);
    if let Some(end) = end {
        // Bounds that cross would be an error of the engine; to a reader they are an empty range.
        options.set_iterate_upper_bound(end.max(start));
    }
    options
}

fn read_fault(db: &DB, family: Family, error: &dyn Display) -> Fault {
    Fault::new(format!("state {}: read {}: {error}", db.path().display(), family.name()))
}
