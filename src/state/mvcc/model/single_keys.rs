//! What happened to single keys, held against what happened to all.

use proptest::prelude::*;

use super::any::any_command;
use crate::{
    state::{
        ApplyError, Refused,
        mvcc::{events, events_of_keys},
        testing::{Machine, key},
    },
    types::{Event, EventId, Key, Revision},
};

const KEYS: [&str; 6] = ["a", "a\0", "ab", "b", "c", "never"];

/// The events of a key among those of all from a revision on, up to another. What revisions there
/// are is told with the places that an event has among those of its key.
fn expected(machine: &Machine, name: &Key, from: i64, to: i64) -> Vec<Event> {
    let all = events(machine.view(), Revision(from), Revision(to), usize::MAX, usize::MAX);
    let mut of_key: Vec<Event> = Vec::new();
    for mut event in all.unwrap().events {
        if event.key() == name {
            let same = of_key.last().filter(|last| last.id.revision == event.id.revision);
            let sub = same.map_or(0, |last| last.id.sub + 1);
            event.id = EventId { sub, ..event.id };
            of_key.push(event);
        }
    }
    of_key
}

/// All keys together, each from a revision of its own on, as well as each alone.
fn compare(machine: &Machine, compacted: i64, turn: usize) {
    let newest = machine.revision();
    for first in compacted.max(0)..=newest {
        let wanted: Vec<(Key, Revision)> = KEYS
            .iter()
            .enumerate()
            .map(|(at, name)| {
                let skip = i64::try_from((at * turn) % 4).unwrap();
                (key(name), Revision((first + skip).min(newest)))
            })
            .collect();
        for to in [first, (first + newest) / 2, newest, newest + 1] {
            let read = events_of_keys(machine.view(), &wanted, Revision(to), true, 1_000, 1 << 20);
            let read = read.unwrap();
            assert_eq!(read.read_to.0, to.min(newest));
            assert_eq!(read.keys.len(), wanted.len());
            for ((name, from), got) in wanted.iter().zip(&read.keys) {
                let expected = expected(machine, name, from.0, to);
                assert_eq!(got.as_ref(), Some(&expected), "{name:?} from {from} to {to}");
            }
        }
    }
    if compacted > 0 {
        let too_early = [(key("a"), Revision(newest)), (key("b"), Revision(compacted - 1))];
        let read =
            events_of_keys(machine.view(), &too_early, Revision(newest), true, 1_000, 1 << 20);
        let refused = Refused::Compacted(Revision(compacted - 1));
        assert!(matches!(read, Err(ApplyError::Refused(why)) if why == refused));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What happened to a key is the same whether it is read alone or out of what happened to all,
    /// from any revision on and whether garbage has been dropped or not.
    #[test]
    fn a_key_alone_tells_what_all_tell(
        commands in prop::collection::vec((any_command(), prop::bool::weighted(0.1)), 1..25),
        turn in 0..4_usize,
    ) {
        let mut machine = Machine::new();
        for (command, collect_garbage) in commands {
            machine.apply(command);
            if collect_garbage {
                machine.collect_garbage();
            }
        }
        let compacted = crate::state::meta::compacted(machine.view()).unwrap().0;
        compare(&machine, compacted, turn);
        machine.collect_garbage();
        compare(&machine, compacted, turn);
    }
}
