//! What etcd clients see of transactions. Numbers in names are those of the catalogue of cases that
//! reimplementations tend to get wrong.

use super::*;
use crate::{
    state::{
        Command, Refused,
        testing::{Machine, TxnWords, compact, delete, events_text, get, grant, key, put, txn},
    },
    types::{KeyRange, LeaseId},
};

const MISSING: (Relation, Operand) = (Relation::Equal, Operand::Version(0));

fn results(response: &TxnResponse) -> Vec<String> {
    let of = |result: &OpResponse| match result {
        OpResponse::Range(_, range) => format!("range {}", range.count),
        OpResponse::Put(..) => "put".to_owned(),
        OpResponse::DeleteRange(_, deleted) => format!("delete {}", deleted.deleted),
        OpResponse::Txn(within) => format!("{} {:?}", within.succeeded, results(within)),
    };
    response.results.iter().map(of).collect()
}

/// Seven revisions, the keys a to f.
fn at_revision_7() -> Machine {
    Machine::after(["a", "b", "c", "d", "e", "f"].map(put))
}

#[test]
fn case_22_nested_compares_look_at_the_state_before() {
    let mut machine = Machine::new();
    let within = txn().when("k", MISSING.0, MISSING.1).then(get("k")).or_else(put("other"));
    let applied = machine.apply(txn().then(put("k")).then(within));
    assert_eq!(results(&applied.txn()), ["put", "true [\"range 1\"]"]);
    assert_eq!(machine.keys(), ["k"]);
}

#[test]
fn case_24_inner_headers_show_the_revision_at_that_point() {
    let mut machine = at_revision_7();
    let applied =
        machine.apply(txn().then(get("q")).then(put("q")).then(get("q")).then(delete("none")));
    assert_eq!(applied.outcome.as_ref().unwrap().revision, Revision(8));
    assert_eq!(applied.txn().revisions(), [7, 8, 8, 8]);

    let mut machine = at_revision_7();
    let applied = machine.apply(txn().then(delete("none")).then(put("q")));
    assert_eq!(applied.txn().revisions(), [7, 8]);
}

#[test]
fn case_26_a_nested_put_and_a_later_nested_delete() {
    let mut machine = Machine::new();
    let applied = machine.apply(txn().then(txn().then(put("k"))).then(txn().then(delete("k"))));
    assert_eq!(applied.events_text(), ["put k 2.0", "delete k 2.1"]);
    assert_eq!(applied.events[1].prev, None, "nothing lived at revision 1");
    assert_eq!(applied.events, machine.events(2).unwrap());
    assert_eq!(machine.keys(), [""; 0]);
    assert_eq!(machine.range(get("k").at(2)).unwrap().count, 0);
}

/// The pair that lived for no revision is kept for watchers, and garbage once it is compacted.
#[test]
fn a_put_that_its_own_request_deletes_leaves_no_trace_after_compaction() {
    let mut machine = Machine::after([put("k")]);
    machine.apply(txn().then(txn().then(put("k").value("x"))).then(txn().then(delete("k"))));
    let events = machine.events(3).unwrap();
    assert_eq!(events_text(&events), ["put k 3.0", "delete k 3.1"]);
    // Before each change of the request is what lived before the request.
    for event in &events {
        assert_eq!(event.prev.as_ref().map(|pair| pair.mod_revision), Some(Revision(2)));
    }
    machine.apply(compact(3));
    assert_eq!(events_text(&machine.events(3).unwrap()), ["put k 3.0", "delete k 3.1"]);
    machine.collect_garbage();
    assert_eq!(events_text(&machine.events(3).unwrap()), ["delete k 3.1"]);
}

#[test]
fn case_27_a_delete_from_a_key_on_and_a_put_within() {
    let mut machine = Machine::after([put("b"), put("b")]);
    let applied = machine.apply(txn().then(delete("a").to("\0")).then(put("b")));
    assert_eq!(applied.events_text(), ["delete b 4.0", "put b 4.1"]);
    let pair = machine.pair("b").unwrap();
    assert_eq!(
        (pair.version, pair.create_revision, pair.mod_revision),
        (1, Revision(4), Revision(4))
    );
    // The key that was put is new, so nothing stood before it.
    assert_eq!((applied.events[0].prev.is_some(), applied.events[1].prev.is_some()), (true, false));
    assert_eq!(applied.events, machine.events(4).unwrap());
    assert_eq!(machine.range(get("b").at(3)).unwrap().kvs[0].version, 2);
}

#[test]
fn case_28_both_branches_may_put_one_key() {
    let mut machine = Machine::new();
    let within = txn()
        .when("x", MISSING.0, MISSING.1)
        .then(put("k").value("1"))
        .or_else(put("k").value("2"));
    machine.apply(txn().then(within)).answer();
    assert_eq!(machine.pair("k").unwrap().value, "1");
}

