//! What is decided about a transaction before anybody looks at the state.

use super::*;
use crate::{
    proto::etcdserverpb::{
        Compare as WireCompare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp,
        ResponseHeader, TxnRequest,
    },
    state::{DeleteRangeResponse, PutResponse, RangeResponse},
    types::{Key, KeyRange, Revision},
};

const OPS_MAX: usize = limits::TXN_OPS_MAX;

fn op_of(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put_of(request: PutRequest) -> RequestOp {
    op_of(request_op::Request::RequestPut(request))
}

fn put(key: &'static str) -> RequestOp {
    put_of(PutRequest { key: key.into(), ..Default::default() })
}

fn read(key: &'static str, serializable: bool) -> RequestOp {
    let request = RangeRequest { key: key.into(), serializable, ..Default::default() };
    op_of(request_op::Request::RequestRange(request))
}

fn delete(key: &'static str, range_end: &'static str) -> RequestOp {
    let request =
        DeleteRangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() };
    op_of(request_op::Request::RequestDeleteRange(request))
}

fn nested(txn: TxnRequest) -> RequestOp {
    op_of(request_op::Request::RequestTxn(txn))
}

fn then(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..Default::default() }
}

fn compares(count: usize) -> Vec<WireCompare> {
    vec![WireCompare { key: "k".into(), ..Default::default() }; count]
}

fn refused(request: TxnRequest) -> Invalid {
    txn(request, OPS_MAX).unwrap_err()
}

/// A list may have as many entries as the limit, be it of comparisons or of operations.
#[test]
fn each_list_has_the_limit_for_itself() {
    let reads = |count| vec![read("k", false); count];
    let full = TxnRequest { compare: compares(128), success: reads(128), failure: reads(128) };
    assert!(txn(full, OPS_MAX).is_ok());

    let too_many = Invalid::TooManyOps { given: 129, left: 128 };
    assert_eq!(refused(then(reads(129))), too_many);
    assert_eq!(refused(TxnRequest { failure: reads(129), ..Default::default() }), too_many);
    assert_eq!(refused(TxnRequest { compare: compares(129), ..Default::default() }), too_many);
}

/// A nested transaction gets what its parent's longest list left, whatever its siblings took.
#[test]
fn nested_transactions_get_the_rest_of_the_budget() {
    let nested_reads = |count| nested(then(vec![read("k", false); count]));
    assert!(txn(then(vec![nested_reads(127)]), OPS_MAX).is_ok());
    assert!(txn(then(vec![nested_reads(126), nested_reads(126)]), OPS_MAX).is_ok());
    assert_eq!(
        refused(then(vec![nested_reads(128)])),
        Invalid::TooManyOps { given: 128, left: 127 }
    );

    // Comparisons of the parent count as its longest list too.
    let compared = TxnRequest {
        compare: compares(100),
        success: vec![nested_reads(29)],
        ..Default::default()
    };
    assert_eq!(refused(compared), Invalid::TooManyOps { given: 29, left: 28 });
}

/// Lengths first, then comparisons, then one branch, then the other; colliding keys last.
#[test]
fn checks_come_in_order() {
    let keyless_compare = vec![WireCompare::default()];
    let bad_put = put_of(PutRequest {
        key: "k".into(),
        ignore_value: true,
        value: "v".into(),
        ..Default::default()
    });
    let keyless_read = read("", false);

    let all = TxnRequest {
        compare: keyless_compare.clone(),
        success: vec![bad_put.clone(); 129],
        failure: Vec::new(),
    };
    assert_eq!(refused(all), Invalid::TooManyOps { given: 129, left: 128 });

    let compare_and_success = TxnRequest {
        compare: keyless_compare,
        success: vec![bad_put.clone()],
        failure: Vec::new(),
    };
    assert_eq!(refused(compare_and_success), Invalid::KeyNotProvided);

    let both_branches = TxnRequest {
        compare: Vec::new(),
        success: vec![put("k"), put("k"), bad_put],
        failure: vec![keyless_read.clone()],
    };
    assert_eq!(refused(both_branches), Invalid::ValueProvided);

    let collision_and_failure = TxnRequest {
        compare: Vec::new(),
        success: vec![put("k"), put("k")],
        failure: vec![keyless_read],
    };
    assert_eq!(refused(collision_and_failure), Invalid::KeyNotProvided);
}

