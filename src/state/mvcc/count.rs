//! How many keys live in a range, now or at a kept revision, without walking them.
//!
//! Two levels of buckets count the live keys, and know what they counted before. Counting reads the
//! two edges of a range and the whole buckets between, all as of the revision asked for: so what it
//! costs does not depend on how many revisions came since, only on how many keys, living or gone,
//! there are in the two buckets where the range begins and ends. The records depend on nothing but
//! the state, like everything here.

mod buckets;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use bytes::Bytes;

pub(in crate::state) use self::buckets::{Moment, key_created, key_deleted};
use crate::{
    state::{
        Direction, Family, View,
        mvcc::{
            read::{At, visit_at, visit_between},
            versions::{self, Before, Candidate},
        },
        schema::{
            cnt::{self, Level},
            versioned,
        },
    },
    types::{Fault, Key, KeyRange},
};

/// How many keys of the range live as of some time.
pub(in crate::state) fn keys_at(view: &dyn View, at: At, range: &KeyRange) -> Result<u64, Fault> {
    Buckets { view, at, few: FEW_KEYS }.keys(range)
}

/// What is done with a bucket: its boundary, and the keys it holds.
type VisitBucket<'a> = dyn FnMut(&[u8], u64) -> Result<ControlFlow<()>, Fault> + 'a;

/// The buckets as of some time.
#[derive(Clone, Copy)]
struct Buckets<'a> {
    view: &'a dyn View,
    at: At,
    /// Keys at an edge that are walked before it is looked whether walking can be avoided.
    few: u64,
}

/// Whole buckets in a row.
struct Whole {
    keys: u64,
    /// The last boundary that is not after the end: where what is not whole begins.
    last: Bytes,
}

/// A bucket.
struct Around {
    boundary: Bytes,
    keys: u64,
}

/// As many as are walked in about the time the look takes.
const FEW_KEYS: u64 = 64;