#[test]
fn case_30_the_branch_not_taken_is_not_checked() {
    let mut machine = Machine::new();
    let body = txn().then(put("a")).or_else(put("b").attached_to(9)).or_else(get("x").at(99));
    machine.apply(body).answer();
    let taken =
        txn().when("zz", Relation::Greater, Operand::Version(5)).or_else(put("b").attached_to(9));
    assert_eq!(machine.apply(taken).refused(), Refused::LeaseNotFound(LeaseId(9)));
}

#[test]
fn case_31_what_is_missing_compares_with_zero_but_for_its_value() {
    let mut machine = Machine::after([put("a")]);
    let mut holds = |range: KeyRange, relation, operand| {
        machine.apply(txn().when_all(range, relation, operand)).txn().succeeded
    };
    let missing = || KeyRange::One(key("none"));
    let none = || KeyRange::HalfOpen(key("x"), key("z"));
    for relation in [
        Relation::Equal,
        Relation::NotEqual,
        Relation::Greater,
        Relation::Less,
        Relation::Unknown(77),
    ] {
        assert!(!holds(missing(), relation, Operand::Value("x".into())));
        assert!(!holds(none(), relation, Operand::Value("".into())));
    }
    assert!(holds(missing(), Relation::Equal, Operand::Version(0)));
    assert!(holds(none(), Relation::Equal, Operand::Create(0)));
    assert!(holds(missing(), Relation::Less, Operand::Mod(1)));
    assert!(holds(missing(), Relation::NotEqual, Operand::Lease(7)));
    assert!(!holds(missing(), Relation::Greater, Operand::Create(0)));
}

#[test]
fn case_32_unknown_relations_hold_and_unknown_targets_are_equal() {
    let mut machine = Machine::after([put("a")]);
    let mut holds =
        |relation, operand| machine.apply(txn().when("a", relation, operand)).txn().succeeded;
    assert!(holds(Relation::Unknown(77), Operand::Version(99)));
    assert!(holds(Relation::Unknown(77), Operand::Value("other".into())));
    assert!(holds(Relation::Equal, Operand::Unknown(9)));
    assert!(!holds(Relation::NotEqual, Operand::Unknown(9)));
    assert!(!holds(Relation::Less, Operand::Unknown(9)));
}

/// Every target compares with what is stored, in all four relations.
#[test]
fn every_target_compares() {
    let mut machine =
        Machine::after([grant(7), put("pad").into(), put("a").value("m").attached_to(7).into()]);
    machine.apply(put("a").value("m").attached_to(7)); // created 3, changed 4, version 2
    let operands = |by: i64| {
        [
            Operand::Version(2 + by),
            Operand::Create(3 + by),
            Operand::Mod(4 + by),
            Operand::Lease(7 + by),
            Operand::Value(["l", "m", "n"][usize::try_from(by + 1).unwrap()].into()),
        ]
    };
    for (by, expected) in [
        (-1, [false, true, false, true]),
        (0, [true, false, false, false]),
        (1, [false, false, true, true]),
    ] {
        for operand in operands(by) {
            let relations =
                [Relation::Equal, Relation::Greater, Relation::Less, Relation::NotEqual];
            let got = relations.map(|relation| {
                machine.apply(txn().when("a", relation, operand.clone())).txn().succeeded
            });
            assert_eq!(got, expected, "{operand:?}");
        }
    }
}

/// Over a range a comparison must hold for every key.
#[test]
fn a_comparison_over_a_range_holds_for_all() {
    let mut machine = Machine::after(["a", "b", "a"].map(put));
    let range = || KeyRange::HalfOpen(key("a"), key("c"));
    let mut holds = |relation, version| {
        machine.apply(txn().when_all(range(), relation, Operand::Version(version))).txn().succeeded
    };
    assert!(holds(Relation::Greater, 0));
    assert!(!holds(Relation::Greater, 1));
    assert!(!holds(Relation::Equal, 2));
}

#[test]
fn case_33_a_range_that_cannot_be_read_declines_the_whole() {
    let mut machine = at_revision_7();
    machine.apply(compact(5)).answer();
    let before = machine.clone();
    let refusals: [(TxnWords, Refused); 4] = [
        (txn().then(get("a").at(4)).then(put("x")), Refused::Compacted(Revision(4))),
        (txn().then(put("x")).then(get("a").at(8)), Refused::FutureRevision(Revision(8))),
        (txn().then(put("x")).then(txn().then(get("a").at(-1))), Refused::Compacted(Revision(-1))),
        (txn().then(put("x")).then(put("y").keep_value()), Refused::KeyNotFound),
    ];
    for (body, refusal) in refusals {
        let applied = machine.apply(body);
        assert_eq!((applied.events.len(), applied.refused()), (0, refusal));
        assert_eq!(machine, before);
    }
}

