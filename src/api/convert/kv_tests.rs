//! What is decided about a read, a put and a delete before anybody looks at the state.

use prost::Message;

use super::*;
use crate::proto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};

fn read(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..Default::default() }
}

/// An empty key is refused by all three, before anything else is looked at.
#[test]
fn keys_must_not_be_empty() {
    let wrong_sort = RangeRequest { sort_order: 9, ..Default::default() };
    assert_eq!(range(wrong_sort), Err(Invalid::KeyNotProvided));
    let wrong_value = PutRequest { ignore_value: true, value: "v".into(), ..Default::default() };
    assert_eq!(put(wrong_value), Err(Invalid::KeyNotProvided));
    let all = DeleteRangeRequest { range_end: "\0".into(), ..Default::default() };
    assert_eq!(delete_range(all), Err(Invalid::KeyNotProvided));
}

/// An end of no bytes is no end, also where the client spelled it out: the range is the one key.
#[test]
fn case_8_an_empty_end_means_one_key() {
    let one = KeyRange::One(Key::new("k").unwrap());
    let spelled_out = RangeRequest::decode(&b"\x0a\x01k\x12\x00"[..]).unwrap();
    assert_eq!(spelled_out, read("k"));
    assert_eq!(range(spelled_out).unwrap().range, one);
    let delete = DeleteRangeRequest { key: "k".into(), ..Default::default() };
    assert_eq!(delete_range(delete).unwrap().range, one);
}

/// A reversed range is no mistake; it is empty.
#[test]
fn case_7_a_reversed_range_is_taken() {
    let reversed = RangeRequest { range_end: "a".into(), ..read("b") };
    assert!(range(reversed).unwrap().range.is_empty());
}

/// Every order and target that exists is taken, every other number refused.
#[test]
fn sort_options_must_exist() {
    let sorted = |sort_order, sort_target| {
        range(RangeRequest { sort_order, sort_target, ..read("k") }).map(|range| range.sort)
    };
    for order in 0..3 {
        for target in 0..5 {
            assert!(sorted(order, target).is_ok(), "{order} {target}");
        }
    }
    let descending_by_mod = Sort { order: SortOrder::Descend, target: SortTarget::Mod };
    assert_eq!(sorted(2, 3), Ok(descending_by_mod));
    for (order, target) in [(3, 0), (-1, 0), (0, 5), (0, -1)] {
        assert_eq!(sorted(order, target), Err(Invalid::SortOption { order, target }));
    }
}

/// Numbers of a read go on as they came, negative ones too: what they mean is the state's business.
#[test]
fn numbers_of_a_read_are_kept() {
    let request = RangeRequest {
        revision: -7,
        limit: -1,
        min_mod_revision: 1,
        max_mod_revision: 2,
        min_create_revision: 3,
        max_create_revision: 4,
        ..read("k")
    };
    let range = range(request).unwrap();
    assert_eq!((range.revision, range.limit), (-7, -1));
    let filter = RevisionFilter { min_mod: 1, max_mod: 2, min_create: 3, max_create: 4 };
    assert_eq!(range.filter, filter);
}

/// A put that keeps value or lease must not bring one; empty bytes and lease 0 are none.
#[test]
fn ignored_fields_must_be_empty() {
    let keep = PutRequest {
        key: "k".into(),
        ignore_value: true,
        ignore_lease: true,
        ..Default::default()
    };
    assert!(put(keep.clone()).is_ok());
    let value = PutRequest { value: "v".into(), lease: 7, ..keep.clone() };
    assert_eq!(put(value), Err(Invalid::ValueProvided));
    let lease = PutRequest { lease: 7, ..keep };
    assert_eq!(put(lease), Err(Invalid::LeaseProvided));
}

/// Lease 0 is no lease, on the way in and on the way out; negative ids are leases.
#[test]
fn lease_zero_is_no_lease() {
    let lease_of =
        |lease| put(PutRequest { key: "k".into(), lease, ..Default::default() }).unwrap().lease;
    assert_eq!(lease_of(0), None);
    assert_eq!(lease_of(-1), Some(LeaseId(-1)));

    let kv = |lease| KeyValue {
        key: Key::new("k").unwrap(),
        value: "v".into(),
        create_revision: Revision(2),
        mod_revision: Revision(3),
        version: 2,
        lease,
    };
    let wire = mvccpb::KeyValue {
        key: "k".into(),
        create_revision: 2,
        mod_revision: 3,
        version: 2,
        value: "v".into(),
        lease: 0,
    };
    assert_eq!(key_value(kv(None)), wire);
    assert_eq!(key_value(kv(Some(LeaseId(-1)))), mvccpb::KeyValue { lease: -1, ..wire });
}

/// A streamed read comes in the order of its keys and without bounds on revisions; what is wrong
/// with any read is said first.
#[test]
fn streamed_reads_are_plain() {
    let by_key = Sort::default();
    for (sort_order, sort_target) in [(0, 0), (1, 0), (0, 3)] {
        let request = RangeRequest { sort_order, sort_target, ..read("k") };
        assert_eq!(range_stream(request).unwrap().sort, by_key);
    }
    for (sort_order, sort_target) in [(2, 0), (1, 1), (2, 4)] {
        let request = RangeRequest { sort_order, sort_target, max_mod_revision: 1, ..read("k") };
        assert_eq!(range_stream(request), Err(Invalid::StreamSorted));
    }
    for filtered in [
        RangeRequest { min_mod_revision: 1, ..read("k") },
        RangeRequest { max_mod_revision: 1, ..read("k") },
        RangeRequest { min_create_revision: 1, ..read("k") },
        RangeRequest { max_create_revision: -1, ..read("k") },
    ] {
        assert_eq!(range_stream(filtered), Err(Invalid::StreamFiltered));
    }
    let keyless = RangeRequest { sort_order: 2, ..Default::default() };
    assert_eq!(range_stream(keyless), Err(Invalid::KeyNotProvided));
}
