//! [`RaftCore`]: the raft library's node behind a door of our own.

use std::sync::Arc;

use bytes::Bytes;
use raft_rs::{
    Config, RawNode, ReadOnlyOption, SnapshotStatus, StateRole,
    eraftpb::{Message, MessageType},
};

use crate::{
    raft::{
        Fetch, FetchTicket, LogEntry, LogState, LogWrite, Outgoing, Position, ReadLog, ReadState,
        Ready, SnapshotToSend, StepError, Voters,
        log::{RaftLog, hard_state_from_raft},
        logger, message,
    },
    types::{Fault, Index, MemberId, Term, limits},
};

/// Election timeouts that a reluctant member leaves to the others: each of them may need two, and a
/// second attempt.
const RELUCTANCE: usize = 3;

/// How a core is set up.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This member.
    pub id: MemberId,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader after which a member stands for election, at least.
    pub election_ticks: usize,
    /// How far the state has applied the log.
    pub applied: Index,
    /// Spreads election timeouts; with the same seed and input, everything repeats.
    pub seed: u64,
}

/// What a member is in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It orders the log.
    Leader,
    /// It follows, or waits for a leader.
    Follower,
    /// It stands for election.
    Candidate,
}

/// Why a proposal was not taken. It is not in the log and never will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This member does not lead, or is handing over.
    #[error("not leader")]
    NotLeader,
    /// Too much is appended and not yet committed.
    #[error("too many uncommitted bytes")]
    Full,
}

/// The raft library's node behind a door of our own.
pub struct RaftCore {
    node: RawNode<RaftLog>,
    config: CoreConfig,
    /// The commit index remembered at start; until it is applied this member starts no election.
    replay_to: Index,
    /// The newest term that is synced.
    durable_term: Term,
    /// Terms of rounds that are written but not synced, with their numbers.
    unsynced_terms: Vec<(u64, Term)>,
    /// How often this member stood for election.
    campaigns: u64,
    /// The commit index that the others were last told.
    told: Index,
    /// Whether it stands for election only when nobody else does.
    reluctant: bool,
    /// Who is to lead after this member, which was removed while it led.
    successor: Option<MemberId>,
    /// This member lost something, and takes no part in elections.
    pub(super) fenced: bool,
}

impl RaftCore {
    /// A core on a log that holds `state`, with the members as of the applied index.
    pub fn new(
        config: CoreConfig,
        state: &LogState,
        voters: &Voters,
        reader: Arc<dyn ReadLog>,
    ) -> Result<Self, Fault> {
        let settings = Config {
            id: config.id.0,
            election_tick: config.election_ticks,
            max_election_tick: config.election_ticks.saturating_mul(2 + RELUCTANCE),
            heartbeat_tick: config.heartbeat_ticks,
            applied: config.applied.0,
            max_size_per_msg: limits::APPEND_MESSAGE_BYTES_MAX,
            max_inflight_msgs: limits::APPENDS_INFLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            max_uncommitted_size: limits::UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: limits::COMMITTED_BATCH_BYTES_MAX,
            skip_bcast_commit: true, // `tell_commit` does it once a round
            ..Config::default()
        };
        let log = RaftLog::new(state, voters, reader);
        let node = RawNode::new(&settings, log, &logger::logger())
            .map_err(|error| Fault::new(format!("raft cannot start on its log: {error}")))?;
        let mut core = Self {
            node,
            config,
            replay_to: state.hard_state.commit,
            durable_term: state.hard_state.term,
            unsynced_terms: Vec::new(),
            campaigns: 0,
            told: Index(0),
            reluctant: false,
            successor: None,
            fenced: false,
        };
        core.spread_election_timeout();
        Ok(core)
    }

