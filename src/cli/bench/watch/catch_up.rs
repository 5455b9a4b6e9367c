//! Catch-up: a watcher for every key of a filled store, from the revision on at which the first of
//! them was set, and the time until all of the past has arrived.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Args;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use tonic::transport::Channel;

use super::{Count, lock, stream::OpenStream};
use crate::{
    cli::{
        Client, Error,
        bench::{
            Meter,
            report::{Detail, Report, Tally},
        },
        client::RESPONSE_BYTES_MAX,
        range::end_of_prefix,
    },
    proto::{
        etcdserverpb::{RangeRequest, WatchCreateRequest, kv_client::KvClient},
        mvccpb::KeyValue,
    },
};

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct CatchUpArgs {
    /// What the keys start with
    #[arg(long, value_name = "TEXT", default_value = "bench/")]
    key_prefix: String,
    /// Streams that the watchers are spread over
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Connections that the streams share
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Report as JSON
    #[arg(long)]
    pub(in crate::cli::bench) json: bool,
}

pub(in crate::cli::bench) async fn run(
    args: &CatchUpArgs,
    client: &Client,
) -> Result<Report, Error> {
    let size = |number: u32| usize::try_from(number).map_err(Error::input);
    let mut channels = Vec::new();
    for index in 0..size(args.connections)? {
        channels.push(client.connect(index).await?);
    }
    let channel = channels.first().expect("there is at least one connection");
    let keys = list(channel.clone(), &args.key_prefix).await?;
    let first = keys.iter().map(|key| key.create_revision).min();
    let first = first.ok_or_else(|| Error::failed("there are no keys: `bench load` sets them"))?;
    let per_stream = keys.len().div_ceil(size(args.streams)?);

    let meter = Meter::start();
    let start = Instant::now();
    let mut readers = JoinSet::new();
    let mut counts = Vec::new();
    for (keys, channel) in keys.chunks(per_stream).zip(channels.iter().cycle()) {
        let watchers: Vec<_> = keys.iter().map(|key| watcher(key, first)).collect();
        let owed = keys.iter().map(|key| u64::try_from(key.version).unwrap_or_default()).sum();
        let count = Arc::new(Mutex::new(Count::new(watchers.len())));
        counts.push(Arc::clone(&count));
        readers.spawn(read(channel.clone(), watchers, owed, start, count));
    }
    let streams = readers.len();
    let failures = timeout(client.timeout(), async {
        let mut failures = Vec::new();
        while let Some(joined) = readers.join_next().await {
            failures.extend(joined.map_err(Error::failed).flatten().err());
        }
        failures
    });
    let failures = failures.await.map_err(|_| Error::failed("events are missing"))?;
    let elapsed = start.elapsed();

    let mut tally = Tally::new();
    failures.iter().for_each(|failure| tally.error(&failure.to_string()));
    counts.iter().for_each(|count| tally.latencies.merge(&lock(count).latencies));
    Ok(meter
        .report("catch-up", (keys.len(), channels.len()), elapsed, tally)
        .with("streams", Detail::Count(streams as u64))
        .with("from", Detail::Count(u64::try_from(first).unwrap_or_default())))
}

/// All keys, without their values.
async fn list(channel: Channel, prefix: &str) -> Result<Vec<KeyValue>, Error> {
    let key = Bytes::from(prefix.to_owned());
    let request = RangeRequest {
        range_end: end_of_prefix(&key),
        key,
        keys_only: true,
        ..RangeRequest::default()
    };
    let mut kv = KvClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
    Ok(kv.range(request).await?.into_inner().kvs)
}

fn watcher(key: &KeyValue, start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { key: key.key.clone(), start_revision, ..WatchCreateRequest::default() }
}

/// Reads until all that these watchers are owed has arrived.
async fn read(
    channel: Channel,
    watchers: Vec<WatchCreateRequest>,
    owed: u64,
    start: Instant,
    count: Arc<Mutex<Count>>,
) -> Result<(), Error> {
    let mut stream = OpenStream::start(channel, watchers).await?;
    let mut events = 0;
    while events < owed {
        let received = stream.receive(|_| {}).await?;
        events += received.events;
        lock(&count).latencies.record_many(start.elapsed(), received.events);
    }
    if events > owed {
        return Err(Error::failed(format!("{owed} events were owed and {events} arrived")));
    }
    Ok(())
}