/// Mistakes count in the branch that will not run too; an unknown lease there is no mistake of form.
#[test]
fn both_branches_must_be_in_order() {
    let failure = |op| TxnRequest { failure: vec![op], ..Default::default() };
    assert_eq!(refused(failure(put(""))), Invalid::KeyNotProvided);
    assert_eq!(refused(failure(delete("", ""))), Invalid::KeyNotProvided);
    assert_eq!(refused(failure(nested(failure(put(""))))), Invalid::KeyNotProvided);
    let unknown_lease = PutRequest { key: "k".into(), lease: 77, ..Default::default() };
    assert!(txn(failure(put_of(unknown_lease)), OPS_MAX).is_ok());
}

/// An operation without a kind is refused, on any level.
#[test]
fn operations_need_a_kind() {
    let none = RequestOp { request: None };
    assert_eq!(refused(then(vec![none.clone()])), Invalid::OpWithoutKind);
    assert_eq!(refused(then(vec![nested(then(vec![none]))])), Invalid::OpWithoutKind);
}

/// Colliding keys are found in either branch by itself, and not between the two.
#[test]
fn colliding_keys_are_refused() {
    assert_eq!(refused(then(vec![put("k"), put("k")])), Invalid::DuplicateKey);
    let in_failure = TxnRequest { failure: vec![delete("a", "z"), put("k")], ..Default::default() };
    assert_eq!(refused(in_failure), Invalid::DuplicateKey);
    let across =
        TxnRequest { success: vec![put("k")], failure: vec![put("k")], ..Default::default() };
    assert!(txn(across, OPS_MAX).is_ok());

    // Nested put, then nested delete in a later sibling: accepted; the other way round: not.
    let nested_put = || nested(then(vec![put("k")]));
    let nested_delete = || nested(then(vec![delete("k", "")]));
    assert!(txn(then(vec![nested_put(), nested_delete()]), OPS_MAX).is_ok());
    assert_eq!(refused(then(vec![nested_delete(), nested_put()])), Invalid::DuplicateKey);

    // A delete without an end collides with nothing.
    assert!(txn(then(vec![delete("a", "\0"), put("b")]), OPS_MAX).is_ok());
}

/// Transactions nest as deep as the limit and no deeper.
#[test]
fn nesting_is_bounded() {
    let nest =
        |depth: usize| (0..depth).fold(TxnRequest::default(), |inner, _| then(vec![nested(inner)]));
    assert!(txn(nest(limits::TXN_DEPTH_MAX), OPS_MAX).is_ok());
    assert_eq!(refused(nest(limits::TXN_DEPTH_MAX + 1)), Invalid::TooDeep(limits::TXN_DEPTH_MAX));
}

/// Only when all operations of both branches are stale reads may the answer be stale; with no
/// operation it may.
#[test]
fn stale_answers_need_stale_reads_only() {
    let stale = |success, failure| {
        let request = TxnRequest { compare: compares(1), success, failure };
        txn(request, OPS_MAX).unwrap().serializable
    };
    assert!(stale(vec![], vec![]));
    assert!(stale(vec![read("a", true)], vec![read("b", true)]));
    assert!(!stale(vec![read("a", true), read("b", false)], vec![]));
    assert!(!stale(vec![], vec![read("a", false)]));
    assert!(!stale(vec![put("a")], vec![]));
    assert!(!stale(vec![nested(then(vec![read("a", true)]))], vec![]));
}

fn compared(target: i32, union: Option<TargetUnion>) -> Operand {
    let request =
        WireCompare { key: "k".into(), target, target_union: union, ..Default::default() };
    compare(request).unwrap().operand
}

