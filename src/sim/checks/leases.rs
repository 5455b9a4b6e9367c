//! Leases, as the history of keys tells of them: the keys of a lease go together, and what was said
//! to be put on it or taken from it was.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    sim::{
        checks::Violation,
        holders::{Effect, End},
    },
    types::{DeleteReason, Event, EventKind, Key, LeaseId, Revision},
};

/// Which key is on which lease, as the history so far has it.
#[derive(Debug, Default)]
struct Attached {
    by_key: BTreeMap<Key, LeaseId>,
    by_lease: BTreeMap<LeaseId, BTreeSet<Key>>,
}

impl Attached {
    fn put(&mut self, key: &Key, lease: Option<LeaseId>) {
        if let Some(before) = self.by_key.remove(key) {
            self.by_lease.entry(before).or_default().remove(key);
        }
        if let Some(lease) = lease {
            self.by_key.insert(key.clone(), lease);
            self.by_lease.entry(lease).or_default().insert(key.clone());
        }
    }
}

/// Replays a history. Returns how leases ended, and that each did so at one revision, which took
/// all its keys and nothing else, and was never heard of again.
pub fn ends(history: &[Event]) -> Result<Vec<End>, Violation> {
    let mut attached = Attached::default();
    let mut ended = BTreeSet::new();
    let mut ends = Vec::new();
    for changes in history.chunk_by(|a, b| a.id.revision == b.id.revision) {
        if let Some(end) = end_in(changes, &attached)? {
            if !ended.insert(end.lease) {
                return Err(Violation(format!("lease {} ended twice", end.lease)));
            }
            ends.push(end);
        }
        for change in changes {
            match &change.kind {
                EventKind::Put(kv) if kv.lease.is_some_and(|lease| ended.contains(&lease)) => {
                    return Err(Violation(format!("{change:?} is on a lease that had ended")));
                }
                EventKind::Put(kv) => attached.put(&kv.key, kv.lease),
                EventKind::Delete(key, _) => attached.put(key, None),
            }
        }
    }
    Ok(ends)
}

/// The end of a lease in the changes of one revision, if there is one.
fn end_in(changes: &[Event], attached: &Attached) -> Result<Option<End>, Violation> {
    let ended = changes.iter().find_map(|change| match &change.kind {
        EventKind::Delete(_, DeleteReason::Client) | EventKind::Put(_) => None,
        EventKind::Delete(key, reason @ (DeleteReason::Revoked | DeleteReason::Expired)) => {
            Some((change.id.revision, key, *reason))
        }
    });
    let Some((revision, key, reason)) = ended else { return Ok(None) };
    let lease = *attached
        .by_key
        .get(key)
        .ok_or_else(|| Violation(format!("{key:?} went with a lease at {revision}, on none")))?;
    let gone: BTreeSet<&Key> = changes
        .iter()
        .filter(|c| matches!(&c.kind, EventKind::Delete(_, other) if *other == reason))
        .map(Event::key)
        .collect();
    let on_it = attached.by_lease.get(&lease).into_iter().flatten();
    if gone.len() != changes.len() || !gone.into_iter().eq(on_it) {
        return Err(Violation(format!(
            "lease {lease} ended at revision {revision} with other changes than its keys"
        )));
    }
    Ok(Some(End { lease, revision, reason }))
}

/// Holds what holders were told of their keys against the history.
pub fn check_effects(history: &[Event], effects: &[(Revision, Effect)]) -> Result<(), Violation> {
    for (revision, effect) in effects {
        let from = history.partition_point(|change| change.id.revision < *revision);
        let to = history.partition_point(|change| change.id.revision <= *revision);
        let mut changes = history.get(from..to).unwrap_or_default().iter();
        let shows = match effect {
            Effect::On(key, lease) => changes.any(|change| match &change.kind {
                EventKind::Put(kv) => kv.key == *key && kv.lease == *lease,
                EventKind::Delete(..) => false,
            }),
            Effect::Kept(key) => changes.any(|change| match (&change.kind, &change.prev) {
                (EventKind::Put(kv), Some(prev)) => kv.key == *key && kv.lease == prev.lease,
                (EventKind::Put(_), None) | (EventKind::Delete(..), _) => false,
            }),
            Effect::Gone(key) => changes.any(|change| match &change.kind {
                EventKind::Delete(gone, reason) => gone == key && *reason == DeleteReason::Client,
                EventKind::Put(_) => false,
            }),
        };
        if !shows {
            return Err(Violation(format!("revision {revision} does not show {effect:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{Machine, TERM, expire, grant, key, put, revoke};

    fn history() -> Vec<Event> {
        let mut machine = Machine::new();
        for command in [
            grant(7),
            grant(8),
            put("held/a").attached_to(7).into(),
            put("held/b").attached_to(7).into(),
            put("held/c").attached_to(8).into(),
            put("held/b").attached_to(8).into(),
            expire(7, TERM),
            revoke(8),
        ] {
            machine.apply(command);
        }
        machine.events(2).unwrap()
    }

    /// Ends are found with their reasons; the keys that had moved on went later.
    #[test]
    fn ends_are_found() {
        let end = |lease, revision, reason| End {
            lease: LeaseId(lease),
            revision: Revision(revision),
            reason,
        };
        assert_eq!(
            ends(&history()).unwrap(),
            [end(7, 6, DeleteReason::Expired), end(8, 7, DeleteReason::Revoked)]
        );
    }

    /// A key that stays behind, one that goes along, and one that comes late are found.
    #[test]
    fn an_end_in_pieces_is_found() {
        let mut late = history();
        late.last_mut().unwrap().id.revision = Revision(8);
        assert!(ends(&late).is_err(), "a key went a revision later");

        let mut fewer = history();
        fewer.pop();
        assert!(ends(&fewer).is_err(), "a key stayed");

        let mut more = history();
        more.last_mut().unwrap().id.revision = Revision(6);
        more.swap_remove(5);
        assert!(ends(&more).is_err(), "a key of another lease went along");

        let mut again = history();
        let mut first = again.first().unwrap().clone();
        first.id.revision = Revision(9);
        again.push(first);
        assert!(ends(&again).is_err(), "a key was put on a lease that had ended");
    }

    /// What did not happen as somebody was told is found.
    #[test]
    fn effects_are_looked_for() {
        let told = |revision, effect| check_effects(&history(), &[(Revision(revision), effect)]);
        let b = || key("held/b");
        assert!(told(3, Effect::On(b(), Some(LeaseId(7)))).is_ok());
        assert!(told(3, Effect::On(b(), Some(LeaseId(8)))).is_err());
        assert!(told(5, Effect::On(b(), Some(LeaseId(8)))).is_ok());
        assert!(told(5, Effect::Kept(b())).is_err(), "it moved");
        assert!(told(7, Effect::Gone(b())).is_err(), "it went with its lease");
    }
}
