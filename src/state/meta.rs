//! Readers of the records that describe the store as a whole.
//!
//! A state nobody has set up yet reads as an empty store at revision 1.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Alarm, Direction, Family, View,
        member::{ConfState, Member, Membership},
        schema::meta::{
            CLUSTER_KEY, CONF_STATE_KEY, FORMAT_KEY, STORE_KEY, all_members, all_removed,
            decode_applied, decode_cluster, decode_conf_state, decode_format, decode_member,
            decode_removed, decode_store, encode_applied,
        },
    },
    types::{ClusterId, Fault, Index, MemberId, Revision, Term},
};

pub use crate::state::schema::{
    FORMAT_VERSION,
    meta::{APPLIED_KEY, Store},
};

/// The numbers of the whole store.
pub fn store(view: &dyn View) -> Result<Store, Fault> {
    match view.get(Family::Meta, STORE_KEY)? {
        Some(record) => decode_store(&record),
        None => Ok(Store::default()),
    }
}

/// The newest revision.
pub fn revision(view: &dyn View) -> Result<Revision, Fault> {
    Ok(store(view)?.revision)
}

/// The oldest revision that can be read; -1 when nothing was ever compacted.
pub fn compacted(view: &dyn View) -> Result<Revision, Fault> {
    Ok(store(view)?.compacted)
}

/// Logical bytes of all pairs kept, the same on every member.
pub fn logical_size(view: &dyn View) -> Result<u64, Fault> {
    Ok(store(view)?.logical_size)
}

/// The alarms raised, ascending by member and kind.
pub fn alarms(view: &dyn View) -> Result<Vec<Alarm>, Fault> {
    Ok(store(view)?.alarms)
}

/// The last entry of the log that this state contains; index 0 when it was never set up.
pub fn applied(view: &dyn View) -> Result<(Index, Term), Fault> {
    match view.get(Family::Meta, APPLIED_KEY)? {
        Some(record) => decode_applied(&record),
        None => Ok((Index(0), Term(0))),
    }
}

/// The record that says that the state contains the log up to an entry: key and value in
/// [`Family::Meta`].
#[must_use]
pub fn applied_record(index: Index, term: Term) -> (Bytes, Bytes) {
    (Bytes::from_static(APPLIED_KEY), encode_applied(index, term))
}

/// Reads the value of the applied record, for a store that looks it up on its own terms.
pub fn read_applied(value: &[u8]) -> Result<(Index, Term), Fault> {
    decode_applied(value)
}

/// Who decides; nobody when the state was never set up.
pub fn conf_state(view: &dyn View) -> Result<ConfState, Fault> {
    match view.get(Family::Meta, CONF_STATE_KEY)? {
        Some(record) => decode_conf_state(&record),
        None => Ok(ConfState::default()),
    }
}

/// The members, ascending by id.
pub fn members(view: &dyn View) -> Result<Vec<Member>, Fault> {
    let (start, end) = all_members();
    let mut members = Vec::new();
    view.scan(Family::Meta, &start, Some(&end), Direction::Forward, &mut |key, value| {
        members.push(decode_member(key, value)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(members)
}

/// The ids of members that were removed, ascending.
pub fn removed(view: &dyn View) -> Result<Vec<MemberId>, Fault> {
    let (start, end) = all_removed();
    let mut removed = Vec::new();
    view.scan(Family::Meta, &start, Some(&end), Direction::Forward, &mut |key, _| {
        removed.push(decode_removed(key)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(removed)
}

/// Who the members are, and who they are no more.
pub fn membership(view: &dyn View) -> Result<Membership, Fault> {
    Ok(Membership { members: members(view)?, removed: removed(view)? })
}

/// The cluster this state belongs to, once it is set up.
pub fn cluster(view: &dyn View) -> Result<Option<ClusterId>, Fault> {
    view.get(Family::Meta, CLUSTER_KEY)?.map(|record| decode_cluster(&record)).transpose()
}

/// The format version of the state, once it is set up. Whoever opens a state refuses any but
/// [`FORMAT_VERSION`].
pub fn format_version(view: &dyn View) -> Result<Option<u32>, Fault> {
    view.get(Family::Meta, FORMAT_KEY)?.map(|record| decode_format(&record)).transpose()
}
