//! A state in memory.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;

use crate::{
    state::{
        Cursor, Family, MapCursor, View, Writes, meta,
        schema::{cnt, versioned},
    },
    types::Fault,
};

type Records = BTreeMap<Bytes, Bytes>;

/// A state in memory. Cloning it is cheap, and a clone does not see later commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapView {
    /// Without empty families.
    families: BTreeMap<Family, Arc<Records>>,
}

impl MapView {
    /// Stores `writes` as one unit.
    pub fn commit(&mut self, writes: Writes) {
        for (family, start, end) in &writes.dropped_ranges {
            self.records_mut(*family).retain(|key, _| key < start || end <= key);
        }
        for ((family, key), value) in writes.records {
            let records = self.records_mut(family);
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
        self.families.retain(|_, records| !records.is_empty());
    }

    /// Drops all old versions and former counts that no reader can ask for, as the storage does in its own time.
    pub fn collect_garbage(&mut self) -> Result<(), Fault> {
        let compacted = meta::compacted(self)?;
        let versions = self.records_mut(Family::Versions);
        versions.retain(|_, value| !versioned::is_garbage(value, compacted));
        let counts = self.records_mut(Family::Counts);
        counts.retain(|key, value| !cnt::is_garbage(key, value, compacted));
        self.families.retain(|_, records| !records.is_empty());
        Ok(())
    }

    /// The records of a family, in order.
    pub fn records(&self, family: Family) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.families.get(&family).into_iter().flat_map(|records| records.iter())
    }

    fn records_mut(&mut self, family: Family) -> &mut Records {
        Arc::make_mut(self.families.entry(family).or_default())
    }
}

impl View for MapView {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        Ok(self.families.get(&family).and_then(|records| records.get(key)).cloned())
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        let records = self.families.get(&family);
        Ok(Box::new(MapCursor::new(start, end, move |start, end| {
            let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
            let within = records.map(|all| all.range::<[u8], _>(bounds));
            Box::new(within.into_iter().flatten().map(|(key, value)| (&key[..], &value[..])))
        })))
    }
}
