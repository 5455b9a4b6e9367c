//! [`WriteTxn`]: the draft of one request's effects.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::{
    state::{
        Direction, Family, LeaseChange, Overlay, View, Writes, meta,
        mvcc::count,
        schema::{
            cur,
            evt::{self, Change, ChangeKind},
            lease,
            meta::{STORE_KEY, Store, encode_store},
            ver,
        },
    },
    types::{DeleteReason, Event, EventId, EventKind, Fault, Key, KeyValue, LeaseId, Revision},
};

/// The draft of one request's effects, and the revision it hands out.
///
/// Every change of a key goes through [`WriteTxn::put_key`] or [`WriteTxn::delete_key`], which keep
/// together what belongs together: the pair, its predecessor, the event, counts, sizes and the
/// attachment to a lease. All changes of a request share one revision. Dropping the draft leaves
/// no trace.
pub(super) struct WriteTxn<'a> {
    base: &'a dyn View,
    draft: Overlay<'a>,
    before: Store,
    store: Store,
    events: Vec<Event>,
    leases: Vec<LeaseChange>,
}

/// A stored pair and the bytes it is stored as.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// The pair.
    pub(super) pair: KeyValue,
    record: Bytes,
}

impl Live {
    /// The pair stored as `record`.
    pub(super) fn decode(record: Bytes) -> Result<Self, Fault> {
        Ok(Self { pair: cur::decode(&record)?, record })
    }

    fn size(&self) -> u64 {
        cur::pair_size(self.pair.key.as_bytes(), &self.pair.value)
    }
}

/// What a request leaves behind.
pub(super) struct Effects {
    /// What it changed, in order.
    pub(super) events: Vec<Event>,
    /// What to store.
    pub(super) writes: Writes,
    /// What happened to leases.
    pub(super) leases: Vec<LeaseChange>,
}

impl<'a> WriteTxn<'a> {
    /// An empty draft on top of `base`.
    pub(super) fn begin(base: &'a dyn View) -> Result<Self, Fault> {
        let store = meta::store(base)?;
        Ok(Self {
            base,
            draft: Overlay::new(base),
            before: store.clone(),
            store,
            events: Vec::new(),
            leases: Vec::new(),
        })
    }

    /// Reads that see the draft.
    pub(super) fn view(&self) -> &dyn View {
        &self.draft
    }

    /// The store's numbers before the request.
    pub(super) fn before(&self) -> &Store {
        &self.before
    }

    /// The store's numbers now. Outside this file only its alarms may be changed.
    pub(super) fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// The newest revision, that of the draft included.
    pub(super) fn revision(&self) -> Revision {
        self.store.revision
    }

    /// What lives under `key`.
    pub(super) fn live(&self, key: &Key) -> Result<Option<Live>, Fault> {
        self.draft.get(Family::Current, key.as_bytes())?.map(Live::decode).transpose()
    }

    /// Stores a value under a key where `old` lives now.
    pub(super) fn put_key(
        &mut self,
        key: &Key,
        value: Bytes,
        lease: Option<LeaseId>,
        old: Option<&Live>,
    ) -> Result<(), Fault> {
        let id = self.next_change();
        let record = cur::encode(&KeyValue {
            key: key.clone(),
            value,
            create_revision: old.map_or(id.revision, |old| old.pair.create_revision),
            mod_revision: id.revision,
            version: old.map_or(0, |old| old.pair.version) + 1,
            lease,
        });
        // Decoded again so that the event shares the record's memory: the request's own bytes are
        // a slice of a whole log entry, which the event would keep alive.
        let new = Live::decode(record)?;
        let prev = old.map(|old| self.pair_before(old)).transpose()?.flatten();
        if let Some(old) = old {
            self.retire(old, id.revision);
        }
        self.store.logical_size += new.size();
        self.draft.put(Family::Current, new.pair.key.bytes().clone(), new.record);

        let old_lease = old.and_then(|old| old.pair.lease);
        if old_lease != lease {
            self.detach(old_lease, key)?;
            self.attach(lease, key)?;
        }
        if old.is_none() {
            let moment = self.moment();
            count::key_created(&mut self.draft, key, moment)?;
        }
        self.record(id, key, ChangeKind::Put { created: old.is_none() });
        self.events.push(Event { id, kind: EventKind::Put(new.pair), prev });
        Ok(())
    }

    /// Deletes the pair that lives now as `old`, and detaches it from its lease.
    pub(super) fn delete_key(&mut self, old: &Live, reason: DeleteReason) -> Result<(), Fault> {
        self.detach(old.pair.lease, &old.pair.key)?;
        self.delete_pair(old, reason)
    }

    /// The same for a pair whose lease ends with it: what the lease says of the key is left alone.
    pub(super) fn delete_pair(&mut self, old: &Live, reason: DeleteReason) -> Result<(), Fault> {
        let id = self.next_change();
        let key = &old.pair.key;
        let prev = self.pair_before(old)?;
        self.retire(old, id.revision);
        self.draft.delete(Family::Current, key.bytes().clone());
        let moment = self.moment();
        count::key_deleted(&mut self.draft, key, moment)?;
        self.record(id, key, ChangeKind::Delete(reason));
        self.events.push(Event { id, kind: EventKind::Delete(key.clone(), reason), prev });
        Ok(())
    }

