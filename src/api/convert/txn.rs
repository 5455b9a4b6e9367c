//! Transactions.

use bytes::Bytes;

use crate::{
    api::convert::{Invalid, kv, puts},
    proto::etcdserverpb::{
        self,
        compare::{CompareResult, CompareTarget, TargetUnion},
        request_op, response_op,
    },
    state::{Compare, Op, OpResponse, Operand, Relation, Txn, TxnResponse},
    types::limits,
};

/// A transaction whose form is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The transaction.
    pub txn: Txn,
    /// Whether each of its operations, in both branches, is a read that may be stale. So it is
    /// with no operation at all: comparisons alone are answered from this member's state.
    pub serializable: bool,
}

/// Checks a transaction with at most `ops_max` entries in each of its lists.
pub fn txn(request: etcdserverpb::TxnRequest, ops_max: usize) -> Result<Checked, Invalid> {
    let serializable = request.success.iter().chain(&request.failure).all(reads_stale);
    let txn = level(request, ops_max, 0)?;
    puts::check(&txn.success)?;
    puts::check(&txn.failure)?;
    Ok(Checked { txn, serializable })
}

fn reads_stale(op: &etcdserverpb::RequestOp) -> bool {
    match &op.request {
        Some(request_op::Request::RequestRange(range)) => range.serializable,
        Some(
            request_op::Request::RequestPut(_)
            | request_op::Request::RequestDeleteRange(_)
            | request_op::Request::RequestTxn(_),
        )
        | None => false,
    }
}

/// One level of a transaction, `depth` levels below the top. What its longest list takes of the
/// budget is gone for those within, each of which gets the same rest.
fn level(request: etcdserverpb::TxnRequest, budget: usize, depth: usize) -> Result<Txn, Invalid> {
    if depth > limits::TXN_DEPTH_MAX {
        return Err(Invalid::TooDeep(limits::TXN_DEPTH_MAX));
    }
    let given = request.compare.len().max(request.success.len()).max(request.failure.len());
    let rest = budget.checked_sub(given).ok_or(Invalid::TooManyOps { given, left: budget })?;

    let compares = request.compare.into_iter().map(compare).collect::<Result<_, _>>()?;
    let branch = |ops: Vec<etcdserverpb::RequestOp>| {
        ops.into_iter().map(|op| self::op(op, rest, depth)).collect::<Result<Vec<_>, _>>()
    };
    let success = branch(request.success)?;
    let failure = branch(request.failure)?;
    Ok(Txn { compares, success, failure })
}

fn op(request: etcdserverpb::RequestOp, budget: usize, depth: usize) -> Result<Op, Invalid> {
    match request.request.ok_or(Invalid::OpWithoutKind)? {
        request_op::Request::RequestRange(range) => kv::range(range).map(Op::Range),
        request_op::Request::RequestPut(put) => kv::put(put).map(Op::Put),
        request_op::Request::RequestDeleteRange(delete) => {
            kv::delete_range(delete).map(Op::DeleteRange)
        }
        request_op::Request::RequestTxn(txn) => level(txn, budget, depth + 1).map(Op::Txn),
    }
}

fn compare(request: etcdserverpb::Compare) -> Result<Compare, Invalid> {
    Ok(Compare {
        range: kv::key_range(request.key, request.range_end)?,
        relation: relation(request.result),
        operand: operand(request.target, request.target_union),
    })
}

fn relation(number: i32) -> Relation {
    match CompareResult::try_from(number) {
        Ok(CompareResult::Equal) => Relation::Equal,
        Ok(CompareResult::Greater) => Relation::Greater,
        Ok(CompareResult::Less) => Relation::Less,
        Ok(CompareResult::NotEqual) => Relation::NotEqual,
        Err(_) => Relation::Unknown(number),
    }
}

/// What is compared follows from the target alone. An operand of another kind than the target, or
/// none, is zero or no bytes.
fn operand(target: i32, union: Option<TargetUnion>) -> Operand {
    match (CompareTarget::try_from(target), union) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(version))) => {
            Operand::Version(version)
        }
        (Ok(CompareTarget::Version), _) => Operand::Version(0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(revision))) => {
            Operand::Create(revision)
        }
        (Ok(CompareTarget::Create), _) => Operand::Create(0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(revision))) => {
            Operand::Mod(revision)
        }
        (Ok(CompareTarget::Mod), _) => Operand::Mod(0),
        (Ok(CompareTarget::Value), Some(TargetUnion::Value(value))) => Operand::Value(value),
        (Ok(CompareTarget::Value), _) => Operand::Value(Bytes::new()),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(lease))) => Operand::Lease(lease),
        (Ok(CompareTarget::Lease), _) => Operand::Lease(0),
        (Err(_), _) => Operand::Unknown(target),
    }
}

/// The answer to a transaction.
#[must_use]
pub fn txn_response(
    header: etcdserverpb::ResponseHeader,
    response: TxnResponse,
) -> etcdserverpb::TxnResponse {
    etcdserverpb::TxnResponse {
        header: Some(header),
        succeeded: response.succeeded,
        responses: response
            .results
            .into_iter()
            .map(|result| etcdserverpb::ResponseOp { response: Some(op_response(result)) })
            .collect(),
    }
}

fn op_response(result: OpResponse) -> response_op::Response {
    match result {
        OpResponse::Range(revision, range) => response_op::Response::ResponseRange(
            kv::range_response(kv::inner_header(revision), range),
        ),
        OpResponse::Put(revision, put) => {
            response_op::Response::ResponsePut(kv::put_response(kv::inner_header(revision), put))
        }
        OpResponse::DeleteRange(revision, delete) => response_op::Response::ResponseDeleteRange(
            kv::delete_range_response(kv::inner_header(revision), delete),
        ),
        // Present, and all of it zero: that is how etcd answers, and clients look for it.
        OpResponse::Txn(txn) => response_op::Response::ResponseTxn(txn_response(
            etcdserverpb::ResponseHeader::default(),
            txn,
        )),
    }
}

#[cfg(test)]
#[path = "txn_tests.rs"]
mod tests;
