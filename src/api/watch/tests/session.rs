//! Frames and wake-ups of one stream.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::body::Frame;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};
use tower::ServiceExt;

use super::bench::{Client, Member, watch};
use crate::{
    api::watch::*,
    proto::etcdserverpb::{
        WatchCreateRequest, WatchProgressRequest, WatchResponse, watch_request::RequestUnion,
    },
    types::limits::{WATCH_CHUNK_BYTES, WATCH_COPIED_EVENT_BYTES_MAX, WATCH_REQUESTS_PER_TURN_MAX},
};

fn client(member: &Member) -> Client {
    Client::open(Watches::new(member.clone(), Config::default()))
}

/// A client with so many watchers of everything, which were confirmed.
fn watching(member: &Member, watchers: usize) -> Client {
    let mut client = client(member);
    for _ in 0..watchers {
        client.create(watch("", "\0"));
    }
    assert_eq!(client.responses(member).len(), watchers);
    client
}

fn data(frames: Vec<Frame<Bytes>>) -> Vec<Bytes> {
    frames.into_iter().map(|frame| frame.into_data().unwrap()).collect()
}

fn assert_all_but_last_are_full(frames: &[Bytes]) {
    let lens: Vec<_> = frames.iter().map(Bytes::len).collect();
    let (last, full) = lens.split_last().expect("there are frames");
    assert!(full.iter().all(|len| *len == WATCH_CHUNK_BYTES), "frames of {lens:?} bytes");
    assert!(*last <= WATCH_CHUNK_BYTES);
}

/// The status in the trailers, which come last.
fn ended(member: &Member, client: &mut Client) -> (usize, Status) {
    let (messages, trailers) = client.messages(member);
    let status = Status::from_header_map(&trailers.expect("the stream has ended")).unwrap();
    assert!(matches!(client.poll(), Poll::Ready(None)));
    (messages.len(), status)
}

/// What is ready for many watchers leaves in frames of a chunk each; only the last may be smaller.
#[test]
fn small_responses_share_frames() {
    let member = Member::new();
    let mut client = watching(&member, 500);
    member.put("k", &[b'v'; 100]);

    let frames = data(client.all_frames(&member));

    let total: usize = frames.iter().map(Bytes::len).sum();
    assert!(total > 500 * 100);
    assert_eq!(frames.len(), total.div_ceil(WATCH_CHUNK_BYTES), "{total} bytes");
    assert_all_but_last_are_full(&frames);
}

/// A response of many small events is whole, and leaves in frames of a chunk each.
#[test]
fn a_large_response_of_small_events_leaves_in_chunks() {
    let member = Member::new();
    let mut client = watching(&member, 1);
    let value = Bytes::from(vec![b'v'; 1_000]);
    member.apply(&vec![("k", Some(value)); 1_000]);

    let frames = data(client.all_frames(&member));

    assert!(frames.len() > 50);
    assert_all_but_last_are_full(&frames);
    let whole = frames.concat();
    let response = WatchResponse::decode(&whole[5..]).unwrap();
    assert_eq!(response.events.len(), 1_000);
}

/// A large event is not copied for each stream: all send the same bytes, in a frame of their own.
#[test]
fn a_large_event_is_shared() {
    let member = Member::new();
    let mut clients = [watching(&member, 1), watching(&member, 1)];
    member.put("k", &[b'v'; WATCH_COPIED_EVENT_BYTES_MAX]);

    let frames = clients.each_mut().map(|client| data(client.all_frames(&member)));

    let [[head, event], [other_head, other_event]] = frames
        .each_ref()
        .map(|frames| <&[Bytes; 2]>::try_from(&frames[..]).expect("a head and an event"));
    assert!(head.len() < 100 && event.len() > WATCH_COPIED_EVENT_BYTES_MAX);
    assert_eq!(head, other_head);
    assert_eq!(event.as_ptr(), other_event.as_ptr(), "the bytes were copied");
}

/// An event that is larger than a frame is shared in pieces of a frame each, and what is left of it
/// leaves together with what comes next.
#[test]
fn a_very_large_event_is_cut_into_frames() {
    let member = Member::new();
    let mut client = watching(&member, 1);
    member.put("k", &[b'v'; 3 * WATCH_CHUNK_BYTES]);
    member.put("k", b"small");

    let frames = data(client.all_frames(&member));

    let lens: Vec<_> = frames.iter().map(Bytes::len).collect();
    let [head, first, second, third, last] = lens[..] else { panic!("frames of {lens:?} bytes") };
    assert_eq!([first, second, third], [WATCH_CHUNK_BYTES; 3]);
    assert!(head < 100 && last > 50 && last < 300, "frames of {lens:?} bytes");
}

