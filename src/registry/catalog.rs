//! [`Catalog`]: what is registered, as of a revision. Pure: pairs and events in, changes out.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    registry::{Instance, InstanceName, Name, ServiceName},
    types::{Event, KeyValue, Revision},
};

/// What of the registry somebody is interested in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything.
    All,
    /// A namespace.
    Namespace(Name),
    /// A service.
    Service(ServiceName),
}

/// The instances of a service with overrides applied, as of its last change. Shared and never changed.
#[derive(Debug, Default)]
pub struct Service {
    /// By id, those that cannot be called included.
    pub instances: BTreeMap<Name, Arc<Instance>>,
}

/// What happened to one instance at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub name: InstanceName,
    /// As it counted before; none when it came up.
    pub before: Option<Arc<Instance>>,
    /// As it counts now; none when it went down.
    pub after: Option<Arc<Instance>>,
    /// Why it went down, if it did.
    pub reason: Option<DownReason>,
}

/// Why an instance went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Somebody deleted it, or revoked its lease.
    Deregistered,
    /// Its lease ran out.
    Expired,
}

/// What is registered within a scope, as of a revision.
#[derive(Debug)]
pub struct Catalog {}

impl Catalog {
    /// A catalog of the pairs that stood in the store at a revision; others are passed over.
    #[must_use]
    pub fn load(
        _scope: Scope,
        _revision: Revision,
        _pairs: impl IntoIterator<Item = KeyValue>,
    ) -> Self {
        todo!()
    }

    /// Takes in what happened at the next revision. Returns what changed, at most once for each
    /// instance, by name.
    pub fn apply(&mut self, _revision: Revision, _events: &[Event]) -> Vec<Change> {
        todo!()
    }
}
