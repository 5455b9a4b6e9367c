//! Family `cnt`: how many keys live, in buckets of two levels, now and at every kept revision.
//!
//! Key of a bucket: the level, then the boundary: the bucket holds the keys from there to the next
//! boundary of its level. The first bucket's boundary is empty. Every upper boundary is a lower one,
//! too. Its value says what it holds and since when, and what it held before: its latest changes.
//!
//! Older changes are put away in records of former counts. Key: a tag for the level, the boundary
//! as a name of [`versioned`], then the revision of the first of these counts. Value: the revision
//! that ended the last of them, and the counts. It is garbage exactly when that end is not above
//! the compacted revision; the storage drops it when its engine passes by.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    proto::internal::{CountRecord, FormerCountRecord},
    state::{
        Family,
        schema::{self, versioned},
    },
    types::{Fault, Revision},
};

/// The tag of former lower buckets; those of buckets are below it.
const FORMER_LOWER: u8 = 2;
const FORMER_UPPER: u8 = 3;

/// Small buckets and buckets of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Buckets of keys.
    Lower,
    /// Buckets of lower buckets.
    Upper,
}

impl Level {
    const fn tag(self) -> u8 {
        match self {
            Self::Lower => 0,
            Self::Upper => 1,
        }
    }

    const fn former_tag(self) -> u8 {
        match self {
            Self::Lower => FORMER_LOWER,
            Self::Upper => FORMER_UPPER,
        }
    }

    /// The first key after all buckets of the level.
    #[must_use]
    pub const fn end(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Lower => const { &[Self::Lower.tag() + 1] },
            Self::Upper => const { &[Self::Upper.tag() + 1] },
        })
    }

    /// The first key after all former counts of the level.
    #[must_use]
    pub fn former_end(self) -> Bytes {
        Bytes::copy_from_slice(&[self.former_tag() + 1])
    }
}

/// So many keys, from a revision on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Live keys.
    pub keys: u64,
    /// From when on.
    pub since: Revision,
}

/// Counts of one bucket that followed each other without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The newest.
    pub newest: Held,
    /// Those before, newest first.
    pub before: Vec<Held>,
}

impl Counts {
    /// The keys held at a revision, if it is not older than all of these counts.
    #[must_use]
    pub fn at(&self, revision: Revision) -> Option<u64> {
        let mut all = std::iter::once(&self.newest).chain(&self.before);
        all.find(|held| held.since <= revision).map(|held| held.keys)
    }

    /// The first revision they speak of.
    #[must_use]
    pub fn first(&self) -> Revision {
        self.before.last().map_or(self.newest.since, |held| held.since)
    }

    /// For each count before, how much later and larger the one after it is.
    fn steps(&self) -> impl Iterator<Item = (u64, i64)> {
        let later = std::iter::once(&self.newest).chain(&self.before);
        later.zip(&self.before).map(|(later, held)| {
            let revisions = (later.since.0 - held.since.0).cast_unsigned();
            (revisions, later.keys.wrapping_sub(held.keys).cast_signed())
        })
    }

    fn from_steps(newest: Held, revisions: &[u64], keys: &[i64]) -> Option<Self> {
        let mut before = Vec::with_capacity(revisions.len());
        let mut later = newest;
        for (revisions, keys) in revisions.iter().zip(keys) {
            let since = later.since.0.checked_sub_unsigned(*revisions)?;
            later = Held {
                keys: later.keys.wrapping_sub(keys.cast_unsigned()),
                since: Revision(since),
            };
            before.push(later);
        }
        (revisions.len() == keys.len()).then_some(Self { newest, before })
    }
}

/// What a bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Live keys, and how many they were.
    pub counts: Counts,
    /// Lower buckets; 0 in a lower bucket.
    pub buckets: u64,
}

/// The key of the bucket that begins at `boundary`.
#[must_use]
pub fn key(level: Level, boundary: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + boundary.len());
    key.put_u8(level.tag());
    key.put_slice(boundary);
    key.freeze()
}

/// The key right after that of the bucket that begins at `boundary`.
#[must_use]
pub fn key_after(level: Level, boundary: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(2 + boundary.len());
    key.put_u8(level.tag());
    key.put_slice(boundary);
    key.put_u8(0);
    key.freeze()
}

/// The boundary in a bucket's key.
pub fn boundary(key: &[u8]) -> Result<&[u8], Fault> {
    let (_, boundary) = key
        .split_first()
        .ok_or_else(|| schema::damaged(Family::Counts, key, "its key is empty"))?;
    Ok(boundary)
}

/// The value of a bucket's record.
#[must_use]
pub fn encode(bucket: &Bucket) -> Bytes {
    let (revisions, keys) = bucket.counts.steps().unzip();
    let record = CountRecord {
        keys: bucket.counts.newest.keys,
        buckets: bucket.buckets,
        since: bucket.counts.newest.since.0,
        before_revisions: revisions,
        before_keys: keys,
    };
    record.encode_to_vec().into()
}

/// What the bucket under `key` holds.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Bucket, Fault> {
    let damaged = |why: &str| schema::damaged(Family::Counts, key, why);
    let record = CountRecord::decode(value).map_err(|error| damaged(&error.to_string()))?;
    let newest = Held { keys: record.keys, since: Revision(record.since) };
    let counts = Counts::from_steps(newest, &record.before_revisions, &record.before_keys)
        .ok_or_else(|| damaged("its changes do not fit together"))?;
    Ok(Bucket { counts, buckets: record.buckets })
}

