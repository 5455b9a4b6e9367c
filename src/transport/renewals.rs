//! Renewals of leases on their way to the leader and back: one stream with batches one way and
//! answers the other, in any order.
//!
//! A stream is opened when it is first needed and kept. When it ends, whoever waits for an answer on
//! it hears that the connection is lost, and asks again: a renewal does no harm twice.

use std::{
    collections::BTreeMap,
    future::{Future, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use futures_util::{Stream, StreamExt, stream};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use tracing::debug;

use super::{Config, wire};
use crate::{
    node::{
        Error, TimeoutCause,
        ports::{Asked, Inbox, Renewed},
    },
    proto::internal::{LeaseRenewalAnswer, LeaseRenewalBatch, peer_client::PeerClient},
    types::{LeaseId, MemberId, Seconds, limits},
};

/// The stream of renewals to one member.
#[derive(Debug)]
pub(super) struct RenewalLink {
    to: MemberId,
    config: Config,
    shared: Arc<Mutex<Shared>>,
}

/// What the stream's task and those who ask share.
#[derive(Debug, Default)]
struct Shared {
    open: Option<Open>,
    /// Counts the batches, so that an answer finds whoever waits for it.
    tickets: u64,
    waiting: BTreeMap<u64, oneshot::Sender<LeaseRenewalAnswer>>,
}

#[derive(Debug)]
struct Open {
    batches: mpsc::Sender<LeaseRenewalBatch>,
    task: AbortHandle,
}

impl RenewalLink {
    pub(super) fn new(to: MemberId, config: Config) -> Self {
        Self { to, config, shared: Arc::default() }
    }

    /// Sends a batch, on a stream that `client` opens on `runtime` if there is none, and waits for
    /// its answer at most twice an election timeout: by then there is another leader.
    pub(super) fn renew(
        &self,
        leases: &[LeaseId],
        runtime: &Handle,
        client: impl FnOnce() -> Option<PeerClient<Channel>>,
    ) -> Asked<Vec<Renewed>> {
        let (count, patience) = (leases.len(), self.config.election_timeout * 2);
        let waits = match self.send(leases, runtime, client) {
            Ok(waits) => waits,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        Box::pin(async move {
            match timeout(patience, waits.answered()).await {
                Ok(Some(answer)) => renewed(&answer, count),
                Ok(None) | Err(_) => Err(Error::TimedOut(TimeoutCause::ConnectionLost)),
            }
        })
    }

    fn send(
        &self,
        leases: &[LeaseId],
        runtime: &Handle,
        client: impl FnOnce() -> Option<PeerClient<Channel>>,
    ) -> Result<Waits, Error> {
        let mut shared = lock(&self.shared);
        let batches = match &shared.open {
            Some(open) => open.batches.clone(),
            None => self.open(&mut shared, runtime, client().ok_or(Error::NoLeader)?),
        };
        shared.tickets += 1;
        let ticket = shared.tickets;
        let leases = leases.iter().map(|lease| lease.0).collect();
        // Full: the member takes nothing in. Or the stream has just ended.
        batches
            .try_send(LeaseRenewalBatch { handshake: None, ticket, leases })
            .map_err(|_| Error::TimedOut(TimeoutCause::ConnectionLost))?;
        let (answered, answer) = oneshot::channel();
        shared.waiting.insert(ticket, answered);
        Ok(Waits { shared: Arc::downgrade(&self.shared), ticket, answer })
    }

    fn open(
        &self,
        shared: &mut Shared,
        runtime: &Handle,
        client: PeerClient<Channel>,
    ) -> mpsc::Sender<LeaseRenewalBatch> {
        let (batches, sent) = mpsc::channel(limits::RENEWAL_FORWARDS_TAKEN_MAX);
        let handshake = Some(wire::handshake(self.config, self.to));
        let greeting = LeaseRenewalBatch { handshake, ..LeaseRenewalBatch::default() };
        let sent = stream::iter([greeting]).chain(ReceiverStream::new(sent));
        let (ends, to) = (Arc::clone(&self.shared), self.to);
        let task = runtime.spawn(async move {
            let ended = exchange(client, sent, &ends).await;
            let reason = ended.err();
            debug!(peer = %to, ?reason, "the stream of renewals to member ended");
            let mut shared = lock(&ends);
            shared.open = None;
            shared.waiting.clear();
        });
        let task = task.abort_handle();
        shared.open = Some(Open { batches: batches.clone(), task });
        batches
    }
}

impl Drop for RenewalLink {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        if let Some(open) = shared.open.take() {
            open.task.abort();
        }
        shared.waiting.clear();
    }
}

/// Sends batches and takes answers until the stream ends.
async fn exchange(
    mut client: PeerClient<Channel>,
    batches: impl Stream<Item = LeaseRenewalBatch> + Send + 'static,
    shared: &Mutex<Shared>,
) -> Result<(), Status> {
    let mut answers = client.lease_renewals(batches).await?.into_inner();
    while let Some(answer) = answers.message().await? {
        let waits = lock(shared).waiting.remove(&answer.ticket);
        if let Some(waits) = waits {
            // Whoever waited may have left.
            let _ = waits.send(answer);
        }
    }
    Ok(())
}

/// A batch that is on its way. Dropped, its answer is not waited for any more.
struct Waits {
    shared: Weak<Mutex<Shared>>,
    ticket: u64,
    answer: oneshot::Receiver<LeaseRenewalAnswer>,
}

impl Waits {
    /// The answer, or nothing when the stream has ended.
    async fn answered(mut self) -> Option<LeaseRenewalAnswer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            lock(&shared).waiting.remove(&self.ticket);
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of each lease of a batch of so many.
fn renewed(answer: &LeaseRenewalAnswer, count: usize) -> Result<Vec<Renewed>, Error> {
    if !answer.confirmed {
        return Err(Error::NotLeader);
    }
    if answer.found.len() != count {
        return Err(Error::TimedOut(TimeoutCause::Unknown));
    }
    let renewed = |found: &i64| match *found {
        ..0 => Renewed::NotYet,
        0 => Renewed::Unknown,
        1.. => Renewed::For(Seconds(*found)),
    };
    Ok(answer.found.iter().map(renewed).collect())
}

/// The answers to the batches of another member, a few of which are looked at together. They end
/// with the batches, or when `closed` does.
pub(super) fn answers(
    batches: Streaming<LeaseRenewalBatch>,
    inbox: Arc<dyn Inbox>,
    closed: impl Future<Output = ()> + Send + 'static,
) -> impl Stream<Item = Result<LeaseRenewalAnswer, Status>> + Send + 'static {
    batches
        .map(move |batch| answer(batch, Arc::clone(&inbox)))
        .buffer_unordered(limits::RENEWAL_FORWARDS_TAKEN_MAX)
        .take_until(closed)
}

async fn answer(
    batch: Result<LeaseRenewalBatch, Status>,
    inbox: Arc<dyn Inbox>,
) -> Result<LeaseRenewalAnswer, Status> {
    let LeaseRenewalBatch { ticket, leases, .. } = batch?;
    if leases.len() > limits::RENEWALS_PER_ROUND_MAX {
        let count = leases.len();
        return Err(Status::invalid_argument(format!("{count} leases in one batch are too many")));
    }
    let found = |renewed: Renewed| match renewed {
        Renewed::For(ttl) => ttl.0,
        Renewed::Unknown => 0,
        Renewed::NotYet => -1,
    };
    // Why it was not confirmed is no matter: whoever asked asks again.
    let renewed = inbox.renew_here(leases.into_iter().map(LeaseId).collect()).await.ok();
    let confirmed = renewed.is_some();
    let found = renewed.unwrap_or_default().into_iter().map(found).collect();
    Ok(LeaseRenewalAnswer { ticket, confirmed, found })
}
