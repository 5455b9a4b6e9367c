//! One request of any kind, with revisions that may count back from the newest.
//!
//! A sequence of operations is a function of its seed alone: nothing in it depends on an answer.
//! Revisions count from the newest at the time of sending (see [`now`]), so that a sequence keeps its
//! sense when some of its operations are taken out.

use quorate::proto::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest, RangeRequest,
    RequestOp, TxnRequest, WatchCreateRequest, compare::TargetUnion, request_op::Request,
};

/// The newest revision, wherever a request has a revision; no store here ever counts so far.
const NOW: i64 = 1 << 40;
/// How far from [`NOW`] a number still means a revision counted from it.
const REACH: i64 = 1 << 20;

/// The revision that is so many after the newest, or before it when negative.
pub(crate) fn now(offset: i64) -> i64 {
    assert!(offset.abs() < REACH, "{offset} is out of reach");
    NOW + offset
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    Range(RangeRequest),
    RangeStream(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    LeaseGrant(LeaseGrantRequest),
    LeaseRevoke(LeaseRevokeRequest),
    LeaseTimeToLive(LeaseTimeToLiveRequest),
    LeaseLeases(LeaseLeasesRequest),
    /// Renewals on one stream, which is closed behind them.
    LeaseKeepAlive(Vec<LeaseKeepAliveRequest>),
    /// A watch of all keys, from a revision up to the newest.
    Watch(WatchCreateRequest),
}

impl Op {
    /// Every key there is, as of a revision.
    pub(crate) fn whole_state(revision: i64) -> Self {
        Self::Range(RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            revision,
            ..Default::default()
        })
    }

    /// The name of the call.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Range(_) => "Range",
            Self::RangeStream(_) => "RangeStream",
            Self::Put(_) => "Put",
            Self::DeleteRange(_) => "DeleteRange",
            Self::Txn(_) => "Txn",
            Self::Compact(_) => "Compact",
            Self::LeaseGrant(_) => "LeaseGrant",
            Self::LeaseRevoke(_) => "LeaseRevoke",
            Self::LeaseTimeToLive(_) => "LeaseTimeToLive",
            Self::LeaseLeases(_) => "LeaseLeases",
            Self::LeaseKeepAlive(_) => "LeaseKeepAlive",
            Self::Watch(_) => "Watch",
        }
    }

    /// The operation as it is sent when `newest` is the store's revision.
    pub(crate) fn resolved(&self, newest: i64) -> Self {
        let mut op = self.clone();
        match &mut op {
            Self::Range(request) | Self::RangeStream(request) => resolve_range(request, newest),
            Self::Txn(request) => resolve_txn(request, newest),
            Self::Compact(request) => resolve(&mut request.revision, newest),
            Self::Watch(request) => resolve(&mut request.start_revision, newest),
            Self::Put(_)
            | Self::DeleteRange(_)
            | Self::LeaseGrant(_)
            | Self::LeaseRevoke(_)
            | Self::LeaseTimeToLive(_)
            | Self::LeaseLeases(_)
            | Self::LeaseKeepAlive(_) => {}
        }
        op
    }
}

/// Before the first revision there is none, so counting back ends there.
fn resolve(revision: &mut i64, newest: i64) {
    if (NOW - REACH..NOW + REACH).contains(revision) {
        *revision = (newest + *revision - NOW).max(1);
    }
}

fn resolve_range(request: &mut RangeRequest, newest: i64) {
    for revision in [
        &mut request.revision,
        &mut request.min_mod_revision,
        &mut request.max_mod_revision,
        &mut request.min_create_revision,
        &mut request.max_create_revision,
    ] {
        resolve(revision, newest);
    }
}

fn resolve_txn(request: &mut TxnRequest, newest: i64) {
    for compare in &mut request.compare {
        resolve_compare(compare, newest);
    }
    for op in request.success.iter_mut().chain(&mut request.failure) {
        resolve_op(op, newest);
    }
}

fn resolve_compare(compare: &mut Compare, newest: i64) {
    match &mut compare.target_union {
        Some(TargetUnion::CreateRevision(number) | TargetUnion::ModRevision(number)) => {
            resolve(number, newest);
        }
        Some(TargetUnion::Version(_) | TargetUnion::Value(_) | TargetUnion::Lease(_)) | None => {}
    }
}

fn resolve_op(op: &mut RequestOp, newest: i64) {
    match &mut op.request {
        Some(Request::RequestRange(range)) => resolve_range(range, newest),
        Some(Request::RequestTxn(txn)) => resolve_txn(txn, newest),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => {}
    }
}