    /// Moves the compacted mark up to `to`. The cost does not depend on what lies below: old
    /// versions turn to garbage by their own numbers, and the size is told by one event record.
    pub(super) fn compact(&mut self, to: Revision) -> Result<(), Fault> {
        let retired = retired_up_to(&self.draft, to)?;
        let freed = retired.checked_sub(self.store.compacted_retired_bytes);
        let left = freed.and_then(|freed| self.store.logical_size.checked_sub(freed));
        self.store.logical_size = left.ok_or_else(|| {
            Fault::new(format!(
                "compacting up to revision {to} would free more bytes than are kept"
            ))
        })?;
        self.store.compacted_retired_bytes = retired;
        self.store.compacted = to;
        self.draft.drop_range(Family::Events, evt::first_of(Revision(0)), evt::first_of(to));
        Ok(())
    }

    /// Writes a record that is no pair: of a lease or a member.
    pub(super) fn put_record(&mut self, family: Family, key: Bytes, value: Bytes) {
        self.draft.put(family, key, value);
    }

    /// Deletes a record that is no pair.
    pub(super) fn delete_record(&mut self, family: Family, key: Bytes) {
        self.draft.delete(family, key);
    }

    /// Notes what happened to a lease, for the lease clock.
    pub(super) fn note_lease(&mut self, change: LeaseChange) {
        self.leases.push(change);
    }

    /// The draft, finished.
    pub(super) fn finish(mut self) -> Effects {
        if self.store != self.before {
            self.draft.put(Family::Meta, STORE_KEY, encode_store(&self.store));
        }
        Effects { events: self.events, writes: self.draft.into_writes(), leases: self.leases }
    }

    /// When the counts change.
    fn moment(&self) -> count::Moment {
        count::Moment { revision: self.store.revision, compacted: self.store.compacted }
    }

    /// Names the next change; the first one takes a new revision.
    fn next_change(&mut self) -> EventId {
        self.store.revision = self.before.revision.next();
        let sub = u32::try_from(self.events.len()).expect("a request changes less than 2^32 keys");
        EventId { revision: self.store.revision, sub }
    }

    /// The pair that lived before this request under the key where `old` lives now.
    fn pair_before(&self, old: &Live) -> Result<Option<KeyValue>, Fault> {
        if old.pair.mod_revision <= self.before.revision {
            return Ok(Some(old.pair.clone()));
        }
        let record = self.base.get(Family::Current, old.pair.key.as_bytes())?;
        record.map(|record| cur::decode(&record)).transpose()
    }

    /// Keeps `old` for readers of older revisions: `end` is the revision that ends it.
    fn retire(&mut self, old: &Live, end: Revision) {
        self.store.retired_bytes += old.size();
        let key = ver::key(old.pair.key.as_bytes(), old.pair.mod_revision);
        self.draft.put(Family::Versions, key, ver::encode(end, &old.record));
    }

    /// Writes the record of a change; sizes are up to date by now.
    fn record(&mut self, id: EventId, key: &Key, kind: ChangeKind) {
        let change = Change { key: key.clone(), kind, retired_bytes: self.store.retired_bytes };
        self.draft.put(Family::Events, evt::key(id), evt::encode(&change));
    }

    fn attach(&mut self, id: Option<LeaseId>, key: &Key) -> Result<(), Fault> {
        let Some(id) = id else { return Ok(()) };
        let mut record = self.lease(id)?;
        let changed = if record.key.is_none() {
            record.key = Some(key.clone());
            true
        } else {
            self.draft.put(Family::Leases, lease::attachment(id, key), Bytes::new());
            !std::mem::replace(&mut record.has_others, true)
        };
        if changed {
            self.draft.put(Family::Leases, lease::key(id), lease::encode(&record));
        }
        self.leases.push(LeaseChange::Attached(id));
        Ok(())
    }

    fn detach(&mut self, id: Option<LeaseId>, key: &Key) -> Result<(), Fault> {
        let Some(id) = id else { return Ok(()) };
        let mut record = self.lease(id)?;
        if record.key.as_ref() == Some(key) {
            record.key = None;
            self.draft.put(Family::Leases, lease::key(id), lease::encode(&record));
        } else {
            self.draft.delete(Family::Leases, lease::attachment(id, key));
        }
        self.leases.push(LeaseChange::Detached(id));
        Ok(())
    }

    /// The record of a lease that a pair names.
    fn lease(&self, id: LeaseId) -> Result<lease::Record, Fault> {
        crate::state::lease::record(&self.draft, id)?
            .ok_or_else(|| Fault::new(format!("a pair names lease {id}, which does not live")))
    }
}

/// Logical bytes of all pairs replaced or deleted up to and with `revision`.
fn retired_up_to(view: &dyn View, revision: Revision) -> Result<u64, Fault> {
    if revision <= Revision::FIRST {
        return Ok(0); // nothing has ever happened up to there
    }
    let mut retired = None;
    let (start, end) = (evt::first_of(revision), evt::first_of(revision.next()));
    view.scan(Family::Events, &start, Some(&end), Direction::Backward, &mut |key, value| {
        retired = Some(evt::decode(key, value)?.retired_bytes);
        Ok(ControlFlow::Break(()))
    })?;
    retired.ok_or_else(|| Fault::new(format!("revision {revision} has no event")))
}
