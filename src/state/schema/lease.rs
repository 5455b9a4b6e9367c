//! Family `lease`: the leases that exist, and the keys attached to each.
//!
//! Keys: tag 1 and the lease's id for its record; tag 2, the id and a user key for an attachment,
//! which has no value. The attachments of a lease lie in key order.
//!
//! Most leases are those of a registry, and have one key. It stands in the lease's own record, so
//! that their end takes no search. Only further keys have attachments.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    proto::internal::LeaseRecord as LeaseMessage,
    state::{Family, schema},
    types::{Fault, Index, Key, LeaseId, Seconds},
};

const RECORD: u8 = 1;
const ATTACHMENT: u8 = 2;

/// The times of a lease, and when it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Time to live as granted.
    pub granted: Seconds,
    /// What was left at the last checkpoint, if there was one since the last renewal.
    pub remaining: Option<Seconds>,
    /// The entry that granted it: an id may be granted again.
    pub granted_at: Index,
}

/// What a lease's record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The times of the lease.
    pub times: Times,
    /// One of the keys attached to it.
    pub key: Option<Key>,
    /// Whether another key was ever attached beside it: only then there may be attachments.
    pub has_others: bool,
}

/// The key of a lease's record.
#[must_use]
pub fn key(id: LeaseId) -> Bytes {
    tagged(RECORD, id, &[]).freeze()
}

/// The bounds of all leases' records.
#[must_use]
pub fn all() -> (Bytes, Bytes) {
    (Bytes::from_static(&[RECORD]), Bytes::from_static(&[RECORD + 1]))
}

/// The lease whose record has this key.
pub fn id(key: &[u8]) -> Result<LeaseId, Fault> {
    match schema::split_number(key) {
        Some(([RECORD], number)) => Ok(LeaseId(schema::from_ordered(number))),
        Some(_) | None => {
            Err(schema::damaged(Family::Leases, key, "its key is not that of a lease"))
        }
    }
}

/// The value of a lease's record.
#[must_use]
pub fn encode(record: &Record) -> Bytes {
    let Times { granted, remaining, granted_at } = record.times;
    let message = LeaseMessage {
        granted_ttl: granted.0,
        remaining_ttl: remaining.map_or(0, |left| left.0),
        granted_at: granted_at.0,
        key: record.key.as_ref().map(|key| key.bytes().clone()).unwrap_or_default(),
        has_others: record.has_others,
    };
    message.encode_to_vec().into()
}

/// What the value of a lease's record says.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Record, Fault> {
    let message =
        LeaseMessage::decode(value).map_err(|error| schema::damaged(Family::Leases, key, error))?;
    let remaining = (message.remaining_ttl > 0).then_some(Seconds(message.remaining_ttl));
    let (granted, granted_at) = (Seconds(message.granted_ttl), Index(message.granted_at));
    Ok(Record {
        times: Times { granted, remaining, granted_at },
        key: Key::new(message.key),
        has_others: message.has_others,
    })
}

/// The key of the record that attaches `attached` to a lease.
#[must_use]
pub fn attachment(id: LeaseId, attached: &Key) -> Bytes {
    tagged(ATTACHMENT, id, attached.as_bytes()).freeze()
}

/// The bounds of all attachments of a lease.
#[must_use]
pub fn attachments(id: LeaseId) -> (Bytes, Bytes) {
    let start = tagged(ATTACHMENT, id, &[]).freeze();
    let end = match id.0.checked_add(1) {
        Some(next) => tagged(ATTACHMENT, LeaseId(next), &[]).freeze(),
        None => Bytes::from_static(&[ATTACHMENT + 1]),
    };
    (start, end)
}

/// The bounds of all attachments.
#[must_use]
pub fn all_attachments() -> (Bytes, Bytes) {
    (Bytes::from_static(&[ATTACHMENT]), Bytes::from_static(&[ATTACHMENT + 1]))
}

/// The lease in an attachment's key.
pub fn attached_to(key: &[u8]) -> Result<LeaseId, Fault> {
    let (lease, _) = key.split_at_checked(9).unwrap_or_default();
    match schema::split_number(lease) {
        Some(([ATTACHMENT], number)) => Ok(LeaseId(schema::from_ordered(number))),
        Some(_) | None => Err(schema::damaged(Family::Leases, key, "it attaches to no lease")),
    }
}

/// The user key in an attachment's key.
pub fn attached_key(key: &[u8]) -> Result<Key, Fault> {
    // Tag and id stand before it.
    key.get(9..)
        .and_then(|attached| Key::new(Bytes::copy_from_slice(attached)))
        .ok_or_else(|| schema::damaged(Family::Leases, key, "it attaches no key"))
}

fn tagged(tag: u8, id: LeaseId, rest: &[u8]) -> BytesMut {
    let mut key = BytesMut::with_capacity(9 + rest.len());
    key.put_u8(tag);
    key.put_slice(&schema::ordered(id.0));
    key.put_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: [LeaseId; 5] =
        [LeaseId(i64::MIN), LeaseId(-1), LeaseId(1), LeaseId(7), LeaseId(i64::MAX)];

    /// Ids sort as numbers, negative ones first, and come back.
    #[test]
    fn ids_round_trip_in_order() {
        let (start, end) = all();
        assert!(IDS.iter().map(|id| key(*id)).is_sorted());
        for lease in IDS {
            assert_eq!(id(&key(lease)).unwrap(), lease);
            assert!(start <= key(lease) && key(lease) < end);
        }
        assert!(id(b"\x02abcdefgh").is_err());
    }

    /// The bounds of a lease's attachments hold its own and nobody else's.
    #[test]
    fn attachments_lie_within_their_lease() {
        let attached = Key::new(vec![0xff, 0xff]).unwrap();
        for lease in IDS {
            let (start, end) = attachments(lease);
            for other in IDS {
                let record = attachment(other, &attached);
                assert_eq!(start <= record && record < end, lease == other);
                assert_eq!(attached_key(&record).unwrap(), attached);
                assert_eq!(attached_to(&record).unwrap(), other);
            }
        }
    }

    /// Records come back; no checkpoint is not a checkpoint of zero seconds.
    #[test]
    fn records_round_trip() {
        let attached = Key::new("k");
        for (remaining, key) in [(None, None), (Some(Seconds(3)), attached)] {
            let times = Times { granted: Seconds(60), remaining, granted_at: Index(9) };
            let record = Record { times, has_others: key.is_some(), key };
            assert_eq!(decode(b"", &encode(&record)).unwrap(), record);
        }
    }
}
