//! Family `meta`: fixed keys, one record for each member, and one for each that was removed.
//!
//! `applied`, `cluster`, `conf_state`, `format`, `store`, and with an id in eight bytes: `member/`,
//! and `removed/`, whose records are empty.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    proto::internal::{AlarmRecord, AppliedRecord, ConfStateRecord, MemberRecord, StoreRecord},
    state::{
        Alarm, AlarmKind, Family, Level,
        member::{ConfState, Member},
        schema,
    },
    types::{ClusterId, Fault, Index, MemberId, Revision, Term},
};

/// Key of the record of how far the log has been applied.
pub const APPLIED_KEY: &[u8] = b"applied";
/// Key of the cluster's id.
pub const CLUSTER_KEY: &[u8] = b"cluster";
/// Key of the record of who decides.
pub const CONF_STATE_KEY: &[u8] = b"conf_state";
/// Key of the format version.
pub const FORMAT_KEY: &[u8] = b"format";
/// Key of the numbers of the whole store.
pub const STORE_KEY: &[u8] = b"store";
const MEMBER_PREFIX: &[u8] = b"member/";
const REMOVED_PREFIX: &[u8] = b"removed/";

/// The numbers of the whole store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// Logical bytes of all pairs kept.
    pub logical_size: u64,
    /// Logical bytes of all pairs ever replaced or deleted.
    pub retired_bytes: u64,
    /// Of those, what was replaced or deleted up to the compacted revision.
    pub compacted_retired_bytes: u64,
    /// Alarms raised, ascending.
    pub alarms: Vec<Alarm>,
    /// What all members understand; unknown until each has told.
    pub level: Level,
}

impl Default for Store {
    /// The store nobody has written to.
    fn default() -> Self {
        Self {
            revision: Revision::FIRST,
            compacted: Revision::NEVER_COMPACTED,
            logical_size: 0,
            retired_bytes: 0,
            compacted_retired_bytes: 0,
            alarms: Vec::new(),
            level: Level::UNKNOWN,
        }
    }
}

/// The value of the store's record.
#[must_use]
pub fn encode_store(store: &Store) -> Bytes {
    let alarm =
        |alarm: &Alarm| AlarmRecord { member: alarm.member.0, alarm: alarm_number(alarm.kind) };
    let record = StoreRecord {
        revision: store.revision.0,
        compacted_revision: store.compacted.0,
        logical_size: store.logical_size,
        retired_bytes: store.retired_bytes,
        compacted_retired_bytes: store.compacted_retired_bytes,
        alarms: store.alarms.iter().map(alarm).collect(),
        level: store.level.0,
    };
    record.encode_to_vec().into()
}

/// The numbers in the store's record.
pub fn decode_store(value: &[u8]) -> Result<Store, Fault> {
    let broken = |error: String| schema::damaged(Family::Meta, STORE_KEY, error);
    let record = StoreRecord::decode(value).map_err(|error| broken(error.to_string()))?;
    let alarm = |record: AlarmRecord| {
        let kind = alarm_kind(record.alarm)
            .ok_or_else(|| broken(format!("alarm {} is unknown", record.alarm)))?;
        Ok(Alarm { member: MemberId(record.member), kind })
    };
    Ok(Store {
        revision: Revision(record.revision),
        compacted: Revision(record.compacted_revision),
        logical_size: record.logical_size,
        retired_bytes: record.retired_bytes,
        compacted_retired_bytes: record.compacted_retired_bytes,
        alarms: record.alarms.into_iter().map(alarm).collect::<Result<_, Fault>>()?,
        level: Level(record.level),
    })
}

/// The number of an alarm, in records and in the log.
pub(in crate::state) const fn alarm_number(kind: AlarmKind) -> i32 {
    match kind {
        AlarmKind::NoSpace => 1,
        AlarmKind::Corrupt => 2,
    }
}

/// The alarm of a number.
pub(in crate::state) const fn alarm_kind(number: i32) -> Option<AlarmKind> {
    match number {
        1 => Some(AlarmKind::NoSpace),
        2 => Some(AlarmKind::Corrupt),
        _ => None,
    }
}

/// The value of the applied record.
#[must_use]
pub fn encode_applied(index: Index, term: Term) -> Bytes {
    AppliedRecord { index: index.0, term: term.0 }.encode_to_vec().into()
}

/// The entry in the applied record.
pub fn decode_applied(value: &[u8]) -> Result<(Index, Term), Fault> {
    let record = AppliedRecord::decode(value)
        .map_err(|error| schema::damaged(Family::Meta, APPLIED_KEY, error))?;
    Ok((Index(record.index), Term(record.term)))
}

/// The value of the record of who decides.
#[must_use]
pub fn encode_conf_state(state: &ConfState) -> Bytes {
    let numbers = |ids: &[MemberId]| ids.iter().map(|id| id.0).collect();
    let record = ConfStateRecord {
        voters: numbers(&state.voters),
        learners: numbers(&state.learners),
        voters_outgoing: numbers(&state.voters_outgoing),
        learners_next: numbers(&state.learners_next),
        auto_leave: state.auto_leave,
    };
    record.encode_to_vec().into()
}

/// Who decides, by that record.
pub fn decode_conf_state(value: &[u8]) -> Result<ConfState, Fault> {
    let record = ConfStateRecord::decode(value)
        .map_err(|error| schema::damaged(Family::Meta, CONF_STATE_KEY, error))?;
    let ids = |numbers: Vec<u64>| numbers.into_iter().map(MemberId).collect();
    Ok(ConfState {
        voters: ids(record.voters),
        learners: ids(record.learners),
        voters_outgoing: ids(record.voters_outgoing),
        learners_next: ids(record.learners_next),
        auto_leave: record.auto_leave,
    })
}

