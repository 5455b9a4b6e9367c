//! A store and clients for tests, without a connection, a task or a clock: everything happens when
//! a test says so.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use axum::http::HeaderMap;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    api::watch::*,
    proto::etcdserverpb::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    types::{DeleteReason, Event, EventId, EventKind, Key, KeyValue, LeaseId, Revision},
    watch::{History, Limits, Read, ReadKeys},
};

/// What a request changes: a key, and its new value or none.
pub(super) type Change = (&'static str, Option<Bytes>);

/// A member that remembers every event.
#[derive(Clone)]
pub(super) struct Member {
    hub: Arc<Hub>,
    stopping: Arc<watch::Sender<bool>>,
    past: Arc<Mutex<Past>>,
}

#[derive(Default)]
struct Past {
    live: BTreeMap<Key, KeyValue>,
    batches: BTreeMap<Revision, Vec<Event>>,
    compacted: Option<Revision>,
}

impl Source for Member {
    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn header(&self) -> ResponseHeader {
        ResponseHeader { cluster_id: 1, member_id: u64::MAX, revision: 0, raft_term: 300 }
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.subscribe();
        async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}

impl Member {
    pub(super) fn new() -> Self {
        Self {
            hub: Arc::new(Hub::new(Revision::FIRST, Revision::NEVER_COMPACTED)),
            stopping: Arc::default(),
            past: Arc::default(),
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// One request. Deletes of missing keys are nothing.
    pub(super) fn apply(&self, changes: &[Change]) {
        let mut past = self.past.lock().unwrap();
        let revision = self.hub.current().next();
        let before = past.live.clone();
        let mut events = Vec::new();
        for (name, value) in changes {
            let key = Key::new(*name).unwrap();
            let kind = match value {
                Some(value) => {
                    let kv = changed(past.live.get(&key), key.clone(), value.clone(), revision);
                    past.live.insert(key.clone(), kv.clone());
                    EventKind::Put(kv)
                }
                None if past.live.remove(&key).is_some() => {
                    EventKind::Delete(key.clone(), DeleteReason::Client)
                }
                None => continue,
            };
            let id = EventId { revision, sub: u32::try_from(events.len()).unwrap() };
            events.push(Event { id, kind, prev: before.get(&key).cloned() });
        }
        if !events.is_empty() {
            past.batches.insert(revision, events.clone());
            self.hub.publish([(revision, events)]);
        }
    }

    pub(super) fn put(&self, name: &'static str, value: &[u8]) {
        self.apply(&[(name, Some(Bytes::copy_from_slice(value)))]);
    }

    pub(super) fn compact(&self, revision: Revision) {
        self.past.lock().unwrap().compacted = Some(revision);
        self.hub.compacted(revision);
    }

    /// Does what the member's pumps do, until there is nothing to do.
    pub(super) fn settle(&self) {
        for _ in 0..100_000 {
            let more = [self.hub.fan_out(), self.hub.fetch(self).unwrap()];
            if more == [false, false] {
                return;
            }
        }
        panic!("the hub never comes to rest");
    }
}

fn changed(before: Option<&KeyValue>, key: Key, value: Bytes, revision: Revision) -> KeyValue {
    KeyValue {
        key,
        value,
        create_revision: before.map_or(revision, |kv| kv.create_revision),
        mod_revision: revision,
        version: before.map_or(1, |kv| kv.version + 1),
        lease: (revision.0 % 3 == 0).then_some(LeaseId(revision.0 << 40)),
    }
}

impl History for Member {
    type Error = Infallible;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Infallible> {
        let past = self.past.lock().unwrap();
        if let Some(compacted) = past.compacted.filter(|compacted| from < *compacted) {
            return Ok(Read::Compacted(compacted));
        }
        let mut events = Vec::new();
        for (count, (revision, batch)) in past.batches.range(from..=to).enumerate() {
            if count >= limits.revisions {
                return Ok(Read::Piece { events, read_to: Revision(revision.0 - 1) });
            }
            events.extend(batch.iter().cloned());
        }
        Ok(Read::Piece { events, read_to: to })
    }

    fn read_keys(
        &self,
        keys: &[(Key, Revision)],
        to: Revision,
        _: bool,
        _: Limits,
    ) -> Result<ReadKeys, Infallible> {
        // Nothing is read apart: every key has too much.
        Ok(ReadKeys::Keys { keys: vec![None; keys.len()], read_to: to })
    }
}

type Sent = UnboundedReceiverStream<Result<Frame<Bytes>, Infallible>>;

/// The body of a request.
pub(super) type Requests = StreamBody<Sent>;

/// A client of one stream. It reads when it is told to.
pub(super) struct Client {
    /// None when it has closed its side.
    requests: Option<mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>>,
    body: Body,
    woken: Arc<Woken>,
    received: BytesMut,
}

/// Whether a stream was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Client {
    pub(super) fn open<S>(mut service: S) -> Self
    where
        S: Service<Request<Requests>, Response = Response<Body>, Error = Infallible>,
    {
        let (requests, sent) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(sent));
        let request = Request::post("/etcdserverpb.Watch/Watch").body(body).unwrap();
        let response = service.call(request).now_or_never().expect("a stream opens at once");
        let response = response.unwrap();
        assert_eq!(response.headers().get("content-type").unwrap(), "application/grpc");
        let received = BytesMut::new();
        Self {
            requests: Some(requests),
            body: response.into_body(),
            woken: Arc::default(),
            received,
        }
    }

    /// Sends bytes, whatever they mean.
    pub(super) fn send(&self, bytes: &[u8]) {
        let frame = Frame::data(Bytes::copy_from_slice(bytes));
        self.requests.as_ref().expect("the side is open").send(Ok(frame)).unwrap();
    }

    pub(super) fn ask(&self, asked: RequestUnion) {
        let message = WatchRequest { request_union: Some(asked) }.encode_to_vec();
        let len = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.send(&[&[0][..], &len, &message].concat());
    }

    pub(super) fn create(&self, create: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create));
    }

    pub(super) fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    pub(super) fn progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    pub(super) fn close_side(&mut self) {
        self.requests = None;
    }

    pub(super) fn poll(&mut self) -> Poll<Option<Frame<Bytes>>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker));
        polled.map(|frame| frame.map(Result::unwrap))
    }

    /// Whether the stream was woken since this was last asked.
    pub(super) fn woken(&self) -> bool {
        self.woken.0.swap(false, Ordering::SeqCst)
    }

    /// The frames that are there without anybody's doing.
    pub(super) fn frames(&mut self) -> Vec<Frame<Bytes>> {
        let mut frames = Vec::new();
        for _ in 0..100_000 {
            match self.poll() {
                Poll::Ready(Some(frame)) => frames.push(frame),
                Poll::Ready(None) => return frames,
                Poll::Pending if self.woken() => {}
                Poll::Pending => return frames,
            }
        }
        panic!("the stream never comes to rest");
    }

    /// The frames that come while the member does what is to be done.
    pub(super) fn all_frames(&mut self, member: &Member) -> Vec<Frame<Bytes>> {
        let mut frames = Vec::new();
        loop {
            member.settle();
            frames.extend(self.frames());
            member.settle();
            if !self.woken() {
                return frames;
            }
        }
    }

    /// The messages that come, as they are on the wire, and the trailers.
    pub(super) fn messages(&mut self, member: &Member) -> (Vec<Bytes>, Option<HeaderMap>) {
        let (mut messages, mut trailers) = (Vec::new(), None);
        for frame in self.all_frames(member) {
            match frame.into_data() {
                Ok(data) => self.received.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        while !self.received.is_empty() {
            assert_eq!(self.received.get_u8(), 0, "not compressed");
            let len = usize::try_from(self.received.get_u32()).unwrap();
            messages.push(self.received.split_to(len).freeze());
        }
        (messages, trailers)
    }

    /// The responses that come.
    pub(super) fn responses(&mut self, member: &Member) -> Vec<WatchResponse> {
        let (messages, trailers) = self.messages(member);
        assert!(trailers.is_none(), "the stream ended with {trailers:?}");
        messages.into_iter().map(|message| WatchResponse::decode(message).unwrap()).collect()
    }
}

/// A watcher of all keys that begin with one of these letters, from now on.
pub(super) fn watch(key: &'static str, range_end: &'static str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::from_static(key.as_bytes()),
        range_end: Bytes::from_static(range_end.as_bytes()),
        ..WatchCreateRequest::default()
    }
}
