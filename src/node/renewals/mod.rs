//! Renewals of leases, gathered from all who ask and answered by the clock of the leader.
//!
//! Who wants leases renewed leaves a batch ([`Handle::renew`]). One task, [`Handle::renew_leases`],
//! takes all batches that wait and has them renewed in one *round*: where this member leads, by one
//! confirmation of that and few locks of the clock; elsewhere by one message to the leader. What
//! comes during a round shares the next one. So rounds grow with the load, and nobody waits for a
//! timer.
//!
//! Promised: an acknowledged renewal holds. The lease lives for its time to live from a moment after
//! it was asked for, whoever leads by then; for the leader reads its clock, has it confirmed after
//! that that it still leads, and only then moves a deadline. An answer comes from the round that has
//! just ended, never from an earlier one, or it would promise time that is over.
//!
//! Some leases cannot be answered for yet: the end of one is on its way and must not be undone, or
//! the log holds a remaining time of one and must forget it first. What stands before such a lease
//! in its batch is answered. One at the head is asked for again after a moment, and holds up no
//! other batch. The same happens when the leader is lost; after the request timeout it fails.

mod queue;
mod round;
mod rounds;

pub use self::queue::{KeptAlive, Renewing};

pub(super) use self::queue::Queue;

use self::{queue::Asker, rounds::Rounds};
use crate::{
    node::{
        Error, Handle,
        ports::{Asked, Renewed},
    },
    types::{LeaseId, Seconds},
};

impl Handle {
    /// Renews leases on the leader's clock; any member can be asked. Resolves with what came of
    /// each in its place as soon as the first of them is answered for. From the first one on of
    /// which nothing is known yet, the rest must be left again.
    ///
    /// # Errors
    ///
    /// When no leader answered within the request timeout, when the member stops, or when far too
    /// many renewals wait.
    pub fn renew(&self, batch: Vec<KeptAlive>) -> Renewing {
        self.leave(batch, Asker::Client)
    }

    /// Renews one lease. `None`: there is no such lease.
    ///
    /// # Errors
    ///
    /// As for [`Handle::renew`].
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Seconds>, Error> {
        let batch = self.renew(vec![KeptAlive::new(lease)]).await?;
        Ok(batch.first().and_then(KeptAlive::ttl))
    }

    /// Renews leases as they are asked for, until this is dropped. Without it nobody is answered.
    pub async fn renew_leases(self) {
        Rounds::new(self).run().await;
    }

    /// Renews leases for another member, which deals with what cannot be answered yet.
    pub(super) fn renew_for_member(&self, leases: Vec<LeaseId>) -> Asked<Vec<Renewed>> {
        let batch = leases.into_iter().map(KeptAlive::new).collect();
        let renewing = self.leave(batch, Asker::Member);
        Box::pin(async move { Ok(renewing.await?.into_iter().map(|kept| kept.renewed).collect()) })
    }

    fn leave(&self, batch: Vec<KeptAlive>, asker: Asker) -> Renewing {
        let until = self.now() + self.settings().request_timeout();
        self.shared().renewals.leave(batch, asker, until)
    }
}
