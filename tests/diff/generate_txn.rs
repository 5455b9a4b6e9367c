//! Transactions, nested, with every kind of comparison.

use quorate::proto::etcdserverpb::{
    Compare, RequestOp, TxnRequest, compare::TargetUnion, request_op::Request,
};

use crate::{
    generate::{delete_range, key, put, range, range_end, value},
    level::Level,
    op::now,
    rng::Rng,
};

/// How many transactions may lie inside of one another.
const DEPTH_MAX: u32 = 4;
/// More operations than a list may have.
const TOO_MANY_OPS: usize = 129;

/// A transaction that etcd survives.
pub(crate) fn txn(rng: &mut Rng, level: Level) -> TxnRequest {
    let mut txn = nested(rng, level, 1);
    if rng.once_in(300) {
        let count = TOO_MANY_OPS - usize::from(rng.once_in(3));
        txn.success =
            std::iter::repeat_with(|| operation(rng, level, DEPTH_MAX)).take(count).collect();
    }
    spare_etcd(&mut txn, false);
    txn
}

fn nested(rng: &mut Rng, level: Level, depth: u32) -> TxnRequest {
    let many = |rng: &mut Rng| 0..rng.pick(&[0, 0, 1, 1, 1, 2, 2, 3, 4]);
    TxnRequest {
        compare: (0..rng.pick(&[0, 1, 1, 2, 3])).map(|_| compare(rng)).collect(),
        success: many(rng).map(|_| operation(rng, level, depth)).collect(),
        failure: many(rng).map(|_| operation(rng, level, depth)).collect(),
    }
}

fn operation(rng: &mut Rng, level: Level, depth: u32) -> RequestOp {
    let request = match rng.below(100) {
        0..40 => Request::RequestPut(put(rng)),
        40..65 => {
            let mut range = range(rng, level);
            // Any revision but the newest may fail the whole transaction.
            if !rng.once_in(3) {
                range.revision = 0;
            }
            Request::RequestRange(range)
        }
        65..80 => Request::RequestDeleteRange(delete_range(rng)),
        80..99 if depth < DEPTH_MAX => Request::RequestTxn(nested(rng, level, depth + 1)),
        80..99 => Request::RequestPut(put(rng)),
        // Nothing at all, which is refused.
        _ => return RequestOp { request: None },
    };
    RequestOp { request: Some(request) }
}

fn compare(rng: &mut Rng) -> Compare {
    let target = if rng.once_in(50) { rng.pick(&[9, -1]) } else { rng.pick(&[0, 1, 2, 3, 4]) };
    // Seldom an operand of another kind than is asked for, or none.
    let operand = if rng.once_in(15) { rng.pick(&[0, 1, 2, 3, 4, 5]) } else { target };
    let target_union = match operand {
        0 => Some(TargetUnion::Version(rng.pick(&[0, 1, 1, 2, 3, -1]))),
        1 => Some(TargetUnion::CreateRevision(compared_revision(rng))),
        2 => Some(TargetUnion::ModRevision(compared_revision(rng))),
        3 => Some(TargetUnion::Value(value(rng))),
        4 => Some(TargetUnion::Lease(rng.pick(&[0, 0, 1, 2, 77, -1, i64::MIN]))),
        _ => None,
    };
    let result = if rng.once_in(50) { rng.pick(&[4, -1]) } else { rng.pick(&[0, 1, 2, 3]) };
    let range_end = if rng.once_in(3) { range_end(rng) } else { bytes::Bytes::new() };
    Compare { result, target, key: key(rng), range_end, target_union }
}

fn compared_revision(rng: &mut Rng) -> i64 {
    match rng.below(4) {
        0 => 0,
        1 => rng.pick(&[1, -1, i64::MAX]),
        _ => now(-rng.below(12)),
    }
}

/// Takes the ignore flags from puts that run after a delete: were it the same key, etcd would crash.
/// Returns whether there is a delete by the end of the transaction.
fn spare_etcd(txn: &mut TxnRequest, mut deleted: bool) -> bool {
    // Only one branch runs, but which one is not known; so both count.
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Request::RequestPut(put)) if deleted => {
                put.ignore_value = false;
                put.ignore_lease = false;
            }
            Some(Request::RequestDeleteRange(_)) => deleted = true,
            Some(Request::RequestTxn(txn)) => deleted = spare_etcd(txn, deleted),
            Some(Request::RequestPut(_) | Request::RequestRange(_)) | None => {}
        }
    }
    deleted
}
