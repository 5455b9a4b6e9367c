//! How many keys lived in a range at an older revision.
//!
//! The counts are those of now. Since each event tells whether it brought a key to life or ended
//! one, a count of the recent past is the count of now corrected by what happened since. When that
//! is more than the keys themselves, or than a bound, they are walked instead.

use std::ops::ControlFlow;

use crate::{
    state::{
        Direction, Family, View,
        mvcc::{
            count,
            read::{At, visit_at},
        },
        schema::evt::{self, ChangeKind},
    },
    types::{Fault, KeyRange, Revision, limits::COUNT_REPLAY_EVENTS_MAX},
};

/// How many keys of the range lived at `revision`, which must not lie below the compacted mark.
pub(super) fn keys_at(view: &dyn View, range: &KeyRange, revision: Revision) -> Result<u64, Fault> {
    let now = count::live_keys(view, range)?;
    match replay(view, range, revision, now, now.min(COUNT_REPLAY_EVENTS_MAX))? {
        Some(keys) => Ok(keys),
        None => walk(view, range, revision),
    }
}

/// Takes back what happened after `revision`, if it is not more than `events_max` changes.
fn replay(
    view: &dyn View,
    range: &KeyRange,
    revision: Revision,
    now: u64,
    events_max: u64,
) -> Result<Option<u64>, Fault> {
    let (mut seen, mut created, mut deleted) = (0, 0, 0);
    let start = evt::first_of(revision.next());
    view.scan(Family::Events, &start, None, Direction::Forward, &mut |key, value| {
        seen += 1;
        if seen > events_max {
            return Ok(ControlFlow::Break(()));
        }
        let change = evt::decode(key, value)?;
        if range.contains(&change.key) {
            match change.kind {
                ChangeKind::Put { created: true } => created += 1,
                ChangeKind::Put { created: false } => (),
                ChangeKind::Delete(_) => deleted += 1,
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if seen > events_max {
        return Ok(None);
    }
    let then = (now + deleted).checked_sub(created);
    then.map(Some).ok_or_else(|| {
        Fault::new(format!("{created} keys were created after revision {revision}, {now} live"))
    })
}

/// Counts them one by one.
fn walk(view: &dyn View, range: &KeyRange, revision: Revision) -> Result<u64, Fault> {
    let mut keys = 0;
    visit_at(view, At::Past(revision), range, Direction::Forward, &mut |_| {
        keys += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::testing::{Machine, delete, key, put};

    /// Both ways of counting give the same at every revision.
    #[test]
    fn replaying_and_walking_agree() {
        let mut machine = Machine::after(["a", "b", "a", "c", "d"].map(put));
        machine.apply(delete("a").to("c"));
        machine.apply(put("b"));
        machine.apply(delete("d"));
        let range = KeyRange::HalfOpen(key("a"), key("d"));
        let now = count::live_keys(machine.view(), &range).unwrap();
        for (revision, expected) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (7, 1), (8, 2), (9, 2)]
        {
            let at = Revision(revision);
            assert_eq!(walk(machine.view(), &range, at).unwrap(), expected);
            assert_eq!(replay(machine.view(), &range, at, now, 99).unwrap(), Some(expected));
            assert_eq!(keys_at(machine.view(), &range, at).unwrap(), expected);
        }
        assert_eq!(replay(machine.view(), &range, Revision(2), now, 7).unwrap(), None);
        assert_eq!(replay(machine.view(), &range, Revision(2), now, 8).unwrap(), Some(1));
    }
}
