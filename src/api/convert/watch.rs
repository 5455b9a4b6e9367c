//! Requests and responses of a watch stream.

use prost::{Message, length_delimiter_len};

use crate::{
    api::convert::kv,
    proto::{
        etcdserverpb::{
            ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
            watch_create_request::FilterType, watch_request::RequestUnion,
        },
        mvccpb,
    },
    types::{Event, EventKind, Key, KeyRange, Revision},
    watch::{Create, Filter, Kind, Refusal, Response, WatchId},
};

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
/// smallest key there is.
fn create(request: WatchCreateRequest) -> Create {
    let key = Key::new(request.key).unwrap_or(Key::MIN);
    let filtered = |filter: FilterType| request.filters.contains(&i32::from(filter));
    Create {
        filter: Filter {
            no_put: filtered(FilterType::Noput),
            no_delete: filtered(FilterType::Nodelete),
        },
        range: KeyRange::from_wire(key, request.range_end),
        start: Revision(request.start_revision),
        prev_kv: request.prev_kv,
        fragment: request.fragment,
        progress_notify: request.progress_notify,
        id: (request.watch_id != 0).then_some(WatchId(request.watch_id)),
    }
}

/// A response in one message, or, when its watcher takes it in pieces and it has `bytes_max` or
/// more, in several that must follow one another. The revision in `header` is replaced.
#[must_use]
pub fn responses(
    header: ResponseHeader,
    response: Response,
    bytes_max: usize,
) -> Vec<WatchResponse> {
    let header = ResponseHeader { revision: response.revision.0, ..header };
    let mut message =
        WatchResponse { header: Some(header), watch_id: response.id.0, ..WatchResponse::default() };
    let mut in_pieces = false;
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
        }
        Kind::Progress => {}
        Kind::Events { events, fragment } => {
            message.events = events.into_iter().map(event).collect();
            in_pieces = fragment;
        }
    }
    if in_pieces { pieces(message, bytes_max) } else { vec![message] }
}

/// The words in which clients of etcd know a refusal.
fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NegativeStart => "etcdserver: mvcc: required revision has been compacted",
        Refusal::EmptyRange => "mvcc: watcher range is empty",
        Refusal::DuplicateId => "mvcc: duplicate watch ID provided on the WatchStream",
        Refusal::TooManyWatchers => "etcdserver: too many watchers on the stream",
    }
}

/// An event as clients see it. Of a deleted key there is only the key and the revision.
fn event(event: Event) -> mvccpb::Event {
    let (kind, pair) = match event.kind {
        EventKind::Put(pair) => (mvccpb::event::EventType::Put, kv::key_value(pair)),
        EventKind::Delete(key, _) => {
            let pair = mvccpb::KeyValue {
                key: key.into_bytes(),
                mod_revision: event.id.revision.0,
                ..mvccpb::KeyValue::default()
            };
            (mvccpb::event::EventType::Delete, pair)
        }
    };
    mvccpb::Event { r#type: kind.into(), kv: Some(pair), prev_kv: event.prev.map(kv::key_value) }
}

/// Splits a response into pieces below `bytes_max`, of at least one event each. All but the last
/// say that more follows.
fn pieces(response: WatchResponse, bytes_max: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < bytes_max {
        return vec![response];
    }
    let WatchResponse { events, .. } = response;
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..response };
    let empty_len = empty.encoded_len();
    let mut pieces = Vec::new();
    let (mut piece, mut len) = (empty.clone(), empty_len);
    for event in events {
        let event_len = field_len(&event);
        if !piece.events.is_empty() && len + event_len >= bytes_max {
            pieces.push(std::mem::replace(&mut piece, empty.clone()));
            len = empty_len;
        }
        piece.events.push(event);
        len += event_len;
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

/// What an event adds to its response: a tag of one byte, a length, and itself.
fn field_len(event: &mvccpb::Event) -> usize {
    let len = event.encoded_len();
    1 + length_delimiter_len(len) + len
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
