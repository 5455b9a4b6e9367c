//! `quorate put`, `get`, `del` and `compaction`.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    os::unix::ffi::OsStringExt,
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use tokio::time::sleep;

use super::{
    Client, Error,
    client::RESPONSE_BYTES_MAX,
    error::Exit,
    lease,
    print::{Format, Pairs, Printer, Values, quote},
    range::RangeArgs,
};
use crate::proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse,
    kv_client::KvClient,
    range_request::{SortOrder, SortTarget},
};

/// A second word is easily taken for a second key.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);
/// The largest value that is read from standard input; no cluster takes one half as large.
const STDIN_BYTES_MAX: u64 = 64 << 20;

#[derive(Args, Clone, Debug)]
pub(super) struct PutArgs {
    /// The key
    key: OsString,
    /// The value; without it, standard input is read
    value: Option<OsString>,
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

impl PutArgs {
    /// The request. `input` gives the value when none was written.
    pub(super) fn request(
        self,
        input: impl FnOnce() -> Result<Bytes, Error>,
    ) -> Result<PutRequest, Error> {
        let value = match self.value {
            Some(_) if self.ignore_value => {
                let reason = "put command needs only 1 argument when 'ignore-value' is set";
                return Err(Error::new(Exit::Usage, reason));
            }
            Some(value) => value.into_vec().into(),
            None if self.ignore_value => Bytes::new(),
            None => input()?,
        };
        Ok(PutRequest {
            key: self.key.into_vec().into(),
            value,
            lease: self.lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

/// Sets a key.
pub(super) async fn put(
    args: PutArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let request = args.request(read_stdin)?;
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        kv.put(request.clone()).await
    };
    printer.show(&client.write(call).await?.into_inner())
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
    /// Order of the keys: ascend or descend
    #[arg(long, value_name = "ORDER", default_value = "", hide_default_value = true)]
    order: String,
    /// What to sort by: create, key, modify, value or version
    #[arg(long, value_name = "TARGET", default_value = "", hide_default_value = true)]
    sort_by: String,
    /// Show no values
    #[arg(long)]
    keys_only: bool,
    /// Show only how many keys there are
    #[arg(long, conflicts_with = "keys_only")]
    count_only: bool,
    /// Show no keys
    #[arg(long, conflicts_with = "keys_only")]
    print_value_only: bool,
    /// Leave out keys that were created before this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    min_create_rev: i64,
    /// Leave out keys that were created after this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    max_create_rev: i64,
    /// Leave out keys that were last set before this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    min_mod_rev: i64,
    /// Leave out keys that were last set after this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    max_mod_rev: i64,
    /// Linearizable (l), or serializable (s): whatever the member knows
    #[arg(long, value_enum, default_value_t = Consistency::Linearizable)]
    consistency: Consistency,
    /// Have the answer streamed, in which no part is large
    #[arg(long)]
    stream: bool,
}

fn order(text: &str) -> Result<SortOrder, Error> {
    match text.to_ascii_uppercase().as_str() {
        "" => Ok(SortOrder::None),
        "ASCEND" => Ok(SortOrder::Ascend),
        "DESCEND" => Ok(SortOrder::Descend),
        _ => Err(Error::new(Exit::Feature, format!("bad sort order {text}"))),
    }
}

fn target(text: &str) -> Result<SortTarget, Error> {
    match text.to_ascii_uppercase().as_str() {
        "" | "KEY" => Ok(SortTarget::Key),
        "CREATE" => Ok(SortTarget::Create),
        "MODIFY" => Ok(SortTarget::Mod),
        "VALUE" => Ok(SortTarget::Value),
        "VERSION" => Ok(SortTarget::Version),
        _ => Err(Error::new(Exit::Feature, format!("bad sort target {text}"))),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Consistency {
    #[value(name = "l")]
    Linearizable,
    #[value(name = "s")]
    Serializable,
}

impl GetArgs {
    /// The request.
    pub(super) fn request(self) -> Result<RangeRequest, Error> {
        for (what, min, max) in [
            ("Create", self.min_create_rev, self.max_create_rev),
            ("Mod", self.min_mod_rev, self.max_mod_rev),
        ] {
            if max > 0 && min > max {
                let reason = format!("getMin{what}Rev(={min}) > getMax{what}Rev(={max})");
                return Err(Error::new(Exit::Feature, reason));
            }
        }
        let range = self.range.key_range()?;
        // Ranges are in the order of their keys anyway.
        let (order, target) = (order(&self.order)?, target(&self.sort_by)?);
        let in_order = (order, target) == (SortOrder::Ascend, SortTarget::Key);
        let order = if in_order { SortOrder::None } else { order };
        Ok(RangeRequest {
            key: range.key,
            range_end: range.range_end,
            limit: self.limit,
            revision: self.rev,
            sort_order: order.into(),
            sort_target: target.into(),
            serializable: matches!(self.consistency, Consistency::Serializable),
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: self.min_mod_rev,
            max_mod_revision: self.max_mod_rev,
            min_create_revision: self.min_create_rev,
            max_create_revision: self.max_create_rev,
        })
    }
}

/// Shows keys.
pub(super) async fn get(
    args: GetArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let (count_only, value_only, stream) = (args.count_only, args.print_value_only, args.stream);
    if value_only && printer.format != Format::Simple {
        let reason = "print-value-only is only for `--write-out=simple`";
        return Err(Error::new(Exit::Usage, reason));
    }
    let request = args.request()?;
    let response = if stream {
        streamed(request, client).await?
    } else {
        let call = async |channel| {
            let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
            kv.range(request.clone()).await
        };
        client.read(call).await?.into_inner()
    };
    if count_only && printer.format == Format::Simple {
        return printer.output.line(response.count.to_string());
    }
    if value_only { printer.show(&Values(response)) } else { printer.show(&Pairs(response)) }
}

/// The answer of a stream, put together.
async fn streamed(request: RangeRequest, client: &Client) -> Result<RangeResponse, Error> {
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let mut parts = kv.range_stream(request.clone()).await?.into_inner();
        let mut whole = RangeResponse::default();
        while let Some(part) = parts.message().await? {
            let Some(part) = part.range_response else { continue };
            whole.kvs.extend(part.kvs);
            whole.header = part.header.or(whole.header);
            whole.more |= part.more;
            whole.count = whole.count.max(part.count);
        }
        Ok(whole)
    };
    client.read(call).await
}

#[derive(Args, Clone, Debug)]
pub(super) struct DelArgs {
    #[command(flatten)]
    range: RangeArgs,
    /// Delete from KEY up to RANGE_END without a pause for second thoughts
    #[arg(long = "range", id = "is_range")]
    is_range: bool,
    /// Show the pairs that were deleted
    #[arg(long)]
    prev_kv: bool,
}

impl DelArgs {
    /// The request.
    pub(super) fn request(self) -> Result<DeleteRangeRequest, Error> {
        let range = self.range.key_range()?;
        let (key, range_end) = (range.key, range.range_end);
        Ok(DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv })
    }
}

/// Deletes keys, and shows how many.
pub(super) async fn del(
    args: DelArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let unmeant = args.range.has_end() && !args.is_range;
    let request = args.request()?;
    if unmeant {
        let (first, end) = (quote(&request.key), quote(&request.range_end));
        let warning = format!(
            "Warning: Keys between {first} and {end} will be deleted. Please interrupt the command \
             within next 2 seconds to cancel. You can provide `--range` flag to avoid the delay."
        );
        writeln!(io::stderr(), "{warning}")?;
        sleep(SECOND_THOUGHTS).await;
    }
    let call = async |channel| {
        let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        kv.delete_range(request.clone()).await
    };
    printer.show(&client.write(call).await?.into_inner())
}

#[derive(Args, Clone, Debug)]
pub(super) struct CompactionArgs {
    /// Give up what was replaced at or before this revision
    revision: i64,
    /// Wait until its room on disk is free
    #[arg(long)]
    physical: bool,
}

/// Gives up old revisions.
pub(super) async fn compact(
    args: CompactionArgs,
    client: &Client,
    printer: &mut Printer,
) -> Result<(), Error> {
    let CompactionArgs { revision, physical } = args;
    let request = CompactionRequest { revision, physical };
    let call = async |channel| KvClient::new(channel).compact(request).await;
    client.write(call).await?;
    // In every format, as in etcdctl.
    printer.output.line(format!("compacted revision {revision}"))
}
