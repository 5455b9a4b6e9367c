//! [`Registrar`]: what is written to the registry.
//!
//! A request reads what it depends on in one view that is not from the past, [decides](decide), and
//! writes one transaction, which holds only while all of that stands as it was read. One that lost
//! to somebody else begins again, a bounded number of times. So any number of members and plain
//! etcd clients may write at the same time.
//!
//! Promised: what fails leaves no lease behind that was granted for it. What stands there already
//! is not written again. A session's instances are on its lease, and go with it at one revision.
//!
//! Absent on purpose: checks of fields, and any state beside keys and leases.

mod decide;
mod draft;
mod register;
mod session;
mod standing;
#[cfg(test)]
mod tests;
mod turns;

use std::time::Duration;

use crate::{
    node::{Handle, RequestError},
    recipes::{OwnLease, see_through},
    registry::{Error, Instance, InstanceName, Name, place::Place, records::Override},
    state::Refused,
    types::{
        Identity, LeaseId, Revision, Seconds,
        limits::{REGISTRATION_TTL_DEFAULT, REGISTRY_TRIES_MAX},
    },
};

use self::{
    draft::Draft,
    turns::{Turns, pause},
};

/// Registers, deregisters, overrides: with leases and transactions, through any member.
#[derive(Clone, Debug)]
pub struct Registrar {
    node: Handle,
    turns: Turns,
}

/// What an instance is registered on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A lease that is granted for it.
    Granted,
    /// A lease that the caller has.
    Lease(LeaseId),
    /// That of a session, which is made if it is not there.
    Session(Name),
}

/// A registration that is asked for. Its fields are checked.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The instance, without session, lease and revisions.
    pub instance: Instance,
    /// On what.
    pub target: Target,
    /// Of a lease that must be granted; else what the service's settings say.
    pub ttl: Option<Seconds>,
    /// Take the id from whoever holds it.
    pub takeover: bool,
    /// The client's address; empty when not known.
    pub owner: String,
}

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// A revision with it.
    pub revision: Revision,
    /// Its lease.
    pub lease: LeaseId,
    /// The lease's time to live.
    pub ttl: Seconds,
    /// The session, if it is on one.
    pub session: Option<Name>,
    /// The revision that created its key.
    pub created: Revision,
    /// False when it stood there already.
    pub changed: bool,
}

/// A session that is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its id.
    pub session: Name,
    /// Of its lease, if it must be granted.
    pub ttl: Option<Seconds>,
    /// The lease that it had when the client last heard of it.
    pub lease: Option<LeaseId>,
    /// The client's address; empty when not known.
    pub owner: String,
}

/// A session that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// A revision with it.
    pub revision: Revision,
    /// Its id.
    pub session: Name,
    /// Its lease.
    pub lease: LeaseId,
    /// The lease's time to live.
    pub ttl: Seconds,
    /// It was there, with the lease and all instances of before.
    pub resumed: bool,
    /// It had another lease, which is gone with all instances.
    pub lost: bool,
}

/// Which instance of a name is meant; whatever is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// The one that this session holds.
    pub session: Option<Name>,
    /// The one on this lease.
    pub lease: Option<LeaseId>,
    /// The one whose key this revision created.
    pub created: Option<Revision>,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deregistered {
    /// A revision without it.
    pub revision: Revision,
    /// Instances that were there.
    pub removed: u32,
}

impl Registrar {
    /// The registry as this member writes it.
    #[must_use]
    pub fn new(node: Handle) -> Self {
        Self { node, turns: Turns::default() }
    }

    /// Registers an instance, and lets the time of its lease begin anew.
    ///
    /// When this is dropped it goes on. Then a lease that was granted for it is taken away again,
    /// unless it has become that of a session.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] without `takeover`, [`Error::NoLease`], a session that is full, or what keeps
    /// the member from it.
    pub async fn register(&self, by: &Identity, what: Registration) -> Result<Registered, Error> {
        let (registered, granted) =
            see_through(self.clone().register_to_end(by.clone(), what)).await?;
        if let Some(granted) = granted {
            granted.keep();
        }
        Ok(registered)
    }

