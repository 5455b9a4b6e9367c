//! How many keys live in a range, without walking them.
//!
//! Two levels of buckets count the live keys. A bucket that grows too large is split in the middle,
//! one that empties is joined to the one before it, so counting reads the two edges of a range and
//! whole buckets between. The records depend on nothing but the state, like everything here.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Direction, Family, Overlay, View,
        mvcc::read::At,
        schema::cnt::{self, Count, Level},
    },
    types::{
        Fault, Key, KeyRange,
        limits::{COUNT_BUCKET_KEYS_MAX, COUNT_FANOUT_MAX},
    },
};

/// How large buckets may grow.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    keys: u64,
    buckets: u64,
}

const BOUNDS: Bounds = Bounds { keys: COUNT_BUCKET_KEYS_MAX, buckets: COUNT_FANOUT_MAX };

/// A bucket and where it begins.
#[derive(Clone, Debug)]
struct Bucket {
    level: Level,
    boundary: Bytes,
    count: Count,
}

impl Bucket {
    fn write(&self, draft: &mut Overlay<'_>) {
        draft.put(Family::Counts, cnt::key(self.level, &self.boundary), cnt::encode(self.count));
    }

    fn remove(&self, draft: &mut Overlay<'_>) {
        draft.delete(Family::Counts, cnt::key(self.level, &self.boundary));
    }

    /// The bucket after this one.
    fn next(&self, view: &dyn View) -> Result<Option<Self>, Fault> {
        first_at(view, self.level, cnt::key_after(self.level, &self.boundary))
    }
}

/// Counts a key that has just been written to `draft`.
pub(in crate::state) fn key_created(draft: &mut Overlay<'_>, key: &Key) -> Result<(), Fault> {
    key_created_within(draft, key, BOUNDS)
}

fn key_created_within(draft: &mut Overlay<'_>, key: &Key, bounds: Bounds) -> Result<(), Fault> {
    let (mut lower, mut upper) = match around(draft, key.as_bytes())? {
        Some(found) => found,
        // The first key ever: the first buckets come to be, and stay.
        None => {
            let bucket = |level, buckets| Bucket {
                level,
                boundary: Bytes::new(),
                count: Count { keys: 0, buckets },
            };
            (bucket(Level::Lower, 0), bucket(Level::Upper, 1))
        }
    };
    lower.count.keys += 1;
    upper.count.keys += 1;
    if lower.count.keys > bounds.keys {
        let second = split_lower(draft, &mut lower)?;
        second.write(draft);
        upper.count.buckets += 1;
    }
    lower.write(draft);
    if upper.count.buckets > bounds.buckets {
        let second = split_upper(draft, &mut upper)?;
        second.write(draft);
    }
    upper.write(draft);
    Ok(())
}

/// Counts off a key that has just been deleted in `draft`.
pub(in crate::state) fn key_deleted(draft: &mut Overlay<'_>, key: &Key) -> Result<(), Fault> {
    let (mut lower, mut upper) = around(draft, key.as_bytes())?
        .ok_or_else(|| Fault::new(format!("key {key:?} was never counted")))?;
    for count in [&mut lower.count.keys, &mut upper.count.keys] {
        *count = count
            .checked_sub(1)
            .ok_or_else(|| Fault::new(format!("key {key:?} is counted in no bucket")))?;
    }
    if lower.count.keys > 0 || lower.boundary.is_empty() {
        lower.write(draft);
    } else if lower.boundary != upper.boundary {
        lower.remove(draft);
        upper.count.buckets -= 1;
    } else if upper.count.buckets == 1 {
        lower.remove(draft);
        upper.remove(draft);
        return Ok(());
    } else {
        // An upper bucket must begin with a lower one, so this one takes the keys of the next.
        let next = lower.next(draft)?.ok_or_else(|| Fault::new("a bucket of counts is missing"))?;
        next.remove(draft);
        lower.count = next.count;
        lower.write(draft);
        upper.count.buckets -= 1;
    }
    upper.write(draft);
    Ok(())
}

/// How many keys of the range live as of some time.
pub(super) fn keys_at(view: &dyn View, at: At, range: &KeyRange) -> Result<u64, Fault> {
    match at {
        At::Newest => live_keys(view, range),
        At::Past(revision) => super::count_past::keys_at(view, range, revision),
    }
}

