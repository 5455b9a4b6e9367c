//! The task that renews: which batches make a round, and what becomes of them after it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{select, sync::watch};

use super::{
    queue::{Asker, Batch},
    round::{self, Round, Unknown},
};
use crate::{
    node::{Error, Handle, TimeoutCause, ports::Renewed},
    state::Command,
    types::{Identity, Index, LeaseId, MemberId, Millis, Seconds, limits},
};

/// After this span a batch is asked again that could not be answered as a whole. It doubles with
/// each time, up to [`REPEAT_AFTER_MAX`].
const REPEAT_AFTER: Millis = Millis(5);
const REPEAT_AFTER_MAX: Millis = Millis(160);

type BoxedRound = Pin<Box<dyn Future<Output = Round> + Send>>;
/// Returns whether it is done.
type Clearing = Pin<Box<dyn Future<Output = bool> + Send>>;

/// What the task keeps in mind.
pub(super) struct Rounds {
    node: Handle,
    leader: watch::Receiver<Option<MemberId>>,
    /// The batches of the next rounds.
    ready: VecDeque<Batch>,
    /// Those that are asked again at some time.
    later: BTreeMap<Millis, Vec<Batch>>,
    under_way: FuturesUnordered<BoxedRound>,
    /// The rounds among them that go to this member's clock: at most one, since a further one would
    /// have to wait for the same confirmation.
    here: usize,
    /// What this member's clock did not know in the last round.
    unknown: Unknown,
    /// Leases whose remaining time the log is to forget.
    to_clear: BTreeSet<LeaseId>,
    /// Those for which that is proposed.
    proposed: BTreeSet<LeaseId>,
    clearing: Option<Clearing>,
}

impl Rounds {
    pub(super) fn new(node: Handle) -> Self {
        let leader = node.leadership();
        Self {
            node,
            leader,
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            under_way: FuturesUnordered::new(),
            here: 0,
            unknown: Unknown::default(),
            to_clear: BTreeSet::new(),
            proposed: BTreeSet::new(),
            clearing: None,
        }
    }

    /// Renews until the member stops.
    pub(super) async fn run(mut self) {
        let node = self.node.clone();
        let stopped = node.stopped();
        tokio::pin!(stopped);
        loop {
            self.ready.extend(node.shared().renewals.take());
            self.start_rounds();
            let next_due = self.next_due();
            select! {
                () = node.shared().renewals.arrived() => {}
                Some(round) = self.under_way.next() => self.finish(round),
                cleared = clear(&mut self.clearing) => {
                    if cleared {
                        self.repeat_cleared();
                    }
                    self.clear_next();
                }
                () = sleep(next_due) => self.repeat_due(),
                // A new leader may answer at once what the one before could not.
                _ = self.leader.changed() => self.repeat_all(),
                _ = &mut stopped => {
                    drop(self);
                    // The task lives on: a member that loses one is taken for broken.
                    return pending().await;
                }
            }
        }
    }

    /// Starts as many rounds as there can be.
    fn start_rounds(&mut self) {
        let leader = *self.leader.borrow();
        let leads = leader == Some(self.node.member_id());
        while !self.ready.is_empty() {
            let Some(leader) = leader else {
                let batches = self.take_round();
                self.not_now(batches, &Error::NoLeader);
                continue;
            };
            if leads && self.here > 0 {
                return;
            }
            if !leads && self.under_way.len() - self.here >= limits::RENEWAL_FORWARDS_MAX {
                return;
            }
            let mut batches = self.take_round();
            if leads && !batches.is_empty() {
                self.here += 1;
                let unknown = std::mem::take(&mut self.unknown);
                self.under_way.push(Box::pin(round::here(self.node.clone(), batches, unknown)));
                continue;
            }
            // Other members ask whoever leads by themselves.
            let strayed = batches.extract_if(.., |batch| batch.asker == Asker::Member).collect();
            self.not_now(strayed, &Error::NotLeader);
            if !batches.is_empty() {
                self.under_way.push(Box::pin(round::there(self.node.clone(), leader, batches)));
            }
        }
    }

    /// The batches of one round, without those that nobody waits for any more.
    fn take_round(&mut self) -> Vec<Batch> {
        let now = self.node.now();
        let mut room = limits::RENEWALS_PER_ROUND_MAX;
        let mut batches = Vec::new();
        while let Some(batch) = self.ready.pop_front_if(|batch| batch.leases.len() <= room) {
            if now >= batch.until {
                self.fail(batch, Error::TimedOut(TimeoutCause::Unknown));
            } else if !batch.is_abandoned() {
                room -= batch.leases.len();
                batches.push(batch);
            }
        }
        batches
    }

