//! Requests of this member that wait for their outcome.
//!
//! A request is *handed over* when it was given to the log of a term: proposed by this member as
//! its leader, or forwarded to it. Forwards name their term and are taken only in it, so once this
//! member has applied an entry of a later term, a request that was handed over before and has no
//! outcome can never get one: every entry still to come has the later term or a newer one. Then it
//! is safe to hand it over again, and this is how a request survives the loss of a leader.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    node::Error,
    raft::ConfigChange,
    state::{Answer, Refused},
    types::{Term, limits},
};

/// What came of a request: the state's answer or refusal, or why there is none.
pub(super) type Outcome = Result<Result<Answer, Refused>, Error>;

#[derive(Debug, Default)]
pub(super) struct Pending {
    last_sequence: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    stopped: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Outcome>,
    chunk: Bytes,
    /// What the request changes of the configuration: then it stands in an entry of its own.
    change: Option<ConfigChange>,
    handed_over: Option<Term>,
}

impl Pending {
    /// A sequence number that no other request of this start has.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last_sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Lets a request wait. `chunk` is the request as a group of one.
    pub(super) fn wait(
        &self,
        sequence: u64,
        chunk: Bytes,
        change: Option<ConfigChange>,
    ) -> Result<oneshot::Receiver<Outcome>, Error> {
        let mut inner = self.lock();
        if let Some(error) = &inner.stopped {
            return Err(error.clone());
        }
        if inner.waiting.len() >= limits::PENDING_PROPOSALS_MAX
            || inner.bytes + chunk.len() > limits::PENDING_PROPOSAL_BYTES_MAX
        {
            return Err(Error::TooManyRequests);
        }
        let (reply, outcome) = oneshot::channel();
        inner.bytes += chunk.len();
        inner.waiting.insert(sequence, Waiting { reply, chunk, change, handed_over: None });
        Ok(outcome)
    }

    /// Forgets a request that nobody waits for any more; tells whether it was handed over.
    pub(super) fn forget(&self, sequence: u64) -> Option<Term> {
        self.lock().remove(sequence)?.handed_over
    }

    /// Hands requests over to the log of `term`: those of `queue`, oldest first, up to a group.
    /// Returns their numbers and their bytes; requests that were forgotten are passed over, and one
    /// that changes the configuration ends the group before it.
    pub(super) fn hand_over(
        &self,
        queue: &mut VecDeque<u64>,
        term: Term,
        bytes_max: usize,
    ) -> (Vec<u64>, Vec<Bytes>) {
        let mut inner = self.lock();
        let (mut sequences, mut chunks, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(sequence) = queue.front().copied() {
            let waiting = inner.waiting.get_mut(&sequence);
            if let Some(waiting) = waiting.filter(|waiting| waiting.handed_over.is_none()) {
                if waiting.change.is_some() {
                    break;
                }
                let full = bytes + waiting.chunk.len() > bytes_max
                    || sequences.len() >= limits::GROUP_REQUESTS_MAX;
                if full && !sequences.is_empty() {
                    break;
                }
                bytes += waiting.chunk.len();
                waiting.handed_over = Some(term);
                sequences.push(sequence);
                chunks.push(waiting.chunk.clone());
            }
            queue.pop_front();
        }
        (sequences, chunks)
    }

    /// Hands over the oldest request of `queue` to the log of `term`, if it changes the configuration.
    pub(super) fn hand_over_change(
        &self,
        queue: &mut VecDeque<u64>,
        term: Term,
    ) -> Option<(u64, Bytes, ConfigChange)> {
        let mut inner = self.lock();
        loop {
            let sequence = *queue.front()?;
            let waiting = inner.waiting.get_mut(&sequence);
            if let Some(waiting) = waiting.filter(|waiting| waiting.handed_over.is_none()) {
                let change = waiting.change?;
                waiting.handed_over = Some(term);
                queue.pop_front();
                return Some((sequence, waiting.chunk.clone(), change));
            }
            queue.pop_front();
        }
    }

    /// Drops the numbers of requests that were forgotten.
    pub(super) fn keep_waiting(&self, queue: &mut VecDeque<u64>) {
        let inner = self.lock();
        queue.retain(|sequence| inner.waiting.contains_key(sequence));
    }

    /// Takes back requests that were certainly not proposed.
    pub(super) fn take_back(&self, sequences: &[u64]) {
        let mut inner = self.lock();
        for sequence in sequences {
            if let Some(waiting) = inner.waiting.get_mut(sequence) {
                waiting.handed_over = None;
            }
        }
    }

    /// Takes back the requests that were handed over to terms before `term` and returns their
    /// numbers. Only when an entry of `term` is applied here, and everything before it.
    pub(super) fn take_back_older(&self, term: Term) -> Vec<u64> {
        let mut inner = self.lock();
        let mut sequences = Vec::new();
        for (sequence, waiting) in &mut inner.waiting {
            if waiting.handed_over.is_some_and(|handed_over| handed_over < term) {
                waiting.handed_over = None;
                sequences.push(*sequence);
            }
        }
        sequences
    }

    /// Completes requests, in the order in which they were applied.
    pub(super) fn complete(&self, outcomes: Vec<(u64, Result<Answer, Refused>)>) {
        let mut inner = self.lock();
        let mut replies = Vec::with_capacity(outcomes.len());
        for (sequence, outcome) in outcomes {
            if let Some(waiting) = inner.remove(sequence) {
                replies.push((waiting.reply, outcome));
            }
        }
        drop(inner);
        for (reply, outcome) in replies {
            // Whoever waited may have left.
            let _ = reply.send(Ok(outcome));
        }
    }

    /// Fails every request that was handed over: what became of them cannot be learned here.
    pub(super) fn fail_handed_over(&self, error: &Error) {
        let mut inner = self.lock();
        let lost: Vec<u64> = inner
            .waiting
            .iter()
            .filter_map(|(sequence, waiting)| waiting.handed_over.map(|_| *sequence))
            .collect();
        for sequence in lost {
            if let Some(waiting) = inner.remove(sequence) {
                let _ = waiting.reply.send(Err(error.clone()));
            }
        }
    }

    /// Fails every request, and every one to come.
    pub(super) fn stop(&self, error: Error) {
        let mut inner = self.lock();
        for waiting in std::mem::take(&mut inner.waiting).into_values() {
            let _ = waiting.reply.send(Err(error.clone()));
        }
        inner.bytes = 0;
        inner.stopped = Some(error);
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remove(&mut self, sequence: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&sequence)?;
        self.bytes -= waiting.chunk.len();
        Some(waiting)
    }
}
