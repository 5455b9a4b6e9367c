//! How soon all who watch a service hear that an instance of it has run out.
//!
//! What they are compared with are watchers of the same keys by the API of etcd, one on each
//! connection: the first of them to see an instance's key go says when that was applied, as far as a
//! client can know.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use clap::Args;
use tokio::{
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use tokio_stream::{StreamExt, once, pending};
use tonic::{Status, transport::Channel};

use super::{
    super::{
        Meter,
        call::Caller,
        channels,
        report::{Detail, Report, Tally},
    },
    NAMESPACE, number_of, register,
};
use crate::{
    cli::{Client, Error, duration, range::end_of_prefix},
    proto::{
        etcdserverpb::{
            WatchCreateRequest, WatchRequest as KeyWatchRequest, watch_client::WatchClient,
            watch_request::RequestUnion,
        },
        mvccpb::event::EventType,
        registry::{
            WatchRequest,
            change::{Kind, Reason},
            registry_client::RegistryClient,
            watch_response::Kind as Told,
        },
    },
};

const SERVICE: &str = "down";
/// How long the last instance may take to go, beyond its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct DownArgs {
    /// Watchers of the service, each with a stream of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    watchers: u32,
    /// Connections that they share
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Instances that run out
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    instances: u32,
    /// Time between two of them
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = duration::parse)]
    every: Duration,
    /// Seconds that an instance lives
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    ttl: u32,
    /// Report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// When something was heard of the instance with a number.
type Heard = BTreeMap<u64, Instant>;

pub(super) async fn run(args: &DownArgs, client: &Client) -> Result<Report, Error> {
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let channels = channels(client, size(args.connections)).await?;
    let (mut keys, mut watchers) = (JoinSet::new(), JoinSet::new());
    let instances = size(args.instances);
    for channel in &channels {
        keys.spawn(keys_that_go(open_keys(channel.clone()).await?, instances));
    }
    for (channel, _) in channels.iter().cycle().zip(0..args.watchers) {
        watchers.spawn(instances_that_go(open(channel.clone()).await?, instances));
    }

    let meter = Meter::start();
    let mut registrar = Caller::connect(client, 0).await?;
    let mut turns = interval(args.every);
    for number in 0..u64::from(args.instances) {
        turns.tick().await;
        register(&mut registrar, SERVICE, number, i64::from(args.ttl)).await?;
    }
    let limit = Duration::from_secs(u64::from(args.ttl)) + PATIENCE;
    let heard = timeout(limit, async { (all(keys).await, all(watchers).await) }).await;
    let (keys, watchers) = heard.map_err(|_| Error::failed("some were not told in time"))?;

    let mut gone = Heard::new();
    for (number, at) in keys?.into_iter().flatten() {
        let first = gone.entry(number).or_insert(at);
        *first = at.min(*first);
    }
    let mut tally = Tally::new();
    for (number, at) in watchers?.into_iter().flatten() {
        match gone.get(&number) {
            Some(gone) => tally.latencies.record(at.saturating_duration_since(*gone)),
            None => tally.error("an instance went down whose key is there"),
        }
    }
    let elapsed = meter.start.elapsed();
    Ok(meter
        .report("registry down", (size(args.watchers), channels.len()), elapsed, tally)
        .with("instances", Detail::Count(u64::from(args.instances))))
}

async fn all(mut tasks: JoinSet<Result<Heard, Status>>) -> Result<Vec<Heard>, Error> {
    let mut found = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        found.push(joined.map_err(Error::failed)??);
    }
    Ok(found)
}

/// A watch of the service that was told how it stands.
async fn open(
    channel: Channel,
) -> Result<tonic::Streaming<crate::proto::registry::WatchResponse>, Error> {
    let request = WatchRequest {
        namespace: NAMESPACE.to_owned(),
        service: SERVICE.to_owned(),
        ..WatchRequest::default()
    };
    let mut told = RegistryClient::new(channel).watch(request).await?.into_inner();
    let first = told.message().await?;
    match first.and_then(|first| first.kind) {
        Some(Told::Snapshot(snapshot)) if snapshot.instances.is_empty() => Ok(told),
        Some(Told::Snapshot(_)) => Err(Error::failed("the service has instances already")),
        Some(Told::Changes(_) | Told::Bookmark(_)) | None => {
            Err(Error::failed("a watch does not begin with a snapshot"))
        }
    }
}

/// A watch of the keys of the service that was created.
async fn open_keys(
    channel: Channel,
) -> Result<tonic::Streaming<crate::proto::etcdserverpb::WatchResponse>, Error> {
    let key = Bytes::from(format!("/services/{NAMESPACE}/{SERVICE}/"));
    let range_end = end_of_prefix(&key);
    let create = WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() };
    let create = KeyWatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    // The stream lasts as long as its requests do.
    let requests = once(create).chain(pending());
    let mut told = WatchClient::new(channel).watch(requests).await?.into_inner();
    match told.message().await? {
        Some(first) if first.created => Ok(told),
        Some(_) | None => Err(Error::failed("a watch does not begin with its creation")),
    }
}

async fn instances_that_go(
    mut told: tonic::Streaming<crate::proto::registry::WatchResponse>,
    count: usize,
) -> Result<Heard, Status> {
    let mut heard = Heard::new();
    while heard.len() < count {
        let Some(answer) = told.message().await? else { return Err(ended()) };
        let now = Instant::now();
        let Some(Told::Changes(changes)) = answer.kind else { continue };
        for change in changes.changes {
            if change.kind() != Kind::Down {
                continue;
            }
            if change.reason() != Reason::Expired {
                return Err(Status::data_loss("an instance that ran out was deregistered"));
            }
            let number = change.before.as_ref().and_then(|before| number_of(&before.id));
            heard.insert(number.ok_or_else(unknown)?, now);
        }
    }
    Ok(heard)
}

async fn keys_that_go(
    mut told: tonic::Streaming<crate::proto::etcdserverpb::WatchResponse>,
    count: usize,
) -> Result<Heard, Status> {
    let mut heard = Heard::new();
    while heard.len() < count {
        let Some(answer) = told.message().await? else { return Err(ended()) };
        let now = Instant::now();
        for event in answer.events {
            if event.r#type() != EventType::Delete {
                continue;
            }
            let key = event.kv.map(|pair| pair.key).unwrap_or_default();
            let id = std::str::from_utf8(&key).ok().and_then(|key| key.rsplit('/').next());
            heard.insert(id.and_then(number_of).ok_or_else(unknown)?, now);
        }
    }
    Ok(heard)
}

fn ended() -> Status {
    Status::unavailable("a watch has ended")
}

fn unknown() -> Status {
    Status::data_loss("somebody else's instance went down")
}