    fn finish(&mut self, round: Round) {
        let Round { here, batches, result, checkpointed } = round;
        if let Some(unknown) = here {
            self.here -= 1;
            self.unknown = unknown;
        }
        let known = &self.proposed;
        self.to_clear.extend(checkpointed.into_iter().filter(|lease| !known.contains(lease)));
        if self.clearing.is_none() {
            self.clear_next();
        }
        if let Err(error) = result {
            self.not_now(batches, &error);
            return;
        }
        for batch in batches {
            if batch.begins_answered() || batch.asker == Asker::Member {
                batch.answer();
            } else {
                self.repeat_later(batch);
            }
        }
    }

    /// Deals with batches that could not be asked for: some again, if it can help.
    fn not_now(&mut self, batches: Vec<Batch>, error: &Error) {
        for batch in batches {
            if batch.asker == Asker::Client && error.may_pass() {
                self.repeat_later(batch);
            } else {
                self.fail(batch, error.clone());
            }
        }
    }

    fn fail(&self, batch: Batch, error: Error) {
        let leases = u64::try_from(batch.leases.len()).unwrap_or(u64::MAX);
        self.node.shared().metrics.renewals_failed.inc_by(leases);
        batch.fail(error);
    }

    fn repeat_later(&mut self, mut batch: Batch) {
        let now = self.node.now();
        if now >= batch.until {
            self.fail(batch, Error::TimedOut(TimeoutCause::Unknown));
            return;
        }
        let after = Millis(REPEAT_AFTER.0 << batch.repeats.min(16)).min(REPEAT_AFTER_MAX);
        batch.repeats = batch.repeats.saturating_add(1);
        // What an answer promises counts from the round that it comes from: an older one says nothing.
        batch.leases.iter_mut().for_each(|kept| kept.renewed = Renewed::NotYet);
        self.later.entry((now + after).min(batch.until)).or_default().push(batch);
    }

    fn repeat_due(&mut self) {
        let now = self.node.now();
        while let Some(first) = self.later.first_entry().filter(|first| *first.key() <= now) {
            self.ready.extend(first.remove());
        }
    }

    fn repeat_all(&mut self) {
        self.ready.extend(std::mem::take(&mut self.later).into_values().flatten());
    }

    /// Asks again for the batches that waited for what was cleared. Others keep their pause.
    fn repeat_cleared(&mut self) {
        let known = &self.proposed;
        for batches in self.later.values_mut() {
            let cleared = batches.extract_if(.., |batch| {
                batch.leases.first().is_some_and(|kept| known.contains(&kept.lease))
            });
            self.ready.extend(cleared);
        }
        self.later.retain(|_, batches| !batches.is_empty());
    }

    /// How long it is until a batch is to be asked again.
    fn next_due(&self) -> Option<Millis> {
        self.later.first_key_value().map(|(due, _)| due.since(self.node.now()))
    }

    /// Has the log forget how long the next leases had left, many by one command. Should that fail,
    /// they come up again with the next try to renew them.
    fn clear_next(&mut self) {
        self.clearing = None;
        self.proposed.clear();
        while self.proposed.len() < limits::LEASES_PER_CHECKPOINT_MAX
            && let Some(lease) = self.to_clear.pop_first()
        {
            self.proposed.insert(lease);
        }
        if self.proposed.is_empty() {
            return;
        }
        let cleared = self.proposed.iter().map(|lease| (*lease, Seconds(0))).collect();
        let (node, command) =
            (self.node.clone(), Command::LeaseCheckpoint { leases: cleared, known: Index(0) });
        self.clearing = Some(Box::pin(async move {
            let proposed = node.propose(Identity::anonymous(), command).await;
            proposed
                .inspect_err(|error| tracing::debug!(%error, "remaining times are not cleared yet"))
                .is_ok()
        }));
    }
}

impl Drop for Rounds {
    /// Who waits in a round goes with it, and so does who waits for one.
    fn drop(&mut self) {
        self.node.shared().renewals.close();
    }
}

/// Returns when it is known whether what is to be forgotten is.
async fn clear(clearing: &mut Option<Clearing>) -> bool {
    match clearing {
        Some(clearing) => clearing.await,
        None => pending().await,
    }
}

async fn sleep(span: Option<Millis>) {
    match span {
        Some(span) => tokio::time::sleep(Duration::from_millis(span.0)).await,
        None => pending().await,
    }
}