/// How many keys of the range live.
pub(in crate::state) fn live_keys(view: &dyn View, range: &KeyRange) -> Result<u64, Fault> {
    if let KeyRange::One(key) = range {
        return Ok(u64::from(view.get(Family::Current, key.as_bytes())?.is_some()));
    }
    if range.is_empty() {
        return Ok(0);
    }
    let start = range.start().as_bytes();
    let end = range.end();
    let end = end.as_ref().map(Key::as_bytes);
    let within = |bucket: &Bucket| end.is_none_or(|end| bucket.boundary < end);

    // From the start to the first boundary, then whole buckets, then the rest of the last one.
    let Some(first) = first_at(view, Level::Lower, cnt::key(Level::Lower, start))?.filter(within)
    else {
        return walk(view, start, end);
    };
    let mut total = walk(view, start, Some(&first.boundary))?;
    let mut from = first.boundary;
    if let Some(upper) = first_at(view, Level::Upper, cnt::key(Level::Upper, &from))?.filter(within)
    {
        total += whole_buckets(view, Level::Lower, &from, Some(&upper.boundary))?.0;
        let (keys, last) = whole_buckets(view, Level::Upper, &upper.boundary, end)?;
        total += keys;
        if end.is_none() {
            return Ok(total);
        }
        from = last;
    }
    let (keys, last) = whole_buckets(view, Level::Lower, &from, end)?;
    total += keys;
    match end {
        Some(end) => Ok(total + walk(view, &last, Some(end))?),
        None => Ok(total),
    }
}

