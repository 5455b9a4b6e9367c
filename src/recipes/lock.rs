//! [`Locks`]: who has the oldest key below a name has the lock of that name.

use bytes::Bytes;

use crate::{
    node::Handle,
    recipes::{
        Error,
        line::{Joined, Line},
        session::OwnLease,
    },
    state::{Command, DeleteRange},
    types::{Identity, Key, KeyRange, LeaseId, Revision},
};

/// The locks of a cluster, as one of its members gives them.
#[derive(Clone, Debug)]
pub struct Locks {
    node: Handle,
    own: OwnLease,
}

/// A lock that is held, for as long as its key is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The key. Its create revision is the fencing token: later holders have greater ones.
    pub key: Key,
    /// A revision at which the lock was held.
    pub revision: Revision,
}

impl Locks {
    /// The locks that this member gives; calls without a lease get one as `own` says.
    #[must_use]
    pub fn new(node: Handle, own: OwnLease) -> Self {
        Self { node, own }
    }

    /// Waits for the lock of a name and holds it, as long as the lease lives. Lease 0 stands for
    /// one that is granted for it, and lives for its time from the answer on.
    ///
    /// Whoever has the lock with this lease already has it at once. When this is dropped, the
    /// caller waits no more, and nothing of it is left.
    ///
    /// # Errors
    ///
    /// What was declined, what keeps the member from going on, or [`Error::SessionExpired`].
    pub async fn lock(
        &self,
        identity: Identity,
        name: Bytes,
        lease: LeaseId,
    ) -> Result<Locked, Error> {
        let line = Line::new(&self.node, &identity, &name);
        let joined = line.join(lease, self.own, Bytes::new()).await?;
        let Joined { mut session, key, created, revision, is_first, found: _ } = joined;
        if is_first {
            session.keep();
            return Ok(Locked { key, revision });
        }
        session.note_place(&key, created);
        let turn = session.hold(async {
            line.wait_for_turn(created).await?;
            session.renew_once().await;
            line.still_there(key.clone(), created).await?.ok_or(Error::SessionExpired)
        });
        match turn.await {
            Ok(revision) => {
                session.keep();
                Ok(Locked { key, revision })
            }
            Err(error) => {
                session.leave().await;
                Err(error)
            }
        }
    }

    /// Gives a lock back by deleting its key, which may be gone already. Returns the store's
    /// revision after it.
    ///
    /// # Errors
    ///
    /// What was declined, or what keeps the member from doing it.
    pub async fn unlock(&self, identity: Identity, key: Key) -> Result<Revision, Error> {
        let delete = DeleteRange { range: KeyRange::One(key), prev_kv: false };
        Ok(self.node.propose(identity, Command::DeleteRange(delete)).await?.revision)
    }
}
