//! From consensus to disk and state: what is written, what is applied, what of the log is kept.

use std::collections::VecDeque;

use crate::{
    node::{
        ports::{Checkpoint, CheckpointId, Frame},
        replica::Replica,
        task::{ApplyTask, Chore, LogTask},
    },
    raft::{self, HardState, Outgoing, Position, Ready},
    types::{Index, MemberId},
};

/// Rounds that may be written or applied at the same time. Beyond it consensus waits, so that
/// neither queue grows without bound.
const ROUNDS_MAX: usize = 64;

/// How many times what is usually kept of the log may be kept while a checkpoint is being sent.
const SENDING_KEEPS_TIMES: u64 = 4;

/// Rounds that are on their way to disk, and batches that are being applied.
#[derive(Debug, Default)]
pub(super) struct Writing {
    rounds: VecDeque<Round>,
    applying: usize,
    hard_state: HardState,
    /// Whether a round may be taken although there are too many.
    one_more: bool,
    /// What is to be applied once rounds up to this number are synced.
    held: VecDeque<(u64, ApplyTask)>,
}

#[derive(Debug)]
struct Round {
    number: u64,
    /// The last of the rounds after it that have nothing to write: they are done with it.
    last: u64,
    has_entries: bool,
}

impl Writing {
    /// Nothing on its way, on a disk that remembers this.
    pub(super) fn after(hard_state: HardState) -> Self {
        Self { hard_state, ..Self::default() }
    }

    /// Whether a round is on its way to disk.
    pub(super) fn is_busy(&self) -> bool {
        !self.rounds.is_empty()
    }

    /// The round that has been on its way to disk for longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.rounds.front().map(|round| round.number)
    }

    /// Rounds with entries that are on their way to disk.
    pub(super) fn entries_unsynced(&self) -> usize {
        self.rounds.iter().filter(|round| round.has_entries).count()
    }

    fn push(&mut self, number: u64, has_entries: bool) {
        self.rounds.push_back(Round { number, last: number, has_entries });
    }

    /// The hard state of the newest round.
    pub(super) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Whether consensus must wait for disk or state.
    pub(super) fn is_full(&self) -> bool {
        self.rounds.len() >= ROUNDS_MAX || self.applying >= ROUNDS_MAX
    }

    /// Lets a round pass at each tick all the same: heartbeats wait for no disk, nor does what a
    /// leader sends to hand over because of it.
    pub(super) fn tick(&mut self) {
        self.one_more = true;
    }

    fn takes_round(&mut self) -> bool {
        !self.is_full() || std::mem::take(&mut self.one_more)
    }
}

impl Replica {
    /// Takes out of consensus whatever it wants done.
    pub(super) fn drain_ready(&mut self) {
        while !self.snapshots.is_installing() && self.writing.takes_round() {
            match self.core.ready() {
                Some(ready) => self.take_ready(ready),
                None => return,
            }
        }
    }

    fn take_ready(&mut self, mut ready: Ready) {
        let under = (self.core.term(), self.core.leader());
        for read in &ready.reads {
            self.reads.answer(read, under);
        }
        self.reads.applied(self.applied.index);
        for message in ready.messages {
            self.send(message);
        }
        if let Some(hard_state) = ready.write.hard_state {
            self.writing.hard_state = hard_state;
        }
        if ready.committed.iter().any(raft::is_change) {
            // A configuration that was in force must be so again after a crash, or a member would
            // decide with those who decided long ago. So that it is committed has to be on disk.
            ready.write.hard_state = Some(self.writing.hard_state);
            ready.must_sync = true;
            self.writing.applying += 1;
            self.apply_after(ready.number, ApplyTask::Entries(ready.committed));
        } else if !ready.committed.is_empty() {
            self.writing.applying += 1;
            self.apply_after(0, ApplyTask::Entries(ready.committed));
        }
        // A checkpoint is a leader's to send; what waits for a sync is a follower's. One that was
        // announced by a leader that stepped down in the same round stays at home.
        let (announcing, plain): (Vec<_>, Vec<_>) =
            ready.after_sync.into_iter().partition(|message| message.snapshot.is_some());
        let after_sync: Vec<_> = plain.into_iter().map(frame).collect();
        if !announcing.is_empty() {
            self.drop_prepared();
        }
        if let Some(position) = ready.snapshot {
            assert!(ready.write.entries.is_empty(), "entries come with a snapshot");
            self.install(ready.number, position, after_sync);
            self.writing.push(ready.number, false);
            return;
        }
        if !ready.must_sync && !self.writing.is_busy() {
            // Nothing to wait for. What moved is the commit index, which need not be on disk.
            self.output.sends.extend(after_sync);
            self.core.persisted(ready.number);
            return;
        }
        let write = &ready.write;
        let has_entries = !write.entries.is_empty();
        let writes = ready.must_sync || has_entries || write.hard_state.is_some();
        if !writes
            && after_sync.is_empty()
            && let Some(round) = self.writing.rounds.back_mut()
        {
            // Heartbeats and reads go on while the disk takes its time, and must not fill the bound.
            round.last = ready.number;
            return;
        }
        if let Some(last) = ready.write.entries.last() {
            let bytes = ready.write.entries.iter().map(|entry| entry.data.len() as u64 + 32).sum();
            self.retention.appended(Index(last.index), bytes);
        }
        self.writing.push(ready.number, has_entries);
        self.output.log.push(LogTask::Write {
            number: ready.number,
            write: ready.write,
            must_sync: ready.must_sync,
            after_sync,
        });
    }