    /// Lets one tick pass. A member that replays its log, or is alone and has writes outstanding,
    /// lets no time pass towards an election.
    pub fn tick(&mut self, writes_outstanding: bool) {
        let waits =
            self.fenced || !self.may_campaign() || (self.is_single_voter() && writes_outstanding);
        if self.role() != Role::Leader && waits {
            return;
        }
        let follower = self.role() != Role::Leader;
        // Whoever is alone need not wait for a leader to show up.
        let campaigns = if follower && self.is_single_voter() {
            self.node.campaign().is_ok()
        } else {
            self.node.tick() && follower
        };
        if campaigns {
            self.campaigns += 1;
        }
        self.spread_election_timeout();
    }

    /// Says whether this member waits with standing for election until all others had their turn. It
    /// takes part in their elections as ever.
    pub fn set_reluctant(&mut self, reluctant: bool) {
        self.reluctant = reluctant;
    }

    /// Takes a message that `from` delivered.
    pub fn step(&mut self, from: MemberId, bytes: &Bytes) -> Result<(), StepError> {
        let message = message::decode(bytes)?;
        if message.get_msg_type() == MessageType::MsgSnapshot {
            return Err(StepError::Unexpected); // it comes with a checkpoint, or not at all
        }
        self.step_message(from, message)
    }

    /// Takes the message that announces a checkpoint, which `from` has delivered with it.
    pub fn step_snapshot(&mut self, from: MemberId, bytes: &Bytes) -> Result<(), StepError> {
        let message = message::decode(bytes)?;
        if message.get_msg_type() != MessageType::MsgSnapshot {
            return Err(StepError::Unexpected);
        }
        self.step_message(from, message)
    }

    fn step_message(&mut self, from: MemberId, message: Message) -> Result<(), StepError> {
        self.guard(from, &message)?;
        if self.is_fenced_off(&message) {
            return Ok(());
        }
        // What the library still declines (a late answer, a dropped vote) is no fault of anyone.
        let _ = self.node.step(message);
        self.spread_election_timeout();
        Ok(())
    }

    /// Appends an entry. Only a leader can.
    pub fn propose(&mut self, data: Bytes) -> Result<(), ProposeError> {
        assert!(!data.is_empty(), "an empty entry means a new leader and nothing else");
        if self.role() != Role::Leader || self.is_handing_over() {
            return Err(ProposeError::NotLeader);
        }
        self.node.propose(Vec::new(), data.into()).map_err(|_| ProposeError::Full)
    }

    /// Asks up to which index a read must wait. The answer comes as a [`ReadState`] with this
    /// context, or never: ask again, with a fresh context.
    pub fn read_index(&mut self, context: Bytes) {
        self.node.read_index(context.into());
    }

    /// Whether a read index can be given: a leader must have committed in its term first.
    pub fn can_read(&self) -> bool {
        match self.role() {
            Role::Leader => self.node.raft.commit_to_current_term(),
            Role::Follower => self.leader().is_some(),
            Role::Candidate => false,
        }
    }

    /// The smallest index that some other member is known to hold, when this member leads.
    pub fn slowest_match(&self) -> Option<Index> {
        if self.role() != Role::Leader {
            return None;
        }
        let others = self.node.raft.prs().iter().filter(|(id, _)| **id != self.config.id.0);
        others.map(|(_, progress)| Index(progress.matched)).min()
    }

    /// Tells that messages to `id` get lost.
    pub fn report_unreachable(&mut self, id: MemberId) {
        self.node.report_unreachable(id.0);
    }

    /// Tells what became of a snapshot sent to `id`.
    pub fn report_snapshot(&mut self, id: MemberId, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(id.0, status);
    }

