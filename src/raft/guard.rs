//! What is checked before a message reaches the raft library, which aborts on impossible input.

use raft_rs::{
    StateRole,
    eraftpb::{Message, MessageType},
};

use crate::{
    raft::core::RaftCore,
    types::{Fault, Index, MemberId},
};

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// It does not decode, or has a form that members never send.
    #[error("malformed message")]
    Malformed,
    /// It is for somebody else, or its sender is not who delivered it.
    #[error("message is addressed to {0}")]
    NotForUs(MemberId),
    /// It is of a kind that members do not send.
    #[error("message of a kind that does not travel")]
    Unexpected,
    /// It rests on entries or a commitment that cannot be.
    #[error("message contradicts the log: {0}")]
    Contradiction(&'static str),
    /// It proves that this member lost what it had acknowledged.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl RaftCore {
    /// Refuses what the library would abort on, or silently believe.
    ///
    /// A sender need not be a member by what is applied here: it may have been added by entries that
    /// this member still lacks, and be the one to send them.
    pub(super) fn guard(&self, from: MemberId, message: &Message) -> Result<(), StepError> {
        if message.to != self.id().0 || message.from != from.0 {
            return Err(StepError::NotForUs(MemberId(message.to)));
        }
        guard_numbers(message)?;
        match message.get_msg_type() {
            MessageType::MsgAppend => self.guard_append(message),
            MessageType::MsgHeartbeat => self.guard_heartbeat(message),
            MessageType::MsgSnapshot => guard_snapshot(message),
            MessageType::MsgAppendResponse => self.guard_append_response(message),
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
                only(message.entries.len() == 1, StepError::Malformed)
            }
            MessageType::MsgTimeoutNow => {
                let may = self.may_campaign() && !self.would_lead_unsynced();
                only(may, StepError::Contradiction("still replaying or writing"))
            }
            MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse
            | MessageType::MsgHeartbeatResponse => Ok(()),
            MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgPropose
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
            | MessageType::MsgTransferLeader => Err(StepError::Unexpected),
        }
    }

    /// Whether a campaign would be won at once, with entries that are not synced: a member that others
    /// need waits for its sync before it asks them, but whoever is alone asks nobody.
    fn would_lead_unsynced(&self) -> bool {
        let log = &self.node().raft.raft_log;
        self.is_single_voter() && log.persisted < log.last_index()
    }

    fn guard_append(&self, message: &Message) -> Result<(), StepError> {
        let mut previous_term = message.log_term;
        for (offset, entry) in (1..).zip(&message.entries) {
            if message.index.checked_add(offset) != Some(entry.index) {
                return Err(StepError::Contradiction("entries are not contiguous"));
            }
            if entry.term < previous_term || entry.term > message.term {
                return Err(StepError::Contradiction("terms of entries go back"));
            }
            previous_term = entry.term;
        }
        if message.term < self.term().0 {
            return Ok(()); // of a past leader: the library answers it without looking further
        }
        for entry in message.entries.iter().take_while(|e| e.index <= self.committed().0) {
            let known = self.log().term_of(Index(entry.index));
            if known.is_some_and(|term| term.0 != entry.term) {
                return Err(StepError::Contradiction("an entry differs from a committed one"));
            }
        }
        Ok(())
    }

    fn guard_heartbeat(&self, message: &Message) -> Result<(), StepError> {
        let last = self.last_index().0;
        if message.term >= self.term().0 && message.commit > last {
            // The leader tells a member only what that member acknowledged.
            return Err(Fault::new(format!(
                "the log ends at {last}, but index {} was acknowledged to leader {:x}: synced entries are lost",
                message.commit, message.from,
            ))
            .into());
        }
        Ok(())
    }

    fn guard_append_response(&self, message: &Message) -> Result<(), StepError> {
        let raft = &self.node().raft;
        let believed = raft.state == StateRole::Leader && message.term == raft.term;
        only(
            !believed || message.index <= self.last_index().0,
            StepError::Contradiction("acknowledges entries that do not exist"),
        )
    }

    /// The last entry of this member's log.
    #[must_use]
    pub fn last_index(&self) -> Index {
        Index(self.node().raft.raft_log.last_index())
    }
}

/// A term of zero is a local message's, which the library believes without looking at terms; only
/// a read request travels so. Numbers near the end of their type would overflow in its sums.
fn guard_numbers(message: &Message) -> Result<(), StepError> {
    let local = message.term == 0;
    let reads = message.get_msg_type() == MessageType::MsgReadIndex;
    only(local == reads, StepError::Malformed)?;
    const LARGEST: u64 = u64::MAX / 2;
    let metadata = message.get_snapshot().get_metadata();
    let numbers = [
        metadata.index,
        metadata.term,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ];
    let small = numbers.iter().all(|number| *number <= LARGEST);
    only(small && message.request_snapshot == 0, StepError::Malformed)
}

fn guard_snapshot(message: &Message) -> Result<(), StepError> {
    let metadata = message.get_snapshot().get_metadata();
    let whole = metadata.index > 0 && metadata.term > 0 && metadata.term <= message.term;
    let voters = metadata.get_conf_state().get_voters();
    only(whole && !voters.is_empty(), StepError::Contradiction("snapshot without members"))
}

fn only(holds: bool, otherwise: StepError) -> Result<(), StepError> {
    if holds { Ok(()) } else { Err(otherwise) }
}