    /// Has something applied once rounds up to `number` are synced, and after all that waits already.
    pub(super) fn apply_after(&mut self, number: u64, task: ApplyTask) {
        match self.writing.held.back() {
            None if number == 0 => self.output.apply.push(task),
            last => {
                let number = last.map_or(number, |(last, _)| number.max(*last));
                self.writing.held.push_back((number, task));
            }
        }
    }

    fn send(&mut self, message: Outgoing) {
        match &message.snapshot {
            None => self.output.sends.push((message.to, Frame::Raft(message.bytes))),
            Some(snapshot) => match checkpoint_id(&snapshot.data) {
                Some(id) if self.snapshots.is_prepared(id) => {
                    let checkpoint = Checkpoint { id, applied: snapshot.position };
                    self.prepared_is_sent(checkpoint);
                    self.output.snapshots.push((message.to, checkpoint, message.bytes));
                }
                // It was let go after consensus had announced it: because members changed, or
                // because it is on its way to another one already.
                Some(_) | None => self.core.report_snapshot(message.to, false),
            },
        }
    }

    pub(super) fn persisted(&mut self, number: u64) {
        let mut done = number;
        while let Some(round) = self.writing.rounds.pop_front_if(|round| round.number <= number) {
            done = done.max(round.last);
        }
        while let Some((_, task)) = self.writing.held.pop_front_if(|(n, _)| *n <= number) {
            self.output.apply.push(task);
        }
        let installed = self.snapshots.persisted(number);
        self.core.persisted(done);
        if let Some(position) = installed {
            self.core.applied(position.index);
        }
    }

    pub(super) fn applied(&mut self, position: Position) {
        self.writing.applying = self.writing.applying.saturating_sub(1);
        let new_term = position.term > self.applied.term;
        self.applied = position;
        self.core.applied(position.index);
        self.reads.applied(position.index);
        if new_term {
            self.retry_lost(position.term);
        }
        let unflushed = self.retention.bytes_after(self.flushed);
        if !self.flushing && unflushed > self.shared.settings.unflushed_bytes_max / 2 {
            self.flushing = true;
            self.output.chores.push(Chore::Flush);
        }
    }

    /// The state's files hold the log up to `position`: what is before it is kept for others only.
    pub(super) fn flushed(&mut self, position: Position) {
        self.flushing = false;
        self.flushed = self.flushed.max(position.index);
        let settings = &self.shared.settings;
        let lags = self
            .core
            .slowest_match()
            .is_some_and(|slowest| self.retention.bytes_after(slowest) > settings.log_kept_bytes);
        let kept =
            if lags { settings.log_kept_for_laggards_bytes } else { settings.log_kept_bytes };
        let Some(mut cut) = self.retention.cut_keeping(kept) else { return };
        if let Some(needed) = self.snapshots.needed_after() {
            // Or the member would need the next checkpoint as soon as it has this one. It must not
            // keep the log for ever either.
            let most = kept.saturating_mul(SENDING_KEEPS_TIMES);
            let least = self.retention.cut_keeping(most).unwrap_or_default();
            cut = cut.min(needed.max(least));
        }
        // Another thread tells what is flushed, and may be ahead of what this one knows to be applied.
        let cut = cut.min(self.flushed).min(self.applied.index);
        if cut <= self.core.truncated().index {
            return;
        }
        if let Some(term) = self.core.term_of(cut) {
            let to = Position { index: cut, term };
            self.core.truncate(to);
            self.retention.truncated(cut);
            self.output.log.push(LogTask::Truncate(to));
        }
    }
}

/// A message that carries no snapshot, as a frame.
pub(super) fn frame(message: Outgoing) -> (MemberId, Frame) {
    (message.to, Frame::Raft(message.bytes))
}

fn checkpoint_id(data: &[u8]) -> Option<CheckpointId> {
    data.try_into().ok().map(|bytes| CheckpointId(u64::from_be_bytes(bytes)))
}
