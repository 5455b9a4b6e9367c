//! Family `cnt`: how many keys live, in buckets of two levels.
//!
//! Key: the level, then the boundary: the bucket holds the keys from there to the next boundary of
//! its level. The first bucket's boundary is empty. Every upper boundary is a lower one, too.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    proto::internal::CountRecord,
    state::{Family, schema},
    types::Fault,
};

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

    /// The first key after all records of the level.
    #[must_use]
    pub fn end(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Lower => &[1],
            Self::Upper => &[2],
        })
    }
}

/// What a bucket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Live keys.
    pub keys: u64,
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

/// The boundary in a record's key.
pub fn boundary(key: &[u8]) -> Result<&[u8], Fault> {
    let (_, boundary) = key
        .split_first()
        .ok_or_else(|| schema::damaged(Family::Counts, key, "its key is empty"))?;
    Ok(boundary)
}

/// The value of a bucket's record.
#[must_use]
pub fn encode(count: Count) -> Bytes {
    CountRecord { keys: count.keys, buckets: count.buckets }.encode_to_vec().into()
}

/// What the bucket under `key` holds.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Count, Fault> {
    let record =
        CountRecord::decode(value).map_err(|error| schema::damaged(Family::Counts, key, error))?;
    Ok(Count { keys: record.keys, buckets: record.buckets })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels do not mix, boundaries sort as user keys, and both come back.
    #[test]
    fn records_round_trip() {
        let keys = [
            key(Level::Lower, b""),
            key(Level::Lower, b"a\0"),
            key(Level::Lower, b"\xff"),
            key(Level::Upper, b""),
        ];
        assert!(keys.is_sorted());
        assert!(key(Level::Lower, b"\xff\xff") < Level::Lower.end());
        assert!(key_after(Level::Lower, b"a") <= key(Level::Lower, b"a\0"));
        assert_eq!(boundary(&keys[1]).unwrap(), b"a\0");

        let count = Count { keys: 2_048, buckets: 7 };
        assert_eq!(decode(b"", &encode(count)).unwrap(), count);
        assert!(boundary(b"").is_err());
    }
}
