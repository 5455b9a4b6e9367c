//! The buckets of counts, kept up as keys come and go.
//!
//! A bucket that grows too large is split in the middle, one that empties is joined to the one
//! before it. Each says since when it holds what it holds, and carries its latest changes along;
//! when they are too many, they are put away together. So most changes of a count cost no record
//! more than the count itself.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Direction, Family, Overlay, View,
        schema::cnt::{self, Counts, Held, Level},
    },
    types::{
        Fault, Key, Revision,
        limits::{COUNT_BUCKET_KEYS_MAX, COUNT_CHANGES_MAX, COUNT_FANOUT_MAX},
    },
};

/// How large buckets may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Keys in a lower bucket.
    pub(super) keys: u64,
    /// Lower buckets in an upper one.
    pub(super) buckets: u64,
    /// Changes that the record of a bucket carries along.
    pub(super) changes: usize,
}

pub(super) const BOUNDS: Bounds =
    Bounds { keys: COUNT_BUCKET_KEYS_MAX, buckets: COUNT_FANOUT_MAX, changes: COUNT_CHANGES_MAX };

/// When counts change, and what is still of use.
#[derive(Clone, Copy, Debug)]
pub(in crate::state) struct Moment {
    /// The revision of the change.
    pub(in crate::state) revision: Revision,
    /// Nobody can ask for counts that ended at or before this one.
    pub(in crate::state) compacted: Revision,
}

/// Counts a key that has just been written to `draft`.
pub(in crate::state) fn key_created(
    draft: &mut Overlay<'_>,
    key: &Key,
    moment: Moment,
) -> Result<(), Fault> {
    Change { draft, moment, bounds: BOUNDS }.created(key)
}

/// Counts off a key that has just been deleted in `draft`.
pub(in crate::state) fn key_deleted(
    draft: &mut Overlay<'_>,
    key: &Key,
    moment: Moment,
) -> Result<(), Fault> {
    Change { draft, moment, bounds: BOUNDS }.deleted(key)
}

/// A bucket and where it begins.
#[derive(Clone, Debug)]
struct Bucket {
    level: Level,
    boundary: Bytes,
    holds: cnt::Bucket,
}

impl Bucket {
    /// One that begins to exist at a revision.
    fn new(level: Level, boundary: Bytes, keys: u64, buckets: u64, since: Revision) -> Self {
        let counts = Counts { newest: Held { keys, since }, before: Vec::new() };
        Self { level, boundary, holds: cnt::Bucket { counts, buckets } }
    }

    fn read(level: Level, key: &Bytes, value: &[u8]) -> Result<Self, Fault> {
        let boundary = key.slice_ref(cnt::boundary(key)?);
        Ok(Self { level, boundary, holds: cnt::decode(key, value)? })
    }

    fn keys(&self) -> u64 {
        self.holds.counts.newest.keys
    }

