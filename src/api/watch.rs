//! `etcdserverpb.Watch`: streams of what happens to keys.
//!
//! Behind each stream stands one task that owns the stream's [`Watchers`]. It waits for requests,
//! for the hub's bell and for room towards the client, and moves the watchers' cursors only when
//! there is room: a client that does not read costs a bounded queue and no events. What ends a
//! stream that asked for a leader, when there is none, is not here but in
//! [`layers`](crate::api::layers).

mod queue;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use tokio::{
    sync::watch,
    time::{self, Interval, MissedTickBehavior},
};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::{
    api::{
        Config,
        convert::watch::{Asked, request, responses},
        header::header,
        status,
    },
    node::{Error, Handle},
    proto::etcdserverpb::{WatchRequest, WatchResponse, watch_server::Watch},
    types::{
        Millis, Revision,
        limits::{WATCH_STREAM_BYTES_MAX, WATCH_STREAM_QUEUE_MAX},
    },
    watch::{self as fan_out, History, Hub, Limits, Polled, Read, Watchers},
};

/// The shortest interval between two progress notifications.
const PROGRESS_INTERVAL_MIN: Millis = Millis(100);

/// The service.
#[derive(Clone, Debug)]
pub struct WatchService {
    node: Handle,
    config: Config,
    /// Counts the streams, to spread their tickers.
    opened: Arc<AtomicU64>,
}

impl WatchService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle, config: Config) -> Self {
        Self { node, config, opened: Arc::default() }
    }
}

#[tonic::async_trait]
impl Watch for WatchService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send + 'static>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let period = ticker_period(self.config.progress_interval, number);
        let (sender, receiver) = queue::bounded(WATCH_STREAM_QUEUE_MAX, WATCH_STREAM_BYTES_MAX);
        let hub = Arc::clone(self.node.watch_hub());
        let session = Session {
            bell: hub.subscribe(),
            watchers: Watchers::new(&hub),
            hub,
            ticker: ticker(period),
            requests: Some(request.into_inner()),
            ready: VecDeque::new(),
            more: false,
            message_bytes_max: self.config.message_bytes_max(),
            node: self.node.clone(),
        };
        // It ends when the client is gone or the member stops, whichever comes first.
        tokio::spawn(session.run(sender));
        Ok(Response::new(Box::pin(receiver)))
    }
}

/// One stream.
struct Session {
    node: Handle,
    hub: Arc<Hub>,
    bell: watch::Receiver<Revision>,
    watchers: Watchers,
    ticker: Interval,
    /// None when the client has closed its side, which does not end the stream.
    requests: Option<Streaming<WatchRequest>>,
    /// What there was no room for yet: what one poll or one request brought, and no more.
    ready: VecDeque<WatchResponse>,
    /// The watchers have more to say as soon as there is room.
    more: bool,
    message_bytes_max: usize,
}

/// What a stream wakes up for.
enum Wake {
    /// There is room for the next response.
    Room(queue::Room),
    /// A message of the client; none when it closed its side.
    Request(Option<Result<WatchRequest, Status>>),
    /// Something happened in the store, or there is more to be polled.
    Poll,
    /// The progress ticker ticked.
    Tick,
    /// The client is gone.
    Gone,
    /// The member stops.
    Stopped,
}

impl Session {
    /// Serves the stream to its end.
    async fn run(mut self, sender: queue::Sender) {
        let node = self.node.clone();
        let mut stopped = std::pin::pin!(node.stopped());
        let end = loop {
            if let Err(status) = self.poll() {
                break status;
            }
            let wake = tokio::select! {
                biased;
                _ = &mut stopped => Wake::Stopped,
                () = sender.closed() => Wake::Gone,
                room = room(&sender, self.ready.front()) => Wake::Room(room),
                request = next(&mut self.requests), if self.ready.is_empty() => {
                    Wake::Request(request)
                }
                _ = self.ticker.tick() => Wake::Tick,
                _ = self.bell.changed() => Wake::Poll,
                // Between two pieces of history others have a turn, and requests are looked at.
                () = tokio::task::yield_now(), if self.more && self.ready.is_empty() => Wake::Poll,
            };
            match wake {
                Wake::Room(room) => {
                    if let Some(response) = self.ready.pop_front() {
                        sender.send(response, room);
                    }
                }
                Wake::Request(Some(Ok(message))) => self.answer(message),
                Wake::Request(Some(Err(status))) => break ended_by_client(status),
                Wake::Request(None) => self.requests = None,
                Wake::Poll => {}
                Wake::Tick => self.watchers.tick(),
                Wake::Gone => break status::watch_canceled(),
                Wake::Stopped => break status::of_node(Error::Stopped),
            }
        };
        sender.end(end);
    }

