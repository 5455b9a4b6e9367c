//! Who leads next: leadership that is handed over, or given up.

use raft_rs::INVALID_ID;

use crate::{
    raft::{Role, core::RaftCore},
    types::{Index, MemberId},
};

impl RaftCore {
    /// Hands leadership to `to`, if this member leads.
    pub fn transfer_leader(&mut self, to: MemberId) {
        self.node_mut().transfer_leader(to.0);
    }

    /// Tells the member that is to lead once more to stand for election, if it has the whole log. It
    /// cannot while it has a change of the configuration to apply, and says nothing then.
    pub fn urge_transferee(&mut self) {
        let last = self.last_index();
        let raft = &mut self.node_mut().raft;
        if let Some(to) = raft.lead_transferee
            && raft.prs().get(to).is_some_and(|progress| Index(progress.matched) == last)
        {
            raft.send_timeout_now(to);
        }
    }

    /// Stops leading, without a successor: the others elect one when they miss heartbeats.
    pub fn step_down(&mut self) {
        if self.role() == Role::Leader {
            let raft = &mut self.node_mut().raft;
            raft.become_follower(raft.term, INVALID_ID);
            self.spread_election_timeout();
        }
    }

    /// The voter whose log is longest, other than this member: whom to hand leadership to.
    pub fn best_successor(&self) -> Option<MemberId> {
        self.best_successor_among(|_| true)
    }

    /// The same of those who may lead.
    pub fn best_successor_among(&self, may_lead: impl Fn(MemberId) -> bool) -> Option<MemberId> {
        let prs = self.node().raft.prs();
        let voters = prs.conf().voters().ids();
        let best = voters
            .iter()
            .filter(|id| *id != self.id().0 && may_lead(MemberId(*id)))
            .filter_map(|id| {
                prs.get(id).map(|progress| (progress.recent_active, progress.matched, id))
            })
            .max();
        best.map(|(_, _, id)| MemberId(id))
    }
}
