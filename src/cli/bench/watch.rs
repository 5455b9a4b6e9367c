//! Fan-out: one key is set, many watchers hear of it, and each delivery is an operation.
//!
//! The value carries the time at which its put was due, so a delivery's latency holds all that lies
//! between a writer's wish and a watcher's knowledge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use clap::Args;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    LoadArgs, Meter,
    keys::value,
    load::{self, Operation},
    over,
    pace::{Pace, Ticket},
    report::{Report, Tally},
};
use crate::{
    cli::{Client, Error, client::RESPONSE_BYTES_MAX},
    proto::{
        etcdserverpb::{
            PutRequest, WatchCreateRequest, WatchRequest, WatchResponse, kv_client::KvClient,
            watch_client::WatchClient, watch_request::RequestUnion,
        },
        mvccpb::Event,
    },
};

const KEY: &[u8] = b"bench/watched";
/// A value starts with the time of its put and whether it counts.
const STAMP_BYTES: usize = 9;
/// How long after the last put the deliveries may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// No run is as long.
const RUN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The arguments of this benchmark alone.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct FanOutArgs {
    /// Watchers
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    watchers: u32,
    /// Streams that the watchers are spread over
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: u32,
    /// Bytes of a value, at least 9
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(9..=16_777_216))]
    value_size: u32,
}

pub(super) async fn run(
    load: &LoadArgs,
    fan_out: &FanOutArgs,
    client: &Client,
) -> Result<Report, Error> {
    let size = |number: u32| usize::try_from(number).map_err(Error::input);
    let (watchers, streams) =
        (size(fan_out.watchers)?, size(fan_out.streams.min(fan_out.watchers))?);
    let channels = load.channels(streams, client).await?;
    let epoch = Instant::now();
    let puts = Arc::new(AtomicU64::new(0));
    let (finish, finished) = watch::channel(None);
    let mut readers = JoinSet::new();
    for (index, channel) in channels.iter().cycle().take(streams).enumerate() {
        // The first streams take one more each when it does not come out even.
        let share = watchers / streams + usize::from(index < watchers % streams);
        let stream = open(channel.clone(), share).await?;
        readers.spawn(
            Reader { stream, watchers: share, epoch, tally: Tally::new(), events: 0 }
                .run(finished.clone()),
        );
    }

    let meter = Meter::start();
    let pace = Arc::new(Pace::start(load.extent()));
    let filler = value(0, size(fan_out.value_size)?.saturating_sub(STAMP_BYTES));
    let writers = over(load.clients(1), &channels, |channel| Writer {
        kv: KvClient::new(channel),
        epoch,
        filler: filler.clone(),
        puts: Arc::clone(&puts),
    });
    let mut tally = load::run(Arc::clone(&pace), writers, client.timeout()).await;
    // What counts are deliveries; of the puts, only those that failed.
    tally.latencies = super::histogram::Histogram::new();
    finish.send_replace(Some(puts.load(Ordering::Relaxed)));
    while let Some(joined) = readers.join_next().await {
        tally.merge(joined.map_err(Error::failed)?);
    }
    Ok(meter.report("watch delivery", (watchers, channels.len()), pace.measured_time(), tally))
}

/// Sets the key that is watched.
struct Writer {
    kv: KvClient<Channel>,
    epoch: Instant,
    filler: Bytes,
    /// How many were acknowledged, of all writers.
    puts: Arc<AtomicU64>,
}

impl Operation for Writer {
    async fn perform(&mut self, ticket: &Ticket) -> Result<(), Status> {
        let nanos = ticket.due.saturating_duration_since(self.epoch).as_nanos();
        let mut stamped = Vec::with_capacity(STAMP_BYTES + self.filler.len());
        stamped.extend_from_slice(&u64::try_from(nanos).unwrap_or(u64::MAX).to_be_bytes());
        stamped.push(u8::from(ticket.measured));
        stamped.extend_from_slice(&self.filler);
        let request =
            PutRequest { key: KEY.into(), value: stamped.into(), ..PutRequest::default() };
        self.kv.put(request).await?;
        self.puts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Opens a stream with so many watchers, and waits until all are registered.
async fn open(channel: Channel, watchers: usize) -> Result<OpenStream, Error> {
    let (requests, receiver) = mpsc::channel(watchers);
    let create = WatchCreateRequest { key: KEY.into(), ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    for _ in 0..watchers {
        requests.try_send(create.clone()).expect("the channel has room for every watcher");
    }
    let mut stub = WatchClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
    let mut responses = stub.watch(ReceiverStream::new(receiver)).await?.into_inner();
    let mut created = 0;
    while created < watchers {
        let response =
            responses.message().await?.ok_or_else(|| Error::failed("a watch stream ended"))?;
        if response.canceled {
            return Err(Error::failed(format!("a watch was canceled: {}", response.cancel_reason)));
        }
        created += usize::from(response.created);
    }
    Ok(OpenStream { responses, _requests: requests })
}

/// A stream, and the sender that keeps it open.
struct OpenStream {
    responses: Streaming<WatchResponse>,
    _requests: mpsc::Sender<WatchRequest>,
}

/// Counts what arrives on one stream.
struct Reader {
    stream: OpenStream,
    watchers: usize,
    epoch: Instant,
    tally: Tally,
    events: u64,
}

impl Reader {
    /// Reads until every watcher has heard of every acknowledged put.
    async fn run(mut self, mut finished: watch::Receiver<Option<u64>>) -> Tally {
        // Far away until the last put is done.
        let mut deadline = Instant::now() + RUN_MAX;
        let mut expected = None;
        while expected.is_none_or(|expected| self.events < expected) {
            tokio::select! {
                response = self.stream.responses.message() => match response {
                    Ok(Some(response)) => response.events.iter().for_each(|event| self.count(event)),
                    Ok(None) => return self.broken("watch stream ended"),
                    Err(status) => return self.broken(status.message()),
                },
                puts = finished.wait_for(Option::is_some), if expected.is_none() => {
                    let puts = puts.map_or(0, |puts| puts.unwrap_or_default());
                    expected = Some(puts.saturating_mul(self.watchers as u64));
                    deadline = Instant::now() + DRAIN_TIMEOUT;
                }
                () = sleep_until(deadline) => return self.broken("deliveries are missing"),
            }
        }
        self.tally
    }

    fn broken(mut self, reason: &str) -> Tally {
        self.tally.error(reason);
        self.tally
    }

    fn count(&mut self, event: &Event) {
        self.events += 1;
        let Some(stamp) =
            event.kv.as_ref().and_then(|pair| pair.value.first_chunk::<STAMP_BYTES>())
        else {
            return;
        };
        let [time @ .., measured] = stamp;
        if *measured == 0 {
            return;
        }
        let due = self.epoch + Duration::from_nanos(u64::from_be_bytes(*time));
        self.tally.latencies.record(Instant::now().saturating_duration_since(due));
    }
}
