//! The state as it is saved to a file, and what becomes of it when a new cluster begins with it.
//!
//! [`records`] walks what is saved: every record but garbage, which members drop at different times.
//! [`Founding`] takes those records in and gives those of the first state of a new cluster: the same
//! keys, history, leases and users; other members, who have no past. All of them begin alike, because
//! what comes out depends on the records and on who the members are, and on nothing else.

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Alarm, AlarmKind, Direction, FORMAT_VERSION, Family, Member, View, Writes, bootstrap, meta,
        schema::{
            cnt, evt, lease,
            meta::{
                APPLIED_KEY, CLUSTER_KEY, CONF_STATE_KEY, FORMAT_KEY, STORE_KEY, Store,
                all_members, all_removed, decode_format, decode_store, encode_store,
            },
            versioned,
        },
    },
    types::{ClusterId, Fault, Index, MemberId, Revision},
};

/// The entry that everything in a first state is the work of: the origin of the log.
const ORIGIN: Index = Index(1);

/// What a walk does with each record of a saved state; `Break` ends it.
pub type Visit<'a> = dyn FnMut(Family, &[u8], &[u8]) -> Result<ControlFlow<()>, Fault> + 'a;

/// Visits all that is saved of a state: family by family in the order of [`Family::ALL`], each in the
/// order of its keys. Two walks over the same state meet the same records, whatever garbage was
/// dropped in between.
pub fn records(view: &dyn View, visit: &mut Visit<'_>) -> Result<(), Fault> {
    let compacted = meta::compacted(view)?;
    for family in Family::ALL {
        let start = match family {
            // What lies below was given up, though it may not be gone.
            Family::Events => evt::first_of(compacted),
            Family::Current
            | Family::Versions
            | Family::Counts
            | Family::Meta
            | Family::Leases
            | Family::Auth => Bytes::new(),
        };
        let mut ended = false;
        view.scan(family, &start, None, Direction::Forward, &mut |key, value| {
            if is_garbage(family, key, value, compacted) {
                return Ok(ControlFlow::Continue(()));
            }
            let flow = visit(family, key, value)?;
            ended = flow.is_break();
            Ok(flow)
        })?;
        if ended {
            break;
        }
    }
    Ok(())
}

fn is_garbage(family: Family, key: &[u8], value: &[u8], compacted: Revision) -> bool {
    match family {
        Family::Versions => versioned::is_garbage(value, compacted),
        Family::Counts => cnt::is_garbage(key, value, compacted),
        Family::Current | Family::Events | Family::Meta | Family::Leases | Family::Auth => false,
    }
}

/// Makes the first state of a new cluster of the records of a saved one.
#[derive(Debug)]
pub struct Founding {
    cluster: ClusterId,
    members: Vec<Member>,
    bump: u64,
    store: Option<Store>,
}

impl Founding {
    /// Of a cluster of these members. With `bump` the revision is that much higher than the saved one,
    /// and all history up to there counts as compacted: so a client that knew later revisions than
    /// were saved never sees the revision go back, nor takes the old for the new.
    #[must_use]
    pub fn new(cluster: ClusterId, members: Vec<Member>, bump: u64) -> Self {
        Self { cluster, members, bump, store: None }
    }

    /// Whether the saved state tells that a member's data were known to be wrong.
    #[must_use]
    pub fn is_corrupt(&self, member: MemberId) -> bool {
        let corrupt = Alarm { member, kind: AlarmKind::Corrupt };
        self.store.as_ref().is_some_and(|store| store.alarms.contains(&corrupt))
    }

    /// What becomes of a saved record; `None`: nothing, or it comes with [`Founding::finish`].
    pub fn take(
        &mut self,
        family: Family,
        key: Bytes,
        value: Bytes,
    ) -> Result<Option<(Bytes, Bytes)>, Fault> {
        let kept = match family {
            Family::Meta => self.take_meta(&key, &value)?,
            Family::Events | Family::Versions => self.bump == 0,
            Family::Counts => self.bump == 0 || !cnt::is_former(&key),
            Family::Leases => return granted_anew(key, value).map(Some),
            Family::Current | Family::Auth => true,
        };
        Ok(kept.then_some((key, value)))
    }

    /// Whether a record of the state as a whole goes over as it is.
    fn take_meta(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Fault> {
        match key {
            STORE_KEY => {
                self.store = Some(decode_store(value)?);
                Ok(false)
            }
            FORMAT_KEY => match decode_format(value)? {
                FORMAT_VERSION => Ok(false),
                other => Err(Fault::new(format!(
                    "the saved state has format {other}, this version reads format {FORMAT_VERSION}"
                ))),
            },
            APPLIED_KEY | CLUSTER_KEY | CONF_STATE_KEY => Ok(false),
            other => {
                let is_among = |(start, end): (Bytes, Bytes)| start <= other && other < end;
                Ok(!is_among(all_members()) && !is_among(all_removed()))
            }
        }
    }

    /// The records of the new cluster itself, once all saved ones were taken in; and its numbers.
    ///
    /// Alarms are gone with the members they named, as when a member is removed. What all of the old
    /// members understood stays: the records may rest on it.
    pub fn finish(self) -> Result<(Writes, Store), Fault> {
        let saved =
            self.store.ok_or_else(|| Fault::new("the numbers of the saved state are missing"))?;
        let mut store = Store { alarms: Vec::new(), ..saved };
        if self.bump > 0 {
            give_up_history(&mut store, self.bump)?;
        }
        let mut writes = bootstrap(self.cluster, &self.members);
        let key = (Family::Meta, Bytes::from_static(STORE_KEY));
        writes.records.insert(key, Some(encode_store(&store)));
        Ok((writes, store))
    }
}

/// Raises the revision, and compacts up to there.
fn give_up_history(store: &mut Store, bump: u64) -> Result<(), Fault> {
    let raised = store.revision.0.checked_add_unsigned(bump).filter(|raised| *raised < i64::MAX);
    let revision = raised.map(Revision).ok_or_else(|| {
        Fault::new(format!("revision {} cannot be raised by {bump}", store.revision))
    })?;
    let freed = store.retired_bytes.checked_sub(store.compacted_retired_bytes);
    let left = freed.and_then(|freed| store.logical_size.checked_sub(freed));
    store.logical_size =
        left.ok_or_else(|| Fault::new("the sizes of the saved state do not fit together"))?;
    store.compacted_retired_bytes = store.retired_bytes;
    store.revision = revision;
    store.compacted = revision;
    Ok(())
}

/// A record of a lease, as if the origin had granted it. Expiries are compared with the entry that
/// granted a lease, and entries begin anew.
fn granted_anew(key: Bytes, value: Bytes) -> Result<(Bytes, Bytes), Fault> {
    let (start, end) = lease::all();
    if key < start || end <= key {
        return Ok((key, value)); // an attachment
    }
    let mut record = lease::decode(&key, &value)?;
    record.times.granted_at = ORIGIN;
    Ok((key, lease::encode(&record)))
}
