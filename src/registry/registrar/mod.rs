//! [`Registrar`]: what is written to the registry.

use crate::{
    node::Handle,
    registry::{Error, Instance, InstanceName, Name, records::Override},
    types::{Identity, LeaseId, Revision, Seconds},
};

/// Registers, deregisters, overrides: with leases and transactions, through any member.
#[derive(Clone, Debug)]
pub struct Registrar {
    _node: Handle,
}

/// What an instance is registered on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A lease that is granted for it.
    Granted,
    /// A lease that the caller has.
    Lease(LeaseId),
    /// That of a session.
    Session(Name),
}

/// A registration that is asked for. Its fields are checked.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The instance, without session, lease and revisions.
    pub instance: Instance,
    /// On what.
    pub target: Target,
    /// Of a lease that must be granted; the service's settings say otherwise.
    pub ttl: Option<Seconds>,
    /// Take the id from whoever holds it.
    pub takeover: bool,
    /// The client's address.
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
    /// False when it stood there already.
    pub changed: bool,
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
        Self { _node: node }
    }

    /// Registers an instance.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] without `takeover`, [`Error::NoLease`], or what keeps the member from it.
    pub async fn register(&self, _by: &Identity, _what: Registration) -> Result<Registered, Error> {
        todo!()
    }

    /// Overrides what an instance says of itself; what is not said stays as it is.
    ///
    /// # Errors
    ///
    /// What keeps the member from it.
    pub async fn set_override(
        &self,
        _by: &Identity,
        _name: InstanceName,
        _what: Override,
    ) -> Result<(Revision, bool), Error> {
        todo!()
    }
}
