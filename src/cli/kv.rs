//! `quorate put`, `get` and `del`.

use std::io::{self, Read};

use bytes::Bytes;
use clap::{Args, ValueEnum};

use super::{Client, Error, Output, client::RESPONSE_BYTES_MAX, lease, range::RangeArgs};
use crate::proto::{
    etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, kv_client::KvClient},
    mvccpb::KeyValue,
};

/// The largest value that is read from standard input; no cluster takes one half as large.
const STDIN_BYTES_MAX: u64 = 64 << 20;

#[derive(Args, Clone, Debug)]
pub(super) struct PutArgs {
    /// The key
    key: String,
    /// The value; without it, standard input is read
    value: Option<String>,
    /// Attach the key to this lease
    #[arg(long, value_name = "ID", value_parser = lease::parse_id, default_value = "0")]
    lease: i64,
    /// Show the pair that was there before
    #[arg(long)]
    prev_kv: bool,
    /// Keep the value and change only the lease
    #[arg(long)]
    ignore_value: bool,
    /// Keep the lease and change only the value
    #[arg(long)]
    ignore_lease: bool,
}

/// Sets a key.
pub(super) async fn put(args: PutArgs, client: &Client, output: &mut Output) -> Result<(), Error> {
    let value = match args.value {
        Some(value) => Bytes::from(value),
        None if args.ignore_value => Bytes::new(),
        None => read_stdin()?,
    };
    let request = PutRequest {
        key: args.key.into(),
        value,
        lease: args.lease,
        prev_kv: args.prev_kv,
        ignore_value: args.ignore_value,
        ignore_lease: args.ignore_lease,
    };
    let response = client
        .write(async |channel| KvClient::new(channel).put(request.clone()).await)
        .await?
        .into_inner();
    output.line("OK")?;
    match &response.prev_kv {
        Some(pair) => output.text(&lines_of([pair], Show::Pair)),
        None => Ok(()),
    }
}

fn read_stdin() -> Result<Bytes, Error> {
    let mut value = Vec::new();
    io::stdin().take(STDIN_BYTES_MAX).read_to_end(&mut value)?;
    Ok(value.into())
}

#[derive(Args, Clone, Debug)]
pub(super) struct GetArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Read the store as it was at this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0)]
    rev: i64,
    /// Show at most so many keys
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    limit: i64,
    /// Show no values
    #[arg(long)]
    keys_only: bool,
    /// Show only how many keys there are
    #[arg(long)]
    count_only: bool,
    /// Show no keys
    #[arg(long, conflicts_with = "keys_only")]
    print_value_only: bool,
    /// Linearizable (l), or serializable (s): whatever the member knows
    #[arg(long, value_enum, default_value_t = Consistency::Linearizable)]
    consistency: Consistency,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Consistency {
    #[value(name = "l")]
    Linearizable,
    #[value(name = "s")]
    Serializable,
}

/// Shows keys.
pub(super) async fn get(args: GetArgs, client: &Client, output: &mut Output) -> Result<(), Error> {
    let range = args.range.key_range()?;
    let request = RangeRequest {
        key: range.key,
        range_end: range.range_end,
        limit: args.limit,
        revision: args.rev,
        serializable: matches!(args.consistency, Consistency::Serializable),
        keys_only: args.keys_only,
        count_only: args.count_only,
        ..RangeRequest::default()
    };
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        kv.range(request.clone()).await
    };
    let response = client.read(call).await?.into_inner();
    if args.count_only {
        return output.line(response.count.to_string());
    }
    let show = if args.print_value_only { Show::Value } else { Show::Pair };
    output.text(&lines_of(&response.kvs, show))
}

#[derive(Args, Clone, Debug)]
pub(super) struct DelArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Show the pairs that were deleted
    #[arg(long)]
    prev_kv: bool,
}

/// Deletes keys, and shows how many.
pub(super) async fn del(args: DelArgs, client: &Client, output: &mut Output) -> Result<(), Error> {
    let range = args.range.key_range()?;
    let request =
        DeleteRangeRequest { key: range.key, range_end: range.range_end, prev_kv: args.prev_kv };
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        kv.delete_range(request.clone()).await
    };
    let response = client.write(call).await?.into_inner();
    output.line(response.deleted.to_string())?;
    output.text(&lines_of(&response.prev_kvs, Show::Pair))
}

/// What of a pair is shown.
#[derive(Clone, Copy)]
pub(super) enum Show {
    /// A line with the key, and one with the value.
    Pair,
    /// A line with the value.
    Value,
}

/// Pairs as etcdctl shows them.
pub(super) fn lines_of<'a>(pairs: impl IntoIterator<Item = &'a KeyValue>, show: Show) -> Vec<u8> {
    let mut text = Vec::new();
    for pair in pairs {
        match show {
            Show::Pair => {
                text.extend_from_slice(&pair.key);
                text.push(b'\n');
            }
            Show::Value => {}
        }
        text.extend_from_slice(&pair.value);
        text.push(b'\n');
    }
    text
}
