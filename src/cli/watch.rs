//! `quorate watch`: follows changes until it is stopped, over the loss of any one endpoint.
//!
//! After a break it goes on at the revision after the last one shown, on the next endpoint, so that
//! nothing is missed and nothing shown twice.

use std::{
    error::Error as _,
    io::{self, Write},
    time::Duration,
};

use clap::Args;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{
    Client, Error,
    client::RESPONSE_BYTES_MAX,
    error::Exit,
    print::{Printer, Watched},
    range::{KeyRange, RangeArgs},
};
use crate::proto::etcdserverpb::{
    WatchCreateRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
    watch_request::RequestUnion,
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
    printer: &mut Printer,
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
            Ok(channel) => watch.follow(channel, printer).await?,
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
    async fn follow(&mut self, channel: Channel, printer: &mut Printer) -> Result<(), Error> {
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
        self.show(&mut responses, printer).await
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
        printer: &mut Printer,
    ) -> Result<(), Error> {
        loop {
            let response = match responses.message().await {
                Ok(Some(response)) => response,
                Ok(None) => return Ok(()),
                Err(status) if is_transient(&status) => return Ok(()),
                Err(status) => return Err(status.into()),
            };
            if response.canceled {
                return cancelled(response, printer);
            }
            self.show_one(response, printer)?;
        }
    }

    fn show_one(&mut self, response: WatchResponse, printer: &mut Printer) -> Result<(), Error> {
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if response.created {
            // A watch of what is to come begins after the revision at which it was registered.
            if self.next_revision == 0 {
                self.next_revision = revision.saturating_add(1);
            }
            return Ok(());
        }
        if response.events.is_empty() {
            // In every format, as in etcdctl.
            printer.output.line(format!("progress notify: {revision}"))?;
            self.next_revision = self.next_revision.max(revision.saturating_add(1));
        }
        for pair in response.events.iter().filter_map(|event| event.kv.as_ref()) {
            self.next_revision = self.next_revision.max(pair.mod_revision.saturating_add(1));
        }
        printer.show(&Watched(response))
    }
}

/// Whether another endpoint, or the same one a little later, may do better. A status that has a
/// source was made on this side, of a connection that broke.
pub(super) fn is_transient(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// Says why the watch ended, in etcdctl's words, and shows the last answer as it does.
fn cancelled(response: WatchResponse, printer: &mut Printer) -> Result<(), Error> {
    let reason = match (response.compact_revision, response.cancel_reason.as_str()) {
        (0, "") => "watch was canceled",
        (0, reason) => reason,
        (_, _) => "etcdserver: mvcc: required revision has been compacted",
    };
    writeln!(io::stderr(), "watch was canceled ({reason})")?;
    printer.show(&Watched(response))?;
    Err(Error::new(Exit::Interrupted, "watch is canceled by the server"))
}