    /// Opens a session: goes on with one that is there, or makes it.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn open(&self, by: &Identity, what: Opening) -> Result<Opened, Error> {
        see_through(self.clone().open_to_end(by.clone(), what)).await
    }

    /// Renews a lease. `None`: there is no such lease.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn heartbeat(&self, lease: LeaseId) -> Result<Option<Seconds>, Error> {
        Ok(self.node.keep_alive(lease).await?)
    }

    /// Removes an instance, if it is the one that is meant.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn deregister(
        &self,
        by: &Identity,
        name: &InstanceName,
        whose: &Whose,
    ) -> Result<Deregistered, Error> {
        let _turn = match &whose.session {
            Some(session) => Some(self.turns.take(session).await),
            None => None,
        };
        for tried in 0..REGISTRY_TRIES_MAX {
            let standing = self.standing(name, whose.session.as_ref()).await?;
            let (draft, is_there) = decide::removal(name, &standing, whose);
            let removed = u32::from(is_there);
            if draft.is_empty() {
                return Ok(Deregistered { revision: standing.revision, removed });
            }
            let committed = match self.commit(by, draft.clone()).await {
                // A store that is full may be made emptier; the session's record can wait.
                Err(RequestError::Refused(Refused::NoSpace)) => {
                    self.commit(by, draft.without_puts()).await
                }
                committed => committed,
            };
            if let Some(revision) = committed? {
                return Ok(Deregistered { revision, removed });
            }
            pause(&name.to_string(), tried).await;
        }
        Err(Error::Contended(name.clone()))
    }

    /// Removes a session with all of its instances, at one revision; or only if its lease is this
    /// one.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn close(
        &self,
        by: &Identity,
        session: &Name,
        lease: Option<LeaseId>,
    ) -> Result<Deregistered, Error> {
        self.close_session(by, session, lease).await
    }

    /// Overrides what an instance says of itself; what is not said stays as it is. Returns whether
    /// that changed anything, and a revision with it.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn set_override(
        &self,
        by: &Identity,
        name: InstanceName,
        what: Override,
    ) -> Result<(Revision, bool), Error> {
        for tried in 0..REGISTRY_TRIES_MAX {
            let look = self.look().await?;
            let (revision, found) = (look.revision, look.pair(&Place::Override(name.clone()))?);
            drop(look);
            let draft = decide::overriding(&name, found.as_ref(), what);
            if draft.is_empty() {
                return Ok((revision, false));
            }
            if let Some(revision) = self.commit(by, draft).await? {
                return Ok((revision, true));
            }
            pause(&name.to_string(), tried).await;
        }
        Err(Error::Contended(name))
    }

    /// Lets an instance count as what it says of itself. Returns whether that changed anything, and a
    /// revision with it.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn clear_override(
        &self,
        by: &Identity,
        name: InstanceName,
    ) -> Result<(Revision, bool), Error> {
        let place = Place::Override(name.clone());
        for tried in 0..REGISTRY_TRIES_MAX {
            let look = self.look().await?;
            let (revision, found) = (look.revision, look.pair(&place)?);
            drop(look);
            let Some(found) = found else { return Ok((revision, false)) };
            let mut draft = Draft::default();
            draft.based_on(place.key(), Some(&found));
            draft.delete(place.key());
            if let Some(revision) = self.commit(by, draft).await? {
                return Ok((revision, true));
            }
            pause(&name.to_string(), tried).await;
        }
        Err(Error::Contended(name))
    }

    /// The lease of a call that needs one, with a time to live that is asked for or the default.
    fn own_lease(&self, ttl: Option<Seconds>) -> OwnLease {
        let ttl = ttl.unwrap_or(REGISTRATION_TTL_DEFAULT).max(self.node.lease_minimum_ttl());
        // No call takes long enough for that.
        OwnLease { ttl, renew_every: Duration::from_secs(20) }
    }
}
