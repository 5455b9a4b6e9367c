//! What the simulator calls in place of a [`Handle`](super::Handle), which waits and so needs a
//! runtime: the same steps, with the waiting left to the caller.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{
    lease::Renewal,
    node::{Error, Greeting, Stop, membership::config_change, pending::Outcome, shared::Shared},
    state::{Command, Request, codec},
    types::{Identity, LeaseId, MemberId, Millis, RequestId, Term},
    watch::Hub,
};

impl Shared {
    /// Lets a command wait to be proposed. Returns the number to offer the replica as
    /// [`Input::Proposal`](super::Input::Proposal), and where the outcome will be told.
    ///
    /// # Errors
    ///
    /// When too much waits already, or the member is fenced. Then the command certainly does not take effect.
    pub fn submit(&self, command: Command) -> Result<(u64, oneshot::Receiver<Outcome>), Error> {
        self.refuse_if_fenced()?;
        let sequence = self.pending.next_sequence();
        let (member, boot) = (self.settings.member, self.settings.boot);
        let id = RequestId { member, boot, sequence };
        let change = config_change(&command);
        let request = Request { id, identity: Identity::anonymous(), command };
        let outcome = self.pending.wait(sequence, codec::encode_group(&[request]), change)?;
        Ok((sequence, outcome))
    }

    /// Gives up waiting. Returns whether the command may still take effect.
    pub fn forget(&self, sequence: u64) -> bool {
        self.pending.forget(sequence).is_some()
    }

    /// The current term and its leader, as far as known.
    pub fn leadership(&self) -> (Term, Option<MemberId>) {
        (self.term(), self.leader())
    }

    /// Whether this member lost something, and serves nobody.
    pub fn serves_nobody(&self) -> bool {
        self.is_fenced()
    }

    /// What this member says of itself on a stream that it opens now.
    pub fn speaks_as(&self) -> Greeting {
        self.greeting()
    }

    /// Whether this member has found that it was removed, and is about to end.
    pub fn was_removed(&self) -> bool {
        *self.why_stopped() == Some(Stop::Removed)
    }

    /// Where watchers of this member learn of changes.
    pub fn watch_hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The time on this member's clock.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Renews a lease as of `asked`, after a read barrier that was asked for at that time or later.
    /// `None`: this member does not lead, or its clock does not run yet.
    pub fn renew(&self, lease: LeaseId, asked: Millis) -> Option<Renewal> {
        let mut lessor = self.lessor();
        let leads = self.leader() == Some(self.settings.member);
        if !leads || lessor.term() != Some(self.term()) {
            return None;
        }
        lessor.renew(lease, asked).ok()
    }

    /// Takes the leases from this member's clock that ran out, as its replica does to propose their
    /// ends. Nobody else hears of them for the time after which they are proposed again.
    pub fn take_expired(&self) -> Vec<LeaseId> {
        let now = self.clock.now();
        self.lessor().due(now, usize::MAX).expired
    }
}