/// On a store that was never compacted -1 is the newest revision, and nothing below it is.
#[test]
fn case_5_negative_revisions_take_part_in_the_test() {
    let mut machine = at_revision_7();
    assert_eq!(results(&machine.apply(txn().then(get("a").at(-1))).txn()), ["range 1"]);
    assert_eq!(
        machine.apply(txn().then(get("a").at(-7))).refused(),
        Refused::Compacted(Revision(-7))
    );
    let read = read_only(machine.view(), &txn().then(get("a").at(-7)).0);
    assert_eq!(read, Err(Refused::Compacted(Revision(-7)).into()));
}

#[test]
fn case_34_an_empty_transaction_succeeds() {
    let mut machine = at_revision_7();
    let before = machine.clone();
    let applied = machine.apply(txn());
    assert_eq!(applied.outcome.as_ref().unwrap().revision, Revision(7));
    assert_eq!(applied.txn(), TxnResponse { succeeded: true, results: vec![] });
    assert_eq!(machine, before);
}

#[test]
fn case_44_changes_come_in_the_order_of_operations() {
    let mut machine = Machine::after(["c", "b"].map(put));
    let applied =
        machine.apply(txn().then(put("z")).then(delete("a").to("d")).then(txn().then(put("m"))));
    assert_eq!(applied.events_text(), ["put z 4.0", "delete b 4.1", "delete c 4.2", "put m 4.3"]);
    assert_eq!(machine.events(4).unwrap(), applied.events);
}

/// A range at the revision before shows the state before, though the transaction has changed it.
#[test]
fn a_range_at_the_revision_before_sees_no_changes() {
    let mut machine = at_revision_7();
    let body = txn().then(put("a").value("new")).then(delete("b")).then(put("x"));
    let body = body.then(get("a").to("z").at(7)).then(get("a").to("z").count_only());
    let response = machine.apply(body).txn();
    assert_eq!(results(&response)[3..], ["range 6", "range 6"]);
    let OpResponse::Range(_, then) = &response.results[3] else { panic!() };
    assert_eq!((then.kvs.len(), &then.kvs[0].value[..]), (6, &b"v"[..]));
}

/// The lease is missed before the key, and what comes first in order is reported.
#[test]
fn checks_run_in_the_order_of_operations() {
    let mut machine = Machine::new();
    let lease_first = txn().then(put("a").attached_to(9).keep_value());
    assert_eq!(machine.apply(lease_first).refused(), Refused::LeaseNotFound(LeaseId(9)));
    let key_first = txn().then(put("a").keep_value()).then(put("b").attached_to(9));
    assert_eq!(machine.apply(key_first).refused(), Refused::KeyNotFound);
    let range_first = txn().then(get("a").at(5)).then(put("a").keep_value());
    assert_eq!(machine.apply(range_first).refused(), Refused::FutureRevision(Revision(5)));
}

/// An operation whose key an earlier one deleted declines the whole instead of stopping the member.
#[test]
fn keeping_the_value_of_a_key_deleted_before_is_declined() {
    let mut machine = Machine::after([put("b")]);
    let before = machine.clone();
    let applied = machine.apply(txn().then(delete("a").to("\0")).then(put("b").keep_value()));
    assert_eq!(applied.refused(), Refused::KeyNotFound);
    assert_eq!(machine, before);
}

/// A transaction that nobody validated, with two puts of one key, still leaves a sound state.
#[test]
fn two_puts_of_one_key_do_no_harm() {
    let mut machine = Machine::new();
    machine.apply_unchecked(txn().then(put("k").value("1")).then(put("k").value("2")));
    let pair = machine.pair("k").unwrap();
    assert_eq!((&pair.value[..], pair.version), (&b"2"[..], 2));
    assert_eq!(machine.events(2).unwrap().len(), 2);
}

/// Read-only is what holds ranges only, in both branches, and its answer is that of the log's way.
#[test]
fn read_only_transactions_read_the_same_without_the_log() {
    let mut machine = at_revision_7();
    let body = txn()
        .when("a", Relation::Equal, Operand::Version(1))
        .then(get("a").to("z"))
        .then(get("b").at(3));
    assert!(is_read_only(&body.0));
    let read = read_only(machine.view(), &body.0).unwrap();
    assert_eq!(machine.apply(body).txn(), read);

    assert!(is_read_only(&txn().0));
    assert!(!is_read_only(&txn().or_else(put("a")).0));
    assert!(!is_read_only(&txn().then(txn().then(get("a"))).0));
}

/// Deep nesting finds its way through the branches.
#[test]
fn each_level_takes_its_own_branch() {
    let mut machine = Machine::new();
    let taken =
        |name: &str| txn().when("x", MISSING.0, MISSING.1).then(put(name)).or_else(put("wrong"));
    let not_taken = |name: &str| {
        txn().when("x", Relation::NotEqual, MISSING.1).then(put("wrong")).or_else(put(name))
    };
    let body = txn()
        .then(taken("1"))
        .then(txn().then(not_taken("2")).then(taken("3")).or_else(taken("wrong")))
        .then(not_taken("4"));
    let command: Command = body.into();
    machine.apply(command).answer();
    assert_eq!(machine.keys(), ["1", "2", "3", "4"]);
}