/// The keys in the buckets of a level that begin at `from`, itself a boundary, or later and end at
/// or before `end`; and the last boundary that is not after `end`.
fn whole_buckets(
    view: &dyn View,
    level: Level,
    from: &[u8],
    end: Option<&[u8]>,
) -> Result<(u64, Bytes), Fault> {
    let until = end.map_or_else(|| level.end(), |end| cnt::key_after(level, end));
    let mut total = 0;
    let mut last = Vec::from(from);
    let mut keys_of_last = 0;
    view.scan(
        Family::Counts,
        &cnt::key(level, from),
        Some(&until),
        Direction::Forward,
        &mut |key, value| {
            // Only the beginning of the next bucket tells that the one before ends in time.
            total += keys_of_last;
            keys_of_last = cnt::decode(key, value)?.keys;
            last.clear();
            last.extend_from_slice(cnt::boundary(key)?);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    if end.is_none() {
        total += keys_of_last;
    }
    Ok((total, last.into()))
}

/// Counts the keys `start <= key < end` by walking them.
fn walk(view: &dyn View, start: &[u8], end: Option<&[u8]>) -> Result<u64, Fault> {
    if end.is_some_and(|end| end <= start) {
        return Ok(0);
    }
    let mut keys = 0;
    view.scan(Family::Current, start, end, Direction::Forward, &mut |_, _| {
        keys += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

/// The buckets in which a key lies.
fn around(view: &dyn View, key: &[u8]) -> Result<Option<(Bucket, Bucket)>, Fault> {
    let last_of = |level| -> Result<Option<Bucket>, Fault> {
        let mut found = None;
        let (start, end) = (cnt::key(level, &[]), cnt::key_after(level, key));
        view.scan(Family::Counts, &start, Some(&end), Direction::Backward, &mut |key, value| {
            found = Some(bucket(level, key, value)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    };
    match (last_of(Level::Lower)?, last_of(Level::Upper)?) {
        (Some(lower), Some(upper)) => Ok(Some((lower, upper))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => {
            Err(Fault::new("one of the two levels of counts is missing"))
        }
    }
}

/// The first bucket of a level whose record does not come before `start`.
fn first_at(view: &dyn View, level: Level, start: Bytes) -> Result<Option<Bucket>, Fault> {
    let mut found = None;
    view.scan(
        Family::Counts,
        &start,
        Some(&level.end()),
        Direction::Forward,
        &mut |key, value| {
            found = Some(bucket(level, key, value)?);
            Ok(ControlFlow::Break(()))
        },
    )?;
    Ok(found)
}

fn bucket(level: Level, key: &[u8], value: &[u8]) -> Result<Bucket, Fault> {
    let boundary = Bytes::copy_from_slice(cnt::boundary(key)?);
    Ok(Bucket { level, boundary, count: cnt::decode(key, value)? })
}

/// Leaves the first half of its keys in a bucket and gives the other half a bucket of its own.
fn split_lower(view: &dyn View, bucket: &mut Bucket) -> Result<Bucket, Fault> {
    let end = bucket.next(view)?.map(|next| next.boundary);
    let half = bucket.count.keys / 2;
    let (mut seen, mut middle) = (0, Bytes::new());
    view.scan(
        Family::Current,
        &bucket.boundary,
        end.as_deref(),
        Direction::Forward,
        &mut |key, _| {
            if seen == half {
                middle = Bytes::copy_from_slice(key);
            }
            seen += 1;
            Ok(ControlFlow::Continue(()))
        },
    )?;
    if seen != bucket.count.keys {
        return Err(Fault::new(format!("a bucket of {} keys holds {seen}", bucket.count.keys)));
    }
    bucket.count.keys = half;
    Ok(Bucket {
        level: bucket.level,
        boundary: middle,
        count: Count { keys: seen - half, buckets: 0 },
    })
}

/// The same for a bucket of buckets.
fn split_upper(view: &dyn View, bucket: &mut Bucket) -> Result<Bucket, Fault> {
    let end = bucket
        .next(view)?
        .map_or_else(|| Level::Lower.end(), |next| cnt::key(Level::Lower, &next.boundary));
    let half = bucket.count.buckets / 2;
    let (mut first, mut second) = (Count::default(), Count::default());
    let mut middle = Bytes::new();
    let start = cnt::key(Level::Lower, &bucket.boundary);
    view.scan(Family::Counts, &start, Some(&end), Direction::Forward, &mut |key, value| {
        if first.buckets == half && second.buckets == 0 {
            middle = Bytes::copy_from_slice(cnt::boundary(key)?);
        }
        let part = if first.buckets < half { &mut first } else { &mut second };
        part.keys += cnt::decode(key, value)?.keys;
        part.buckets += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    let both = Count { keys: first.keys + second.keys, buckets: first.buckets + second.buckets };
    if both != bucket.count {
        return Err(Fault::new(format!(
            "counts disagree: {:?} above, {both:?} below",
            bucket.count
        )));
    }
    bucket.count = first;
    Ok(Bucket { level: bucket.level, boundary: middle, count: second })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::state::testing::{MapView, wrong_counts};

    const SMALL: Bounds = Bounds { keys: 4, buckets: 3 };

    fn any_key() -> impl Strategy<Value = Key> {
        prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), 1..5)
            .prop_map(|bytes| Key::new(bytes).unwrap())
    }

    fn any_range() -> impl Strategy<Value = KeyRange> {
        prop_oneof![
            any_key().prop_map(KeyRange::One),
            any_key().prop_map(KeyRange::From),
            (any_key(), any_key()).prop_map(|(start, end)| KeyRange::HalfOpen(start, end)),
        ]
    }

    /// Creates the key, or deletes it if it lives.
    fn toggle(state: &mut MapView, live: &mut BTreeSet<Key>, key: Key) {
        let base = state.clone();
        let mut draft = Overlay::new(&base);
        if live.remove(&key) {
            draft.delete(Family::Current, key.bytes().clone());
            key_deleted(&mut draft, &key).unwrap();
        } else {
            draft.put(Family::Current, key.bytes().clone(), Bytes::new());
            key_created_within(&mut draft, &key, SMALL).unwrap();
            live.insert(key);
        }
        state.commit(draft.into_writes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// However keys come and go, every bucket holds what it says, none is too large, and every
        /// range counts right.
        #[test]
        fn counts_are_exact(
            keys in prop::collection::vec(any_key(), 1..150),
            ranges in prop::collection::vec(any_range(), 1..20),
        ) {
            let (mut state, mut live) = (MapView::default(), BTreeSet::new());
            for key in keys {
                toggle(&mut state, &mut live, key);
                let wrong = wrong_counts(&state, SMALL.keys, SMALL.buckets).unwrap();
                prop_assert_eq!(wrong, Vec::<String>::new());
            }
            for range in &ranges {
                let expected = live.iter().filter(|key| range.contains(key)).count();
                prop_assert_eq!(live_keys(&state, range).unwrap(), u64::try_from(expected).unwrap());
            }
            // All go, the largest keys first, so that buckets empty in an order they did not fill in.
            for key in live.clone().into_iter().rev() {
                toggle(&mut state, &mut live, key);
                let wrong = wrong_counts(&state, SMALL.keys, SMALL.buckets).unwrap();
                prop_assert_eq!(wrong, Vec::<String>::new());
            }
            prop_assert_eq!(live_keys(&state, &KeyRange::From(Key::MIN)).unwrap(), 0);
        }
    }

    /// A count that disagrees with the keys is found out at the latest when the bucket is split.
    #[test]
    fn a_wrong_count_is_a_fault() {
        let state = MapView::default();
        let mut draft = Overlay::new(&state);
        let key = Key::new("a").unwrap();
        assert!(key_deleted(&mut draft, &key).is_err());
        for _ in 0..SMALL.keys {
            key_created_within(&mut draft, &key, SMALL).unwrap();
        }
        let fault = key_created_within(&mut draft, &key, SMALL).unwrap_err();
        assert_eq!(fault.to_string(), "a bucket of 5 keys holds 0");
    }
}
