//! The batches that wait, and the answer to one.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::sync::{Notify, oneshot};

use crate::{
    node::{Error, ports::Renewed},
    types::{LeaseId, Millis, Seconds, limits},
};

/// A lease to be renewed, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptAlive {
    /// The lease.
    pub lease: LeaseId,
    /// What came of it; not yet anything when it is asked for.
    pub renewed: Renewed,
}

impl KeptAlive {
    /// A lease to be renewed.
    #[must_use]
    pub fn new(lease: LeaseId) -> Self {
        Self { lease, renewed: Renewed::NotYet }
    }

    /// For how long it was renewed. `None`: there is no such lease.
    #[must_use]
    pub fn ttl(&self) -> Option<Seconds> {
        match self.renewed {
            Renewed::For(ttl) => Some(ttl),
            Renewed::Unknown | Renewed::NotYet => None,
        }
    }

    /// Whether nothing came of it yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.renewed == Renewed::NotYet
    }
}

/// Who left a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client of this member: asks whoever leads, again and again.
    Client,
    /// Another member: asks this one, once.
    Member,
}

/// Leases that are answered for together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) leases: Vec<KeptAlive>,
    pub(super) asker: Asker,
    /// When it fails.
    pub(super) until: Millis,
    /// How often it was asked again.
    pub(super) repeats: u32,
    reply: oneshot::Sender<Result<Vec<KeptAlive>, Error>>,
    /// Its part of all leases that wait.
    _waits: Waits,
}

impl Batch {
    /// Whether something can be answered. Answers keep the order of what was asked.
    pub(super) fn begins_answered(&self) -> bool {
        !self.leases.first().is_some_and(KeptAlive::is_open)
    }

    /// Whether whoever left it has gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers it. Whoever waited may have left.
    pub(super) fn answer(self) {
        let _ = self.reply.send(Ok(self.leases));
    }

    pub(super) fn fail(self, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}

/// The answer to a batch.
#[derive(Debug)]
pub struct Renewing(oneshot::Receiver<Result<Vec<KeptAlive>, Error>>);

impl Future for Renewing {
    type Output = Result<Vec<KeptAlive>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Nobody answers any more: the member stops.
        Pin::new(&mut self.0).poll(context).map(|reply| reply.unwrap_or(Err(Error::Stopped)))
    }
}

/// The batches that nobody has looked at yet.
#[derive(Debug, Default)]
pub(in crate::node) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Leases of all batches that are not answered, here or in a round.
    leases: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: Vec<Batch>,
    closed: bool,
}

impl Queue {
    pub(super) fn leave(&self, leases: Vec<KeptAlive>, asker: Asker, until: Millis) -> Renewing {
        let (reply, renewing) = oneshot::channel();
        let renewing = Renewing(renewing);
        let waits = Waits::new(&self.leases, leases.len());
        let too_many = leases.len() > limits::RENEWALS_PER_ROUND_MAX
            || self.leases.load(Ordering::Relaxed) > limits::RENEWALS_WAITING_MAX;
        let batch = Batch { leases, asker, until, repeats: 0, reply, _waits: waits };
        if too_many {
            batch.fail(Error::TooManyRequests);
            return renewing;
        }
        let mut waiting = self.lock();
        if waiting.closed {
            return renewing;
        }
        waiting.batches.push(batch);
        let first = waiting.batches.len() == 1;
        drop(waiting);
        if first {
            self.arrived.notify_one();
        }
        renewing
    }

    /// Takes the batches that wait.
    pub(super) fn take(&self) -> Vec<Batch> {
        std::mem::take(&mut self.lock().batches)
    }

    /// Returns when batches have come since this last did.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Leases of all batches that are not answered.
    #[cfg(test)]
    pub(in crate::node) fn leases_waiting(&self) -> usize {
        self.leases.load(Ordering::Relaxed)
    }

    /// Sends all who wait away, and all who come.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.batches.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leases counted as waiting, as long as this lives.
#[derive(Debug)]
struct Waits {
    all: Arc<AtomicUsize>,
    leases: usize,
}

impl Waits {
    fn new(all: &Arc<AtomicUsize>, leases: usize) -> Self {
        all.fetch_add(leases, Ordering::Relaxed);
        Self { all: Arc::clone(all), leases }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.all.fetch_sub(self.leases, Ordering::Relaxed);
    }
}
