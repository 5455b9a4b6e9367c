//! Family `ver`: pairs that were replaced or deleted, by key and, newest first, by revision.
//!
//! Key: the user key as a name of [`versioned`], then the pair's mod revision. Value: the revision
//! that ended the pair, and the pair.
//!
//! A record is garbage exactly when its end is not above the compacted revision. The storage drops
//! garbage whenever its engine passes by, so no reader may count on it being there, or gone.

use bytes::{Bytes, BytesMut};
use prost::encoding::{self, WireType, decode_key, decode_varint, int64};

use crate::{
    state::{
        Family,
        schema::{cur::PairRef, damaged, versioned},
    },
    types::{Fault, Revision},
};

/// The first possible record of `key`: its newest version comes at or after it.
#[must_use]
pub fn first_of(key: &[u8]) -> Bytes {
    escape(key, 0).freeze()
}

/// The key of the record of `key` as of mod revision `modified`; older versions follow.
#[must_use]
pub fn key(key: &[u8], modified: Revision) -> Bytes {
    let mut record = escape(key, 8);
    versioned::put_revision(modified, &mut record);
    record.freeze()
}

/// The first key after all records of `key`.
#[must_use]
pub fn end_of(key: &[u8]) -> Bytes {
    let mut record = escape(key, 0);
    versioned::pass(&mut record);
    record.freeze()
}

/// The mod revision in a record's key.
pub fn modified(record_key: &[u8]) -> Result<Revision, Fault> {
    let (_, modified) = versioned::split(record_key)
        .ok_or_else(|| damaged(Family::Versions, record_key, "its key is too short"))?;
    Ok(modified)
}

/// The value of a record: `pair` is the wire form that stood in `cur`.
#[must_use]
pub fn encode(end: Revision, pair: &Bytes) -> Bytes {
    let len = int64::encoded_len(1, &end.0) + encoding::bytes::encoded_len(2, pair);
    let mut value = BytesMut::with_capacity(len);
    int64::encode(1, &end.0, &mut value);
    encoding::bytes::encode(2, pair, &mut value);
    value.freeze()
}

/// The end revision of a record's value, and the bytes of its pair.
pub fn split(value: &[u8]) -> Result<(Revision, &[u8]), Fault> {
    let broken = || Fault::new("a stored old version is damaged");
    let (end, mut rest) = versioned::end(value).ok_or_else(broken)?;
    match decode_key(&mut rest) {
        Ok((2, WireType::LengthDelimited)) => (),
        Ok(_) | Err(_) => return Err(broken()),
    }
    let len = decode_varint(&mut rest).map_err(|_| broken())?;
    if usize::try_from(len) != Ok(rest.len()) {
        return Err(broken());
    }
    Ok((end, rest))
}

/// The end revision of a record's value, and its pair read in place.
pub fn parse(value: &[u8]) -> Result<(Revision, PairRef<'_>), Fault> {
    let (end, pair) = split(value)?;
    Ok((end, PairRef::parse(pair)?))
}

/// `key` escaped and ended, with room for `more` bytes.
fn escape(key: &[u8], more: usize) -> BytesMut {
    let mut escaped = BytesMut::with_capacity(key.len() + 2 + more);
    versioned::escape(key, &mut escaped);
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::{versioned::is_garbage, *};
    use crate::proto::internal::VersionRecord;

    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        // Few different bytes, so that keys are often each other's prefixes.
        prop::collection::vec(prop::sample::select(vec![0, 1, 2, 0xfe, 0xff]), 1..6)
    }

    proptest! {
        /// Records lie in the order of user keys, and newest first within one key.
        #[test]
        fn order_is_key_order_then_newest_first(a in any_key(), b in any_key(), r in 0..i64::MAX, s in 0..i64::MAX) {
            let (x, y) = (key(&a, Revision(r)), key(&b, Revision(s)));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b).then(s.cmp(&r)));
            prop_assert_eq!(modified(&x).unwrap(), Revision(r));
        }

        /// All records of a key, and no others, lie between its two bounds.
        #[test]
        fn bounds_hold_exactly_one_key(a in any_key(), b in any_key(), r in 0..i64::MAX) {
            let record = key(&b, Revision(r));
            prop_assert_eq!(first_of(&a) <= record && record < end_of(&a), a == b);
        }

        /// A value is the message of the format description, and comes back.
        #[test]
        fn values_round_trip(end in 1..i64::MAX, pair in prop::collection::vec(any::<u8>(), 0..50)) {
            let pair = Bytes::from(pair);
            let value = encode(Revision(end), &pair);
            let message = VersionRecord { end_revision: end, key_value: pair.clone() };
            prop_assert_eq!(VersionRecord::decode(value.clone()).unwrap(), message);
            prop_assert_eq!(split(&value).unwrap(), (Revision(end), &pair[..]));
            prop_assert!(is_garbage(&value, Revision(end)));
            prop_assert!(!is_garbage(&value, Revision(end - 1)));
        }
    }

    /// A value whose length is wrong is a fault.
    #[test]
    fn damaged_values_are_faults() {
        assert!(split(b"\x08\x05\x12\x09abc").is_err());
    }
}