/// A stream whose client does not read has one chunk to itself. The rest of its response it shares
/// with others, in pieces too when the client wants them so.
#[test]
fn a_stalled_stream_holds_one_chunk() {
    for fragment in [false, true] {
        let member = Member::new();
        let create = WatchCreateRequest { fragment, ..watch("", "\0") };
        let create = RequestUnion::CreateRequest(create);
        let request = WatchRequest { request_union: Some(create) };
        let requests = stream::iter([Ok(request)]).chain(stream::pending());
        let mut session = Session::new(member.clone(), requests, Millis(1_000), 1_000_000);
        assert!(session.frame().now_or_never().unwrap().unwrap().unwrap().is_data());
        let value = Bytes::from(vec![b'v'; 1_000]);
        member.apply(&vec![("k", Some(value)); 3_000]);
        member.settle();

        let first = session.frame().now_or_never().unwrap().unwrap().unwrap();

        assert_eq!(first.into_data().unwrap().len(), WATCH_CHUNK_BYTES);
        let (own, shared) = session.held_bytes();
        assert!(own <= WATCH_CHUNK_BYTES && shared > 2_900_000, "{own} and {shared} bytes");
        while session.frame().now_or_never().is_some() {
            assert!(session.held_bytes().0 <= WATCH_CHUNK_BYTES);
        }
        assert!(session.is_idle());
    }
}

/// Small events that waited together are copied once, into the frame that is full and the next one.
#[test]
fn what_a_full_frame_does_not_take_begins_the_next() {
    let member = Member::new();
    let create = RequestUnion::CreateRequest(watch("", "\0"));
    let request = WatchRequest { request_union: Some(create) };
    let requests = stream::iter(vec![Ok(request); 10]).chain(stream::pending());
    let mut session = Session::new(member.clone(), requests, Millis(1_000), 1_000_000);
    assert!(session.frame().now_or_never().unwrap().unwrap().unwrap().is_data());
    for _ in 0..500 {
        member.put("k", &[b'v'; 250]);
    }
    member.settle();

    let mut frames = Vec::new();
    while let Some(frame) = session.frame().now_or_never() {
        frames.push(frame.unwrap().unwrap().into_data().unwrap());
        let (own, shared) = session.held_bytes();
        // A head that did not fit waits with its event.
        assert!(own <= WATCH_CHUNK_BYTES && shared < 300, "{own} and {shared} bytes");
    }

    assert!(frames.len() > 10 * 500 * 250 / WATCH_CHUNK_BYTES);
    assert_all_but_last_are_full(&frames);
    assert!(session.is_idle());
}

/// An event that is just small enough is copied behind its head.
#[test]
fn a_small_event_shares_the_frame_of_its_head() {
    let member = Member::new();
    let mut client = watching(&member, 1);
    member.put("k", &[b'v'; WATCH_COPIED_EVENT_BYTES_MAX - 100]);
    assert_eq!(client.all_frames(&member).len(), 1);
}

/// A watcher is confirmed before it is told anything, also when it begins in the past.
#[test]
fn a_watcher_is_confirmed_before_its_events() {
    let member = Member::new();
    member.put("k", b"1");
    let mut client = client(&member);
    client.create(WatchCreateRequest { start_revision: 2, ..watch("k", "") });
    client.create(watch("k", ""));
    let mut responses = client.responses(&member);
    member.put("k", b"2");
    responses.extend(client.responses(&member));

    let said = |id| {
        let about = responses.iter().filter(move |response| response.watch_id == id);
        about.map(|response| (response.created, response.events.len())).collect::<Vec<_>>()
    };
    assert_eq!(said(0), [(true, 0), (false, 1), (false, 1)]);
    assert_eq!(said(1), [(true, 0), (false, 1)]);
}

