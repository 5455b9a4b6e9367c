//! Reads: a snapshot that can be kept, and direct reads for the store's own records.

use std::{fmt::Display, ops::ControlFlow, sync::Arc};

use bytes::Bytes;
use rocksdb::{
    ColumnFamily, DB, DBAccess, DBRawIteratorWithThreadMode, ReadOptions, ReadTier, Snapshot,
};
use self_cell::self_cell;

use crate::{
    state::{Direction, Family, View, Visit},
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

/// The state as of the moment this was made; it keeps its database open, and its directory alive.
pub(super) struct StoredView(Pinned);

impl StoredView {
    pub(super) fn new(database: Arc<Database>) -> Self {
        Self(Pinned::new(database, |database| database.db().snapshot()))
    }
}

impl View for StoredView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.0.with_dependent(|database, snapshot| {
            let found = snapshot
                .get_pinned_cf(handle(database.db(), family), key)
                .map_err(|error| read_fault(database.db(), family, &error))?;
            Ok(found.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        let Some(options) = within(start, end) else { return Ok(()) };
        self.0.with_dependent(|database, snapshot| {
            let db = database.db();
            let records = snapshot.raw_iterator_cf_opt(handle(db, family), options);
            walk(records, direction, visit, |error| read_fault(db, family, error))
        })
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

    fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
        direction: Direction,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        let Some(mut options) = within(start, end) else { return Ok(()) };
        options.set_read_tier(self.tier);
        let records = self.db.raw_iterator_cf_opt(handle(self.db, family), options);
        walk(records, direction, visit, |error| read_fault(self.db, family, error))
    }
}

/// The handle of a family.
pub(super) fn handle(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("a database is opened with all families it is asked for")
}

/// Options for reading `start <= key < end`, or `None` when no key can be meant.
fn within(start: &[u8], end: Option<&[u8]>) -> Option<ReadOptions> {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(start);
    if let Some(end) = end {
        if end <= start {
            return None;
        }
        options.set_iterate_upper_bound(end);
    }
    Some(options)
}

fn walk<D: DBAccess>(
    mut records: DBRawIteratorWithThreadMode<'_, D>,
    direction: Direction,
    visit: &mut Visit<'_>,
    fault: impl Fn(&rocksdb::Error) -> Fault,
) -> Result<(), Fault> {
    match direction {
        Direction::Forward => records.seek_to_first(),
        Direction::Backward => records.seek_to_last(),
    }
    while let Some((key, value)) = records.item() {
        if let ControlFlow::Break(()) = visit(key, value)? {
            return Ok(());
        }
        match direction {
            Direction::Forward => records.next(),
            Direction::Backward => records.prev(),
        }
    }
    // An iterator also ends where it can read no further.
    records.status().map_err(|error| fault(&error))
}

fn read_fault(db: &DB, family: Family, error: &dyn Display) -> Fault {
    Fault::new(format!("state {}: read {}: {error}", db.path().display(), family.name()))
}