    /// Matches what is new, and gets the next responses if all others are on their way.
    fn poll(&mut self) -> Result<(), Status> {
        let budget = if self.ready.is_empty() { WATCH_STREAM_QUEUE_MAX } else { 0 };
        let history = Past { node: &self.node };
        let polled = self.watchers.poll(&self.hub, &history, budget);
        let Polled { responses, more } = polled.map_err(|error| {
            // No race with a compaction: that is looked at after every read.
            if let Error::Fault(fault) = &error {
                self.node.stop_for(fault);
            }
            status::of_node(error)
        })?;
        self.more = more;
        responses.into_iter().for_each(|response| self.make_ready(response));
        Ok(())
    }

    /// Carries out what the client asks for.
    fn answer(&mut self, message: WatchRequest) {
        let answer = match request(message) {
            None => None,
            Some(Asked::Create(create)) => Some(self.watchers.create(&self.hub, create)),
            Some(Asked::Cancel(id)) => self.watchers.cancel(&self.hub, id),
            Some(Asked::Progress) => {
                self.watchers.progress();
                None
            }
        };
        if let Some(response) = answer {
            self.make_ready(response);
        }
    }

    fn make_ready(&mut self, response: fan_out::Response) {
        let header = header(&self.node, response.revision);
        self.ready.extend(responses(header, response, self.message_bytes_max));
    }
}

/// The history in this member's store.
struct Past<'a> {
    node: &'a Handle,
}

impl History for Past<'_> {
    type Error = Error;

    fn read(&self, from: Revision, to: Revision, limits: Limits) -> Result<Read, Error> {
        let view = self.node.view()?;
        Ok(fan_out::read_view(&*view, from, to, limits)?)
    }
}

/// Waits for room for a response, if there is one.
async fn room(sender: &queue::Sender, response: Option<&WatchResponse>) -> queue::Room {
    match response {
        Some(response) => sender.room_for(response).await,
        None => std::future::pending().await,
    }
}

/// The client's next message, if there can be one.
async fn next(
    requests: &mut Option<Streaming<WatchRequest>>,
) -> Option<Result<WatchRequest, Status>> {
    match requests {
        Some(requests) => requests.next().await,
        None => std::future::pending().await,
    }
}

/// How a stream ends whose client reset it, or sent what cannot be decoded.
fn ended_by_client(status: Status) -> Status {
    if status.code() == Code::Cancelled { status::watch_canceled() } else { status }
}

/// A ticker that ticks for the first time after a period.
fn ticker(period: Millis) -> Interval {
    let mut ticker = time::interval(Duration::from_millis(period.0));
    ticker.reset();
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// The interval and up to a tenth of it more, so that streams which were opened together do not
/// tick together.
fn ticker_period(interval: Millis, stream: u64) -> Millis {
    /// The fraction of the golden ratio, in 64 bits: its multiples spread evenly.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let interval = interval.max(PROGRESS_INTERVAL_MIN);
    let share = stream.wrapping_mul(SPREAD) >> 32;
    let span = (u128::from(interval.0 / 10) * u128::from(share)) >> 32;
    interval + Millis(u64::try_from(span).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tickers lie within a tenth above the interval, apart from each other, and not too close.
    #[test]
    fn tickers_are_spread() {
        let periods: Vec<_> = (0..100).map(|n| ticker_period(Millis(600_000), n).0).collect();
        assert!(periods.iter().all(|period| (600_000..660_000).contains(period)));
        let mut apart = periods.clone();
        apart.sort_unstable();
        apart.dedup();
        assert_eq!(apart.len(), 100);
        assert!((100..110).contains(&ticker_period(Millis(0), 7).0));
    }
}
