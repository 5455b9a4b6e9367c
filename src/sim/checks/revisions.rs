//! Whether the history that survived explains everything that clients were told.
//!
//! At the end of a run the store itself says what happened: every change, by revision. Replaying it
//! shows what any operation must have seen and written. So this check needs no search, covers
//! transactions on several keys, and finds acknowledged writes that are lost, refused ones that took
//! effect, and effects that nobody asked for.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    sim::{
        checks::Violation,
        history::{Content, Contents, Fate, KeyId, Operation, ValueId},
    },
    types::Revision,
};

/// Every change that survived, by revision.
pub type Survived = BTreeMap<Revision, Contents>;

/// Checks every operation against the history that survived.
pub fn check(operations: &[Operation], survived: &Survived) -> Result<(), Violation> {
    let replay = Replay::of(survived);
    let floors = floors(operations);
    let mut explained = BTreeSet::new();
    for (op, floor) in operations.iter().zip(&floors) {
        let complain = |what: String| Violation(format!("{what}\n  {op}"));
        match op.fate {
            Fate::Done { revision, serializable, .. } => {
                let floor = if serializable { Revision::FIRST } else { *floor };
                done(op, revision, floor, &replay).map_err(complain)?;
                if !op.wrote.is_empty() {
                    explained.insert(revision);
                }
            }
            Fate::No => refused(op, &replay).map_err(complain)?,
            Fate::Unknown => explained.extend(unknown(op, *floor, &replay).map_err(complain)?),
        }
    }
    match survived.keys().find(|revision| !explained.contains(revision)) {
        Some(revision) => {
            Err(Violation(format!("nobody asked for what revision {revision} changed")))
        }
        None => Ok(()),
    }
}

/// What every key held after each of its changes, and where each value was written.
struct Replay<'a> {
    survived: &'a Survived,
    contents: BTreeMap<KeyId, BTreeMap<Revision, Content>>,
    written: BTreeMap<ValueId, Vec<(Revision, KeyId)>>,
}

impl<'a> Replay<'a> {
    fn of(survived: &'a Survived) -> Self {
        let mut contents: BTreeMap<KeyId, BTreeMap<Revision, Content>> = BTreeMap::new();
        let mut written: BTreeMap<ValueId, Vec<(Revision, KeyId)>> = BTreeMap::new();
        for (revision, changes) in survived {
            for (key, content) in changes {
                contents.entry(*key).or_default().insert(*revision, *content);
                if let Some(value) = content {
                    written.entry(*value).or_default().push((*revision, *key));
                }
            }
        }
        Self { survived, contents, written }
    }

    /// What a key held as of a revision.
    fn content(&self, key: KeyId, revision: Revision) -> Content {
        let changes = self.contents.get(&key)?;
        changes.range(..=revision).next_back().and_then(|(_, content)| *content)
    }
}

/// For each operation the highest revision that some client had heard of before it was called.
fn floors(operations: &[Operation]) -> Vec<Revision> {
    let mut heard: Vec<(u64, Revision)> = Vec::new();
    for op in operations {
        if let Fate::Done { returned, revision, .. } = op.fate {
            heard.push((returned, revision));
        }
    }
    heard.sort_unstable();
    let mut highest = Revision::FIRST;
    for (_, revision) in &mut heard {
        highest = highest.max(*revision);
        *revision = highest;
    }
    let floor = |op: &Operation| {
        let before = heard.partition_point(|(returned, _)| *returned < op.called);
        let last = before.checked_sub(1).and_then(|at| heard.get(at));
        last.map_or(Revision::FIRST, |(_, revision)| *revision)
    };
    operations.iter().map(floor).collect()
}

fn done(
    op: &Operation,
    revision: Revision,
    floor: Revision,
    replay: &Replay<'_>,
) -> Result<(), String> {
    let wrote = !op.wrote.is_empty();
    if revision < floor || (wrote && revision == floor) {
        return Err(format!("revision {revision} was known before this was called at {floor}"));
    }
    let before = if wrote { Revision(revision.0 - 1) } else { revision };
    for (key, content) in &op.saw {
        let held = replay.content(*key, before);
        if held != *content {
            return Err(format!("{key} held {held:?} as of revision {before}"));
        }
    }
    if wrote && replay.survived.get(&revision) != Some(&op.wrote) {
        let found = replay.survived.get(&revision);
        return Err(format!("an acknowledged write is lost: revision {revision} is {found:?}"));
    }
    Ok(())
}

fn refused(op: &Operation, replay: &Replay<'_>) -> Result<(), String> {
    for value in op.wrote.values().flatten() {
        if let Some(found) = replay.written.get(value) {
            return Err(format!("it was refused, but {value} was written: {found:?}"));
        }
    }
    Ok(())
}

