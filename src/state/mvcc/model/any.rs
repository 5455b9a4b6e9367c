//! Any command and any read, on few keys, so that they often meet.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{
    state::{
        Command, Compare, DeleteRange, Op, Operand, Put, Range, Relation, RevisionFilter,
        RevokeCause, Sort, SortOrder, SortTarget, Txn, testing::key,
    },
    types::{Key, KeyRange, LeaseId, Revision, Seconds},
};

fn any_key() -> impl Strategy<Value = Key> {
    prop::sample::select(vec!["a", "a\0", "ab", "b", "c"]).prop_map(key)
}

fn any_range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        any_key().prop_map(KeyRange::One),
        any_key().prop_map(KeyRange::From),
        (any_key(), any_key()).prop_map(|(start, end)| KeyRange::HalfOpen(start, end)),
    ]
}

fn any_lease() -> impl Strategy<Value = LeaseId> {
    (1..4_i64).prop_map(LeaseId)
}

fn any_put() -> impl Strategy<Value = Put> {
    let flag = || prop::bool::weighted(0.1);
    (
        any_key(),
        "[a-c]{0,3}",
        prop::option::weighted(0.3, any_lease()),
        any::<bool>(),
        flag(),
        flag(),
    )
        .prop_map(|(key, value, lease, prev_kv, ignore_value, ignore_lease)| Put {
            key,
            value: value.into(),
            lease: lease.filter(|_| !ignore_lease),
            prev_kv,
            ignore_value,
            ignore_lease,
        })
}

pub(super) fn any_read() -> impl Strategy<Value = Range> {
    let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let bound = || prop_oneof![4 => Just(0), 1 => 2..12_i64];
    let filter = (bound(), bound(), bound(), bound()).prop_map(
        |(min_mod, max_mod, min_create, max_create)| RevisionFilter {
            min_mod,
            max_mod,
            min_create,
            max_create,
        },
    );
    let revision = prop_oneof![2 => Just(0), 1 => -1..25_i64];
    (
        any_range(),
        revision,
        -1..4_i64,
        (order, target),
        any::<bool>(),
        prop::bool::weighted(0.2),
        filter,
    )
        .prop_map(
            |(range, revision, limit, (order, target), keys_only, count_only, filter)| Range {
                range,
                revision,
                limit,
                sort: Sort { order, target },
                keys_only,
                count_only,
                filter,
            },
        )
}

fn any_delete() -> impl Strategy<Value = DeleteRange> {
    (any_range(), any::<bool>()).prop_map(|(range, prev_kv)| DeleteRange { range, prev_kv })
}

fn any_txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        any_read().prop_map(Op::Range),
        any_put().prop_map(Op::Put),
        any_delete().prop_map(Op::DeleteRange),
    ];
    let op = leaf.prop_recursive(2, 8, 3, |inner| txn_of(inner).prop_map(Op::Txn)).boxed();
    txn_of(op).prop_map(|mut body| {
        one_put_per_key(&mut body, &mut BTreeSet::new());
        body
    })
}

fn txn_of(op: impl Strategy<Value = Op> + Clone) -> impl Strategy<Value = Txn> {
    let compare = (any_range(), 0..3_i64).prop_map(|(range, version)| Compare {
        range,
        relation: Relation::Equal,
        operand: Operand::Version(version),
    });
    let list = || prop::collection::vec(op.clone(), 0..4);
    (prop::collection::vec(compare, 0..2), list(), list())
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
}

/// Leaves of several puts of one key the first, as validation before the log sees to.
fn one_put_per_key(body: &mut Txn, seen: &mut BTreeSet<Key>) {
    for ops in [&mut body.success, &mut body.failure] {
        ops.retain(|op| match op {
            Op::Put(put) => seen.insert(put.key.clone()),
            Op::Range(_) | Op::DeleteRange(_) | Op::Txn(_) => true,
        });
        for op in ops {
            if let Op::Txn(within) = op {
                one_put_per_key(within, seen);
            }
        }
    }
}

pub(super) fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => any_put().prop_map(Command::Put),
        2 => any_delete().prop_map(Command::DeleteRange),
        5 => any_txn().prop_map(Command::Txn),
        1 => (-1..30_i64).prop_map(|to| Command::Compact(Revision(to))),
        2 => any_lease().prop_map(|id| Command::LeaseGrant { id, ttl: Seconds(60) }),
        1 => any_lease().prop_map(|id| Command::LeaseRevoke { id, cause: RevokeCause::Client }),
    ]
}
