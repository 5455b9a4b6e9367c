//! Family `evt`: what happened, in order; the values are found in `cur` and `ver`.
//!
//! Key: the revision in eight bytes, then the place within it in four. The records at and above
//! the compacted revision are kept.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    proto::internal::{EventRecord, EventType},
    state::{Family, schema},
    types::{DeleteReason, EventId, Fault, Key, Revision},
};

/// The key of a change's record.
#[must_use]
pub fn key(id: EventId) -> Bytes {
    let mut key = BytesMut::with_capacity(12);
    key.put_u64(id.revision.0.cast_unsigned());
    key.put_u32(id.sub);
    key.freeze()
}

/// The key of the first change of a revision.
#[must_use]
pub fn first_of(revision: Revision) -> Bytes {
    // Below the first revision there is nothing, and a negative number would sort last.
    key(EventId { revision: revision.max(Revision(0)), sub: 0 })
}

/// The change whose record has this key.
pub fn id(key: &[u8]) -> Result<EventId, Fault> {
    let broken = || schema::damaged(Family::Events, key, "its key has the wrong length");
    let (revision, sub) = key.split_first_chunk::<8>().ok_or_else(broken)?;
    let sub = <[u8; 4]>::try_from(sub).map_err(|_| broken())?;
    Ok(EventId {
        revision: Revision(u64::from_be_bytes(*revision).cast_signed()),
        sub: u32::from_be_bytes(sub),
    })
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key that changed.
    pub key: Key,
    /// How.
    pub kind: ChangeKind,
    /// Logical bytes of all pairs replaced or deleted up to and with this change, since ever.
    pub retired_bytes: u64,
}

/// How a key changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It got a value.
    Put {
        /// It did not live before.
        created: bool,
    },
    /// It went.
    Delete(DeleteReason),
}

/// The value of a change's record.
#[must_use]
pub fn encode(change: &Change) -> Bytes {
    let (kind, created) = match change.kind {
        ChangeKind::Put { created } => (EventType::Put, created),
        ChangeKind::Delete(DeleteReason::Client) => (EventType::DeleteByClient, false),
        ChangeKind::Delete(DeleteReason::Revoked) => (EventType::DeleteByRevoke, false),
        ChangeKind::Delete(DeleteReason::Expired) => (EventType::DeleteByExpiry, false),
    };
    let record = EventRecord {
        r#type: kind.into(),
        created,
        key: change.key.bytes().clone(),
        retired_bytes: change.retired_bytes,
    };
    record.encode_to_vec().into()
}

/// What the record under `key` says.
pub fn decode(key: &[u8], value: &[u8]) -> Result<Change, Fault> {
    let record: EventRecord = schema::decode(Family::Events, key, Bytes::copy_from_slice(value))?;
    let kind = match EventType::try_from(record.r#type) {
        Ok(EventType::Put) => ChangeKind::Put { created: record.created },
        Ok(EventType::DeleteByClient) => ChangeKind::Delete(DeleteReason::Client),
        Ok(EventType::DeleteByRevoke) => ChangeKind::Delete(DeleteReason::Revoked),
        Ok(EventType::DeleteByExpiry) => ChangeKind::Delete(DeleteReason::Expired),
        Err(unknown) => return Err(schema::damaged(Family::Events, key, unknown)),
    };
    let changed =
        Key::new(record.key).ok_or_else(|| schema::damaged(Family::Events, key, "no key"))?;
    Ok(Change { key: changed, kind, retired_bytes: record.retired_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes sort by revision, then by their place in it, and their ids come back.
    #[test]
    fn keys_sort_as_ids() {
        let at = |revision, sub| EventId { revision: Revision(revision), sub };
        let ids = [at(2, 0), at(2, 1), at(2, 256), at(3, 0), at(256, 0)];
        assert!(ids.iter().map(|id| key(*id)).is_sorted());
        for event in ids {
            assert_eq!(id(&key(event)).unwrap(), event);
        }
    }

    /// Every kind of change comes back as it was written.
    #[test]
    fn values_round_trip() {
        let kinds = [
            ChangeKind::Put { created: true },
            ChangeKind::Put { created: false },
            ChangeKind::Delete(DeleteReason::Client),
            ChangeKind::Delete(DeleteReason::Revoked),
            ChangeKind::Delete(DeleteReason::Expired),
        ];
        for kind in kinds {
            let change = Change { key: Key::new("k").unwrap(), kind, retired_bytes: 77 };
            assert_eq!(decode(b"", &encode(&change)).unwrap(), change);
        }
    }

    /// A record of a later kind is a fault that names it.
    #[test]
    fn an_unknown_kind_is_a_fault() {
        let record = EventRecord { r#type: 99, key: "k".into(), ..EventRecord::default() };
        assert!(decode(b"", &record.encode_to_vec()).unwrap_err().to_string().contains("99"));
    }
}