/// The revisions at which an operation of unknown outcome took effect.
fn unknown(
    op: &Operation,
    floor: Revision,
    replay: &Replay<'_>,
) -> Result<BTreeSet<Revision>, String> {
    let values: BTreeSet<ValueId> = op.wrote.values().flatten().copied().collect();
    if values.is_empty() {
        // A delete: any later deletion of just these keys may be its effect.
        let later = replay.survived.range(floor.next()..);
        return Ok(later.filter(|(_, changes)| **changes == op.wrote).map(|(r, _)| *r).collect());
    }
    let written = values.iter().filter_map(|value| replay.written.get(value)).flatten();
    let revisions: BTreeSet<Revision> = written.map(|(revision, _)| *revision).collect();
    for revision in &revisions {
        if *revision <= floor {
            return Err(format!("it took effect at revision {revision}, before it was called"));
        }
        if replay.survived.get(revision) != Some(&op.wrote) {
            return Err(format!("it took effect in part, at revision {revision}"));
        }
        let before = Revision(revision.0 - 1);
        if let Some(key) = op.saw.iter().find(|(k, c)| replay.content(**k, before) != **c) {
            return Err(format!("it took effect at revision {revision} without finding {key:?}"));
        }
    }
    if revisions.len() > 1 {
        return Err(format!("it took effect more than once: {revisions:?}"));
    }
    Ok(revisions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberId;

    const K1: KeyId = KeyId(1);
    const K2: KeyId = KeyId(2);

    fn contents(pairs: &[(KeyId, Option<u64>)]) -> Contents {
        pairs.iter().map(|(key, value)| (*key, value.map(ValueId))).collect()
    }

    type Changes<'a> = &'a [(KeyId, Option<u64>)];

    fn survived(revisions: &[(i64, Changes<'_>)]) -> Survived {
        revisions.iter().map(|(r, pairs)| (Revision(*r), contents(pairs))).collect()
    }

    fn operation(called: u64, fate: Fate, wrote: &[(KeyId, Option<u64>)]) -> Operation {
        let (saw, wrote) = (Contents::new(), contents(wrote));
        Operation { client: 1, member: MemberId(1), what: "test", called, saw, wrote, fate }
    }

    fn write(
        called: u64,
        returned: u64,
        revision: i64,
        wrote: &[(KeyId, Option<u64>)],
    ) -> Operation {
        let revision = Revision(revision);
        operation(called, Fate::Done { returned, revision, serializable: false }, wrote)
    }

    fn read(
        called: u64,
        revision: i64,
        saw: &[(KeyId, Option<u64>)],
        serializable: bool,
    ) -> Operation {
        let revision = Revision(revision);
        let fate = Fate::Done { returned: called + 1, revision, serializable };
        Operation { saw: contents(saw), ..operation(called, fate, &[]) }
    }

    /// Writes at their revisions, reads of what was there, and transactions that are whole.
    #[test]
    fn a_sound_history_passes() {
        let survived = survived(&[
            (2, &[(K1, Some(1))]),
            (3, &[(K1, Some(2)), (K2, Some(2))]),
            (4, &[(K2, None)]),
            (5, &[(K1, Some(3))]),
        ]);
        let operations = [
            write(0, 10, 2, &[(K1, Some(1))]),
            write(20, 30, 3, &[(K1, Some(2)), (K2, Some(2))]),
            read(31, 3, &[(K1, Some(2)), (K2, Some(2))], false),
            operation(40, Fate::Unknown, &[(K2, None)]),
            operation(41, Fate::Unknown, &[(K1, Some(3))]),
            operation(41, Fate::Unknown, &[(K1, Some(4))]),
            operation(42, Fate::No, &[(K1, Some(5))]),
            read(50, 2, &[(K1, Some(1)), (K2, None)], true),
        ];
        assert_eq!(check(&operations, &survived), Ok(()));
    }

    /// Each of the ways in which a store can break its word is found.
    #[test]
    fn broken_words_are_found() {
        let one = survived(&[(2, &[(K1, Some(1))])]);
        let first = write(0, 10, 2, &[(K1, Some(1))]);
        let twice = survived(&[(2, &[(K1, Some(1))]), (3, &[(K1, Some(1))])]);
        let swapped = survived(&[(2, &[(K2, Some(2))]), (3, &[(K1, Some(1))])]);
        let half = survived(&[(2, &[(K1, Some(1))]), (3, &[(K1, Some(2))])]);
        for (what, operations, survived) in [
            ("lost", vec![first.clone()], Survived::new()),
            ("stale read", vec![first.clone(), read(11, 1, &[(K1, None)], false)], one.clone()),
            ("wrong read", vec![first.clone(), read(11, 2, &[(K1, None)], false)], one.clone()),
            ("unasked", vec![], one.clone()),
            ("refused", vec![operation(0, Fate::No, &[(K1, Some(1))])], one.clone()),
            ("early", vec![first.clone(), operation(11, Fate::Unknown, &[(K1, Some(1))])], one),
            ("twice", vec![operation(0, Fate::Unknown, &[(K1, Some(1))])], twice),
            ("half", vec![first.clone(), write(0, 9, 3, &[(K1, Some(2)), (K2, Some(2))])], half),
            (
                "order",
                vec![write(0, 10, 3, &[(K1, Some(1))]), write(20, 30, 2, &[(K2, Some(2))])],
                swapped,
            ),
        ] {
            assert!(check(&operations, &survived).is_err(), "{what}");
        }
    }
}
