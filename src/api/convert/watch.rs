//! Requests and responses of a watch stream.

use bytes::Bytes;
use prost::encoding;

use crate::{
    api::convert::kv,
    proto::{
        etcdserverpb::{
            ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
            watch_create_request::FilterType, watch_request::RequestUnion,
        },
        mvccpb,
    },
    types::{Event, EventKind, Key, KeyRange, KeyValue, Revision},
    watch::{Create, Filter, Kind, Refusal, Response, WatchId},
};

/// The field of events in a response.
const EVENTS: u32 = 11;

/// What is said to who needs history that is gone.
const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// What a message on a watch stream asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A new watcher.
    Create(Create),
    /// The end of a watcher.
    Cancel(WatchId),
    /// How far the stream has come.
    Progress,
}

/// What a message asks for; one that says nothing, or what this version does not know, is passed
/// over.
#[must_use]
pub fn request(request: WatchRequest) -> Option<Asked> {
    Some(match request.request_union? {
        RequestUnion::CreateRequest(request) => Asked::Create(create(request)),
        RequestUnion::CancelRequest(request) => Asked::Cancel(WatchId(request.watch_id)),
        RequestUnion::ProgressRequest(_) => Asked::Progress,
    })
}

/// The watcher that is asked for. Unlike elsewhere an empty key is no mistake here: it means the
/// smallest key there is. The keys are copied: a watcher lives long, and must not keep the buffer in
/// which its request arrived.
fn create(request: WatchCreateRequest) -> Create {
    let key = Key::new(Bytes::copy_from_slice(&request.key)).unwrap_or(Key::MIN);
    let range_end = Bytes::copy_from_slice(&request.range_end);
    let filtered = |filter: FilterType| request.filters.contains(&i32::from(filter));
    Create {
        filter: Filter {
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
        },
        range: KeyRange::from_wire(key, range_end),
        start: Revision(request.start_revision),
        prev_kv: request.prev_kv,
        fragment: request.fragment,
        progress_notify: request.progress_notify,
        id: (request.watch_id != 0).then_some(WatchId(request.watch_id)),
    }
}

/// What a response without events says. The revision in `header` is replaced.
#[must_use]
pub fn response(header: ResponseHeader, response: &Response) -> WatchResponse {
    let header = ResponseHeader { revision: response.revision.0, ..header };
    let mut message =
        WatchResponse { header: Some(header), watch_id: response.id.0, ..WatchResponse::default() };
    match response.kind {
        Kind::Created => message.created = true,
        Kind::Refused(refusal) => {
            message.created = true;
            message.canceled = true;
            message.cancel_reason = reason(refusal).to_owned();
        }
        Kind::Canceled => message.canceled = true,
        Kind::Compacted(revision) => {
            message.canceled = true;
            message.compact_revision = revision.0;
            message.cancel_reason = COMPACTED.to_owned();
        }
        Kind::Progress => {}
    }
    message
}

/// What stands before the events of a response. The revision in `header` is replaced; `fragment`
/// says that more pieces of the same response follow.
#[must_use]
pub fn head(
    header: ResponseHeader,
    (id, revision): (WatchId, Revision),
    fragment: bool,
) -> WatchResponse {
    WatchResponse {
        header: Some(ResponseHeader { revision: revision.0, ..header }),
        watch_id: id.0,
        fragment,
        ..WatchResponse::default()
    }
}

/// An event as it stands in every response that shows it: a field of [`WatchResponse`], its tag and
/// its length included. It is the last field, so events follow one another behind the head.
#[must_use]
pub fn event_field(event: &Event, prev: Option<&KeyValue>) -> Bytes {
    let message = self::event(event, prev);
    let mut field = Vec::with_capacity(encoding::message::encoded_len(EVENTS, &message));
    encoding::message::encode(EVENTS, &message, &mut field);
    field.into()
}

/// The words in which clients of etcd know a refusal.
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NegativeStart => COMPACTED,
        Refusal::EmptyRange => "mvcc: watcher range is empty",
        Refusal::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
        Refusal::TooManyWatchers => "etcdserver: too many watchers on the stream",
    }
}

/// An event as clients see it. Of a deleted key there is only the key and the revision.
fn event(event: &Event, prev: Option<&KeyValue>) -> mvccpb::Event {
    let (kind, pair) = match &event.kind {
        EventKind::Put(pair) => (mvccpb::event::EventType::Put, kv::key_value(pair.clone())),
        EventKind::Delete(key, _) => {
            let pair = mvccpb::KeyValue {
                key: key.bytes().clone(),
                mod_revision: event.id.revision.0,
                ..mvccpb::KeyValue::default()
            };
            (mvccpb::event::EventType::Delete, pair)
        }
    };
    let prev_kv = prev.cloned().map(kv::key_value);
    mvccpb::Event { r#type: kind.into(), kv: Some(pair), prev_kv }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
