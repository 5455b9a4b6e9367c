//! What is masked, and what is not: a mask that hides too much would find nothing.

use quorate::proto::{
    etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader, range_request::SortTarget},
    mvccpb::KeyValue,
};

use crate::{answer::Answer, compare::masked, level::Level, op::Op};

fn sorted_by(target: SortTarget) -> RangeRequest {
    RangeRequest { sort_target: target.into(), ..Default::default() }
}

fn answered(versions: &[(&'static str, i64)], more: bool) -> Answer {
    let pair = |(key, version): &(&'static str, i64)| KeyValue {
        key: (*key).into(),
        version: *version,
        ..Default::default()
    };
    let kvs = versions.iter().map(pair).collect();
    Answer::Range(RangeResponse { kvs, more, ..Default::default() })
}

fn equal(request: &RangeRequest, one: Answer, other: Answer) -> bool {
    let op = Op::Range(request.clone());
    masked(&op, one, Level::Etcd37) == masked(&op, other, Level::Etcd37)
}

#[test]
fn pairs_with_equal_sort_keys_may_come_in_any_order() {
    let one = || answered(&[("a", 1), ("b", 1), ("c", 2)], false);
    let swapped = || answered(&[("b", 1), ("a", 1), ("c", 2)], false);

    assert!(equal(&sorted_by(SortTarget::Version), one(), swapped()));
    assert!(!equal(&sorted_by(SortTarget::Key), one(), swapped()));
    let unsorted = answered(&[("c", 2), ("a", 1), ("b", 1)], false);
    assert!(!equal(&sorted_by(SortTarget::Version), one(), unsorted));
}

#[test]
fn a_limit_may_take_any_of_several_equal_pairs() {
    let by_version = sorted_by(SortTarget::Version);
    let cut = |last| answered(&[("a", 1), (last, 2)], true);

    assert!(equal(&by_version, cut("b"), cut("c")));
    let whole = |last| answered(&[("a", 1), (last, 2)], false);
    assert!(!equal(&by_version, whole("b"), whole("c")));
    let other_first = answered(&[("x", 1), ("c", 2)], true);
    assert!(!equal(&by_version, cut("b"), other_first));
    let other_version = answered(&[("a", 1), ("b", 3)], true);
    assert!(!equal(&by_version, cut("b"), other_version));
}

#[test]
fn of_headers_the_revision_and_the_presence_of_the_rest_are_compared() {
    let header = |cluster_id, revision| {
        let header = ResponseHeader { cluster_id, member_id: 5, revision, raft_term: 2 };
        Answer::Range(RangeResponse { header: Some(header), ..Default::default() })
    };
    let request = RangeRequest::default();

    assert!(equal(&request, header(1, 7), header(9, 7)));
    assert!(!equal(&request, header(1, 7), header(1, 8)));
    assert!(!equal(&request, header(1, 7), header(0, 7)));
    assert!(!equal(&request, header(1, 7), Answer::Range(RangeResponse::default())));
}
