//! [`Mirror`]: the buckets of counts, kept in memory beside the state.
//!
//! Each key that comes or goes changes the two buckets it lies in, and to find them takes two
//! searches for the last boundary not behind it. In files that costs several times what all else
//! about a put does. There is about one bucket for a thousand keys, so a copy in memory is small: it is
//! what the records say, and has no say of its own.

use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

use bytes::Bytes;

use crate::{
    state::{Cursor, Direction, Family, MapCursor, View, Writes, schema::cnt::Level},
    types::Fault,
};

/// A copy of the buckets of counts. Its size is that of one record for about a thousand keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    buckets: BTreeMap<Bytes, Bytes>,
}

impl Mirror {
    /// The buckets as they are stored.
    ///
    /// # Errors
    ///
    /// A fault of the disk.
    pub fn of(view: &dyn View) -> Result<Self, Fault> {
        let mut buckets = BTreeMap::new();
        let end = end();
        view.scan(Family::Counts, &[], Some(&end), Direction::Forward, &mut |key, value| {
            buckets.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Self { buckets })
    }

    /// Follows what is written to the state.
    pub fn absorb(&mut self, writes: &Writes) {
        let (start, end) = ((Family::Counts, Bytes::new()), (Family::Counts, end()));
        for ((_, key), value) in writes.records.range(start..end) {
            match value {
                Some(value) => self.buckets.insert(key.clone(), value.clone()),
                None => self.buckets.remove(key),
            };
        }
    }

    /// The state of `view`, whose buckets are those here.
    #[must_use]
    pub fn before<'a>(&'a self, view: &'a dyn View) -> Mirrored<'a> {
        Mirrored { mirror: self, view }
    }
}

/// The first key of `cnt` that is no bucket's.
fn end() -> Bytes {
    Level::Upper.end()
}

/// A view whose buckets of counts are read from memory.
#[derive(Clone, Copy)]
pub struct Mirrored<'a> {
    mirror: &'a Mirror,
    view: &'a dyn View,
}

impl View for Mirrored<'_> {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        if family == Family::Counts && *key < *end() {
            return Ok(self.mirror.buckets.get(key).cloned());
        }
        self.view.get(family, key)
    }

    /// From memory without a cursor: every key that comes or goes asks for two buckets.
    fn last_within(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
    ) -> Result<Option<(Bytes, Bytes)>, Fault> {
        if family != Family::Counts || *end > *self::end() {
            return self.view.last_within(family, start, end);
        }
        if end <= start {
            return Ok(None);
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        let last = self.mirror.buckets.range::<[u8], _>(bounds).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        if family != Family::Counts || end.is_none_or(|end| *end > *self::end()) {
            return self.view.cursor(family, start, end);
        }
        let buckets = &self.mirror.buckets;
        Ok(Box::new(MapCursor::new(start, end, move |start, end| {
            let bounds = (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
            let within = buckets.range::<[u8], _>(bounds);
            Box::new(within.map(|(key, value)| (&key[..], &value[..])))
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        state::{
            schema::cnt,
            testing::{Machine, delete, key, put},
        },
        types::Revision,
    };

    /// What it has followed is what it would load; and reads through it are reads of the state.
    #[test]
    fn it_shows_what_is_stored() {
        let mut machine = Machine::after(["a", "b", "c"].map(put));
        let mut mirror = Mirror::of(machine.view()).unwrap();
        mirror.absorb(&machine.apply(put("d")).writes);
        mirror.absorb(&machine.apply(put("a")).writes);
        mirror.absorb(&machine.apply(delete("b")).writes);

        assert_eq!(mirror, Mirror::of(machine.view()).unwrap());
        let mirrored = mirror.before(machine.view());
        let bucket = cnt::key(Level::Upper, &[]);
        let stored = mirrored.get(Family::Counts, &bucket).unwrap().unwrap();
        let counts = cnt::decode(&bucket, &stored).unwrap().counts;
        assert_eq!((counts.newest.keys, counts.newest.since), (3, Revision(7)));
        let current = mirrored.get(Family::Current, key("d").as_bytes()).unwrap();
        assert!(current.is_some());
        let last = |view: &dyn View| view.last_within(Family::Counts, &[], &end()).unwrap();
        assert_eq!(last(&mirrored), last(machine.view()));
        assert_eq!(last(&mirrored).unwrap().0, bucket);
        // Former counts are not here, and are read where they are.
        let all = |view: &dyn View| {
            let mut keys = Vec::new();
            view.scan(Family::Counts, &[], None, Direction::Forward, &mut |key, _| {
                keys.push(key.to_vec());
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
            keys
        };
        assert_eq!(all(&mirrored), all(machine.view()));
    }
}
