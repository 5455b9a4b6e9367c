//! Watchers that are there and do nothing: they are opened step by step and held, so that somebody
//! else can see what they cost.
//!
//! After each step a line goes out, and the next step waits for a line to come in. No response is
//! read after a watcher's first: with small windows, and watching the key that others set, these
//! are the clients that never read.

use bytes::Bytes;
use clap::{Args, ValueEnum};
use futures_util::FutureExt;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    task::JoinSet,
    time::timeout,
};
use tonic::transport::Channel;

use super::{KEY, stream::OpenStream};
use crate::{
    cli::{Client, Error, Output, range::end_of_prefix},
    proto::etcdserverpb::WatchCreateRequest,
};

/// What a stalled stream takes before it is full.
const STALLED_STREAM_WINDOW: u32 = 4 * 1024;
/// Chunks of a stream in which its end is looked for; a window holds fewer.
const CHUNKS_LOOKED_AT_MAX: usize = 64;
/// The least window of a connection, by the standard.
const CONNECTION_WINDOW_MIN: u32 = 65_535;

/// The arguments of this benchmark.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct HoldArgs {
    /// Connections
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Streams on each connection
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams_per_connection: u32,
    /// Watchers on each stream
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    watchers_per_stream: u32,
    /// What they watch
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = On::OwnKeys)]
    on: On,
    /// Different prefixes, if it is prefixes that they watch
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    prefixes: u64,
    /// Take next to nothing before the stream is full
    #[arg(long)]
    stalled: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum On {
    /// Each a key that nobody sets and nobody else watches
    OwnKeys,
    /// A few prefixes in turn, with no keys
    Prefixes,
    /// The key that `bench watch` sets
    #[value(name = "watched-key")]
    SetKey,
}

pub(in crate::cli::bench) async fn run(
    args: &HoldArgs,
    client: &Client,
    output: &mut Output,
) -> Result<(), Error> {
    let mut steps = Steps { output, input: BufReader::new(stdin()).lines() };
    let late = |_| Error::failed("the watchers were not registered in time");

    let client = if args.stalled { &client.with_windows(args.windows()) } else { client };
    let mut channels = Vec::new();
    for index in 0..args.connections {
        channels.push(client.connect(usize::try_from(index).map_err(Error::input)?).await?);
    }
    steps.done("connections", channels.len()).await?;

    let opened = open(args, channels);
    let mut streams = timeout(client.timeout(), opened).await.map_err(late)??;
    steps.done("streams", streams.len()).await?;

    let per_stream = usize::try_from(args.watchers_per_stream).map_err(Error::input)?;
    let watchers = streams.len().saturating_mul(per_stream);
    if per_stream > 1 {
        let added = add(args, streams);
        streams = timeout(client.timeout(), added).await.map_err(late)??;
    }
    steps.done("watchers", watchers).await?;

    let ends = streams.iter_mut().map(ended).filter(|ended| *ended).count();
    steps.done("ended", ends).await
}

/// Whether the server has ended a stream, as far as what has arrived tells.
fn ended(stream: &mut OpenStream) -> bool {
    // What is read makes room for more: somebody who sends without end must not keep us here.
    for _ in 0..CHUNKS_LOOKED_AT_MAX {
        match stream.receive(|_| {}).now_or_never() {
            None => return false,
            Some(Ok(_)) => {}
            Some(Err(_)) => return true,
        }
    }
    false
}

/// Opens all streams with a watcher each, on all connections at once.
async fn open(args: &HoldArgs, channels: Vec<Channel>) -> Result<Vec<OpenStream>, Error> {
    let mut tasks = JoinSet::new();
    let per_connection = u64::from(args.streams_per_connection);
    for (channel, first) in channels.into_iter().zip((0..).step_by(step(per_connection))) {
        let args = args.clone();
        tasks.spawn(async move {
            let mut streams = Vec::new();
            for stream in first..first + per_connection {
                let watcher = args.watcher(stream, 0);
                streams.push(OpenStream::open(channel.clone(), vec![watcher]).await?);
            }
            Ok::<_, Error>((first, streams))
        });
    }
    in_order(tasks).await
}