/// The value of the cluster's record.
#[must_use]
pub fn encode_cluster(id: ClusterId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

/// The cluster in its record.
pub fn decode_cluster(value: &[u8]) -> Result<ClusterId, Fault> {
    let number = <[u8; 8]>::try_from(value)
        .map_err(|error| schema::damaged(Family::Meta, CLUSTER_KEY, error))?;
    Ok(ClusterId(u64::from_be_bytes(number)))
}

/// The value of the format's record.
#[must_use]
pub fn encode_format(version: u32) -> Bytes {
    Bytes::copy_from_slice(&version.to_be_bytes())
}

/// The version in the format's record.
pub fn decode_format(value: &[u8]) -> Result<u32, Fault> {
    let number = <[u8; 4]>::try_from(value)
        .map_err(|error| schema::damaged(Family::Meta, FORMAT_KEY, error))?;
    Ok(u32::from_be_bytes(number))
}

/// The key of a member's record.
#[must_use]
pub fn member_key(id: MemberId) -> Bytes {
    let mut key = BytesMut::with_capacity(MEMBER_PREFIX.len() + 8);
    key.put_slice(MEMBER_PREFIX);
    key.put_u64(id.0);
    key.freeze()
}

/// The key of the record that says that a member was removed.
#[must_use]
pub fn removed_key(id: MemberId) -> Bytes {
    let mut key = BytesMut::with_capacity(REMOVED_PREFIX.len() + 8);
    key.put_slice(REMOVED_PREFIX);
    key.put_u64(id.0);
    key.freeze()
}

/// The member that was removed, by the key of that record.
pub fn decode_removed(key: &[u8]) -> Result<MemberId, Fault> {
    match schema::split_number(key) {
        Some((REMOVED_PREFIX, number)) => Ok(MemberId(number)),
        Some(_) | None => {
            Err(schema::damaged(Family::Meta, key, "its key is not that of a removed member"))
        }
    }
}

/// The bounds of the records of removed members.
#[must_use]
pub fn all_removed() -> (Bytes, Bytes) {
    (Bytes::from_static(REMOVED_PREFIX), Bytes::from_static(b"removed0"))
}

/// The bounds of all members' records.
#[must_use]
pub fn all_members() -> (Bytes, Bytes) {
    (Bytes::from_static(MEMBER_PREFIX), Bytes::from_static(b"member0"))
}

/// The value of a member's record.
#[must_use]
pub fn encode_member(member: &Member) -> Bytes {
    let record = MemberRecord {
        name: member.name.clone(),
        peer_urls: member.peer_urls.clone(),
        client_urls: member.client_urls.clone(),
        learner: member.learner,
        level: member.level.0,
    };
    record.encode_to_vec().into()
}

/// The member whose record this is.
pub fn decode_member(key: &[u8], value: &[u8]) -> Result<Member, Fault> {
    let id = match schema::split_number(key) {
        Some((MEMBER_PREFIX, number)) => MemberId(number),
        Some(_) | None => {
            return Err(schema::damaged(Family::Meta, key, "its key is not that of a member"));
        }
    };
    let record =
        MemberRecord::decode(value).map_err(|error| schema::damaged(Family::Meta, key, error))?;
    Ok(Member {
        id,
        name: record.name,
        peer_urls: record.peer_urls,
        client_urls: record.client_urls,
        learner: record.learner,
        level: Level(record.level),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every record of the family comes back as it was written.
    #[test]
    fn records_round_trip() {
        let store = Store {
            revision: Revision(9),
            compacted: Revision(-1),
            logical_size: 1_000,
            retired_bytes: 300,
            compacted_retired_bytes: 200,
            alarms: vec![
                Alarm { member: MemberId(1), kind: AlarmKind::NoSpace },
                Alarm { member: MemberId(u64::MAX), kind: AlarmKind::Corrupt },
            ],
            level: Level(2),
        };
        assert_eq!(decode_store(&encode_store(&store)).unwrap(), store);
        assert_eq!(decode_store(&encode_store(&Store::default())).unwrap(), Store::default());

        assert_eq!(
            decode_applied(&encode_applied(Index(5), Term(2))).unwrap(),
            (Index(5), Term(2))
        );
        assert_eq!(decode_cluster(&encode_cluster(ClusterId(0xc1))).unwrap(), ClusterId(0xc1));
        assert_eq!(decode_format(&encode_format(3)).unwrap(), 3);

        let conf_state = ConfState {
            voters: vec![MemberId(1), MemberId(2)],
            learners: vec![MemberId(3)],
            voters_outgoing: vec![MemberId(4)],
            learners_next: vec![MemberId(5)],
            auto_leave: true,
        };
        assert_eq!(decode_conf_state(&encode_conf_state(&conf_state)).unwrap(), conf_state);
    }

    /// A member's record lies among the members', and nothing else does.
    #[test]
    fn members_round_trip_within_their_bounds() {
        let member = Member {
            id: MemberId(u64::MAX),
            name: "a".into(),
            peer_urls: vec!["http://10.0.0.1:2380".into()],
            client_urls: vec!["http://10.0.0.1:2379".into()],
            learner: true,
            level: Level(3),
        };
        let key = member_key(member.id);
        let (start, end) = all_members();
        assert!(start < key && key < end);
        for fixed in [APPLIED_KEY, CLUSTER_KEY, CONF_STATE_KEY, FORMAT_KEY, STORE_KEY] {
            assert!(fixed < &start[..] || fixed >= &end[..]);
        }
        assert_eq!(decode_member(&key, &encode_member(&member)).unwrap(), member);
        assert!(decode_member(FORMAT_KEY, &encode_member(&member)).is_err());
    }
}
