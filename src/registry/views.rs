//! [`Views`]: answers to readers of the registry.

use std::{sync::Arc, time::Duration};

use crate::{
    node::Handle,
    registry::{Change, Error, Instance, Name, Scope, Service, ServiceName},
    types::Revision,
};

/// The registry as readers of this member see it: one [`Catalog`](crate::registry::Catalog) of everything, kept up by following
/// the keys, bounded in memory; what it does not have is read from the store.
#[derive(Debug)]
pub struct Views {}

/// When a read is to be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// As this member knows it.
    Here,
    /// With every registration in it that was acknowledged before the call.
    Linearizable,
    /// As of a revision.
    Revision(Revision),
}

/// The instances of a service.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// What the answer reflects.
    pub revision: Revision,
    /// All of them; empty when there is no such service.
    pub service: Arc<Service>,
}

/// A page of services.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What the answer reflects, the same on all pages.
    pub revision: Revision,
    /// Each with how many instances it has, and how many of them can be called.
    pub services: Vec<(ServiceName, u32, u32)>,
    /// After which service the next page begins, if there is one.
    pub next: Option<ServiceName>,
}

/// Which page of services.
#[derive(Clone, Debug)]
pub struct Page {
    /// Of this namespace alone.
    pub namespace: Option<Name>,
    /// Of service names that begin so.
    pub prefix: String,
    /// After this service.
    pub after: Option<ServiceName>,
    /// At most so many.
    pub size: usize,
}

/// Follows a scope: a snapshot unless it goes on from a revision, then each change.
#[derive(Debug)]
pub struct Follow {}

/// What a follower is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// Everything within the scope, as of a revision.
    Snapshot {
        /// The revision.
        revision: Revision,
        /// What was known before is void.
        reset: bool,
        /// All instances.
        instances: Vec<Arc<Instance>>,
    },
    /// What happened at a revision; never empty.
    Changes {
        /// The revision.
        revision: Revision,
        /// What happened.
        changes: Vec<Change>,
    },
    /// Everything up to this revision was told.
    Bookmark(Revision),
}

impl Views {
    /// The views of a member, not more than so many bytes of them in memory.
    #[must_use]
    pub fn new(_node: Handle, _bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// Keeps the views up, until this is dropped. Without it everything is read from the store.
    pub async fn follow_keys(self: Arc<Self>) {
        todo!()
    }

    /// The instances of a service.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] for a revision that is gone, or what keeps the member from answering.
    pub async fn resolve(&self, _service: &ServiceName, _at: At) -> Result<Resolved, Error> {
        todo!()
    }

    /// A page of services.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn list(&self, _page: Page, _at: At) -> Result<Listed, Error> {
        todo!()
    }

    /// Follows a scope from a snapshot, or from after a revision.
    ///
    /// # Errors
    ///
    /// What keeps the member from answering.
    pub async fn follow(
        self: &Arc<Self>,
        _scope: Scope,
        _after: Option<Revision>,
    ) -> Result<Follow, Error> {
        todo!()
    }

    /// Waits until something within the scope changed after a revision, or the time is over. Returns
    /// the revision that is reflected here then.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn changed_after(
        &self,
        _scope: &Scope,
        _revision: Revision,
        _wait: Duration,
    ) -> Result<Revision, Error> {
        todo!()
    }
}

impl Follow {
    /// What comes next. A wait that is given up loses nothing.
    ///
    /// # Errors
    ///
    /// What keeps the member from answering; then it is over.
    pub async fn next(&mut self) -> Result<Told, Error> {
        todo!()
    }
}