/// What needs history that is gone ends with a reason, and the stream goes on.
#[test]
fn case_38_a_lost_watcher_is_told_why() {
    let member = Member::new();
    for _ in 0..4 {
        member.put("k", b"v");
    }
    member.compact(crate::types::Revision(4));
    let mut client = client(&member);
    client.create(WatchCreateRequest { start_revision: 2, ..watch("k", "") });

    let responses = client.responses(&member);

    assert!(responses[0].created);
    let lost = &responses[1];
    assert!(lost.canceled);
    assert_eq!((lost.compact_revision, lost.header.unwrap().revision), (4, 0));
    assert_eq!(lost.cancel_reason, "etcdserver: mvcc: required revision has been compacted");
    client.cancel(0);
    assert!(client.responses(&member)[0].canceled);
}

/// A client that has closed its side is still told of events.
#[test]
fn case_48_a_closed_side_does_not_end_the_stream() {
    let member = Member::new();
    let mut client = watching(&member, 1);
    client.close_side();
    assert!(client.all_frames(&member).is_empty());

    member.put("k", b"v");

    assert_eq!(client.responses(&member)[0].events.len(), 1);
}

/// A stream that is dropped leaves nothing behind in the hub.
#[test]
fn a_dropped_stream_is_forgotten() {
    let member = Member::new();
    let (kept, dropped) = (watching(&member, 2), watching(&member, 3));
    let figures = member.hub().figures();
    assert_eq!((figures.streams, figures.watchers), (2, 5));

    drop(dropped);

    let figures = member.hub().figures();
    assert_eq!((figures.streams, figures.watchers), (1, 2));
    drop(kept);
    assert_eq!(member.hub().figures().streams, 0);
}

/// A stream sleeps until something happens that one of its watchers wants.
#[test]
fn a_stream_is_woken_by_what_it_wants() {
    let member = Member::new();
    let mut client = client(&member);
    client.create(watch("a", "c"));
    assert_eq!(client.responses(&member).len(), 1);
    assert!(!client.woken());

    member.put("z", b"v");
    member.settle();
    assert!(!client.woken(), "woken for another's event");
    assert!(matches!(client.poll(), Poll::Pending));

    member.put("b", b"v");
    member.settle();
    assert!(client.woken(), "not woken for its event");
    assert!(matches!(client.poll(), Poll::Ready(Some(_))));
    assert!(matches!(client.poll(), Poll::Pending));

    client.progress();
    assert!(client.woken(), "not woken by a request");
    assert_eq!(client.responses(&member)[0].watch_id, -1);
}

/// Requests are looked for when there may be some, and not because an event came.
#[test]
fn requests_are_looked_for_when_their_bell_rang() {
    let member = Member::new();
    let (asked, client) = mpsc::unbounded_channel();
    let mut client = UnboundedReceiverStream::new(client);
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let requests = stream::poll_fn(move |context| {
        counted.fetch_add(1, Ordering::SeqCst);
        client.poll_next_unpin(context)
    });
    let mut session = Session::new(member.clone(), requests, Millis(1_000), 1_000_000);
    let mut responses = |member: &Member| {
        member.settle();
        let frame = session.frame().now_or_never()?.unwrap().unwrap().into_data().unwrap();
        assert!(session.frame().now_or_never().is_none());
        Some(WatchResponse::decode(&frame[5..]).unwrap())
    };
    let ask = |request| asked.send(Ok(WatchRequest { request_union: Some(request) }));
    ask(RequestUnion::CreateRequest(watch("k", ""))).unwrap();
    assert!(responses(&member).unwrap().created);
    let looked = looks.load(Ordering::SeqCst);

    for _ in 0..10 {
        member.put("k", b"v");
        assert_eq!(responses(&member).unwrap().events.len(), 1);
    }
    assert_eq!(looks.load(Ordering::SeqCst), looked);

    ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).unwrap();
    assert_eq!(responses(&member).unwrap().watch_id, -1);
    assert!(looks.load(Ordering::SeqCst) > looked);
}

/// However much a client asks, it takes turns with others, and every request is answered.
#[test]
fn many_requests_take_several_turns() {
    let member = Member::new();
    let mut client = client(&member);
    let requests = 3 * WATCH_REQUESTS_PER_TURN_MAX;
    for id in 0..requests {
        client.cancel(i64::try_from(id).unwrap()); // of nothing, so nothing is said
    }
    client.create(watch("k", ""));

    let mut turns = 0;
    let answer = loop {
        turns += 1;
        match client.poll() {
            Poll::Ready(frame) => break frame.unwrap(),
            Poll::Pending => assert!(client.woken(), "the stream sleeps on requests"),
        }
    };

    assert!(answer.is_data());
    assert_eq!(turns, 4);
}

