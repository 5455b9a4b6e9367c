//! Lists: all keys with a prefix, in one answer or as a stream of parts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use clap::Args;
use tonic::{Status, transport::Channel};

use super::{
    LoadArgs,
    load::Operation,
    measure, over,
    pace::Ticket,
    report::{Detail, Report},
};
use crate::{
    cli::{Client, Error, client::RESPONSE_BYTES_MAX, range::end_of_prefix},
    proto::etcdserverpb::{RangeRequest, kv_client::KvClient},
};

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct ListArgs {
    /// What the keys start with
    #[arg(long, value_name = "TEXT", default_value = "bench/")]
    key_prefix: String,
    /// Keys that every list must hold; another number is an error
    #[arg(long, value_name = "COUNT")]
    keys: Option<u64>,
    /// As a stream of parts instead of one answer
    #[arg(long)]
    stream: bool,
    /// Read what the member knows, without asking the others
    #[arg(long)]
    serializable: bool,
}

pub(super) async fn run(
    load: &LoadArgs,
    list: &ListArgs,
    client: &Client,
) -> Result<Report, Error> {
    let clients = load.clients(1);
    let channels = load.channels(clients, client).await?;
    let key = Bytes::from(list.key_prefix.clone());
    let request = RangeRequest {
        range_end: end_of_prefix(&key),
        key,
        serializable: list.serializable,
        ..RangeRequest::default()
    };
    let listed = Arc::new(AtomicU64::new(0));
    let operations = over(clients, &channels, |channel| List {
        kv: KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX),
        request: request.clone(),
        expected: list.keys,
        stream: list.stream,
        listed: Arc::clone(&listed),
    });
    let name = if list.stream { "list, streamed" } else { "list" };
    let report = measure(name, load, channels.len(), client, operations).await?;
    Ok(report.with("keys", Detail::Count(listed.load(Ordering::Relaxed))))
}

/// Makes one list.
struct List {
    kv: KvClient<Channel>,
    request: RangeRequest,
    expected: Option<u64>,
    stream: bool,
    /// Keys received in all lists of all clients.
    listed: Arc<AtomicU64>,
}

impl List {
    /// How many keys the list has.
    async fn keys(&mut self) -> Result<u64, Status> {
        let request = self.request.clone();
        if !self.stream {
            return Ok(self.kv.range(request).await?.into_inner().kvs.len() as u64);
        }
        let mut parts = self.kv.range_stream(request).await?.into_inner();
        let mut keys = 0;
        while let Some(part) = parts.message().await? {
            keys += part.range_response.map_or(0, |response| response.kvs.len() as u64);
        }
        Ok(keys)
    }
}

impl Operation for List {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        let keys = self.keys().await?;
        self.listed.fetch_add(keys, Ordering::Relaxed);
        match self.expected {
            Some(expected) if expected != keys => {
                Err(Status::data_loss(format!("a list of {expected} keys has {keys}")))
            }
            Some(_) | None => Ok(()),
        }
    }
}
