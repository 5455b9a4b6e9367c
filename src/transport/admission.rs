//! Who is heard beside the members: senders of this cluster that this member's list does not have.
//!
//! A member learns of a change of members by applying it, so its list may be older than that of
//! whoever calls it. Such a sender is heard, and answered by a link of its own, for as long as its
//! stream lasts. When the list comes to name it, it is a member like all others. Only who was removed
//! is turned away.

use std::sync::{Arc, PoisonError};

use tracing::info;

use super::{GrpcPeers, Refusal};
use crate::types::{MemberId, limits};

/// A sender's stream that was let in. Dropping it ends what was begun for a sender that the list
/// does not name.
pub(super) struct Admission {
    peers: Arc<GrpcPeers>,
    from: MemberId,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.peers.leave(self.from);
    }
}

impl GrpcPeers {
    /// Lets a stream of `from` in, which is reached at `urls`.
    pub(super) fn admit(
        self: &Arc<Self>,
        from: MemberId,
        urls: &[String],
    ) -> Result<Admission, Refusal> {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.get_mut(&from) {
            member.unlisted = member.unlisted.map(|streams| streams.saturating_add(1));
        } else {
            let unlisted = members.values().filter(|member| member.unlisted.is_some()).count();
            if unlisted >= limits::UNLISTED_PEERS_MAX {
                return Err(Refusal::NotMember(from, self.config().cluster));
            }
            info!(peer = %from, ?urls, "sender is not in the list of members yet");
            let mut member = self.start(from, Arc::from(urls));
            member.unlisted = Some(1);
            members.insert(from, member);
        }
        Ok(Admission { peers: Arc::clone(self), from })
    }

    fn leave(&self, from: MemberId) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let Some(member) = members.get_mut(&from) else { return };
        member.unlisted = member.unlisted.map(|streams| streams.saturating_sub(1));
        if member.unlisted == Some(0) {
            members.remove(&from);
            self.metrics.forget(self.config().member, from);
        }
    }

    /// Resolves when `from` is found to have been removed.
    pub(super) async fn until_removed(&self, from: MemberId) {
        let mut membership = self.membership.subscribe();
        // It goes only with this member.
        let _ = membership.wait_for(|membership| membership.is_removed(from)).await;
    }
}
