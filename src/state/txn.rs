//! Transactions: comparisons, then one of two lists of operations.
//!
//! All comparisons on the path taken, those of transactions within included, are made on the state
//! before the transaction. So are the checks that can decline it. Then the operations run in order,
//! each seeing what those before it wrote, and their changes share one revision.

use std::{cmp::Ordering, ops::ControlFlow};

use crate::{
    state::{
        ApplyError, Compare, Direction, Op, OpResponse, Operand, Relation, Txn, TxnResponse, View,
        meta::Store, mvcc, schema::cur::PairRef, write_txn::WriteTxn,
    },
    types::{Fault, Revision},
};

/// Which branch each transaction takes: outer ones first, those within in the order of operations.
type Path = Vec<bool>;

/// Carries out a transaction.
pub(super) fn execute(txn: &mut WriteTxn<'_>, body: &Txn) -> Result<TxnResponse, ApplyError> {
    let mut path = Path::new();
    choose(txn.view(), body, &mut path)?;
    check(txn.view(), txn.before(), body, &mut path.iter())?;
    run(txn, body, &mut path.iter())
}

/// Carries out a transaction that only reads, without the log. It must be
/// [read-only](is_read_only). As with [`mvcc::range`], whoever reads a stored state at an older
/// revision must look afterwards whether that revision is compacted by now.
pub fn read_only(view: &dyn View, body: &Txn) -> Result<TxnResponse, ApplyError> {
    assert!(is_read_only(body), "a transaction that may write goes through the log");
    execute(&mut WriteTxn::begin(view)?, body)
}

/// Whether a transaction holds nothing but ranges in both of its branches. One with a transaction
/// within is not read-only, as in etcd, even if that one only reads.
#[must_use]
pub fn is_read_only(body: &Txn) -> bool {
    body.success.iter().chain(&body.failure).all(|op| match op {
        Op::Range(_) => true,
        Op::Put(_) | Op::DeleteRange(_) | Op::Txn(_) => false,
    })
}

/// How deep transactions lie within this one: 0 when none does.
#[must_use]
pub fn depth(body: &Txn) -> usize {
    let within = body.success.iter().chain(&body.failure).map(|op| match op {
        Op::Txn(within) => 1 + depth(within),
        Op::Range(_) | Op::Put(_) | Op::DeleteRange(_) => 0,
    });
    within.max().unwrap_or(0)
}

fn branch(body: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &body.success } else { &body.failure }
}

fn choose(view: &dyn View, body: &Txn, path: &mut Path) -> Result<(), Fault> {
    let mut succeeded = true;
    for compare in &body.compares {
        succeeded = succeeded && holds(view, compare)?;
    }
    path.push(succeeded);
    for op in branch(body, succeeded) {
        match op {
            Op::Txn(within) => choose(view, within, path)?,
            Op::Range(_) | Op::Put(_) | Op::DeleteRange(_) => (),
        }
    }
    Ok(())
}

/// Makes the checks that depend on the state, in the order of operations.
fn check<'p>(
    view: &dyn View,
    store: &Store,
    body: &Txn,
    path: &mut impl Iterator<Item = &'p bool>,
) -> Result<(), ApplyError> {
    for op in branch(body, next(path)) {
        match op {
            Op::Range(range) => mvcc::check_revision(store, Revision(range.revision))?,
            Op::Put(put) => mvcc::check_put(view, put)?,
            Op::DeleteRange(_) => (),
            Op::Txn(within) => check(view, store, within, path)?,
        }
    }
    Ok(())
}

fn run<'p>(
    txn: &mut WriteTxn<'_>,
    body: &Txn,
    path: &mut impl Iterator<Item = &'p bool>,
) -> Result<TxnResponse, ApplyError> {
    let succeeded = next(path);
    let ops = branch(body, succeeded);
    let mut results = Vec::with_capacity(ops.len());
    for op in ops {
        results.push(match op {
            Op::Range(range) => {
                let revision = txn.revision();
                OpResponse::Range(revision, mvcc::range_within(txn.view(), revision, range)?)
            }
            Op::Put(put) => {
                let response = mvcc::put_checked(txn, put)?;
                OpResponse::Put(txn.revision(), response)
            }
            Op::DeleteRange(delete) => {
                let response = mvcc::delete_range(txn, delete)?;
                OpResponse::DeleteRange(txn.revision(), response)
            }
            Op::Txn(within) => OpResponse::Txn(run(txn, within, path)?),
        });
    }
    Ok(TxnResponse { succeeded, results })
}

fn next<'p>(path: &mut impl Iterator<Item = &'p bool>) -> bool {
    *path.next().expect("the path names a branch for every transaction on it")
}

/// Whether a comparison holds for every live key of its range, or, when there is none, for a pair
/// that is all zero. The value of a missing key compares with nothing.
fn holds(view: &dyn View, compare: &Compare) -> Result<bool, Fault> {
    let (mut any, mut all) = (false, true);
    mvcc::visit_live(view, &compare.range, Direction::Forward, &mut |record| {
        any = true;
        all = holds_for(PairRef::parse(record)?, compare);
        Ok(if all { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if any {
        return Ok(all);
    }
    Ok(match compare.operand {
        Operand::Value(_) => false,
        Operand::Version(_)
        | Operand::Create(_)
        | Operand::Mod(_)
        | Operand::Lease(_)
        | Operand::Unknown(_) => holds_for(PairRef::default(), compare),
    })
}

fn holds_for(pair: PairRef<'_>, compare: &Compare) -> bool {
    let ordering = match &compare.operand {
        Operand::Version(operand) => pair.version.cmp(operand),
        Operand::Create(operand) => pair.create_revision.0.cmp(operand),
        Operand::Mod(operand) => pair.mod_revision.0.cmp(operand),
        Operand::Value(operand) => pair.value.cmp(operand),
        Operand::Lease(operand) => pair.lease.map_or(0, |lease| lease.0).cmp(operand),
        Operand::Unknown(_) => Ordering::Equal,
    };
    match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Unknown(_) => true,
    }
}

#[cfg(test)]
mod tests;
