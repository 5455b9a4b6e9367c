//! Reads that wait for a quorum to confirm the leader, and then for the applied index.
//!
//! All reads that wait when a round starts share it. Every round has a context of its own, and an
//! answer counts only while term and leader are those it was asked under: an answer to an earlier
//! attempt could be older than a write that was acknowledged since. The raft library drops
//! requests it cannot serve without a word, so an unanswered round is asked again after a while.

use std::collections::BTreeMap;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;

use crate::{
    raft::ReadState,
    types::{BootNumber, Index, MemberId, Millis, Term, limits},
};

type Waiter = oneshot::Sender<()>;

#[derive(Debug)]
pub(super) struct ReadIndex {
    member: MemberId,
    boot: BootNumber,
    rounds_asked: u64,
    waiting: Waiters,
    round: Option<Round>,
    confirmed: BTreeMap<Index, Vec<Waiter>>,
    /// Counts rounds that were not answered in time, and answers that came after that.
    slow_rounds: Counter,
}

#[derive(Debug)]
struct Round {
    context: Bytes,
    under: (Term, Option<MemberId>),
    asked: Millis,
    waiters: Waiters,
}

/// Who waits for a round.
#[derive(Debug, Default)]
struct Waiters {
    /// For the state here to show what the round vouches for.
    state: Vec<Waiter>,
    /// For the confirmation of the leader alone.
    leader: Vec<Waiter>,
}

impl Waiters {
    fn len(&self) -> usize {
        self.state.len() + self.leader.len()
    }

    /// Forgets those who have left.
    fn forget_closed(&mut self) {
        self.state.retain(|waiter| !waiter.is_closed());
        self.leader.retain(|waiter| !waiter.is_closed());
    }
}

impl ReadIndex {
    pub(super) fn new(member: MemberId, boot: BootNumber, slow_rounds: Counter) -> Self {
        Self {
            member,
            boot,
            rounds_asked: 0,
            waiting: Waiters::default(),
            round: None,
            confirmed: BTreeMap::new(),
            slow_rounds,
        }
    }

    /// Lets a read wait; when too many do, it is sent away by dropping its waiter.
    pub(super) fn wait(&mut self, waiter: Waiter) {
        if self.len() < limits::WAITING_READS_MAX {
            self.waiting.state.push(waiter);
        }
    }

    /// The same for who needs to know that the leader is one, and nothing of the state.
    pub(super) fn wait_for_leader(&mut self, waiter: Waiter) {
        if self.len() < limits::WAITING_READS_MAX {
            self.waiting.leader.push(waiter);
        }
    }

    /// The context of a new round, when one must be asked now.
    pub(super) fn next_round(
        &mut self,
        under: (Term, Option<MemberId>),
        now: Millis,
    ) -> Option<Bytes> {
        self.drop_stale_round(under, now);
        if self.round.is_some() || self.waiting.len() == 0 {
            return None;
        }
        self.rounds_asked += 1;
        let mut context = Vec::with_capacity(24);
        context.extend_from_slice(&self.member.0.to_be_bytes());
        context.extend_from_slice(&self.boot.0.to_be_bytes());
        context.extend_from_slice(&self.rounds_asked.to_be_bytes());
        let context = Bytes::from(context);
        let waiters = std::mem::take(&mut self.waiting);
        self.round = Some(Round { context: context.clone(), under, asked: now, waiters });
        Some(context)
    }

    /// Takes an answer in. It is ignored unless it is to the round that is out, and nothing has
    /// changed since.
    pub(super) fn answer(&mut self, state: &ReadState, under: (Term, Option<MemberId>)) {
        match self.round.take() {
            Some(round) if round.context == state.context && round.under == under => {
                wake(round.waiters.leader);
                self.confirmed.entry(state.index).or_default().extend(round.waiters.state);
            }
            other => {
                self.slow_rounds.inc();
                self.round = other;
            }
        }
    }

    /// Wakes the reads that the state here now serves.
    pub(super) fn applied(&mut self, index: Index) {
        while let Some(entry) = self.confirmed.first_entry() {
            if *entry.key() > index {
                return;
            }
            wake(entry.remove());
        }
    }

