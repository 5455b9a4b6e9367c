//! Changes of who the members are: what consensus is told once they are applied, and how a member that
//! was removed leaves.

use crate::{
    node::{membership::to_voters, replica::Replica, shared::Stop, task::Changed},
    types::{Fault, Millis},
};

/// How long a member that was removed goes on, so that the others hear what it has sent.
const LEAVES_AFTER: Millis = Millis(1_000);

impl Replica {
    /// A batch was applied: what it changed of the configuration is in force from now on.
    pub(super) fn members_changed(&mut self, now: Millis, changed: Option<Changed>) {
        let Some(Changed { changes, conf }) = changed else { return };
        let mut voters = None;
        for change in changes {
            tracing::info!("the configuration changes: {change:?}");
            match self.core.apply_change(change) {
                Ok(now) => voters = Some(now),
                Err(fault) => self.output.fault = Some(fault),
            }
        }
        if let Some(voters) = voters {
            // Whoever was added could not use a checkpoint that does not know it.
            self.drop_prepared();
            if voters != to_voters(&conf) {
                let what = format!("consensus counts {voters:?}, the state {conf:?}");
                self.output.fault = Some(Fault::new(what));
            }
        }
        self.tell_members(now);
    }

    /// Tells whoever finds members, and sees whether this one is still among them.
    pub(super) fn tell_members(&mut self, now: Millis) {
        self.output.members_changed = true;
        let me = self.shared.settings.member;
        if self.removed.is_none() && self.shared.membership().is_removed(me) {
            tracing::warn!("this member was removed from the cluster");
            self.removed = Some(now);
        }
    }

    /// Lets a tick pass for a member that was removed.
    pub(super) fn leave(&mut self, now: Millis) {
        let Some(since) = self.removed else { return };
        self.core.urge_successor();
        if now.since(since) >= LEAVES_AFTER {
            self.shared.stop(Stop::Removed);
        }
    }
}
