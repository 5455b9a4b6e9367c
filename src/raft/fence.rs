//! The fence, as far as consensus is concerned: a member that lost what it had written takes no part
//! in elections, and a leader forgets what such a member had acknowledged.

use raft_rs::eraftpb::{Message, MessageType};

use crate::{
    raft::{Role, core::RaftCore},
    types::{Index, MemberId, Term},
};

impl RaftCore {
    /// Puts the fence up or takes it down. Behind it this member stands in no election, votes in none
    /// and is handed no leadership.
    pub fn set_fenced(&mut self, fenced: bool) {
        self.fenced = fenced;
    }

    /// The members that vote, in either configuration when there are two.
    #[must_use]
    pub fn voters(&self) -> Vec<MemberId> {
        let voters = self.node().raft.prs().conf().voters().ids();
        voters.iter().map(MemberId).collect()
    }

    /// Follows a term that others are known to be in, if it is newer. It is on disk before anything
    /// that rests on it leaves.
    pub fn adopt(&mut self, term: Term) {
        if term > self.term() {
            self.node_mut().raft.become_follower(term.0, 0);
        }
    }

    /// The commit index, when this member leads and has committed an entry of its term: before that a
    /// new leader may know less than was committed.
    #[must_use]
    pub fn commit_as_leader(&self) -> Option<Index> {
        let knows = self.role() == Role::Leader && self.node().raft.commit_to_current_term();
        knows.then(|| self.committed())
    }

    /// Up to where `member` has acknowledged this leader's log.
    #[must_use]
    pub fn acknowledged(&self, member: MemberId) -> Option<Index> {
        let progress = self.node().raft.prs().get(member.0)?;
        (self.role() == Role::Leader).then_some(Index(progress.matched))
    }

    /// Forgets what `member` has acknowledged: it may have lost it.
    pub fn forget_acknowledged(&mut self, member: MemberId) {
        if self.role() != Role::Leader {
            return;
        }
        let next = self.last_index().next();
        let raft = &mut self.node_mut().raft;
        if raft.lead_transferee == Some(member.0) {
            raft.abort_leader_transfer();
        }
        if let Some(progress) = raft.mut_prs().get_mut(member.0) {
            // What is pending would become the index to go on from.
            progress.pending_snapshot = 0;
            progress.pending_request_snapshot = 0;
            progress.matched = 0;
            progress.become_probe();
            progress.next_idx = next.0;
        }
    }

    /// Whether the fence keeps this message out.
    pub(super) fn is_fenced_off(&self, message: &Message) -> bool {
        let about_elections = matches!(
            message.get_msg_type(),
            MessageType::MsgRequestVote
                | MessageType::MsgRequestVoteResponse
                | MessageType::MsgRequestPreVote
                | MessageType::MsgRequestPreVoteResponse
                | MessageType::MsgTimeoutNow
        );
        self.fenced && about_elections
    }
}