    /// Forgets the reads whose callers have left.
    pub(super) fn forget_closed(&mut self) {
        self.waiting.forget_closed();
        for waiters in self.confirmed.values_mut() {
            waiters.retain(|waiter| !waiter.is_closed());
        }
    }

    fn len(&self) -> usize {
        let confirmed: usize = self.confirmed.values().map(Vec::len).sum();
        self.waiting.len() + self.round.as_ref().map_or(0, |r| r.waiters.len()) + confirmed
    }

    fn drop_stale_round(&mut self, under: (Term, Option<MemberId>), now: Millis) {
        let is_late = |round: &Round| now.since(round.asked) >= limits::READ_INDEX_RETRY;
        if !self.round.as_ref().is_some_and(|round| round.under != under || is_late(round)) {
            return;
        }
        if self.round.as_ref().is_some_and(is_late) {
            self.slow_rounds.inc();
        }
        if let Some(mut round) = self.round.take() {
            round.waiters.forget_closed();
            self.waiting.state.extend(round.waiters.state);
            self.waiting.leader.extend(round.waiters.leader);
        }
    }
}

fn wake(waiters: Vec<Waiter>) {
    for waiter in waiters {
        // Whoever waited may have left.
        let _ = waiter.send(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNDER: (Term, Option<MemberId>) = (Term(3), Some(MemberId(1)));

    fn reads() -> (ReadIndex, oneshot::Receiver<()>) {
        let mut reads = ReadIndex::new(MemberId(1), BootNumber(1), Counter::default());
        let (waiter, woken) = oneshot::channel();
        reads.wait(waiter);
        (reads, woken)
    }

    fn answer(context: &Bytes) -> ReadState {
        ReadState { context: context.clone(), index: Index(5) }
    }

    /// A read waits for its round, and then for the applied index.
    #[test]
    fn a_read_waits_for_the_round_and_for_the_state() {
        let (mut reads, mut woken) = reads();
        let context = reads.next_round(UNDER, Millis(0)).unwrap();
        reads.answer(&answer(&context), UNDER);
        reads.applied(Index(4));
        assert!(woken.try_recv().is_err());
        reads.applied(Index(5));
        assert!(woken.try_recv().is_ok());
    }

    /// Who asks for the leader alone is told at once, however far the state is behind.
    #[test]
    fn a_confirmation_does_not_wait_for_the_state() {
        let (mut reads, mut read) = reads();
        let (waiter, mut confirmed) = oneshot::channel();
        reads.wait_for_leader(waiter);
        let context = reads.next_round(UNDER, Millis(0)).unwrap();
        assert!(confirmed.try_recv().is_err());
        reads.answer(&answer(&context), UNDER);
        assert!(confirmed.try_recv().is_ok());
        assert!(read.try_recv().is_err());
    }

    /// The answer to an earlier attempt counts for nothing, even in the same term.
    #[test]
    fn rr_05_a_late_answer_is_not_taken_for_the_retry() {
        let (mut reads, mut woken) = reads();
        let first = reads.next_round(UNDER, Millis(0)).unwrap();
        let second = reads.next_round(UNDER, limits::READ_INDEX_RETRY).unwrap();
        assert_ne!(first, second);
        reads.answer(&answer(&first), UNDER);
        reads.applied(Index(9));
        assert!(woken.try_recv().is_err());
        reads.answer(&answer(&second), UNDER);
        reads.applied(Index(9));
        assert!(woken.try_recv().is_ok());
    }

    /// When the answer and a change of leader are there together, the change wins.
    #[test]
    fn rr_06_an_answer_from_before_a_leader_change_is_dropped() {
        let (mut reads, mut woken) = reads();
        let context = reads.next_round(UNDER, Millis(0)).unwrap();
        let after = (Term(4), Some(MemberId(2)));
        reads.answer(&answer(&context), after);
        reads.applied(Index(9));
        assert!(woken.try_recv().is_err());
        assert!(reads.next_round(after, Millis(1)).is_some());
    }
}
