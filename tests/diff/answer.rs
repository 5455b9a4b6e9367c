//! What a server answers to an operation: a message, a history, or a refusal.

use std::time::Duration;

use quorate::proto::{
    etcdserverpb::{
        CompactionResponse, DeleteRangeResponse, LeaseGrantResponse, LeaseKeepAliveRequest,
        LeaseKeepAliveResponse, LeaseLeasesResponse, LeaseRevokeResponse, LeaseTimeToLiveResponse,
        PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnResponse, WatchCreateRequest,
        WatchRequest, WatchResponse, kv_client::KvClient, lease_client::LeaseClient,
        watch_client::WatchClient, watch_request::RequestUnion,
    },
    mvccpb,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

use crate::{harness::within, op::Op};

/// How long an answer may take on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);
/// Larger than everything that is stored.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Range(RangeResponse),
    Stream(Streamed),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compact(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    LeaseTimeToLive(LeaseTimeToLiveResponse),
    LeaseLeases(LeaseLeasesResponse),
    LeaseKeepAlive(Vec<LeaseKeepAliveResponse>),
    Watch(History),
    Refused(Code, String),
}

/// The chunks of a streamed range, merged. How large they are is the server's affair.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Streamed {
    pub(crate) merged: RangeResponse,
    /// A chunk other than the last said more than keys.
    pub(crate) early_summary: bool,
    /// What Range answers to the same request differs.
    pub(crate) unlike_range: Option<RangeResponse>,
}

/// What a watch saw, from its start to the newest revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    pub(crate) created: WatchResponse,
    /// How responses group events is the server's affair, as long as no revision is split.
    pub(crate) events: Vec<mvccpb::Event>,
    pub(crate) split_revision: Option<i64>,
    pub(crate) canceled: Option<WatchResponse>,
}

impl Answer {
    /// The store's revision, as far as the answer tells it.
    pub(crate) fn revision(&self) -> Option<i64> {
        let header = match self {
            Self::Range(answer) => &answer.header,
            Self::Stream(answer) => &answer.merged.header,
            Self::Put(answer) => &answer.header,
            Self::DeleteRange(answer) => &answer.header,
            Self::Txn(answer) => &answer.header,
            Self::Compact(answer) => &answer.header,
            Self::LeaseGrant(answer) => &answer.header,
            Self::LeaseRevoke(answer) => &answer.header,
            Self::LeaseTimeToLive(answer) => &answer.header,
            Self::LeaseLeases(answer) => &answer.header,
            Self::LeaseKeepAlive(answers) => answers.last().map_or(&None, |answer| &answer.header),
            Self::Watch(_) | Self::Refused(..) => &None,
        };
        header.as_ref().map(|header: &ResponseHeader| header.revision)
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        Self::Refused(status.code(), status.message().to_owned())
    }
}

/// A connection to one of the servers.
pub(crate) struct Server {
    name: &'static str,
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    watch: WatchClient<Channel>,
}

