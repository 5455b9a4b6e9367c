//! Family `cur`: user key to the newest pair, as etcd's `mvccpb.KeyValue` on the wire.
//!
//! A list answer is a copy of these bytes. The key stands in the value once more for that reason.

use bytes::Bytes;
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};

use crate::{
    proto::mvccpb,
    state::{Family, schema::damaged},
    types::{Fault, Key, KeyValue, LeaseId, Revision},
};

/// What a pair counts for in the logical size beside its key and value: about what the records
/// around it take.
pub const PAIR_OVERHEAD_BYTES: u64 = 64;

/// The logical size of a pair.
#[must_use]
pub fn pair_size(key: &[u8], value: &[u8]) -> u64 {
    let len = u64::try_from(key.len() + value.len()).expect("a length fits in 64 bits");
    len + PAIR_OVERHEAD_BYTES
}

/// The value of a pair's record.
#[must_use]
pub fn encode(pair: &KeyValue) -> Bytes {
    let message = mvccpb::KeyValue {
        key: pair.key.bytes().clone(),
        create_revision: pair.create_revision.0,
        mod_revision: pair.mod_revision.0,
        version: pair.version,
        value: pair.value.clone(),
        lease: pair.lease.map_or(0, |lease| lease.0),
    };
    message.encode_to_vec().into()
}

/// The pair of a record; it shares the memory of `record`.
pub fn decode(record: &Bytes) -> Result<KeyValue, Fault> {
    let pair = PairRef::parse(record)?;
    let key = Key::new(record.slice_ref(pair.key))
        .ok_or_else(|| damaged(Family::Current, &[], "its key is empty"))?;
    Ok(KeyValue {
        key,
        value: record.slice_ref(pair.value),
        create_revision: pair.create_revision,
        mod_revision: pair.mod_revision,
        version: pair.version,
        lease: pair.lease,
    })
}

/// A pair read in place: nothing is copied or allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// The revision that created the key.
    pub create_revision: Revision,
    /// The revision of the last change.
    pub mod_revision: Revision,
    /// Changes since creation, from 1.
    pub version: i64,
    /// The lease the key lives on, if any.
    pub lease: Option<LeaseId>,
}

/// The record of a pair without its value and its lease: they come last, so it is the beginning.
pub fn without_value(record: &[u8]) -> Result<&[u8], Fault> {
    let mut rest = record;
    loop {
        let head_len = record.len() - rest.len();
        if rest.is_empty() {
            return Ok(record);
        }
        let (tag, wire_type) = decode_key(&mut rest).map_err(unreadable)?;
        let number = decode_varint(&mut rest).map_err(unreadable)?;
        match (tag, wire_type) {
            (1, WireType::LengthDelimited) => take(&mut rest, number).map(|_| ())?,
            (2..=4, WireType::Varint) => (),
            (5, WireType::LengthDelimited) | (6, WireType::Varint) => {
                return record.get(..head_len).ok_or_else(|| unreadable("it ends too early"));
            }
            _ => return Err(unreadable(format!("field {tag} is unknown"))),
        }
    }
}

impl<'a> PairRef<'a> {
    /// Reads the wire form.
    pub fn parse(record: &'a [u8]) -> Result<Self, Fault> {
        let mut pair = Self::default();
        let mut rest = record;
        while !rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut rest).map_err(unreadable)?;
            let number = decode_varint(&mut rest).map_err(unreadable)?;
            match (tag, wire_type) {
                (1, WireType::LengthDelimited) => pair.key = take(&mut rest, number)?,
                (2, WireType::Varint) => pair.create_revision = Revision(number.cast_signed()),
                (3, WireType::Varint) => pair.mod_revision = Revision(number.cast_signed()),
                (4, WireType::Varint) => pair.version = number.cast_signed(),
                (5, WireType::LengthDelimited) => pair.value = take(&mut rest, number)?,
                (6, WireType::Varint) => pair.lease = Some(LeaseId(number.cast_signed())),
                _ => return Err(unreadable(format!("field {tag} is unknown"))),
            }
        }
        Ok(pair)
    }

    /// The pair with memory of its own.
    pub fn to_pair(self) -> Result<KeyValue, Fault> {
        let mut both = Vec::with_capacity(self.key.len() + self.value.len());
        both.extend_from_slice(self.key);
        both.extend_from_slice(self.value);
        let mut key = Bytes::from(both);
        let value = key.split_off(self.key.len());
        Ok(KeyValue {
            key: Key::new(key).ok_or_else(|| unreadable("its key is empty"))?,
            value,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            lease: self.lease,
        })
    }

    /// The pair's logical size.
    #[must_use]
    pub fn size(self) -> u64 {
        pair_size(self.key, self.value)
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u64) -> Result<&'a [u8], Fault> {
    let parts = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len));
    let (taken, left) = parts.ok_or_else(|| unreadable("it ends too early"))?;
    *rest = left;
    Ok(taken)
}

fn unreadable(why: impl std::fmt::Display) -> Fault {
    Fault::new(format!("a stored pair is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_pair() -> impl Strategy<Value = KeyValue> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let number = || prop_oneof![0..300_i64, any::<i64>()];
        let lease = prop::option::of(number().prop_filter("no lease is 0", |id| *id != 0));
        (bytes(), bytes(), number(), number(), number(), lease).prop_map(
            |(mut key, value, create, modified, version, lease)| {
                key.push(b'k');
                KeyValue {
                    key: Key::new(key).unwrap(),
                    value: value.into(),
                    create_revision: Revision(create),
                    mod_revision: Revision(modified),
                    version,
                    lease: lease.map(LeaseId),
                }
            },
        )
    }

    proptest! {
        /// A pair comes back as it was written, by both readers and by a protobuf library.
        #[test]
        fn pairs_round_trip(pair in any_pair()) {
            let record = encode(&pair);
            prop_assert_eq!(&decode(&record).unwrap(), &pair);
            prop_assert_eq!(&PairRef::parse(&record).unwrap().to_pair().unwrap(), &pair);
            let message = mvccpb::KeyValue::decode(record).unwrap();
            prop_assert_eq!(&message.key, pair.key.bytes());
            prop_assert_eq!(&message.value, &pair.value);
            prop_assert_eq!(message.mod_revision, pair.mod_revision.0);
        }

        /// Damaged bytes are a fault or another pair, and never a panic.
        #[test]
        fn damaged_pairs_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = PairRef::parse(&bytes);
        }
    }

    /// A record cut short is a fault.
    #[test]
    fn a_cut_pair_is_a_fault() {
        let record = encode(&KeyValue {
            key: Key::new("k").unwrap(),
            value: "value".into(),
            create_revision: Revision(2),
            mod_revision: Revision(3),
            version: 2,
            lease: None,
        });
        let cut = record.slice(..record.len() - 1);
        assert_eq!(
            decode(&cut).unwrap_err().to_string(),
            "a stored pair is damaged: it ends too early"
        );
    }
}
