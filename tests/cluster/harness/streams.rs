//! Watch streams as they are on the wire: requests in, responses out, and nothing in between.

use std::time::Duration;

use quorate::proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::within;

/// How long a response may take that is on its way.
const DELIVERY: Duration = Duration::from_secs(60);
/// How long a member may take to take a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The smallest windows that HTTP/2 knows by default: who does not read is soon stalled.
const SMALL_WINDOW_BYTES: u32 = 65_535;
/// Requests that wait for their connection.
const REQUESTS_MAX: usize = 64;

/// A connection to a member, made when it is first used.
pub(crate) fn channel(url: &str) -> Channel {
    Endpoint::new(url.to_owned()).unwrap().connect_timeout(CONNECT).connect_lazy()
}

/// The same for a client that can be stalled: it takes little that it has not read.
pub(crate) fn small_channel(url: &str) -> Channel {
    let endpoint = Endpoint::new(url.to_owned()).unwrap().connect_timeout(CONNECT);
    let endpoint = endpoint
        .initial_stream_window_size(SMALL_WINDOW_BYTES)
        .initial_connection_window_size(SMALL_WINDOW_BYTES);
    endpoint.connect_lazy()
}

/// A watcher of the keys from `start` to before `end`; one key without an end.
pub(crate) fn watcher(start: &str, end: &str) -> WatchCreateRequest {
    let (key, range_end) = (start.to_owned().into(), end.to_owned().into());
    WatchCreateRequest { key, range_end, ..Default::default() }
}

/// A watcher of all keys, from a revision on.
pub(crate) fn watcher_of_all(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..watcher("\0", "\0") }
}

/// An open stream. Dropping it resets it.
pub(crate) struct WatchStream {
    requests: Option<mpsc::Sender<WatchRequest>>,
    responses: Streaming<WatchResponse>,
}

impl WatchStream {
    pub(crate) async fn open(channel: &Channel) -> Result<Self, Status> {
        Self::open_as(channel, |_| {}).await
    }

    /// A stream that is to end when there is no leader.
    pub(crate) async fn open_with_leader(channel: &Channel) -> Result<Self, Status> {
        Self::open_as(channel, |request| {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        })
        .await
    }

    async fn open_as(
        channel: &Channel,
        prepare: impl FnOnce(&mut Request<ReceiverStream<WatchRequest>>),
    ) -> Result<Self, Status> {
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let mut request = Request::new(ReceiverStream::new(waiting));
        prepare(&mut request);
        let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let responses = within("a watch stream", DELIVERY, client.watch(request)).await?;
        Ok(Self { requests: Some(requests), responses: responses.into_inner() })
    }

    /// Sends a request; when the stream is gone so is the request.
    async fn send(&self, union: RequestUnion) {
        let requests = self.requests.as_ref().expect("requests are still open");
        let request = WatchRequest { request_union: Some(union) };
        let _ = within("room for a request", DELIVERY, requests.send(request)).await;
    }

    pub(crate) async fn create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request)).await;
    }

    pub(crate) async fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await;
    }

    pub(crate) async fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    }

    /// Ends the client's side of the stream, which must not end the member's.
    pub(crate) fn close_requests(&mut self) {
        self.requests = None;
    }

    /// The next response, or how the stream ended.
    pub(crate) async fn message(&mut self) -> Result<WatchResponse, Status> {
        let message = within("a watch response", DELIVERY, self.responses.message()).await?;
        message.ok_or_else(|| Status::ok("the stream ended without a word"))
    }

    /// The same for as long as the caller wants to wait.
    pub(crate) async fn message_within(
        &mut self,
        limit: Duration,
    ) -> Option<Result<WatchResponse, Status>> {
        let message = tokio::time::timeout(limit, self.responses.message()).await.ok()?;
        let ended = || Status::ok("the stream ended without a word");
        Some(message.and_then(|message| message.ok_or_else(ended)))
    }

    /// The next response.
    pub(crate) async fn next(&mut self) -> WatchResponse {
        self.message().await.unwrap()
    }

    /// Creates a watcher whose confirmation comes next, and returns it. So it also shows that
    /// nothing was said in answer to the requests before.
    pub(crate) async fn created(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.create(request).await;
        let response = self.next().await;
        assert!(response.created && !response.canceled, "{response:?}");
        assert!(response.events.is_empty(), "{response:?}");
        response
    }

    /// The same while events of other watchers may come before the confirmation.
    pub(crate) async fn created_among(
        &mut self,
        request: WatchCreateRequest,
        mut take: impl FnMut(&WatchResponse),
    ) -> WatchResponse {
        self.create(request).await;
        loop {
            let response = self.next().await;
            if response.created {
                assert!(!response.canceled, "{response:?}");
                return response;
            }
            take(&response);
        }
    }

    /// The next events, with the id of their watcher.
    pub(crate) async fn events(&mut self) -> WatchResponse {
        let response = self.next().await;
        assert!(!response.events.is_empty(), "{response:?}");
        assert!(!response.created && !response.canceled, "{response:?}");
        response
    }
}

/// The revision in the header.
pub(crate) fn header_revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().expect("every response has a header").revision
}

/// The events of a response in words: what, key, revision.
pub(crate) fn words(response: &WatchResponse) -> Vec<String> {
    let word = |event: &quorate::proto::mvccpb::Event| {
        let pair = event.kv.as_ref().expect("every event has a pair");
        let key = String::from_utf8_lossy(&pair.key);
        format!("{} {key} {}", event.r#type().as_str_name(), pair.mod_revision)
    };
    response.events.iter().map(word).collect()
}