impl Server {
    /// Connects when the first operation is sent.
    pub(crate) fn at(name: &'static str, url: &str) -> Self {
        let channel = Channel::from_shared(url.to_owned()).expect("a URL").connect_lazy();
        let kv = KvClient::new(channel.clone());
        Self {
            name,
            kv: kv.max_decoding_message_size(MESSAGE_BYTES_MAX),
            lease: LeaseClient::new(channel.clone()),
            watch: WatchClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Sends an operation; `newest` is the store's revision.
    pub(crate) async fn answer(&mut self, op: &Op, newest: i64) -> Answer {
        let what = format!("an answer of {} to {}", self.name, op.name());
        match within(&what, ANSWER, self.send(op.clone(), newest)).await {
            Ok(answer) => answer,
            Err(status) => Answer::from(status),
        }
    }

    async fn send(&mut self, op: Op, newest: i64) -> Result<Answer, Status> {
        let (kv, lease) = (&mut self.kv, &mut self.lease);
        Ok(match op {
            Op::Range(request) => Answer::Range(kv.range(request).await?.into_inner()),
            Op::RangeStream(request) => Answer::Stream(streamed(kv, request).await?),
            Op::Put(request) => Answer::Put(kv.put(request).await?.into_inner()),
            Op::DeleteRange(request) => {
                Answer::DeleteRange(kv.delete_range(request).await?.into_inner())
            }
            Op::Txn(request) => Answer::Txn(kv.txn(request).await?.into_inner()),
            Op::Compact(request) => Answer::Compact(kv.compact(request).await?.into_inner()),
            Op::LeaseGrant(request) => {
                Answer::LeaseGrant(lease.lease_grant(request).await?.into_inner())
            }
            Op::LeaseRevoke(request) => {
                Answer::LeaseRevoke(lease.lease_revoke(request).await?.into_inner())
            }
            Op::LeaseTimeToLive(request) => {
                Answer::LeaseTimeToLive(lease.lease_time_to_live(request).await?.into_inner())
            }
            Op::LeaseLeases(request) => {
                Answer::LeaseLeases(lease.lease_leases(request).await?.into_inner())
            }
            Op::LeaseKeepAlive(requests) => {
                Answer::LeaseKeepAlive(renewals(lease, requests).await?)
            }
            Op::Watch(request) => Answer::Watch(history(&mut self.watch, request, newest).await?),
        })
    }
}

async fn streamed(kv: &mut KvClient<Channel>, request: RangeRequest) -> Result<Streamed, Status> {
    let mut chunks = kv.range_stream(request.clone()).await?.into_inner();
    let mut answer = Streamed::default();
    let mut summarized = false;
    while let Some(chunk) = chunks.message().await? {
        let chunk = chunk.range_response.unwrap_or_default();
        answer.early_summary |= summarized;
        summarized = chunk.header.is_some() || chunk.more || chunk.count != 0;
        let merged = &mut answer.merged;
        merged.kvs.extend(chunk.kvs);
        (merged.header, merged.more, merged.count) = (chunk.header, chunk.more, chunk.count);
    }
    let range = kv.range(request).await?.into_inner();
    answer.unlike_range = (range != answer.merged).then_some(range);
    Ok(answer)
}

/// All answers on a stream whose requests end.
async fn renewals(
    lease: &mut LeaseClient<Channel>,
    requests: Vec<LeaseKeepAliveRequest>,
) -> Result<Vec<LeaseKeepAliveResponse>, Status> {
    let requests = tokio_stream::iter(requests);
    let mut answers = lease.lease_keep_alive(requests).await?.into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await? {
        all.push(answer);
    }
    Ok(all)
}

/// Watches until the newest revision has come, or the watch is cancelled.
async fn history(
    watch: &mut WatchClient<Channel>,
    request: WatchCreateRequest,
    newest: i64,
) -> Result<History, Status> {
    let start = request.start_revision;
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(request)) };
    // The call ends with its requests, and they end when this is dropped: a call that only drops its
    // answers lives on, and what it is still sent piles up.
    let (requests, queue) = mpsc::channel(1);
    requests.try_send(create).expect("the queue is empty");
    let mut responses = watch.watch(ReceiverStream::new(queue)).await?.into_inner();
    let ended = || Status::aborted("the watch ended");
    let mut history =
        History { created: responses.message().await?.ok_or_else(ended)?, ..Default::default() };
    // Each revision but the first has an event.
    let mut seen = start.max(2) - 1;
    while seen < newest && !history.created.canceled {
        let mut response = responses.message().await?.ok_or_else(ended)?;
        if response.canceled {
            history.canceled = Some(response);
            break;
        }
        let revision = |event: &mvccpb::Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        if response.events.first().map(revision) == Some(seen) {
            history.split_revision.get_or_insert(seen);
        }
        seen = response.events.last().map_or(seen, revision);
        history.events.append(&mut response.events);
    }
    Ok(history)
}
