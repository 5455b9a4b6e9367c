//! A member whose data are known to be wrong leads only if nobody else can.
//!
//! It must not lead, because clients are answered from the leader's data before anybody's. But its
//! log is as good as any: if it alone holds an entry that was acknowledged, nobody else is elected,
//! and not even the alarm could be cleared. So it stands for election late, and hands leadership
//! over as soon as it has it.

use crate::{node::replica::Replica, raft::Role};

impl Replica {
    /// Has a member that is named by the alarm step back, and one that is no more stop doing so.
    pub(super) fn step_back_if_corrupt(&mut self) {
        let corrupt = self.shared.is_corrupt();
        self.core.set_reluctant(corrupt);
        if corrupt && self.core.role() == Role::Leader && !self.core.is_handing_over() {
            self.hand_over(None);
        }
    }
}