    /// The bucket after this one.
    fn next(&self, view: &dyn View) -> Result<Option<Self>, Fault> {
        let start = cnt::key_after(self.level, &self.boundary);
        let mut found = None;
        let end = self.level.end();
        view.scan(Family::Counts, &start, Some(&end), Direction::Forward, &mut |key, value| {
            found = Some(Self::read(self.level, &Bytes::copy_from_slice(key), value)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// A change of counts under way.
pub(super) struct Change<'c, 'v> {
    pub(super) draft: &'c mut Overlay<'v>,
    pub(super) moment: Moment,
    pub(super) bounds: Bounds,
}

impl Change<'_, '_> {
    pub(super) fn created(&mut self, key: &Key) -> Result<(), Fault> {
        let since = self.moment.revision;
        let (mut lower, mut upper) = match around(self.draft, key.as_bytes())? {
            Some(found) => found,
            // The first key ever: the first buckets come to be, and stay.
            None => (
                Bucket::new(Level::Lower, Bytes::new(), 0, 0, since),
                Bucket::new(Level::Upper, Bytes::new(), 0, 1, since),
            ),
        };
        let keys = lower.keys() + 1;
        self.set(&mut lower, keys);
        let keys = upper.keys() + 1;
        self.set(&mut upper, keys);
        if lower.keys() > self.bounds.keys {
            let second = self.split_lower(&mut lower)?;
            self.write(second);
            upper.holds.buckets += 1;
        }
        self.write(lower);
        if upper.holds.buckets > self.bounds.buckets {
            let second = self.split_upper(&mut upper)?;
            self.write(second);
        }
        self.write(upper);
        Ok(())
    }

    pub(super) fn deleted(&mut self, key: &Key) -> Result<(), Fault> {
        let (mut lower, mut upper) = around(self.draft, key.as_bytes())?
            .ok_or_else(|| Fault::new(format!("key {key:?} was never counted")))?;
        for bucket in [&mut lower, &mut upper] {
            let left = bucket.keys().checked_sub(1);
            let left =
                left.ok_or_else(|| Fault::new(format!("key {key:?} is counted in no bucket")))?;
            self.set(bucket, left);
        }
        if lower.keys() > 0 || lower.boundary.is_empty() {
            self.write(lower);
        } else if lower.boundary != upper.boundary {
            self.remove(lower);
            upper.holds.buckets -= 1;
        } else if upper.holds.buckets == 1 {
            self.remove(lower);
            self.remove(upper);
            return Ok(());
        } else {
            // An upper bucket must begin with a lower one, so this one takes the keys of the next.
            let next = lower.next(self.draft)?;
            let next = next.ok_or_else(|| Fault::new("a bucket of counts is missing"))?;
            self.set(&mut lower, next.keys());
            self.remove(next);
            self.write(lower);
            upper.holds.buckets -= 1;
        }
        self.write(upper);
        Ok(())
    }

    /// From now on it is so many keys.
    fn set(&self, bucket: &mut Bucket, keys: u64) {
        let Moment { revision, compacted } = self.moment;
        let counts = &mut bucket.holds.counts;
        if counts.newest.since < revision {
            counts.before.insert(0, counts.newest);
            counts.newest.since = revision;
        }
        counts.newest.keys = keys;
        let mut end = revision;
        let kept = counts.before.iter().take_while(|held| {
            let kept = end > compacted;
            end = held.since;
            kept
        });
        let kept = kept.count();
        counts.before.truncate(kept);
    }

    fn write(&mut self, mut bucket: Bucket) {
        let counts = &mut bucket.holds.counts;
        if counts.before.len() > self.bounds.changes {
            let end = counts.newest.since;
            let before = std::mem::take(&mut counts.before);
            self.put_away(bucket.level, &bucket.boundary, before, end);
        }
        let key = cnt::key(bucket.level, &bucket.boundary);
        self.draft.put(Family::Counts, key, cnt::encode(&bucket.holds));
    }

    /// The bucket does not exist from now on.
    fn remove(&mut self, mut bucket: Bucket) {
        // What it holds at this very revision nobody will see.
        self.set(&mut bucket, 0);
        let before = std::mem::take(&mut bucket.holds.counts.before);
        self.put_away(bucket.level, &bucket.boundary, before, self.moment.revision);
        self.draft.delete(Family::Counts, cnt::key(bucket.level, &bucket.boundary));
    }

    fn put_away(&mut self, level: Level, boundary: &[u8], before: Vec<Held>, end: Revision) {
        let mut before = before.into_iter();
        if let Some(newest) = before.next() {
            let counts = Counts { newest, before: before.collect() };
            let key = cnt::former_key(level, boundary, &counts);
            self.draft.put(Family::Counts, key, cnt::encode_former(&counts, end));
        }
    }

    /// Leaves the first half of its keys in a bucket and gives the other half a bucket of its own.
    fn split_lower(&self, bucket: &mut Bucket) -> Result<Bucket, Fault> {
        let end = bucket.next(self.draft)?.map(|next| next.boundary);
        let keys = bucket.keys();
        let half = keys / 2;
        let (mut seen, mut middle) = (0, Bytes::new());
        let (start, end) = (&bucket.boundary, end.as_deref());
        self.draft.scan(Family::Current, start, end, Direction::Forward, &mut |key, _| {
            if seen == half {
                middle = Bytes::copy_from_slice(key);
            }
            seen += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        if seen != keys {
            return Err(Fault::new(format!("a bucket of {keys} keys holds {seen}")));
        }
        self.set(bucket, half);
        Ok(Bucket::new(bucket.level, middle, seen - half, 0, self.moment.revision))
    }

    /// The same for a bucket of buckets.
    fn split_upper(&self, bucket: &mut Bucket) -> Result<Bucket, Fault> {
        let next = bucket.next(self.draft)?;
        let end =
            next.map_or_else(|| Level::Lower.end(), |next| cnt::key(Level::Lower, &next.boundary));
        let half = bucket.holds.buckets / 2;
        let ((mut keys, mut buckets), mut keys_of_first) = ((0, 0), 0);
        let mut middle = Bytes::new();
        let start = cnt::key(Level::Lower, &bucket.boundary);
        self.draft.scan(
            Family::Counts,
            &start,
            Some(&end),
            Direction::Forward,
            &mut |key, value| {
                if buckets == half {
                    middle = Bytes::copy_from_slice(cnt::boundary(key)?);
                    keys_of_first = keys;
                }
                keys += cnt::decode(key, value)?.counts.newest.keys;
                buckets += 1;
                Ok(ControlFlow::Continue(()))
            },
        )?;
        let above = (bucket.keys(), bucket.holds.buckets);
        if (keys, buckets) != above {
            return Err(Fault::new(format!(
                "counts disagree: {above:?} above, {:?} below",
                (keys, buckets)
            )));
        }
        self.set(bucket, keys_of_first);
        bucket.holds.buckets = half;
        let since = self.moment.revision;
        Ok(Bucket::new(bucket.level, middle, keys - keys_of_first, buckets - half, since))
    }
}

/// The buckets in which a key lies.
fn around(view: &dyn View, key: &[u8]) -> Result<Option<(Bucket, Bucket)>, Fault> {
    let last_of = |level| -> Result<Option<Bucket>, Fault> {
        let (start, end) = (cnt::key(level, &[]), cnt::key_after(level, key));
        let last = view.last_within(Family::Counts, &start, &end)?;
        last.map(|(key, value)| Bucket::read(level, &key, &value)).transpose()
    };
    match (last_of(Level::Lower)?, last_of(Level::Upper)?) {
        (Some(lower), Some(upper)) => Ok(Some((lower, upper))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            Err(Fault::new("one of the two levels of counts is missing"))
        }
    }
}