impl Buckets<'_> {
    /// How many keys of a range live.
    fn keys(&self, range: &KeyRange) -> Result<u64, Fault> {
        if let KeyRange::One(_) = range {
            let mut found = 0;
            visit_at(self.view, self.at, range, Direction::Forward, &mut |record| {
                found += u64::from(record.is_some());
                Ok(ControlFlow::Break(()))
            })?;
            return Ok(found);
        }
        if range.is_empty() {
            return Ok(0);
        }
        let start = range.start().as_bytes();
        let end = range.end();
        let end = end.as_ref().map(Key::as_bytes);

        // From the start to the first boundary, then whole buckets, then the rest of the last one.
        let Some(first) = self.first(Level::Lower, start, end)? else {
            return self.part(start, end);
        };
        let mut total = self.part(start, Some(&first))?;
        let mut from = first;
        if let Some(upper) = self.first(Level::Upper, &from, end)? {
            total += self.whole(Level::Lower, &from, Some(&upper))?.keys;
            let above = self.whole(Level::Upper, &upper, end)?;
            total += above.keys;
            if end.is_none() {
                return Ok(total);
            }
            from = above.last;
        }
        let below = self.whole(Level::Lower, &from, end)?;
        total += below.keys;
        match end {
            Some(end) => Ok(total + self.part(&below.last, Some(end))?),
            None => Ok(total),
        }
    }

    /// The first boundary of a level that is not below `start`, and below `end`.
    fn first(
        &self,
        level: Level,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Option<Bytes>, Fault> {
        let mut found = None;
        self.visit(level, start, end, Direction::Forward, &mut |boundary, _| {
            found = Some(Bytes::copy_from_slice(boundary));
            Ok(ControlFlow::Break(()))
        })?;
        // The end itself is visited, too.
        Ok(found.filter(|found| end.is_none_or(|end| found < end)))
    }

    /// The buckets of a level that begin at `from`, itself a boundary, or later and end at or before
    /// `end`.
    fn whole(&self, level: Level, from: &[u8], end: Option<&[u8]>) -> Result<Whole, Fault> {
        let (mut keys, mut keys_of_last) = (0, 0);
        let mut last = Vec::from(from);
        self.visit(level, from, end, Direction::Forward, &mut |boundary, keys_of_this| {
            // Only the beginning of the next bucket tells that the one before ends in time.
            keys += keys_of_last;
            keys_of_last = keys_of_this;
            last.clear();
            last.extend_from_slice(boundary);
            Ok(ControlFlow::Continue(()))
        })?;
        if end.is_none() {
            keys += keys_of_last;
        }
        Ok(Whole { keys, last: last.into() })
    }

    /// Counts the keys `start <= key < end`, all of one bucket.
    fn part(&self, start: &[u8], end: Option<&[u8]>) -> Result<u64, Fault> {
        if end.is_some_and(|end| end <= start) {
            return Ok(0);
        }
        // Few keys may have lived where many are now, or were between: then it is better to know
        // first. Now itself is not that deceptive.
        let mut around = match self.at {
            At::Newest => None,
            At::Past(_) => Some(self.around(start)?),
        };
        let most = around.as_ref().map_or(u64::MAX, |bucket| bucket.keys);
        let few = self.walk(start, end, most.min(self.few))?;
        if few < self.few || few == most {
            return Ok(few);
        }
        // Often a range ends where the keys do: then it is all of the bucket.
        let bucket = match around.take() {
            Some(bucket) => bucket,
            None => self.around(start)?,
        };
        let whole = self.walk(&bucket.boundary, Some(start), 1)? == 0
            && match end {
                Some(end) => self.walk(end, self.after(start)?.as_deref(), 1)? == 0,
                None => true,
            };
        if whole { Ok(bucket.keys) } else { self.walk(start, end, bucket.keys) }
    }

    /// Counts the keys `start <= key < end` by walking them, up to so many.
    fn walk(&self, start: &[u8], end: Option<&[u8]>, most: u64) -> Result<u64, Fault> {
        let mut keys = 0;
        if most > 0 && end.is_none_or(|end| start < end) {
            visit_between(self.view, self.at, start, end, Direction::Forward, &mut |found| {
                keys += u64::from(found.is_some());
                Ok(if keys == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        Ok(keys)
    }

    /// The lower bucket in which a key lies; before the first bucket there is none, and no key.
    fn around(&self, key: &[u8]) -> Result<Around, Fault> {
        let mut found = Around { boundary: Bytes::new(), keys: 0 };
        self.visit(Level::Lower, &[], Some(key), Direction::Backward, &mut |boundary, keys| {
            found = Around { boundary: Bytes::copy_from_slice(boundary), keys };
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The first lower boundary after a key.
    fn after(&self, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.first(Level::Lower, &[key, &[0]].concat(), None)
    }

    /// Visits the buckets of a level that begin at `from` or later, and not after `to`.
    fn visit(
        &self,
        level: Level,
        from: &[u8],
        to: Option<&[u8]>,
        direction: Direction,
        visit: &mut VisitBucket<'_>,
    ) -> Result<(), Fault> {
        let end = to.map_or_else(|| level.end(), |to| cnt::key_after(level, to));
        let start = cnt::key(level, from);
        let At::Past(revision) = self.at else {
            let family = Family::Counts;
            return self.view.scan(family, &start, Some(&end), direction, &mut |key, value| {
                visit(cnt::boundary(key)?, cnt::decode(key, value)?.counts.newest.keys)
            });
        };
        let mut now = self.view.cursor(Family::Counts, &start, Some(&end))?;
        now.begin(direction)?;
        let start = cnt::former_of(level, from);
        let end = to.map_or_else(
            || level.former_end(),
            |to| {
                let mut end = cnt::former_of(level, to);
                versioned::pass(&mut end);
                end.freeze()
            },
        );
        let before = self.view.cursor(Family::Counts, &start, Some(&end))?;
        let mut before = Before::begin(before, Family::Counts, revision, direction)?;
        versions::visit(&mut *now, &mut before, 1, &mut |candidate| match candidate {
            Candidate::Now(key, value) => match cnt::decode(key, value)?.counts.at(revision) {
                Some(keys) => visit(cnt::boundary(key)?, keys).map(Some),
                None => Ok(None),
            },
            Candidate::Before(key, value) => {
                let keys = cnt::decode_former(key, value)?.0.at(revision);
                let keys = keys.ok_or_else(|| Fault::new("former counts begin too late"))?;
                visit(&cnt::former_boundary(key)?, keys).map(Some)
            }
            Candidate::Nothing => Ok(None),
        })
    }
}
