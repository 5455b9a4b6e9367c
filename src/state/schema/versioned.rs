//! What records of former times have in common: pairs that were replaced, counts that changed.
//!
//! Key: a name escaped (`00` becomes `00 ff`) and ended by `00 00`, so that the order of records is
//! the order of names and no name's records lie among another's; then the revision from which the
//! record was in force with all bits inverted, so that the newest comes first. The value begins
//! with the revision that ended it. What lies before the last eight bytes is called the stem.

use bytes::BufMut;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::types::Revision;

/// Appends the escaped and ended `name` to `stem`.
pub fn escape(name: &[u8], stem: &mut impl BufMut) {
    let mut parts = name.split(|byte| *byte == 0);
    stem.put_slice(parts.next().unwrap_or_default());
    for part in parts {
        stem.put_slice(&[0, 0xff]);
        stem.put_slice(part);
    }
    stem.put_slice(&[0, 0]);
}

/// The name in a stem, which ends with it.
#[must_use]
pub fn unescape(stem: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(stem.len());
    let mut rest = stem.strip_suffix(&[0, 0])?;
    while let Some(at) = rest.iter().position(|byte| *byte == 0) {
        let (head, tail) = rest.split_at_checked(at)?;
        name.extend_from_slice(head);
        name.push(0);
        rest = tail.strip_prefix(&[0, 0xff])?;
    }
    name.extend_from_slice(rest);
    Some(name)
}

/// Appends a revision as it stands in keys.
pub fn put_revision(from: Revision, key: &mut impl BufMut) {
    key.put_u64(!from.0.cast_unsigned());
}

/// The stem of a record's key, and the revision from which it was in force.
#[must_use]
pub fn split(key: &[u8]) -> Option<(&[u8], Revision)> {
    let (stem, inverted) = key.split_last_chunk::<8>()?;
    Some((stem, Revision((!u64::from_be_bytes(*inverted)).cast_signed())))
}

/// Makes a stem the first key after all its records.
pub fn pass(stem: &mut [u8]) {
    // The end `00 00` becomes `00 01`, which no escaped name contains.
    if let Some(last) = stem.last_mut() {
        *last = 1;
    }
}

/// The end of a record by its value, and the rest of the value.
#[must_use]
pub fn end(mut value: &[u8]) -> Option<(Revision, &[u8])> {
    match decode_key(&mut value) {
        Ok((1, WireType::Varint)) => (),
        Ok(_) | Err(_) => return None,
    }
    let end = decode_varint(&mut value).ok()?;
    Some((Revision(end.cast_signed()), value))
}

/// Whether a record is of no use to any reader once `compacted` is the compacted revision. What
/// cannot be read is no garbage: the reader who needs it reports it.
#[must_use]
pub fn is_garbage(value: &[u8], compacted: Revision) -> bool {
    end(value).is_some_and(|(end, _)| end <= compacted)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A name comes back from its stem, and what is no stem has none.
        #[test]
        fn names_round_trip(name in prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 0xff]), 0..6)) {
            let mut stem = BytesMut::new();
            escape(&name, &mut stem);
            prop_assert_eq!(unescape(&stem), Some(name));
            prop_assert_eq!(unescape(&stem[..stem.len() - 1]), None);
        }
    }

    /// A value that cannot be read is kept.
    #[test]
    fn damaged_values_are_no_garbage() {
        assert!(!is_garbage(b"", Revision(i64::MAX)));
        assert!(!is_garbage(b"\xff\xff", Revision(i64::MAX)));
    }
}