/// A member that stops tells its clients, after what it was about to say.
#[test]
fn a_member_that_stops_ends_its_streams() {
    let member = Member::new();
    let mut client = watching(&member, 1);
    assert!(matches!(client.poll(), Poll::Pending));

    member.stop();

    assert!(client.woken());
    let (messages, status) = ended(&member, &mut client);
    assert_eq!((messages, status.code()), (0, Code::Unavailable));
    assert_eq!(status.message(), "etcdserver: server stopped");
}

/// What cannot be read ends the stream, after the answers to what came before it.
#[test]
fn what_cannot_be_read_ends_the_stream() {
    let of = |bytes: &[u8]| {
        let member = Member::new();
        let mut client = client(&member);
        client.create(watch("k", ""));
        client.send(bytes);
        let (messages, status) = ended(&member, &mut client);
        assert_eq!(messages, 1);
        status.code()
    };
    assert_eq!(of(&[0, 0, 0, 0, 2, 0xff, 0xff]), Code::Internal);
    assert_eq!(of(&[0, 0x7f, 0, 0, 0]), Code::OutOfRange);
    assert_eq!(of(&[1, 0, 0, 0, 1, 0]), Code::Internal);
}

/// Progress is told when it is due, and a ticker runs only while somebody is to be told.
#[tokio::test]
async fn progress_is_told_by_a_ticker() {
    let member = Member::new();
    let config = Config { progress_interval: Millis(0), ..Config::default() };
    let create =
        RequestUnion::CreateRequest(WatchCreateRequest { progress_notify: true, ..watch("k", "") });
    let request = WatchRequest { request_union: Some(create) };
    let requests = stream::iter([Ok(request)]).chain(stream::pending());
    let period = ticker_period(config.progress_interval, 0);
    let mut session = Session::new(member.clone(), requests, period, config.message_bytes_max());

    let mut responses = Vec::new();
    while responses.len() < 3 {
        let frame = session.frame().await.unwrap().unwrap().into_data().unwrap();
        responses.push(WatchResponse::decode(&frame[5..]).unwrap());
        member.settle();
    }

    assert!(responses[0].created);
    assert!(responses[1..].iter().all(|response| {
        response.events.is_empty() && response.watch_id == 0 && !response.canceled
    }));
}

/// Nothing to say, no buffer; and the state of a stream is small.
#[test]
fn an_idle_stream_holds_no_buffer() {
    let member = Member::new();
    let create = |key| {
        let create = RequestUnion::CreateRequest(watch(key, ""));
        Ok(WatchRequest { request_union: Some(create) })
    };
    let requests = stream::iter(["a", "b", "c"].map(create)).chain(stream::pending());
    let mut session = Session::new(member.clone(), requests, Millis(1_000), 1_000_000);
    assert!(session.frame().now_or_never().unwrap().unwrap().unwrap().is_data());
    member.put("a", &[b'v'; 2 * WATCH_COPIED_EVENT_BYTES_MAX]);
    member.settle();
    while session.frame().now_or_never().is_some() {}

    assert!(session.is_idle());
    let bytes = size_of::<Session<Handle, Streaming<WatchRequest>>>();
    assert!(bytes <= 1_024, "{bytes} bytes");
}

/// A method that does not exist, and an encoding that is not taken, are refused in the head.
#[tokio::test]
async fn what_is_not_served_is_refused_in_the_head() {
    let status = async |path: &str, encoding: &str| {
        let request = Request::post(path).header("grpc-encoding", encoding);
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let service = Watches::new(Member::new(), Config::default());
        let response = service.oneshot(request).await.unwrap();
        assert_eq!(response.headers().get("content-type").unwrap(), "application/grpc");
        Status::from_header_map(response.headers()).map(|status| status.code())
    };
    assert_eq!(status("/etcdserverpb.Watch/Other", "identity").await, Some(Code::Unimplemented));
    assert_eq!(status("/etcdserverpb.Watch/Watch", "gzip").await, Some(Code::Unimplemented));
    assert_eq!(status("/etcdserverpb.Watch/Watch", "identity").await, None);
}
