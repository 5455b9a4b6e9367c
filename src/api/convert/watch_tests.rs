//! Watch messages: how requests are read, and what responses look like on the wire.

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::types::{DeleteReason, EventId, KeyValue, LeaseId};

fn key(text: &str) -> Key {
    Key::new(text.as_bytes().to_vec()).unwrap()
}

fn created_of(request: WatchCreateRequest) -> Create {
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) };
    match super::request(request) {
        Some(Asked::Create(create)) => create,
        other => panic!("read as {other:?}"),
    }
}

fn range_of(key: &'static [u8], range_end: &'static [u8]) -> KeyRange {
    created_of(WatchCreateRequest {
        key: Bytes::from_static(key),
        range_end: Bytes::from_static(range_end),
        ..WatchCreateRequest::default()
    })
    .range
}

/// An empty key stands for the smallest one.
#[test]
fn case_49_an_empty_key_is_the_smallest() {
    assert_eq!(range_of(b"", b""), KeyRange::One(Key::MIN));
    assert_eq!(range_of(b"", b"\0"), KeyRange::From(Key::MIN));
    assert_eq!(range_of(b"a", b""), KeyRange::One(key("a")));
    assert_eq!(range_of(b"a", b"\0"), KeyRange::From(key("a")));
    assert_eq!(range_of(b"a", b"c"), KeyRange::HalfOpen(key("a"), key("c")));
}

/// Filters with numbers that do not exist are passed over, and id 0 is no choice.
#[test]
fn a_creation_is_read_field_by_field() {
    let create = created_of(WatchCreateRequest {
        key: Bytes::from_static(b"a"),
        start_revision: -3,
        filters: vec![1, 77],
        prev_kv: true,
        watch_id: 0,
        ..WatchCreateRequest::default()
    });

    assert_eq!(create.start, Revision(-3));
    assert_eq!(create.filter, Filter { no_put: false, no_delete: true });
    assert_eq!(create.id, None);
    assert!(create.prev_kv && !create.fragment && !create.progress_notify);
    let chosen = WatchCreateRequest { watch_id: -7, ..WatchCreateRequest::default() };
    assert_eq!(created_of(chosen).id, Some(WatchId(-7)));
}

/// A message that says nothing is passed over.
#[test]
fn an_empty_message_asks_for_nothing() {
    assert_eq!(request(WatchRequest::default()), None);
}

fn one(id: i64, revision: i64, kind: Kind) -> WatchResponse {
    let header = ResponseHeader { cluster_id: 1, member_id: 2, revision: 99, raft_term: 3 };
    let said = Response { id: WatchId(id), revision: Revision(revision), kind };
    let message = response(header, &said);
    assert_eq!(message.header, Some(ResponseHeader { revision, ..header }));
    message
}

/// Each kind of response has the marks by which clients tell it.
#[test]
fn kinds_of_responses_are_told_by_their_fields() {
    let header = |message: &WatchResponse| message.header;
    let plain = |message: WatchResponse| WatchResponse { header: None, ..message };
    let of = |id, revision, kind| plain(one(id, revision, kind));
    let empty = WatchResponse::default();

    assert_eq!(of(0, 5, Kind::Created), WatchResponse { created: true, ..empty.clone() });
    assert_eq!(
        of(4, 5, Kind::Canceled),
        WatchResponse { watch_id: 4, canceled: true, ..empty.clone() }
    );
    let compacted = WatchResponse {
        watch_id: 4,
        canceled: true,
        compact_revision: 7,
        cancel_reason: "etcdserver: mvcc: required revision has been compacted".to_owned(),
        ..empty.clone()
    };
    assert_eq!(of(4, 0, Kind::Compacted(Revision(7))), compacted);
    assert_eq!(header(&one(4, 0, Kind::Compacted(Revision(7)))).unwrap().revision, 0);
    assert_eq!(of(-1, 5, Kind::Progress), WatchResponse { watch_id: -1, ..empty.clone() });
    for (refusal, reason) in [
        (Refusal::NegativeStart, "etcdserver: mvcc: required revision has been compacted"),
        (Refusal::EmptyRange, "mvcc: watcher range is empty"),
        (Refusal::DuplicateId, "mvcc: duplicate watch ID provided on the WatchStream"),
    ] {
        let refused = WatchResponse {
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..empty.clone()
        };
        assert_eq!(of(-1, 5, Kind::Refused(refusal)), refused);
    }
}

fn pair(name: &str, revision: i64, value: Bytes) -> KeyValue {
    KeyValue {
        key: key(name),
        value,
        create_revision: Revision(revision),
        mod_revision: Revision(revision),
        version: 1,
        lease: Some(LeaseId(9)),
    }
}

fn put(name: &str, revision: i64, value: Bytes) -> Event {
    let id = EventId { revision: Revision(revision), sub: 0 };
    Event { id, kind: EventKind::Put(pair(name, revision, value)), prev: None }
}

fn delete(name: &str, revision: i64) -> Event {
    let id = EventId { revision: Revision(revision), sub: 0 };
    let kind = EventKind::Delete(key(name), DeleteReason::Expired);
    Event { id, kind, prev: None }
}

/// A put shows the whole pair. A delete, whatever its reason, shows key and revision, and the pair
/// before if it was asked for. Behind the head, the fields are the message byte for byte.
#[test]
fn case_45_events_on_the_wire() {
    let value = Bytes::from(vec![b'v'; 200]);
    let before = pair("a", 5, value.clone());
    let fields = [
        event_field(&put("a", 5, value), None),
        event_field(&delete("a", 6), None),
        event_field(&delete("a", 6), Some(&before)),
    ];
    let header = ResponseHeader { cluster_id: u64::MAX, ..ResponseHeader::default() };
    let head = head(header, (WatchId(-4), Revision(6)), true);

    let bytes = [head.encode_to_vec(), fields.concat()].concat();

    let deleted = mvccpb::KeyValue {
        key: Bytes::from_static(b"a"),
        mod_revision: 6,
        ..mvccpb::KeyValue::default()
    };
    let event = |kind, kv: &mvccpb::KeyValue, prev_kv| mvccpb::Event {
        r#type: kind,
        kv: Some(kv.clone()),
        prev_kv,
    };
    let whole = kv::key_value(before);
    assert_eq!((whole.lease, whole.version), (9, 1));
    let message = WatchResponse {
        header: Some(ResponseHeader { revision: 6, ..header }),
        watch_id: -4,
        fragment: true,
        events: vec![
            event(0, &whole, None),
            event(1, &deleted, None),
            event(1, &deleted, Some(whole.clone())),
        ],
        ..WatchResponse::default()
    };
    assert_eq!(WatchResponse::decode(&bytes[..]).unwrap(), message);
    assert_eq!(bytes, message.encode_to_vec());
}
