//! One member, seen from here: the task that keeps a stream open to it.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    pin, select,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Response, Status, transport::Channel};
use tracing::{debug, info, warn};

use super::{contact::Direction, metrics::MemberMetrics, peers::Shared, queue::Queue, wire};
use crate::{
    proto::internal::{EchoRequest, PeerAck, peer_client::PeerClient},
    tls::Way,
    types::{MemberId, limits},
};

/// A member that listens again should be found at once, and one that is away should not cost much.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long a member that was told that it was removed goes on: it may be the one whose word the
/// others need to hear of it.
const REMOVED_AFTER: Duration = Duration::from_secs(1);

/// A stream that lasted this long was accepted: a refusal comes in the first round trip.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

/// How long after an answer a member is asked again for how long answers take.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What the task of a link works with.
pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) to: MemberId,
    pub(super) urls: Arc<[String]>,
    pub(super) queue: Arc<Queue>,
    pub(super) signals: Arc<Signals>,
    pub(super) metrics: MemberMetrics,
}

/// What others tell a link, and it them.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The member was heard of: it is worth trying again at once.
    pub(super) heard: Notify,
    /// Frames were dropped because the queue was full.
    pub(super) dropped: Notify,
    /// Which of the URLs worked last.
    pub(super) url: AtomicUsize,
}

/// How an attempt to keep a stream open ended.
struct Ended {
    /// Whether the member had accepted the stream.
    settled: bool,
    /// Whether the member says that this one was removed.
    removed: bool,
    reason: String,
}

impl Link {
    /// Keeps a stream open until the task is aborted, trying the URLs in turn.
    pub(super) async fn run(self) {
        // Before the node is there, this member does not know what to say of itself.
        while self.shared.inbox().is_none() {
            sleep(BACKOFF_MIN).await;
        }
        let mut backoff = BACKOFF_MIN;
        let mut told = None;
        for (index, url) in self.urls.iter().enumerate().cycle() {
            let Ended { settled, removed, reason } = self.attempt(index, url).await;
            // Frames that wait were meant for the connection that is gone.
            self.queue.clear();
            self.metrics.sent_failures.inc();
            self.shared.unreachable(self.to);
            backoff = if settled { BACKOFF_MIN } else { BACKOFF_MAX.min(backoff * 2) };
            // A member may be away for long: each reason is told once.
            if settled || told.as_ref() != Some(&reason) {
                warn!(peer = %self.to, url, reason, "no stream to member");
                told = Some(reason);
            } else {
                debug!(peer = %self.to, url, reason, "no stream to member");
            }
            if removed {
                sleep(REMOVED_AFTER).await;
                if let Some(inbox) = self.shared.inbox() {
                    inbox.report_removed(self.to);
                }
            }
            select! {
                () = sleep(backoff) => {}
                () = self.signals.heard.notified() => {}
            }
        }
    }

    /// Asks the member now and then, on the connection that the stream is on, and counts how long
    /// the answer takes. Never ends.
    async fn time_round_trips(&self, mut client: PeerClient<Channel>) {
        loop {
            let begun = Instant::now();
            // A member that does not know the question answers just as fast.
            let answered = match client.echo(EchoRequest {}).await {
                Ok(_) => true,
                Err(status) => status.code() == Code::Unimplemented,
            };
            if answered {
                self.metrics.round_trips.observe(begun.elapsed().as_secs_f64());
            }
            sleep(ASK_EVERY).await;
        }
    }

    async fn attempt(&self, index: usize, url: &str) -> Ended {
        let Some(inbox) = self.shared.inbox() else {
            let reason = "this member is about to stop".into();
            return Ended { settled: false, removed: false, reason };
        };
        let channel = match dial(url, &self.shared).await {
            Ok(channel) => channel,
            Err(reason) => return Ended { settled: false, removed: false, reason },
        };
        let round_trips = self.time_round_trips(PeerClient::new(channel.clone()));
        let mut client =
            PeerClient::new(channel).max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
        let greeting =
            wire::greeting(self.shared.config, self.to, &self.shared.own_urls(), inbox.greeting());
        let begun = Instant::now();
        let call = client.messages(self.queue.read(greeting));
        let settle = sleep(SETTLED_AFTER);
        pin!(call, settle, round_trips);

        // Counts while it is kept.
        let mut stream = None;
        loop {
            select! {
                result = &mut call => {
                    let removed = result.as_ref().err().is_some_and(|status| {
                        wire::says_removed(status, self.shared.config)
                    });
                    return Ended { settled: stream.is_some(), removed, reason: reason(result) };
                }
                () = self.signals.dropped.notified() => self.shared.unreachable(self.to),
                () = &mut round_trips, if stream.is_some() => {}
                () = &mut settle, if stream.is_none() => {
                    let contacts = &self.shared.contacts;
                    let counted = contacts.stream(self.to, Direction::Outgoing, begun);
                    stream = Some((counted, Active::new(&self.metrics)));
                    self.signals.url.store(index, Ordering::Relaxed);
                    info!(peer = %self.to, url, "stream to member is open");
                }
            }
        }
    }
}

/// Shows a stream as open until this is dropped.
struct Active(MemberMetrics);

impl Active {
    fn new(metrics: &MemberMetrics) -> Self {
        metrics.active.set(1);
        Self(metrics.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(0);
        self.0.disconnected.inc();
    }
}

fn reason(result: Result<Response<PeerAck>, Status>) -> String {
    match result {
        Ok(_) => "the member ended the stream".to_owned(),
        Err(status) => match status.source() {
            // The status itself says no more than that there was one.
            Some(source) => chain(source),
            None => status.message().to_owned(),
        },
    }
}

/// Connects, or says why it cannot.
pub(super) async fn dial(url: &str, shared: &Shared) -> Result<Channel, String> {
    let way = way(url, shared)?;
    let patience = shared.config.election_timeout;
    match timeout(patience, way.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no connection within {} ms", patience.as_millis())),
    }
}

/// How to reach a member under one of its URLs. A link that died silently is noticed by pings
/// within about an election timeout.
pub(super) fn way(url: &str, shared: &Shared) -> Result<Way, String> {
    let patience = shared.config.election_timeout;
    let way = Way::to(url, &shared.dialer)?;
    Ok(way.with(|endpoint| {
        endpoint
            .connect_timeout(patience)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(patience / 2)
            .keep_alive_timeout(patience)
            .keep_alive_while_idle(true)
    }))
}

/// An error with what it is put down to.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