    /// The next round of work, if there is any.
    pub fn ready(&mut self) -> Option<Ready> {
        self.tell_commit();
        if !self.node.has_ready() {
            return None;
        }
        let mut raw = self.node.ready();
        let mut ready =
            Ready { number: raw.number(), must_sync: raw.must_sync(), ..Ready::default() };

        ready.messages = raw.take_messages().into_iter().map(outgoing).collect();
        ready.write = LogWrite {
            hard_state: raw.hs().map(hard_state_from_raft),
            entries: raw.take_entries(),
        };
        for message in raw.take_persisted_messages() {
            let at_once = self.may_leave_early(&message);
            let queue = if at_once { &mut ready.messages } else { &mut ready.after_sync };
            queue.push(outgoing(message));
        }
        if raw.snapshot().get_metadata().index != 0 {
            let metadata = raw.snapshot().get_metadata().clone();
            let to = Position { index: Index(metadata.index), term: Term(metadata.term) };
            self.log().reset(to, metadata.get_conf_state().clone());
            ready.snapshot = Some(to);
        }
        ready.committed = raw.take_committed_entries();
        ready.reads = raw.take_read_states().into_iter().map(read_state).collect();

        // From here on the library reads these entries through the log.
        self.log().append(&ready.write.entries);
        if let Some(hard_state) = ready.write.hard_state {
            self.unsynced_terms.push((ready.number, hard_state.term));
        }
        self.node.advance_append_async(raw);
        Some(ready)
    }

    /// Tells that the writes of all rounds up to `number` are synced.
    pub fn persisted(&mut self, number: u64) {
        while let Some((_, term)) = self.unsynced_terms.first().filter(|(n, _)| *n <= number) {
            self.durable_term = self.durable_term.max(*term);
            self.unsynced_terms.remove(0);
        }
        self.node.on_persist_ready(number);
    }

    /// Tells how far the state has applied the log.
    pub fn applied(&mut self, index: Index) {
        self.node.advance_apply_to(index.0);
        let safe = self.node.raft.raft_log.persisted.min(index.0);
        self.log().shrink(Index(safe));
    }

    /// Drops the entries up to and with `to` from memory and from what members are offered.
    pub fn truncate(&mut self, to: Position) {
        self.log().truncate(to);
    }

    /// Entries that a lagging member needs from disk.
    pub fn take_fetches(&mut self) -> Vec<Fetch> {
        self.log().take_fetches()
    }

    /// Hands in entries that were read from disk, for the member they were fetched for.
    pub fn fetched(&mut self, ticket: FetchTicket, entries: Vec<LogEntry>) {
        self.log().put_fetched(ticket.low, entries);
        self.node.on_entries_fetched(ticket.context);
        self.log().drop_fetched();
    }

    /// Whether a member lags so far that a snapshot must be made.
    pub fn wants_snapshot(&self) -> bool {
        self.log().wants_snapshot()
    }

    /// Hands in a snapshot, with who decided as of its position and bytes that name it to the sender,
    /// or says that none could be made.
    pub fn put_snapshot(&mut self, prepared: Option<(Position, &Voters, Bytes)>) {
        self.log().put_snapshot(prepared);
    }

    /// This member.
    pub fn id(&self) -> MemberId {
        self.config.id
    }

