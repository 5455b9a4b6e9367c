//! `quorate watch`: follows changes until it is stopped, over the loss of any one endpoint.
//!
//! After a break it goes on at the revision after the last one shown, on the next endpoint, so that
//! nothing is missed and nothing shown twice.

use std::{error::Error as _, time::Duration};

use clap::Args;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    Client, Error, Output,
    client::RESPONSE_BYTES_MAX,
    kv::{Show, lines_of},
    range::{KeyRange, RangeArgs},
};
use crate::proto::{
    etcdserverpb::{
        WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::event::EventType,
};

/// The pause before another endpoint is tried, so that a cluster that is down is not flooded.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Args, Clone, Debug)]
pub(super) struct WatchArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Begin with the changes of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    rev: i64,
    /// Show the pair that was there before
    #[arg(long)]
    prev_kv: bool,
    /// Say now and then up to which revision nothing was missed
    #[arg(long)]
    progress_notify: bool,
}

/// Shows changes until the process is stopped, or the cluster ends the watch.
pub(super) async fn run(
    args: WatchArgs,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let range = args.range.key_range()?;
    let mut watch = Watch {
        range,
        next_revision: args.rev,
        prev_kv: args.prev_kv,
        progress_notify: args.progress_notify,
    };
    let mut attempt: usize = 0;
    loop {
        match client.connect(attempt).await {
            Ok(channel) => watch.follow(channel, output).await?,
            Err(error) if attempt == 0 => return Err(error),
            // Once it has begun, a watch outlives a cluster that is down for a while.
            Err(_) => {}
        }
        attempt = attempt.wrapping_add(1);
        sleep(RETRY_PAUSE).await;
    }
}

/// What is watched, and from where on.
struct Watch {
    range: KeyRange,
    next_revision: i64,
    prev_kv: bool,
    progress_notify: bool,
}

impl Watch {
    /// Shows changes until the stream breaks, which is no error.
    async fn follow(&mut self, channel: Channel, output: &mut Output) -> Result<(), Error> {
        // The sender stays open as long as we read: some servers end a half-closed stream.
        let (requests, receiver) = mpsc::channel(1);
        let sent = requests.try_send(self.create_request());
        sent.expect("a new channel has room for one request");
        let mut stub = WatchClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let mut responses = match stub.watch(ReceiverStream::new(receiver)).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_transient(&status) => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        self.show(&mut responses, output).await
    }

    fn create_request(&self) -> WatchRequest {
        let create = WatchCreateRequest {
            key: self.range.key.clone(),
            range_end: self.range.range_end.clone(),
            start_revision: self.next_revision,
            prev_kv: self.prev_kv,
            progress_notify: self.progress_notify,
            ..WatchCreateRequest::default()
        };
        WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    }

    async fn show(
        &mut self,
        responses: &mut Streaming<WatchResponse>,
        output: &mut Output,
    ) -> Result<(), Error> {
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(()),
                Err(status) if is_transient(&status) => return Ok(()),
                Err(status) => return Err(status.into()),
            };
            if response.canceled {
                return Err(cancelled(&response));
            }
            self.show_one(&response, output)?;
        }
    }

    fn show_one(&mut self, response: &WatchResponse, output: &mut Output) -> Result<(), Error> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.created {
            // A watch of what is to come begins after the revision at which it was registered.
            if self.next_revision == 0 {
                self.next_revision = revision.saturating_add(1);
            }
            return Ok(());
        }
        if response.events.is_empty() {
            output.line(format!("progress notify: {revision}"))?;
            self.next_revision = self.next_revision.max(revision.saturating_add(1));
        }
        let mut text = Vec::new();
        for event in &response.events {
            text.extend_from_slice(match event.r#type() {
                EventType::Put => b"PUT\n",
                EventType::Delete => b"DELETE\n",
            });
            text.extend(lines_of(event.prev_kv.iter().chain(&event.kv), Show::Pair));
            if let Some(pair) = &event.kv {
                self.next_revision = self.next_revision.max(pair.mod_revision.saturating_add(1));
            }
        }
        output.text(&text)
    }
}

/// Whether another endpoint, or the same one a little later, may do better. A status that has a
/// source was made on this side, of a connection that broke.
fn is_transient(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// In etcdctl's words.
fn cancelled(response: &WatchResponse) -> Error {
    let reason = match (response.compact_revision, response.cancel_reason.as_str()) {
        (0, "") => "watch was canceled",
        (0, reason) => reason,
        (_, _) => "etcdserver: mvcc: required revision has been compacted",
    };
    Error::failed(format!("watch was canceled ({reason})"))
}
