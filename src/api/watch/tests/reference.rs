//! The same streams over the library's own path, message by message: what the bytes are held to.

use std::mem;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use proptest::prelude::*;
use prost::Message;
use tonic::Status;

use super::bench::{Client, Member, watch};
use crate::{
    api::{
        convert::{
            kv,
            watch::{Asked, request, response},
        },
        watch::*,
    },
    proto::{
        etcdserverpb::{
            WatchCreateRequest, WatchResponse,
            watch_server::{Watch, WatchServer},
        },
        mvccpb,
    },
    types::{EventKind, Revision, limits},
    watch::{Delivery, Polled, Shown, Sink, Watchers},
};

/// A service that answers with messages.
struct Reference {
    member: Member,
    message_bytes_max: usize,
}

/// Responses as messages. Their room is that of frames, because what waits for room travels
/// together.
struct Messages {
    header: ResponseHeader,
    message_bytes_max: usize,
    said: Vec<WatchResponse>,
}

impl Messages {
    fn bytes(&self) -> usize {
        self.said.iter().map(|said| 5 + said.encoded_len()).sum()
    }
}

impl Sink for Messages {
    fn has_room(&self) -> bool {
        let mut fields = self.said.iter().flat_map(|said| &said.events).map(field_len);
        self.bytes() < limits::WATCH_CHUNK_BYTES
            && fields.all(|len| len <= limits::WATCH_COPIED_EVENT_BYTES_MAX)
    }

    fn say(&mut self, said: crate::watch::Response) {
        self.said.push(response(self.header, &said));
    }

    fn deliver(&mut self, delivery: Delivery<'_>) {
        let whole = WatchResponse {
            header: Some(ResponseHeader { revision: delivery.revision.0, ..self.header }),
            watch_id: delivery.id.0,
            events: delivery.events.iter().map(|shown| event(*shown)).collect(),
            ..WatchResponse::default()
        };
        if delivery.fragment {
            self.said.extend(pieces(whole, self.message_bytes_max));
        } else {
            self.said.push(whole);
        }
    }
}

fn event(shown: Shown<'_>) -> mvccpb::Event {
    let (kind, pair) = match &shown.event().kind {
        EventKind::Put(pair) => (mvccpb::event::EventType::Put, kv::key_value(pair.clone())),
        EventKind::Delete(key, _) => {
            let pair = mvccpb::KeyValue {
                key: key.bytes().clone(),
                mod_revision: shown.event().id.revision.0,
                ..mvccpb::KeyValue::default()
            };
            (mvccpb::event::EventType::Delete, pair)
        }
    };
    let prev_kv = shown.prev().cloned().map(kv::key_value);
    mvccpb::Event { r#type: kind.into(), kv: Some(pair), prev_kv }
}

fn field_len(event: &mvccpb::Event) -> usize {
    prost::encoding::message::encoded_len(11, event)
}

/// Pieces below the limit, of at least one event each. All but the last say that more follows.
fn pieces(response: WatchResponse, bytes_max: usize) -> Vec<WatchResponse> {
    if response.events.len() < 2 || response.encoded_len() < bytes_max {
        return vec![response];
    }
    let WatchResponse { events, .. } = response;
    let empty = WatchResponse { events: Vec::new(), fragment: true, ..response };
    let mut pieces = Vec::new();
    let mut piece = empty.clone();
    for event in events {
        piece.events.push(event);
        if piece.events.len() > 1 && piece.encoded_len() >= bytes_max {
            let first_of_next = piece.events.pop();
            pieces.push(mem::replace(&mut piece, empty.clone()));
            piece.events.extend(first_of_next);
        }
    }
    piece.fragment = false;
    pieces.push(piece);
    pieces
}

#[tonic::async_trait]
impl Watch for Reference {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        requests: tonic::Request<Streaming<WatchRequest>>,
    ) -> Result<tonic::Response<Self::WatchStream>, Status> {
        let mut requests = Some(requests.into_inner());
        let mut watchers = Watchers::new(self.member.hub());
        let mut messages = Messages {
            header: self.member.header(),
            message_bytes_max: self.message_bytes_max,
            said: Vec::new(),
        };
        let responses = stream::poll_fn(move |context| {
            while let Some(open) = &mut requests
                && messages.has_room()
            {
                match open.poll_next_unpin(context) {
                    Poll::Ready(Some(message)) => match request(message.unwrap()) {
                        None => {}
                        Some(Asked::Create(create)) => messages.say(watchers.create(create)),
                        Some(Asked::Cancel(id)) => {
                            if let Some(answer) = watchers.cancel(id) {
                                messages.say(answer);
                            }
                        }
                        Some(Asked::Progress) => watchers.progress(),
                    },
                    Poll::Ready(None) => requests = None,
                    Poll::Pending => break,
                }
            }
            let polled = watchers.poll(context.waker(), &mut messages);
            match (mem::take(&mut messages.said), polled) {
                (said, _) if !said.is_empty() => Poll::Ready(Some(stream::iter(said).map(Ok))),
                (_, Polled::More) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                (_, Polled::Idle) => Poll::Pending,
            }
        });
        Ok(tonic::Response::new(Box::pin(responses.flatten())))
    }
}

/// A stream of each kind, on members of their own, with the same history and the same requests: what
/// one stream has read of history would change in which order another is served.
struct Both {
    raw: (Member, Client),
    reference: (Member, Client),
}

impl Both {
    fn new(request_bytes_max: usize) -> Self {
        let (first, second) = (Member::new(), Member::new());
        let config = Config { request_bytes_max, ..Config::default() };
        let message_bytes_max = config.message_bytes_max();
        let reference = WatchServer::new(Reference { member: second.clone(), message_bytes_max });
        let raw = Client::open(Watches::new(first.clone(), config));
        Self { raw: (first, raw), reference: (second, Client::open(reference)) }
    }

