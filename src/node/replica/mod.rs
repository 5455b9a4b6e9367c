//! [`Replica`]: what the driver's loop does, as plain functions.
//!
//! Inputs are taken in one by one; then [`Replica::finish_round`] turns all that came in into one
//! round of work: requests that waited become one entry, reads that waited share one round, and
//! whatever consensus wants sent, written and applied comes out as an [`Output`].

mod corrupt;
mod fence;
mod hang;
mod members;
mod own;
mod persist;
mod propose;
mod snapshot;

use std::{collections::VecDeque, sync::Arc};

use crate::{
    node::{
        auto_compaction::AutoCompactor,
        forward::{Forwarded, Forwards},
        ports::{Frame, ReadFrom},
        read_index::ReadIndex,
        retention::Retention,
        shared::{Shared, Stop},
        task::{ApplyTask, Input, Output},
    },
    raft::{CoreConfig, LogState, Position, RaftCore, Role, StepError, Voters},
    types::{Fault, Index, MemberId, Millis, Term},
};

use self::{fence::Fence, hang::Hang, own::Own, persist::Writing, snapshot::Snapshots};

/// One member's consensus and everything that hangs on it.
pub struct Replica {
    shared: Arc<Shared>,
    core: RaftCore,
    /// Requests of this member that wait to be handed over.
    queue: VecDeque<u64>,
    /// Requests of the member itself, for a leader's log only.
    own: Own,
    forwards: Forwards,
    forwarded: Forwarded,
    reads: ReadIndex,
    writing: Writing,
    hang: Hang,
    snapshots: Snapshots,
    retention: Retention,
    auto_compactor: AutoCompactor,
    fence: Fence,
    applied: Position,
    flushed: Index,
    flushing: bool,
    seen: Seen,
    /// When this member learned that it was removed.
    removed: Option<Millis>,
    /// When the last input came. Ticks are inputs, so this is a heartbeat ago at most, unless the
    /// process was paused.
    awake: Millis,
    output: Output,
}

/// What was last told to others about who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    term: Term,
    leader: Option<MemberId>,
    promoted: Option<Term>,
}

impl Replica {
    /// A replica on a log that holds `log`, with a state that has applied it up to `applied`.
    pub fn new(
        shared: Arc<Shared>,
        log: &LogState,
        voters: &Voters,
        applied: Position,
        reader: Arc<dyn crate::node::ports::LogStore>,
    ) -> Result<Self, Fault> {
        let (settings, figures) = (&shared.settings, &shared.metrics.figures);
        let config = CoreConfig {
            id: settings.member,
            heartbeat_ticks: 1,
            election_ticks: settings.election_ticks(),
            applied: applied.index,
            seed: settings.seed,
        };
        let core = RaftCore::new(config, log, voters, Arc::new(ReadFrom(reader)))?;
        Ok(Self {
            forwards: Forwards::new(settings.boot),
            forwarded: Forwarded::default(),
            reads: ReadIndex::new(settings.member, settings.boot, figures.slow_rounds.clone()),
            writing: Writing::after(log.hard_state),
            hang: Hang::default(),
            snapshots: Snapshots::default(),
            retention: Retention::of_log(log.truncated.index, log.last.index, log.bytes),
            auto_compactor: AutoCompactor::new(settings.auto_compaction),
            fence: Fence::default(),
            core,
            queue: VecDeque::new(),
            own: Own::default(),
            applied,
            flushed: applied.index,
            flushing: false,
            seen: Seen::default(),
            removed: None,
            awake: Millis(0),
            output: Output::default(),
            shared,
        })
    }

    /// Takes an input in. Its consequences come out of [`Replica::finish_round`].
    pub fn handle(&mut self, now: Millis, input: Input) {
        self.notice_pause(now);
        match input {
            Input::Tick => self.tick(now),
            Input::Frame(from, incarnation, frame) => {
                if self.hears(from, incarnation) {
                    self.receive(from, frame);
                }
            }
            Input::Greeting(from, greeting) => self.greeted(from, &greeting),
            Input::Snapshot { from, stage, message } => {
                self.receive_snapshot(from, stage, &message)
            }
            Input::Proposal(sequence) => self.queue.push_back(sequence),
            Input::Read(waiter) => self.reads.wait(waiter),
            Input::Confirm(waiter) => self.reads.wait_for_leader(waiter),
            Input::Persisted(number) => self.persisted(number),
            Input::Fetched(ticket, entries) => self.core.fetched(ticket, entries),
            Input::Progress(waiter) => drop(waiter.send(self.core.progress())),
            Input::Applied(position, changed) => {
                self.members_changed(now, changed);
                self.applied(position);
            }
            Input::Installed(position) => {
                self.installed(position);
                self.tell_members(now);
            }
            Input::Flushed(position) => self.flushed(position),
            Input::CheckpointMade(made) => self.checkpoint_made(made),
            Input::Unreachable(member) => self.core.report_unreachable(member),
            Input::SnapshotSent { to, id, arrived } => self.snapshot_sent(to, id, arrived),
            Input::HandOver(to) => self.hand_over(to),
            Input::FenceRaised => self.fence_raised(),
            Input::FenceLifted => self.fence_lifted(),
            Input::Stop => self.shared.stop(Stop::Asked),
        }
    }

