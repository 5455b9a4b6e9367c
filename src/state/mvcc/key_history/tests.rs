//! Where what happened to a key does not follow plainly from its versions. `model/single_keys.rs` has
//! the whole as one property.

use super::events_of_keys;
use crate::{
    state::{
        Command, Family,
        schema::evt,
        testing::{
            Machine, TERM, compact, delete, events_text, expire, grant, key, put, revoke, txn,
        },
    },
    types::{Event, EventId, Key, Revision},
};

/// What happened to a key from a revision on, as far as the limits allow.
fn limited(machine: &Machine, name: &str, from: i64, versions: usize) -> Option<Vec<Event>> {
    let keys = [(key(name), Revision(from))];
    let read = events_of_keys(machine.view(), &keys, Revision(i64::MAX), true, versions, 1 << 20);
    read.unwrap().keys.remove(0)
}

fn read(machine: &Machine, name: &str, from: i64) -> Vec<Event> {
    limited(machine, name, from, 1_000).unwrap()
}

fn text(machine: &Machine, name: &str, from: i64) -> Vec<String> {
    events_text(&read(machine, name, from))
}

/// The revisions of the pairs before.
fn before(events: &[Event]) -> Vec<Option<i64>> {
    events.iter().map(|event| event.prev.as_ref().map(|pair| pair.mod_revision.0)).collect()
}

/// A key that is gone has no newest version; its last one says when it went.
#[test]
fn a_key_that_is_gone_ends_with_a_delete() {
    let machine = Machine::after::<Command>([
        put("a").into(),
        put("a").into(),
        delete("a").into(),
        put("b").into(),
    ]);
    assert_eq!(text(&machine, "a", 2), ["put a 2.0", "put a 3.0", "delete a 4.0"]);
    assert_eq!(text(&machine, "a", 4), ["delete a 4.0"]);
    assert_eq!(text(&machine, "a", 5), [""; 0]);
    assert_eq!(before(&read(&machine, "a", 2)), [None, Some(2), Some(3)]);
}

/// A key that came back at once was deleted all the same, one that was replaced was not.
#[test]
fn what_follows_an_end_tells_a_delete_from_a_put() {
    let mut machine = Machine::after([put("a"), put("a")]);
    machine.apply(txn().then(delete("a")).then(put("a")));
    machine.apply(put("a"));
    assert_eq!(text(&machine, "a", 3), ["put a 3.0", "delete a 4.0", "put a 4.1", "put a 5.0"]);
    assert_eq!(before(&read(&machine, "a", 3)), [Some(2), Some(3), None, Some(4)]);
}

/// What its own revision deleted again is both put and deleted; before it was what had been before.
#[test]
fn a_put_that_its_revision_deletes() {
    let mut machine = Machine::after([put("a")]);
    machine.apply(txn().then(put("a")).then(delete("a")));
    machine.apply(txn().then(put("b")).then(delete("b")));
    assert_eq!(text(&machine, "a", 3), ["put a 3.0", "delete a 3.1"]);
    assert_eq!(before(&read(&machine, "a", 3)), [Some(2), Some(2)]);
    assert_eq!(text(&machine, "b", 2), ["put b 4.0", "delete b 4.1"]);
    assert_eq!(before(&read(&machine, "b", 2)), [None, None]);
}

/// Why a key was deleted is found among all that its revision deleted.
#[test]
fn deletes_have_their_reasons() {
    let mut machine = Machine::after([grant(7), grant(8)]);
    for (name, lease) in [("a", 7), ("b", 7), ("c", 8)] {
        machine.apply(put(name).attached_to(lease));
    }
    machine.apply(revoke(7));
    machine.apply(expire(8, TERM));
    machine.apply(put("a"));
    machine.apply(delete("a"));
    assert_eq!(text(&machine, "a", 5), ["revoke a 5.0", "put a 7.0", "delete a 8.0"]);
    assert_eq!(text(&machine, "b", 5), ["revoke b 5.0"]);
    assert_eq!(text(&machine, "c", 5), ["expire c 6.0"]);

    machine.forget(Family::Events, evt::key(EventId { revision: Revision(8), sub: 0 }));
    let keys = [(key("a"), Revision(8))];
    let fault = events_of_keys(machine.view(), &keys, Revision(8), true, 9, 99).unwrap_err();
    assert_eq!(fault.to_string(), "no delete of key b\"a\" is recorded at 8");
}

/// What happened at the compacted revision is told though its versions are garbage, and without
/// what was before; afterwards all is told.
#[test]
fn case_16_the_compacted_revision_is_still_told() {
    let mut machine = Machine::after([put("a"), put("b"), put("a")]);
    machine.apply(delete("a").to("c")); // 5
    machine.apply(put("a"));
    machine.apply(put("a"));
    machine.apply(compact(5));
    for garbage_is_gone in [false, true] {
        if garbage_is_gone {
            machine.collect_garbage();
        }
        assert_eq!(text(&machine, "a", 5), ["delete a 5.0", "put a 6.0", "put a 7.0"]);
        assert_eq!(text(&machine, "b", 5), ["delete b 5.0"]);
        assert_eq!(before(&read(&machine, "a", 5)), [None, None, Some(6)]);
    }
    machine.apply(compact(6));
    machine.collect_garbage();
    assert_eq!(text(&machine, "a", 6), ["put a 6.0", "put a 7.0"]);
    assert_eq!(before(&read(&machine, "a", 6)), [None, Some(6)]);
}

/// A key with more versions than may be read is left out, and costs no more than these.
#[test]
fn a_busy_key_is_left_out() {
    let machine = Machine::after((0..10).map(|_| put("a")));
    assert_eq!(limited(&machine, "a", 2, 9), None);
    assert_eq!(limited(&machine, "a", 2, 10).map(|events| events.len()), Some(10));
    // The version before the first counts too.
    assert_eq!(limited(&machine, "a", 9, 3), None);
    assert_eq!(limited(&machine, "a", 9, 4).map(|events| events.len()), Some(3));
}

/// Once enough bytes were read no further key is; one that has more than that alone is left out.
#[test]
fn bytes_are_bounded() {
    let value = "0123456789".repeat(10);
    let machine = Machine::after(["a", "b", "c", "b", "b"].map(|name| put(name).value(&value)));
    let keys: Vec<(Key, Revision)> = ["a", "b", "c"].map(|name| (key(name), Revision(2))).into();
    let counts = |limit_bytes| {
        let read =
            events_of_keys(machine.view(), &keys, Revision(9), true, 99, limit_bytes).unwrap();
        assert_eq!(read.read_to, Revision(6));
        let count = |events: Option<Vec<Event>>| events.map(|events| events.len());
        read.keys.into_iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(counts(1), [Some(1)]);
    assert_eq!(counts(150), [Some(1), None]);
    assert_eq!(counts(10_000), [Some(1), Some(3), Some(1)]);
}
