//! Leases as the cluster agrees on them: which exist, and which keys hang on them.
//!
//! Absent on purpose: the clock. Only the leader measures time; what it concludes comes back as a
//! command.

use std::ops::ControlFlow;

use crate::{
    state::{
        ApplyError, Direction, Family, LeaseChange, Refused, RevokeCause, View,
        schema::lease::{self, Record, Times},
        write_txn::WriteTxn,
    },
    types::{DeleteReason, Fault, Index, Key, LeaseId, Seconds, Term},
};

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Its id.
    pub id: LeaseId,
    /// Time to live as granted.
    pub granted: Seconds,
    /// What was left at the last checkpoint, if there was one since the last renewal.
    pub remaining: Option<Seconds>,
    /// The entry that granted it.
    pub granted_at: Index,
}

/// All leases, ascending by id.
pub fn list(view: &dyn View) -> Result<Vec<LeaseRecord>, Fault> {
    let (start, end) = lease::all();
    let mut leases = Vec::new();
    view.scan(Family::Leases, &start, Some(&end), Direction::Forward, &mut |key, value| {
        leases.push(of_record(lease::id(key)?, &lease::decode(key, value)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(leases)
}

/// All leases, ascending by id, each with how many keys are attached to it.
pub fn tally(view: &dyn View) -> Result<Vec<(LeaseRecord, u32)>, Fault> {
    let (start, end) = lease::all();
    let mut leases = Vec::new();
    view.scan(Family::Leases, &start, Some(&end), Direction::Forward, &mut |key, value| {
        let record = lease::decode(key, value)?;
        leases.push((of_record(lease::id(key)?, &record), u32::from(record.key.is_some())));
        Ok(ControlFlow::Continue(()))
    })?;
    let mut rest = leases.as_mut_slice();
    let (start, end) = lease::all_attachments();
    view.scan(Family::Leases, &start, Some(&end), Direction::Forward, &mut |key, _| {
        let id = lease::attached_to(key)?;
        let passed = rest.iter().take_while(|(lease, _)| lease.id < id).count();
        rest = std::mem::take(&mut rest).split_at_mut(passed).1;
        match rest.first_mut() {
            Some((lease, keys)) if lease.id == id => *keys = keys.saturating_add(1),
            Some(_) | None => {
                return Err(Fault::new(format!(
                    "a key is attached to lease {id}, which does not exist"
                )));
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(leases)
}

/// The lease of this id, if it lives.
pub fn find(view: &dyn View, id: LeaseId) -> Result<Option<LeaseRecord>, Fault> {
    Ok(record(view, id)?.map(|record| of_record(id, &record)))
}

/// The keys attached to a lease, ascending; none if it does not live.
pub fn attached_keys(view: &dyn View, id: LeaseId) -> Result<Vec<Key>, Fault> {
    match record(view, id)? {
        Some(record) => keys_of(view, id, &record),
        None => Ok(Vec::new()),
    }
}

/// What is stored of the lease of this id.
pub(in crate::state) fn record(view: &dyn View, id: LeaseId) -> Result<Option<Record>, Fault> {
    let key = lease::key(id);
    view.get(Family::Leases, &key)?.map(|value| lease::decode(&key, &value)).transpose()
}

fn keys_of(view: &dyn View, id: LeaseId, record: &Record) -> Result<Vec<Key>, Fault> {
    let mut keys = Vec::from_iter(record.key.clone());
    if record.has_others {
        let (start, end) = lease::attachments(id);
        view.scan(Family::Leases, &start, Some(&end), Direction::Forward, &mut |key, _| {
            keys.push(lease::attached_key(key)?);
            Ok(ControlFlow::Continue(()))
        })?;
        keys.sort_unstable();
    }
    Ok(keys)
}

/// Creates a lease, by the entry at this index.
pub(super) fn grant(
    txn: &mut WriteTxn<'_>,
    granted_at: Index,
    id: LeaseId,
    ttl: Seconds,
) -> Result<(), ApplyError> {
    if record(txn.view(), id)?.is_some() {
        return Err(Refused::LeaseExists(id).into());
    }
    let times = Times { granted: ttl, remaining: None, granted_at };
    let record = Record { times, key: None, has_others: false };
    txn.put_record(Family::Leases, lease::key(id), lease::encode(&record));
    txn.note_lease(LeaseChange::Granted(id, ttl));
    Ok(())
}

/// Ends a lease and deletes every key attached to it, all at one revision.
///
/// The keys of a lease live and die together, and a revision is the unit in which watchers see
/// the store change: no watcher may see half of them gone.
pub(super) fn revoke(
    txn: &mut WriteTxn<'_>,
    term: Term,
    id: LeaseId,
    cause: RevokeCause,
) -> Result<(), ApplyError> {
    let found = record(txn.view(), id)?;
    let reason = match cause {
        RevokeCause::Client => DeleteReason::Revoked,
        // A leader of the past may not know of renewals that its successor has promised. And one
        // that lags in applying may not know that this is a new lease.
        RevokeCause::Expiry { term: proposer, known }
            if proposer != term
                || found.as_ref().is_some_and(|found| found.times.granted_at > known) =>
        {
            return Err(Refused::StaleExpiry(id).into());
        }
        RevokeCause::Expiry { .. } => DeleteReason::Expired,
    };
    let found = found.ok_or(Refused::LeaseNotFound(id))?;

    // Key order, so that every member gives the same place in the revision to the same key.
    for key in keys_of(txn.view(), id, &found)? {
        let live = txn
            .live(&key)?
            .ok_or_else(|| Fault::new(format!("key {key:?} of lease {id} does not live")))?;
        txn.delete_pair(&live, reason)?;
        if found.key.as_ref() != Some(&key) {
            txn.delete_record(Family::Leases, lease::attachment(id, &key));
        }
        txn.note_lease(LeaseChange::Detached(id));
    }
    txn.delete_record(Family::Leases, lease::key(id));
    txn.note_lease(LeaseChange::Gone(id));
    Ok(())
}

/// Records how long silent leases have left; zero clears the record. Leases that are gone are
/// passed over: one may end while its checkpoint is on the way. So are leases granted after what the
/// proposer knew.
pub(super) fn checkpoint(
    txn: &mut WriteTxn<'_>,
    leases: &[(LeaseId, Seconds)],
    known: Index,
) -> Result<(), Fault> {
    for &(id, left) in leases {
        let found = record(txn.view(), id)?;
        let meant = found.filter(|found| left.0 <= 0 || found.times.granted_at <= known);
        if let Some(mut record) = meant {
            record.times.remaining = (left.0 > 0).then_some(left);
            txn.put_record(Family::Leases, lease::key(id), lease::encode(&record));
            txn.note_lease(LeaseChange::Checkpointed(id, left));
        }
    }
    Ok(())
}

fn of_record(id: LeaseId, record: &Record) -> LeaseRecord {
    let Times { granted, remaining, granted_at } = record.times;
    LeaseRecord { id, granted, remaining, granted_at }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        state::{
            Command, Response,
            testing::{Machine, TERM, delete, events_text, expire, grant, put, revoke, txn},
        },
        types::Revision,
    };

    fn attached(machine: &Machine, id: i64) -> Vec<String> {
        let keys = attached_keys(machine.view(), LeaseId(id)).unwrap();
        keys.iter().map(|key| key.as_bytes().escape_ascii().to_string()).collect()
    }

    #[test]
    fn case_55_any_id_but_a_living_one_can_be_granted() {
        let mut machine = Machine::new();
        let applied = machine.apply(grant(-1));
        assert_eq!(applied.leases, [LeaseChange::Granted(LeaseId(-1), Seconds(60))]);
        let answer = applied.answer();
        assert_eq!(answer.response, Response::LeaseGrant(LeaseId(-1), Seconds(60)));
        assert_eq!(answer.revision, Revision(1), "a lease is no change of a key");
        assert_eq!(machine.apply(grant(-1)).refused(), Refused::LeaseExists(LeaseId(-1)));
        machine.apply(revoke(-1)).answer();
        machine.apply(grant(-1)).answer();
    }

    #[test]
    fn case_58_the_keys_of_a_lease_go_at_one_revision_in_key_order() {
        let mut machine = Machine::after([
            grant(7),
            put("lk3").attached_to(7).into(),
            put("lk1").attached_to(7).into(),
            put("lk2").attached_to(7).into(),
            put("z").into(),
        ]);

        let applied = machine.apply(revoke(7));

        assert_eq!(applied.events_text(), ["revoke lk1 6.0", "revoke lk2 6.1", "revoke lk3 6.2"]);
        let less = LeaseChange::Detached(LeaseId(7));
        assert_eq!(applied.leases, [less, less, less, LeaseChange::Gone(LeaseId(7))]);
        assert_eq!(machine.events(6).unwrap(), applied.events);
        assert_eq!(machine.keys(), ["z"]);
        assert_eq!(find(machine.view(), LeaseId(7)).unwrap(), None);
    }

    #[test]
    fn case_58_a_lease_without_keys_takes_no_revision() {
        let mut machine = Machine::after([grant(7), put("a").into()]);
        let applied = machine.apply(revoke(7));
        assert_eq!(applied.events, []);
        assert_eq!(applied.answer().revision, Revision(2));
        assert_eq!(machine.apply(revoke(7)).refused(), Refused::LeaseNotFound(LeaseId(7)));
        assert_eq!(machine.apply(revoke(0)).refused(), Refused::LeaseNotFound(LeaseId(0)));
    }

    #[test]
    fn case_59_a_key_belongs_to_the_lease_it_was_put_on_last() {
        let mut machine = Machine::after([
            grant(1),
            grant(2),
            put("k").attached_to(1).into(),
            put("k").attached_to(2).into(),
        ]);
        machine.apply(revoke(1)).answer();
        assert_eq!(machine.keys(), ["k"]);
        machine.apply(revoke(2)).answer();
        assert_eq!(machine.keys(), [""; 0]);
    }

    /// What attaches and what detaches a key.
    #[test]
    fn a_key_follows_its_puts() {
        let mut machine = Machine::after([grant(7), put("k").attached_to(7).into()]);
        machine.apply(put("k").keep_lease());
        assert_eq!(attached(&machine, 7), ["k"]);
        machine.apply(put("k"));
        assert_eq!(attached(&machine, 7), [""; 0]);
        machine.apply(put("k").attached_to(7));
        machine.apply(delete("k"));
        assert_eq!(attached(&machine, 7), [""; 0]);
        machine.apply(put("k"));
        machine.apply(revoke(7)).answer();
        assert_eq!(machine.keys(), ["k"]);
    }

    /// One key stands in the lease's record, whichever of them goes or comes.
    #[test]
    fn the_place_in_the_record_is_taken_again() {
        let on_7 = |name| put(name).attached_to(7).into();
        let mut machine = Machine::after([grant(7), on_7("b"), on_7("c")]);
        machine.apply(delete("b"));
        assert_eq!(attached(&machine, 7), ["c"]);
        machine.apply(on_7("a"));
        machine.apply(on_7("d"));
        assert_eq!(attached(&machine, 7), ["a", "c", "d"]);
        let inside = record(machine.view(), LeaseId(7)).unwrap().unwrap().key;
        assert_eq!(inside, Key::new("a"));

        let applied = machine.apply(revoke(7));

        assert_eq!(applied.events_text(), ["revoke a 7.0", "revoke c 7.1", "revoke d 7.2"]);
    }

    /// A transaction moves keys between leases as single puts do.
    #[test]
    fn a_transaction_attaches_and_detaches() {
        let mut machine = Machine::after([grant(1), grant(2), put("a").attached_to(1).into()]);
        let body = txn().then(put("a").attached_to(2)).then(put("b").attached_to(2));
        machine.apply(body.then(txn().then(delete("b")))).answer();
        assert_eq!((attached(&machine, 1), attached(&machine, 2)), (vec![], vec!["a".to_owned()]));
    }

    /// Each lease is counted its own keys, those without a key too.
    #[test]
    fn keys_are_tallied_by_lease() {
        let machine = Machine::after([
            grant(-1),
            grant(1),
            grant(2),
            grant(3),
            put("a").attached_to(-1).into(),
            put("b").attached_to(2).into(),
            put("a").attached_to(2).into(),
            put("c").attached_to(3).into(),
        ]);
        let tally = tally(machine.view()).unwrap();
        let tally: Vec<_> = tally.iter().map(|(lease, keys)| (lease.id.0, *keys)).collect();
        assert_eq!(tally, [(-1, 0), (1, 0), (2, 2), (3, 1)]);
    }

    /// An expiry stands only in the term whose leader measured it.
    #[test]
    fn an_expiry_of_another_term_is_declined() {
        let mut machine = Machine::after([grant(7), put("k").attached_to(7).into()]);
        let before = machine.clone();
        for stale in [Term(TERM.0 - 1), Term(TERM.0 + 1)] {
            assert_eq!(machine.apply(expire(7, stale)).refused(), Refused::StaleExpiry(LeaseId(7)));
        }
        assert_eq!(machine, before);
        assert_eq!(machine.apply(expire(7, TERM)).events_text(), ["expire k 3.0"]);
        assert_eq!(events_text(&machine.events(3).unwrap()), ["expire k 3.0"]);
    }

    /// A proposer that lags in applying knows a lease that has ended; meanwhile its id was granted
    /// again. Neither the end nor the checkpoint that it proposes is meant for the new one.
    #[test]
    fn an_id_that_was_granted_again_is_another_lease() {
        let mut machine = Machine::after([grant(7), revoke(7)]);
        machine.index = Index(20);
        machine.apply(grant(7)).answer();
        machine.index = Index(21);
        let left = |seconds| vec![(LeaseId(7), Seconds(seconds))];
        let checkpoint = |left, known| Command::LeaseCheckpoint { leases: left, known };
        let expiry = |known| Command::LeaseRevoke {
            id: LeaseId(7),
            cause: RevokeCause::Expiry { term: TERM, known },
        };

        assert_eq!(machine.apply(expiry(Index(19))).refused(), Refused::StaleExpiry(LeaseId(7)));
        assert_eq!(machine.apply(checkpoint(left(30), Index(19))).leases, []);
        let known = machine.apply(checkpoint(left(30), Index(20)));
        assert_eq!(known.leases, [LeaseChange::Checkpointed(LeaseId(7), Seconds(30))]);
        let cleared = machine.apply(checkpoint(left(0), Index(0)));
        assert_eq!(cleared.leases, [LeaseChange::Checkpointed(LeaseId(7), Seconds(0))]);
        machine.apply(expiry(Index(20))).answer();
        assert_eq!(find(machine.view(), LeaseId(7)).unwrap(), None);
    }

    /// A checkpoint is kept until it is cleared, and passes over leases that are gone.
    #[test]
    fn checkpoints_are_kept_and_cleared() {
        let mut machine = Machine::after([grant(7), grant(9)]);
        let checkpoint = |left| {
            let leases = vec![(LeaseId(7), Seconds(left)), (LeaseId(8), Seconds(1))];
            Command::LeaseCheckpoint { leases, known: Index(99) }
        };
        let applied = machine.apply(checkpoint(30));
        assert_eq!(applied.leases, [LeaseChange::Checkpointed(LeaseId(7), Seconds(30))]);
        let of = |id, remaining| LeaseRecord {
            id: LeaseId(id),
            granted: Seconds(60),
            remaining,
            granted_at: Index(10),
        };
        assert_eq!(list(machine.view()).unwrap(), [of(7, Some(Seconds(30))), of(9, None)]);

        machine.apply(checkpoint(0));
        assert_eq!(find(machine.view(), LeaseId(7)).unwrap(), Some(of(7, None)));
    }
}
