//! The rule about colliding keys: etcd's cases by name, and any transaction against a naive reading
//! of the rule.

use proptest::prelude::*;

use super::*;
use crate::state::{DeleteRange, Put, Range, RevisionFilter, Sort, Txn};

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn put(text: &str) -> Op {
    Op::Put(Put {
        key: key(text),
        value: "v".into(),
        lease: None,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    })
}

fn range_of(start: &str, end: &str) -> KeyRange {
    KeyRange::from_wire(key(start), end.to_owned().into())
}

fn delete(start: &str, end: &str) -> Op {
    Op::DeleteRange(DeleteRange { range: range_of(start, end), prev_kv: false })
}

fn read(start: &str, end: &str) -> Op {
    Op::Range(Range {
        range: range_of(start, end),
        revision: 0,
        limit: 0,
        sort: Sort::default(),
        keys_only: false,
        count_only: false,
        filter: RevisionFilter::default(),
    })
}

fn txn<const N: usize, const M: usize>(success: [Op; N], failure: [Op; M]) -> Op {
    Op::Txn(Txn { compares: Vec::new(), success: success.into(), failure: failure.into() })
}

fn passes<const N: usize>(ops: [Op; N]) -> bool {
    match check(&ops) {
        Ok(()) => true,
        Err(Invalid::DuplicateKey) => false,
        Err(other) => panic!("{other}"),
    }
}

/// On one level: no two puts, no put and delete in either order; deletes and reads do not matter.
#[test]
fn one_level() {
    assert!(passes([put("a"), put("b")]));
    assert!(!passes([put("a"), put("b"), put("a")]));
    assert!(!passes([put("a"), delete("a", "")]));
    assert!(!passes([delete("a", ""), put("a")]));
    assert!(!passes([put("b"), delete("a", "c")]));
    assert!(passes([put("c"), delete("a", "c")]));
    assert!(passes([delete("a", "c"), delete("b", "d"), delete("a", "")]));
    assert!(passes([put("a"), read("a", ""), read("a", "\0")]));
}

/// A level's own deletes collide with every put within, its puts with those within, both branches
/// counted; within the two branches of one transaction a key may be put twice.
#[test]
fn nested() {
    assert!(!passes([put("k"), txn([put("k")], [])]));
    assert!(!passes([put("k"), txn([], [put("k")])]));
    assert!(!passes([txn([put("k")], []), delete("k", "")]));
    assert!(passes([txn([put("k")], [put("k")])]));
    assert!(!passes([txn([put("k")], [put("k")]), txn([], [put("k")])]));
    assert!(!passes([txn([put("k"), put("k")], [])]));
    assert!(!passes([txn([delete("a", "z")], []), put("k")]));
    assert!(!passes([txn([txn([], [put("k")])], []), put("k")]));
}

/// The deletes of a nested transaction collide with puts of later siblings, not of earlier ones.
#[test]
fn siblings_are_taken_in_order() {
    assert!(passes([txn([put("k")], []), txn([delete("k", "")], [])]));
    assert!(!passes([txn([delete("k", "")], []), txn([put("k")], [])]));
    assert!(passes([txn([put("k")], [delete("k", "")])]));
}

/// Deletes with an open end or an end at or before their start collide with nothing.
#[test]
fn blind_spots() {
    assert!(passes([delete("a", "\0"), put("b")]));
    assert!(passes([delete("\0", "\0"), put("b")]));
    assert!(passes([delete("c", "a"), put("b")]));
    assert!(passes([delete("b", "b"), put("b")]));
}

/// As many deletes and puts as a request can carry are checked at once, not by pairs.
#[test]
fn many_keys_are_no_burden() {
    let name = |number: u32| format!("{number:08}");
    let mut ops: Vec<Op> = (0..50_000).map(|number| delete(&name(2 * number), "")).collect();
    ops.extend((0..50_000).map(|number| put(&name(2 * number + 1))));
    assert_eq!(check(&ops), Ok(()));
    ops.push(put(&name(40_000)));
    assert_eq!(check(&ops), Err(Invalid::DuplicateKey));
}

/// The rule in its plainest form: lists of keys and ranges, compared by pairs.
fn naive(ops: &[Op]) -> Option<(Vec<Key>, Vec<KeyRange>)> {
    let collides = |deletes: &[KeyRange], key: &Key| {
        deletes.iter().any(|range| !matches!(range, KeyRange::From(_)) && range.contains(key))
    };
    let mut puts: Vec<Key> = Vec::new();
    let mut deletes: Vec<KeyRange> = Vec::new();
    for op in ops {
        if let Op::DeleteRange(delete) = op {
            deletes.push(delete.range.clone());
        }
    }
    for op in ops {
        if let Op::Txn(txn) = op {
            let (then_puts, then_deletes) = naive(&txn.success)?;
            let (else_puts, else_deletes) = naive(&txn.failure)?;
            let earlier = puts.clone();
            for key in then_puts.iter().chain(&else_puts) {
                if earlier.contains(key) || collides(&deletes, key) {
                    return None;
                }
                puts.push(key.clone());
            }
            deletes.extend(then_deletes);
            deletes.extend(else_deletes);
        }
    }
    for op in ops {
        if let Op::Put(put) = op {
            if puts.contains(&put.key) || collides(&deletes, &put.key) {
                return None;
            }
            puts.push(put.key.clone());
        }
    }
    Some((puts, deletes))
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a\0", "b", "c", "d", "e", "f"]).prop_map(str::to_owned)
}

fn end() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => Just("\0".to_owned()), 4 => name()]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let leaf = prop_oneof![
        4 => name().prop_map(|name| put(&name)),
        3 => (name(), end()).prop_map(|(start, end)| delete(&start, &end)),
        1 => (name(), end()).prop_map(|(start, end)| read(&start, &end)),
    ];
    let op = leaf.prop_recursive(3, 24, 4, |inner| {
        let branch = || prop::collection::vec(inner.clone(), 0..3);
        (branch(), branch())
            .prop_map(|(success, failure)| Op::Txn(Txn { compares: Vec::new(), success, failure }))
    });
    prop::collection::vec(op, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// The check agrees with the plain rule on every transaction.
    #[test]
    fn agrees_with_the_plain_rule(ops in ops()) {
        prop_assert_eq!(check(&ops).is_ok(), naive(&ops).is_some());
    }
}