/// Registers what else is to be on each stream.
async fn add(args: &HoldArgs, streams: Vec<OpenStream>) -> Result<Vec<OpenStream>, Error> {
    let mut tasks = JoinSet::new();
    let mut streams = streams.into_iter().zip(0..);
    let per_task = step(u64::from(args.streams_per_connection));
    loop {
        let mut some: Vec<(OpenStream, u64)> = streams.by_ref().take(per_task).collect();
        let Some(first) = some.first().map(|(_, number)| *number) else { break };
        let args = args.clone();
        tasks.spawn(async move {
            for (stream, number) in &mut some {
                let further = 1..u64::from(args.watchers_per_stream);
                let watchers = further.map(|place| args.watcher(*number, place)).collect();
                stream.add(watchers).await?;
            }
            Ok::<_, Error>((first, some.into_iter().map(|(stream, _)| stream).collect()))
        });
    }
    in_order(tasks).await
}

fn step(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

type Part = (u64, Vec<OpenStream>);

/// The streams of all tasks, in the order of their numbers.
async fn in_order(mut tasks: JoinSet<Result<Part, Error>>) -> Result<Vec<OpenStream>, Error> {
    let mut parts = Vec::new();
    while let Some(part) = tasks.join_next().await {
        parts.push(part.map_err(Error::failed)??);
    }
    parts.sort_unstable_by_key(|(first, _)| *first);
    Ok(parts.into_iter().flat_map(|(_, streams)| streams).collect())
}

impl HoldArgs {
    /// Windows of a stream and of its connection that hold next to nothing, and still let a stream
    /// that is full leave the others alone.
    fn windows(&self) -> (u32, u32) {
        let all = self.streams_per_connection.saturating_mul(STALLED_STREAM_WINDOW);
        (STALLED_STREAM_WINDOW, all.saturating_mul(2).clamp(CONNECTION_WINDOW_MIN, i32::MAX as u32))
    }

    /// What the watcher at this place of this stream asks for.
    fn watcher(&self, stream: u64, place: u64) -> WatchCreateRequest {
        let (key, range_end) = match self.on {
            On::OwnKeys => {
                let number = stream * u64::from(self.watchers_per_stream) + place;
                (Bytes::from(format!("bench/held/{number:010}")), Bytes::new())
            }
            On::Prefixes => {
                let number = (stream + place) % self.prefixes;
                let prefix = Bytes::from(format!("bench/held/{number:06}/"));
                (prefix.clone(), end_of_prefix(&prefix))
            }
            On::SetKey => (Bytes::from_static(KEY), Bytes::new()),
        };
        WatchCreateRequest { key, range_end, ..WatchCreateRequest::default() }
    }
}

/// Says what is done, and waits to be told to go on.
struct Steps<'a> {
    output: &'a mut Output,
    input: Lines<BufReader<Stdin>>,
}

impl Steps<'_> {
    /// Input that ends lets the rest happen at once.
    async fn done(&mut self, what: &str, count: usize) -> Result<(), Error> {
        self.output.line(format!("{{\"step\":\"{what}\",\"count\":{count}}}"))?;
        self.input.next_line().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn args(on: On) -> HoldArgs {
        HoldArgs {
            connections: 2,
            streams_per_connection: 3,
            watchers_per_stream: 4,
            on,
            prefixes: 5,
            stalled: false,
        }
    }

    fn watched(args: &HoldArgs) -> BTreeSet<(Bytes, Bytes)> {
        let all = (0..6).flat_map(|stream| (0..4).map(move |place| (stream, place)));
        all.map(|(stream, place)| {
            let create = args.watcher(stream, place);
            (create.key, create.range_end)
        })
        .collect()
    }

    /// As many different ranges as were asked for.
    #[test]
    fn ranges_are_shared_as_asked_for() {
        assert_eq!(watched(&args(On::OwnKeys)).len(), 24);
        assert_eq!(watched(&args(On::Prefixes)).len(), 5);
        assert_eq!(watched(&args(On::SetKey)).len(), 1);
    }
}
