//! Simpler variants of one operation: a part left out, or a field at its default.

use bytes::Bytes;
use quorate::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, RequestOp, TxnRequest, WatchCreateRequest, request_op::Request,
};

use crate::op::{Op, now};

/// What stands for a value that does not matter.
const PLAIN_VALUE: Bytes = Bytes::from_static(b"v");

/// Operations that differ from this one in one respect and are simpler, boldest first.
pub(crate) fn simpler(op: &Op) -> Vec<Op> {
    match op {
        Op::Range(request) => simpler_range(request).into_iter().map(Op::Range).collect(),
        Op::RangeStream(request) => {
            simpler_range(request).into_iter().map(Op::RangeStream).collect()
        }
        Op::Put(request) => simpler_put(request).into_iter().map(Op::Put).collect(),
        Op::DeleteRange(request) => {
            simpler_delete(request).into_iter().map(Op::DeleteRange).collect()
        }
        Op::Txn(request) => {
            let alone = [&request.success, &request.failure].into_iter().flatten();
            let alone = alone.filter_map(standing_alone);
            alone.chain(simpler_txn(request).into_iter().map(Op::Txn)).collect()
        }
        Op::Compact(request) => {
            let changes: [fn(&mut CompactionRequest); 3] = [
                |r| r.physical = false,
                |r| closer(&mut r.revision, 0),
                |r| closer(&mut r.revision, -1),
            ];
            variants(request, &changes, Op::Compact)
        }
        Op::LeaseTimeToLive(request) => {
            let less = [|r: &mut LeaseTimeToLiveRequest| r.keys = false];
            variants(request, &less, Op::LeaseTimeToLive)
        }
        Op::Watch(request) => {
            let changes: [fn(&mut WatchCreateRequest); 3] = [
                |r| r.prev_kv = false,
                |r| closer(&mut r.start_revision, 0),
                |r| closer(&mut r.start_revision, -1),
            ];
            variants(request, &changes, Op::Watch)
        }
        Op::LeaseKeepAlive(requests) => {
            let shorter = lists(requests, |_| Vec::new()).into_iter();
            shorter.filter(|requests| !requests.is_empty()).map(Op::LeaseKeepAlive).collect()
        }
        Op::LeaseGrant(_) | Op::LeaseRevoke(_) | Op::LeaseLeases(_) => Vec::new(),
    }
}

/// The changes that change something.
fn variants<T: Clone + PartialEq, U>(
    request: &T,
    changes: &[impl Fn(&mut T)],
    wrap: impl Fn(T) -> U,
) -> Vec<U> {
    let changed = changes.iter().map(|change| {
        let mut variant = request.clone();
        change(&mut variant);
        variant
    });
    changed.filter(|variant| variant != request).map(wrap).collect()
}

/// A revision nearer to the newest needs fewer writes in between.
fn closer(revision: &mut i64, offset: i64) {
    if *revision != 0 && *revision != now(0) {
        *revision = now(offset);
    }
}

fn simpler_range(request: &RangeRequest) -> Vec<RangeRequest> {
    let changes: [fn(&mut RangeRequest); 14] = [
        |r| {
            *r = RangeRequest {
                key: r.key.clone(),
                range_end: r.range_end.clone(),
                ..Default::default()
            }
        },
        |r| r.range_end = Bytes::new(),
        |r| r.limit = 0,
        |r| r.revision = 0,
        |r| closer(&mut r.revision, 0),
        |r| closer(&mut r.revision, -1),
        |r| (r.sort_order, r.sort_target) = (0, 0),
        |r| r.serializable = false,
        |r| r.keys_only = false,
        |r| r.count_only = false,
        |r| r.min_mod_revision = 0,
        |r| r.max_mod_revision = 0,
        |r| r.min_create_revision = 0,
        |r| r.max_create_revision = 0,
    ];
    variants(request, &changes, |variant| variant)
}

fn simpler_put(request: &PutRequest) -> Vec<PutRequest> {
    let changes: [fn(&mut PutRequest); 6] = [
        |r| *r = PutRequest { key: r.key.clone(), value: PLAIN_VALUE, ..Default::default() },
        |r| r.value = if r.value.is_empty() { Bytes::new() } else { PLAIN_VALUE },
        |r| r.lease = 0,
        |r| r.prev_kv = false,
        |r| r.ignore_value = false,
        |r| r.ignore_lease = false,
    ];
    variants(request, &changes, |variant| variant)
}

fn simpler_delete(request: &DeleteRangeRequest) -> Vec<DeleteRangeRequest> {
    let changes: [fn(&mut DeleteRangeRequest); 2] =
        [|r| r.range_end = Bytes::new(), |r| r.prev_kv = false];
    variants(request, &changes, |variant| variant)
}

fn simpler_compare(compare: &Compare) -> Vec<Compare> {
    variants(compare, &[|c: &mut Compare| c.range_end = Bytes::new()], |variant| variant)
}

/// The operation of a transaction as a request of its own.
fn standing_alone(op: &RequestOp) -> Option<Op> {
    Some(match op.request.clone()? {
        Request::RequestRange(request) => Op::Range(request),
        Request::RequestPut(request) => Op::Put(request),
        Request::RequestDeleteRange(request) => Op::DeleteRange(request),
        Request::RequestTxn(request) => Op::Txn(request),
    })
}

fn simpler_txn(txn: &TxnRequest) -> Vec<TxnRequest> {
    let mut simpler = Vec::new();
    for compare in lists(&txn.compare, simpler_compare) {
        simpler.push(TxnRequest { compare, ..txn.clone() });
    }
    for success in lists(&txn.success, simpler_op) {
        simpler.push(TxnRequest { success, ..txn.clone() });
    }
    for failure in lists(&txn.failure, simpler_op) {
        simpler.push(TxnRequest { failure, ..txn.clone() });
    }
    simpler
}

/// The list without all, without one of its elements, and with one of them simpler.
fn lists<T: Clone>(list: &[T], simpler: impl Fn(&T) -> Vec<T>) -> Vec<Vec<T>> {
    let mut shorter: Vec<Vec<T>> = Vec::new();
    if list.len() > 1 {
        shorter.push(Vec::new());
    }
    for index in 0..list.len() {
        let mut without = list.to_vec();
        without.remove(index);
        shorter.push(without);
    }
    for (index, element) in list.iter().enumerate() {
        for variant in simpler(element) {
            let mut with = list.to_vec();
            with[index] = variant;
            shorter.push(with);
        }
    }
    shorter
}

fn simpler_op(op: &RequestOp) -> Vec<RequestOp> {
    let wrap = |request| RequestOp { request: Some(request) };
    match &op.request {
        Some(Request::RequestRange(range)) => {
            simpler_range(range).into_iter().map(Request::RequestRange).map(wrap).collect()
        }
        Some(Request::RequestPut(put)) => {
            simpler_put(put).into_iter().map(Request::RequestPut).map(wrap).collect()
        }
        Some(Request::RequestDeleteRange(delete)) => {
            simpler_delete(delete).into_iter().map(Request::RequestDeleteRange).map(wrap).collect()
        }
        Some(Request::RequestTxn(txn)) => {
            // Its operations take its place one at a time.
            let inner = txn.success.iter().chain(&txn.failure).cloned();
            inner.chain(simpler_txn(txn).into_iter().map(Request::RequestTxn).map(wrap)).collect()
        }
        None => Vec::new(),
    }
}