    /// Turns what came in into work.
    pub fn finish_round(&mut self, now: Millis) -> Output {
        self.follow_fence();
        if self.is_ending() {
            return self.last_round();
        }
        self.follow_leadership();
        self.go_on_with_leases(now);
        self.propose_waiting(now);
        self.ask_read_index(now);
        self.drain_ready();
        self.follow_leadership();
        self.fetch_and_snapshot();
        self.shared.set_committed(self.core.committed());
        self.greet();
        std::mem::take(&mut self.output)
    }

    /// What this member is at the moment.
    #[must_use]
    pub fn role(&self) -> Role {
        self.core.role()
    }

    fn tick(&mut self, now: Millis) {
        self.writing.tick();
        self.look_at_disk();
        self.step_back_if_corrupt();
        // Whoever cannot write must not try to lead.
        if self.core.role() == Role::Leader || !self.hang.is_known() {
            self.core.urge_transferee();
            self.core.tick(self.writing.is_busy());
        }
        self.tick_fence();
        self.output.sends.extend(self.forwards.tick(now));
        self.reads.forget_closed();
        self.forget_abandoned();
        self.age_prepared();
        self.look_at_history(now);
        self.look_at_leases(now);
        self.leave(now);
    }

    fn receive(&mut self, from: MemberId, frame: Frame) {
        // A leader that was removed names its successor.
        let leads = self.core.leader() == Some(from);
        if !leads && self.shared.membership().is_removed(from) {
            return;
        }
        match frame {
            Frame::Raft(_) if self.is_deaf() => {}
            Frame::Raft(bytes) => {
                let stepped = self.core.step(from, &bytes);
                self.judge(from, stepped);
            }
            Frame::Forward { ticket, term, group } => {
                self.receive_forward(from, ticket, term, group);
            }
            Frame::ForwardAnswer { ticket, accepted } => {
                let refused = self.forwards.answered(ticket, accepted);
                self.requeue(refused);
            }
            Frame::Question { start } => self.receive_question(from, start),
            Frame::Answer { start, term, committed } => {
                self.receive_answer(from, start, term, committed);
            }
            Frame::Over { newest, start } => self.receive_over(from, newest, start),
        }
    }

    fn judge(&mut self, from: MemberId, stepped: Result<(), StepError>) {
        match stepped {
            Ok(()) => {}
            Err(StepError::Fault(fault)) => self.contradicted(fault),
            Err(
                error @ (StepError::Malformed
                | StepError::NotForUs(_)
                | StepError::Unexpected
                | StepError::Contradiction(_)),
            ) => {
                tracing::warn!(peer = %from, "message refused: {error}");
            }
        }
    }

    fn hand_over(&mut self, to: Option<MemberId>) {
        let may_lead = |member| !self.shared.is_named_corrupt(member);
        if let Some(to) = to.or_else(|| self.core.best_successor_among(may_lead))
            && self.core.role() == Role::Leader
        {
            tracing::info!(peer = %to, "handing leadership over");
            self.core.transfer_leader(to);
        }
    }

    /// Tells everyone concerned when the term, the leader or the own role has changed.
    fn follow_leadership(&mut self) {
        let (term, leader) = (self.core.term(), self.core.leader());
        if (self.seen.term, self.seen.leader) != (term, leader) {
            self.leadership_changed(term, leader);
        }
        let leads = self.core.role() == Role::Leader;
        if leads && self.applied.term == term && self.seen.promoted != Some(term) {
            self.seen.promoted = Some(term);
            self.output.apply.push(ApplyTask::Promote(term));
        }
    }

    fn leadership_changed(&mut self, term: Term, leader: Option<MemberId>) {
        let member = self.shared.settings.member;
        self.seen = Seen { term, leader, promoted: None };
        self.shared.set_term(term);
        self.shared.set_leader(leader);
        match leader {
            Some(leader) => tracing::info!(%term, "member {leader:x} leads", leader = leader.0),
            None => tracing::info!(%term, "no leader"),
        }
        let follows = leader.filter(|leader| *leader != member);
        self.forwards.follow(term, follows);
        self.forwarded.keep_term(term);
        if leader == Some(member) {
            self.hang.led_anew(self.shared.storing());
        } else {
            self.own = Own::default();
            self.drop_prepared();
            self.shared.lessor().demote();
        }
    }

    fn ask_read_index(&mut self, now: Millis) {
        // A leader that has not committed in its term drops the question without a word. It has for
        // certain once an entry of the term is applied here.
        if !self.core.can_read() || self.applied.term != self.core.term() {
            return;
        }
        let under = (self.core.term(), self.core.leader());
        if let Some(context) = self.reads.next_round(under, now) {
            self.core.read_index(context);
        }
    }
}