    fn happen(&self, happen: impl Fn(&Member)) {
        happen(&self.raw.0);
        happen(&self.reference.0);
    }

    fn ask(&self, ask: impl Fn(&Client)) {
        ask(&self.raw.1);
        ask(&self.reference.1);
    }

    /// Reads both streams, and returns how many messages each had, all the same byte for byte.
    fn check(&mut self) -> usize {
        let (expected, _) = self.reference.1.messages(&self.reference.0);
        let (found, _) = self.raw.1.messages(&self.raw.0);
        for (found, expected) in found.iter().zip(&expected) {
            let decoded = WatchResponse::decode(found.clone()).unwrap();
            assert_eq!(decoded, WatchResponse::decode(expected.clone()).unwrap());
            assert_eq!(found, expected, "the same message in other bytes: {decoded:?}");
        }
        assert_eq!(found.len(), expected.len());
        found.len()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Keys, and the lengths of their new values.
    Apply(Vec<(&'static str, Option<usize>)>),
    Compact(i64),
    Create(WatchCreateRequest),
    Cancel(i64),
    Progress,
    CloseSide,
    Check,
}

fn change() -> impl Strategy<Value = (&'static str, Option<usize>)> {
    // Of no bytes, a few, more than is copied, and several of them more than a piece.
    let len = prop_oneof![2 => Just(0), 8 => 1..300_usize, 1 => 8_000..9_000_usize,
                          1 => Just(200_000)];
    (prop::sample::select(vec!["a", "b", "c", "d"]), prop::option::weighted(0.8, len))
}

fn create() -> impl Strategy<Value = WatchCreateRequest> {
    let range = prop::sample::select(vec![("a", ""), ("b", "d"), ("", "\0"), ("d", "c")]);
    let filters = prop::collection::vec(0..3_i32, 0..2);
    let id = prop_oneof![3 => Just(0), 1 => -2..5_i64];
    let start = prop_oneof![2 => Just(0), 2 => -1..30_i64];
    (range, filters, id, start, any::<[bool; 2]>()).prop_map(
        |((key, range_end), filters, watch_id, start_revision, [prev_kv, fragment])| {
            let plain = watch(key, range_end);
            let numbers = WatchCreateRequest { start_revision, watch_id, filters, ..plain };
            WatchCreateRequest { prev_kv, fragment, ..numbers }
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(change(), 1..6).prop_map(Step::Apply),
        1 => (0..10_i64).prop_map(Step::Compact),
        5 => create().prop_map(Step::Create),
        1 => (-2..6_i64).prop_map(Step::Cancel),
        1 => Just(Step::Progress),
        6 => Just(Step::Check),
    ]
}

fn run(steps: Vec<Step>) {
    let mut both = Both::new(0);
    for step in steps {
        match step {
            Step::Apply(changes) => {
                let value = |len| Bytes::from(vec![b'v'; len]);
                let changes = changes.into_iter().map(|(key, len)| (key, len.map(value)));
                let changes: Vec<_> = changes.collect();
                both.happen(|member| member.apply(&changes));
            }
            Step::Compact(back) => {
                let revision = Revision(both.raw.0.hub().current().0 - back);
                if revision > Revision::FIRST {
                    both.happen(|member| member.compact(revision));
                }
            }
            Step::Create(create) => both.ask(|client| client.create(create.clone())),
            Step::Cancel(id) => both.ask(|client| client.cancel(id)),
            Step::Progress => both.ask(Client::progress),
            Step::CloseSide => {
                both.raw.1.close_side();
                both.reference.1.close_side();
            }
            Step::Check => {
                both.check();
            }
        }
    }
    both.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is asked and whatever happens, both paths say the same in the same bytes.
    #[test]
    fn both_paths_say_the_same(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}

/// A large response travels in pieces below the limit, if its watcher takes it so; in the same
/// bytes on both paths.
#[test]
fn case_51_large_responses_are_split() {
    let mut both = Both::new(limits::REQUEST_BYTES_MAX);
    both.ask(|client| client.create(WatchCreateRequest { fragment: true, ..watch("", "\0") }));
    both.ask(|client| client.create(watch("", "\0")));
    assert_eq!(both.check(), 2);
    let member = both.raw.0.clone();
    let mut alone = Client::open(Watches::new(member.clone(), Config::default()));
    alone.create(WatchCreateRequest { fragment: true, ..watch("", "\0") });
    assert!(alone.responses(&member)[0].created);

    let value = Bytes::from(vec![b'x'; 1_024_000]);
    let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let changes = names.map(|name| (name, Some(value.clone())));
    both.happen(|member| member.apply(&changes));

    assert_eq!(both.check(), 6, "five pieces for one, a whole for the other");
    let pieces = alone.responses(&member);
    let max = Config::default().message_bytes_max();
    assert!(pieces.iter().all(|piece| piece.encoded_len() < max));
    assert!(pieces.iter().all(|piece| piece.events.len() == 2));
    let flags: Vec<_> = pieces.iter().map(|piece| piece.fragment).collect();
    assert_eq!(flags, [true, true, true, true, false]);
}

/// What a client asks after it has closed its side is nothing, but it is still told of events.
#[test]
fn a_closed_side_is_the_same_on_both_paths() {
    run(vec![
        Step::Create(watch("", "\0")),
        Step::Check,
        Step::CloseSide,
        Step::Apply(vec![("a", Some(1))]),
        Step::Check,
    ]);
}