    /// What this member is.
    pub fn role(&self) -> Role {
        match self.node.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Follower => Role::Follower,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
        }
    }

    /// The current term.
    pub fn term(&self) -> Term {
        Term(self.node.raft.term)
    }

    /// The leader of the current term, as far as known.
    pub fn leader(&self) -> Option<MemberId> {
        let id = self.node.raft.leader_id;
        (id != 0).then_some(MemberId(id))
    }

    /// Up to where the log is known to be committed.
    pub fn committed(&self) -> Index {
        Index(self.node.raft.raft_log.committed)
    }

    /// The term of the entry at `index`, if the log still knows it.
    pub fn term_of(&self, index: Index) -> Option<Term> {
        self.log().term_of(index)
    }

    /// The last entry that was dropped from the front of the log.
    pub fn truncated(&self) -> Position {
        self.log().truncated()
    }

    /// Whether leadership is being handed over, during which nothing can be proposed.
    pub fn is_handing_over(&self) -> bool {
        self.node.raft.lead_transferee.is_some()
    }

    /// Whether this member has applied what it knew to be committed when it started, and no
    /// checkpoint is on its way into the state: a campaign reads the entries after the applied one.
    pub(super) fn may_campaign(&self) -> bool {
        let applied = Index(self.node.raft.raft_log.applied);
        applied >= self.replay_to && applied >= self.truncated().index
    }

    pub(super) fn log(&self) -> &RaftLog {
        self.node.raft.store()
    }

    pub(super) fn node(&self) -> &RawNode<RaftLog> {
        &self.node
    }

    pub(super) fn successor(&self) -> Option<MemberId> {
        self.successor
    }

    pub(super) fn set_successor(&mut self, successor: Option<MemberId>) {
        self.successor = successor;
    }

    pub(super) fn node_mut(&mut self) -> &mut RawNode<RaftLog> {
        &mut self.node
    }

    /// Whether nobody else votes.
    pub fn is_single_voter(&self) -> bool {
        let voters = self.node.raft.prs().conf().voters();
        voters.ids().len() == 1 && voters.contains(self.config.id.0)
    }

    /// A follower's messages wait for its sync, because most of them promise what was written.
    /// These promise nothing but the term, so they may leave once that is durable; otherwise each
    /// round of reads under write load would cost a sync.
    fn may_leave_early(&self, message: &Message) -> bool {
        match message.get_msg_type() {
            MessageType::MsgHeartbeatResponse | MessageType::MsgReadIndex => {
                self.durable_term == self.term()
            }
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgAppend
            | MessageType::MsgAppendResponse
            | MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgSnapshot
            | MessageType::MsgHeartbeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
            | MessageType::MsgTransferLeader
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndexResp
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse => false,
        }
    }

    /// Tells the others how far the log is committed, in the appends of this round where there are
    /// any. Left to itself the library sends everyone a message for each answer that commits, and
    /// each of them is answered.
    fn tell_commit(&mut self) {
        let raft = &mut self.node.raft;
        let committed = raft.raft_log.committed;
        if raft.state != StateRole::Leader || self.told == Index(committed) {
            return;
        }
        self.told = Index(committed);
        let members: Vec<_> = raft.prs().iter().map(|(id, _)| *id).collect();
        for id in members.into_iter().filter(|id| *id != self.config.id.0) {
            let is_append =
                |it: &&mut Message| it.to == id && it.get_msg_type() == MessageType::MsgAppend;
            match raft.msgs.iter_mut().rev().find(is_append) {
                Some(append) => append.commit = committed,
                None => raft.send_append(id),
            }
        }
    }

    /// The library draws election timeouts from the thread's random numbers. Replaced after every
    /// step and tick by a function of seed, member, term and attempt, so that runs can be repeated.
    pub(super) fn spread_election_timeout(&mut self) {
        let mix = self.config.seed
            ^ self.config.id.0.rotate_left(17)
            ^ self.node.raft.term.rotate_left(34)
            ^ self.campaigns.rotate_left(51);
        let span = self.config.election_ticks as u64;
        let turn = if self.reluctant { span * RELUCTANCE as u64 } else { 0 };
        // One tick more than others need to grant a vote, for their ticks fall a little later: who is
        // not answered waits for a whole timeout, and may be the only one with all of the log.
        let ticks = span + 1 + turn + split_mix(mix) % (span - 1).max(1);
        self.node
            .raft
            .set_randomized_election_timeout(usize::try_from(ticks).unwrap_or(usize::MAX));
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): spreads near inputs far apart.
fn split_mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn outgoing(message: Message) -> Outgoing {
    let metadata = message.get_snapshot().get_metadata();
    let snapshot = (message.get_msg_type() == MessageType::MsgSnapshot).then(|| SnapshotToSend {
        position: Position { index: Index(metadata.index), term: Term(metadata.term) },
        data: message.get_snapshot().data.clone(),
    });
    Outgoing { to: MemberId(message.to), bytes: message::encode(&message), snapshot }
}

fn read_state(state: raft_rs::ReadState) -> ReadState {
    ReadState { context: state.request_ctx.into(), index: Index(state.index) }
}
