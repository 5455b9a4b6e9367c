//! What a request costs of the space quota: etcd's formula.
//!
//! It is taken of the request as it came, before anything in it is checked. A message nests no
//! deeper than the decoder lets it.

use crate::{
    proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op::Request},
    types::limits::PUT_COST_BASE,
};

/// Of a put.
#[must_use]
pub fn of_put(request: &PutRequest) -> u64 {
    let bytes = request.key.len().saturating_add(request.value.len());
    PUT_COST_BASE.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Of a transaction: of the branch that costs more.
#[must_use]
pub fn of_txn(request: &TxnRequest) -> u64 {
    of_branch(&request.success).max(of_branch(&request.failure))
}

fn of_branch(ops: &[RequestOp]) -> u64 {
    ops.iter().fold(0, |sum, op| sum.saturating_add(of_op(op)))
}

fn of_op(op: &RequestOp) -> u64 {
    match &op.request {
        Some(Request::RequestPut(put)) => of_put(put),
        Some(Request::RequestTxn(txn)) => of_txn(txn),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{DeleteRangeRequest, RangeRequest};

    fn put(len: usize) -> RequestOp {
        let put = PutRequest {
            key: vec![b'k'; 4].into(),
            value: vec![0; len].into(),
            ..Default::default()
        };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn txn(success: &[RequestOp], failure: &[RequestOp]) -> TxnRequest {
        TxnRequest { success: success.to_vec(), failure: failure.to_vec(), ..Default::default() }
    }

    fn nested(success: &[RequestOp], failure: &[RequestOp]) -> RequestOp {
        RequestOp { request: Some(Request::RequestTxn(txn(success, failure))) }
    }

    /// Puts add up, branches do not, and only puts cost.
    #[test]
    fn costs_are_those_of_etcd() {
        let range = RequestOp { request: Some(Request::RequestRange(RangeRequest::default())) };
        let delete = Request::RequestDeleteRange(DeleteRangeRequest::default());
        let delete = RequestOp { request: Some(delete) };
        let nothing = RequestOp { request: None };
        for (ops, others, cost) in [
            (vec![], vec![], 0),
            (vec![range, delete, nothing], vec![], 0),
            (vec![put(0)], vec![], 260),
            (vec![put(40), put(10)], vec![], 570),
            (vec![put(40)], vec![put(10)], 300),
            (vec![put(10)], vec![put(40), put(0)], 560),
            (vec![nested(&[put(1)], &[put(2), put(3)])], vec![], 525),
            (vec![put(5), nested(&[put(1)], &[]), nested(&[], &[put(2)])], vec![], 788),
            (vec![], vec![nested(&[nested(&[put(7)], &[])], &[])], 267),
        ] {
            assert_eq!(of_txn(&txn(&ops, &others)), cost, "{ops:?} {others:?}");
        }
        let empty = PutRequest::default();
        assert_eq!(of_put(&empty), 256);
    }
}