/// The target decides what is compared. An operand of another kind, or none, is zero.
#[test]
fn operands_of_another_kind_are_zero() {
    assert_eq!(compared(0, Some(TargetUnion::Version(7))), Operand::Version(7));
    assert_eq!(compared(1, Some(TargetUnion::CreateRevision(7))), Operand::Create(7));
    assert_eq!(compared(2, Some(TargetUnion::ModRevision(7))), Operand::Mod(7));
    assert_eq!(compared(3, Some(TargetUnion::Value("v".into()))), Operand::Value("v".into()));
    assert_eq!(compared(4, Some(TargetUnion::Lease(7))), Operand::Lease(7));

    assert_eq!(compared(0, Some(TargetUnion::CreateRevision(7))), Operand::Version(0));
    assert_eq!(compared(1, Some(TargetUnion::Version(7))), Operand::Create(0));
    assert_eq!(compared(2, Some(TargetUnion::Value("v".into()))), Operand::Mod(0));
    assert_eq!(compared(3, Some(TargetUnion::Lease(7))), Operand::Value(Bytes::new()));
    assert_eq!(compared(4, None), Operand::Lease(0));
    assert_eq!(compared(5, Some(TargetUnion::Version(7))), Operand::Unknown(5));
}

/// Relations and targets with unknown numbers are kept as such, not refused.
#[test]
fn unknown_relations_are_kept() {
    let of = |result| {
        compare(WireCompare { key: "k".into(), result, ..Default::default() }).unwrap().relation
    };
    let known = [0, 1, 2, 3].map(of);
    assert_eq!(known, [Relation::Equal, Relation::Greater, Relation::Less, Relation::NotEqual]);
    assert_eq!(of(77), Relation::Unknown(77));
    assert_eq!(of(-1), Relation::Unknown(-1));
}

/// A comparison takes the same forms of ranges as a read.
#[test]
fn comparisons_cover_ranges() {
    let of = |range_end: &'static str| {
        let request =
            WireCompare { key: "a".into(), range_end: range_end.into(), ..Default::default() };
        compare(request).unwrap().range
    };
    let a = || Key::new("a").unwrap();
    assert_eq!(of(""), KeyRange::One(a()));
    assert_eq!(of("\0"), KeyRange::From(a()));
    assert_eq!(of("c"), KeyRange::HalfOpen(a(), Key::new("c").unwrap()));
}

/// Inner headers carry a revision and nothing else; that of a nested transaction is there and empty.
#[test]
fn inner_headers_carry_a_revision_only() {
    let range = RangeResponse { kvs: Vec::new(), more: false, count: 0 };
    let delete = DeleteRangeResponse { deleted: 0, prevs: Vec::new() };
    let response = TxnResponse {
        succeeded: true,
        results: vec![
            OpResponse::Range(Revision(7), range),
            OpResponse::Put(Revision(8), PutResponse { prev: None }),
            OpResponse::DeleteRange(Revision(8), delete),
            OpResponse::Txn(TxnResponse { succeeded: true, results: Vec::new() }),
        ],
    };
    let top = ResponseHeader { cluster_id: 1, member_id: 2, revision: 8, raft_term: 3 };

    let wire = txn_response(top, response);

    assert!(wire.succeeded);
    assert_eq!(wire.header, Some(top));
    let headers: Vec<_> = wire
        .responses
        .into_iter()
        .map(|op| match op.response.unwrap() {
            response_op::Response::ResponseRange(range) => range.header.unwrap(),
            response_op::Response::ResponsePut(put) => {
                assert_eq!(put.prev_kv, None);
                put.header.unwrap()
            }
            response_op::Response::ResponseDeleteRange(delete) => delete.header.unwrap(),
            response_op::Response::ResponseTxn(txn) => {
                assert!(txn.succeeded);
                txn.header.unwrap()
            }
        })
        .collect();
    let revision = |revision| ResponseHeader { revision, ..Default::default() };
    assert_eq!(headers, [revision(7), revision(8), revision(8), ResponseHeader::default()]);
}