/// The beginning of the keys of former counts of the bucket that begins, or began, at `boundary`.
#[must_use]
pub fn former_of(level: Level, boundary: &[u8]) -> BytesMut {
    let mut stem = BytesMut::with_capacity(11 + boundary.len());
    stem.put_u8(level.former_tag());
    versioned::escape(boundary, &mut stem);
    stem
}

/// The key of former counts.
#[must_use]
pub fn former_key(level: Level, boundary: &[u8], counts: &Counts) -> Bytes {
    let mut key = former_of(level, boundary);
    versioned::put_revision(counts.first(), &mut key);
    key.freeze()
}

/// Whether this is the key of former counts.
#[must_use]
pub fn is_former(key: &[u8]) -> bool {
    key.first().is_some_and(|tag| *tag >= FORMER_LOWER)
}

/// The boundary in a key of former counts.
pub fn former_boundary(key: &[u8]) -> Result<Vec<u8>, Fault> {
    versioned::split(key)
        .and_then(|(stem, _)| versioned::unescape(stem.get(1..)?))
        .ok_or_else(|| schema::damaged(Family::Counts, key, "its boundary is damaged"))
}

/// The value of former counts, the last of which ended at `end`.
#[must_use]
pub fn encode_former(counts: &Counts, end: Revision) -> Bytes {
    let (revisions, keys) = counts.steps().unzip();
    let record = FormerCountRecord {
        end_revision: end.0,
        keys: counts.newest.keys,
        since: counts.newest.since.0,
        before_revisions: revisions,
        before_keys: keys,
    };
    record.encode_to_vec().into()
}

/// The former counts under `key`, and when the last of them ended.
pub fn decode_former(key: &[u8], value: &[u8]) -> Result<(Counts, Revision), Fault> {
    let damaged = |why: &str| schema::damaged(Family::Counts, key, why);
    let record = FormerCountRecord::decode(value).map_err(|error| damaged(&error.to_string()))?;
    let newest = Held { keys: record.keys, since: Revision(record.since) };
    let counts = Counts::from_steps(newest, &record.before_revisions, &record.before_keys)
        .ok_or_else(|| damaged("its changes do not fit together"))?;
    Ok((counts, Revision(record.end_revision)))
}

/// Whether a record of the family is of no use to any reader once `compacted` is the compacted
/// revision.
#[must_use]
pub fn is_garbage(key: &[u8], value: &[u8], compacted: Revision) -> bool {
    is_former(key) && versioned::is_garbage(value, compacted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(all: &[(u64, i64)]) -> Counts {
        let mut held =
            all.iter().map(|(keys, since)| Held { keys: *keys, since: Revision(*since) });
        Counts { newest: held.next().unwrap(), before: held.collect() }
    }

    /// Levels do not mix, boundaries sort as user keys, and both come back.
    #[test]
    fn keys_sort_as_boundaries() {
        let keys = [
            key(Level::Lower, b""),
            key(Level::Lower, b"a\0"),
            key(Level::Lower, b"\xff"),
            key(Level::Upper, b""),
            former_key(Level::Lower, b"", &counts(&[(1, 9)])),
            former_key(Level::Lower, b"", &counts(&[(1, 8)])),
            former_key(Level::Lower, b"a\0", &counts(&[(1, 9)])),
            former_key(Level::Upper, b"", &counts(&[(1, 9)])),
        ];
        assert!(keys.is_sorted());
        assert!(key(Level::Lower, b"\xff\xff") < Level::Lower.end());
        assert!(keys[6] < Level::Lower.former_end() && Level::Lower.former_end() < keys[7]);
        assert!(key_after(Level::Lower, b"a") <= key(Level::Lower, b"a\0"));
        assert_eq!(boundary(&keys[1]).unwrap(), b"a\0");
        assert_eq!(former_boundary(&keys[6]).unwrap(), b"a\0");
        assert!(boundary(b"").is_err() && former_boundary(b"\x02").is_err());
        assert!(!is_former(&keys[3]) && is_former(&keys[4]));
    }

    proptest! {
        /// Counts come back as they were written, and tell what was held when.
        #[test]
        fn counts_round_trip(
            all in prop::collection::vec((0..u64::from(u32::MAX), 1..9_i64), 1..40),
            buckets in 0..600_u64,
            end in 1..9_i64,
        ) {
            // From differences to revisions that fall.
            let mut since = 1_000;
            let falling: Vec<_> = all.iter().map(|(keys, step)| {
                since -= step;
                (*keys, since)
            }).collect();
            let counts = counts(&falling);
            let bucket = Bucket { counts: counts.clone(), buckets };
            prop_assert_eq!(&decode(b"", &encode(&bucket)).unwrap(), &bucket);
            let former = encode_former(&counts, Revision(1_000 + end));
            let key = former_key(Level::Upper, b"b", &counts);
            prop_assert_eq!(decode_former(&key, &former).unwrap(), (counts.clone(), Revision(1_000 + end)));
            prop_assert!(is_garbage(&key, &former, Revision(1_000 + end)));
            prop_assert!(!is_garbage(&key, &former, Revision(999 + end)));
            prop_assert!(!is_garbage(b"\0b", &encode(&bucket), Revision(i64::MAX)));
            for (keys, since) in falling {
                prop_assert_eq!(counts.at(Revision(since)), Some(keys));
            }
            prop_assert_eq!(counts.at(Revision(since - 1)), None);
            prop_assert_eq!(counts.first(), Revision(since));
        }

        /// Damaged values are a fault or other counts, and never a panic.
        #[test]
        fn damaged_counts_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(b"k", &bytes);
            let _ = decode_former(b"k", &bytes);
            let _ = is_garbage(b"\x02", &bytes, Revision(5));
        }
    }
}
