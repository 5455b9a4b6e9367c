//! [`Catalog`]: what is registered, as of a revision. Pure: pairs and events in, changes out.
//!
//! It keeps what stands under each key (an instance may have two, the long form counts) beside what
//! that comes to ([`Service`]), because an override applies to an instance whenever either comes or
//! goes. However it came to a revision, it holds the same as one that was loaded then.

mod service;
#[cfg(test)]
mod tests;

pub use self::service::Service;

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use crate::{
    registry::{
        Instance, InstanceName, Name, ServiceName,
        place::Place,
        records::{self, Override},
    },
    types::{DeleteReason, Event, EventKind, Key, KeyValue, Revision},
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
pub struct Catalog {
    scope: Scope,
    revision: Revision,
    /// The newest revision at which anything within the scope may have changed.
    changed: Revision,
    services: BTreeMap<ServiceName, Kept>,
    instances: usize,
    bytes: usize,
}

/// What is kept of a service: it may have overrides and no instance.
#[derive(Debug, Default)]
struct Kept {
    raw: BTreeMap<Name, Raw>,
    shown: Arc<Service>,
}

/// What stands under the keys of an instance.
#[derive(Debug, Default)]
struct Raw {
    long: Option<Arc<Instance>>,
    short: Option<Arc<Instance>>,
    rule: Option<Override>,
}

/// The keys that something may stand under.
#[derive(Clone, Copy, Debug)]
enum Form {
    Long,
    Short,
    Rule,
}

/// What is known of an instance that an event of this revision is about.
struct Touched {
    before: Option<Arc<Instance>>,
    /// Of the last of its keys that was deleted.
    reason: Option<DownReason>,
}

/// What an instance takes by itself, and in the encoding of its service beside its texts, in bytes of
/// memory.
const INSTANCE_BYTES: usize = 640;
/// What its places in maps take, beside its name.
const RAW_BYTES: usize = 128;
/// What a text takes beside its bytes.
const TEXT_BYTES: usize = 24;
/// What the first node of a map takes.
const MAP_BYTES: usize = 256;

impl Catalog {
    /// An empty catalog, for [`take_in`](Self::take_in).
    pub(super) fn empty(scope: Scope) -> Self {
        Self {
            scope,
            revision: Revision(0),
            changed: Revision(0),
            services: BTreeMap::new(),
            instances: 0,
            bytes: 0,
        }
    }

    /// A catalog of the pairs that stood in the store at a revision; others are passed over.
    #[must_use]
    pub fn load(
        scope: Scope,
        revision: Revision,
        pairs: impl IntoIterator<Item = KeyValue>,
    ) -> Self {
        let mut catalog = Self::empty(scope);
        for pair in pairs {
            catalog.take_in(&pair);
        }
        catalog.finished(revision)
    }

    /// Takes in a pair while the catalog is being loaded.
    pub(super) fn take_in(&mut self, pair: &KeyValue) {
        if let Some((name, form)) = self.scope.of_interest(&pair.key) {
            self.set(&name, form, Some(pair));
        }
    }

    /// The catalog with everything in it that was taken in, which stood in the store at a revision.
    pub(super) fn finished(mut self, revision: Revision) -> Self {
        (self.revision, self.changed) = (revision, revision);
        self.services.retain(|_, kept| !kept.raw.is_empty());
        for kept in self.services.values_mut() {
            let shown = kept.raw.iter().filter_map(|(id, raw)| Some((id.clone(), raw.shown()?)));
            let service = Service::new(shown.collect(), revision);
            self.instances += service.instances.len();
            kept.shown = Arc::new(service);
        }
        self
    }

    /// Takes in what happened at the next revision, or at a later one if nothing in between was of
    /// interest. Returns what changed, at most once for each instance, by name.
    ///
    /// # Panics
    ///
    /// When the revision was taken in already.
    pub fn apply(&mut self, revision: Revision, events: &[Event]) -> Vec<Change> {
        self.advance(revision);
        let mut touched: BTreeMap<InstanceName, Touched> = BTreeMap::new();
        for event in events {
            let Some((name, form)) = self.scope.of_interest(event.key()) else { continue };
            let before = self.instance(&name).cloned();
            let (pair, reason) = match (&event.kind, form) {
                (EventKind::Put(pair), _) => (Some(pair), None),
                (EventKind::Delete(_, reason), Form::Long | Form::Short) => (None, Some(*reason)),
                (EventKind::Delete(..), Form::Rule) => (None, None),
            };
            self.set(&name, form, pair);
            let touched = touched.entry(name).or_insert(Touched { before, reason: None });
            touched.reason = reason.map(DownReason::from).or(touched.reason);
        }
        touched.into_iter().filter_map(|(name, touched)| self.settle(name, touched)).collect()
    }

    /// Notes that nothing of interest happened up to a later revision.
    ///
    /// # Panics
    ///
    /// When the revision was taken in already.
    pub(super) fn advance(&mut self, revision: Revision) {
        assert!(revision > self.revision, "{revision} does not come after {}", self.revision);
        self.revision = revision;
    }

    /// What it reflects.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The newest revision at which anything within the scope may have changed.
    #[must_use]
    pub fn changed(&self) -> Revision {
        self.changed
    }

    /// Instances within the scope.
    #[must_use]
    pub fn instances(&self) -> usize {
        self.instances
    }

    /// Bytes of memory that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A service with its instances, if it has any.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name).map(|kept| &kept.shown).filter(|shown| !shown.instances.is_empty())
    }

    /// A service as readers are shown it, instances or not. When it has none, it may have lost them at
    /// any change that there was.
    #[must_use]
    pub fn shown(&self, name: &ServiceName) -> Arc<Service> {
        let none = || Arc::new(Service::new(BTreeMap::new(), self.changed));
        self.service(name).cloned().unwrap_or_else(none)
    }

    /// The services that have instances, of a namespace or of all, by name.
    pub fn services(
        &self,
        namespace: Option<&Name>,
    ) -> impl Iterator<Item = (&ServiceName, &Arc<Service>)> {
        let first = namespace
            .map(|namespace| ServiceName { namespace: namespace.clone(), service: Name::first() });
        let from = first.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let services = self.services.range((from, Bound::Unbounded));
        services
            .map(|(name, kept)| (name, &kept.shown))
            .take_while(move |(name, _)| namespace.is_none_or(|it| *it == name.namespace))
            .filter(|(_, shown)| !shown.instances.is_empty())
    }

    /// The services of a scope that have instances, by name.
    #[must_use]
    pub fn within(&self, scope: &Scope) -> Vec<Arc<Service>> {
        match scope {
            Scope::All => self.services(None).map(|(_, shown)| Arc::clone(shown)).collect(),
            Scope::Namespace(name) => {
                self.services(Some(name)).map(|(_, shown)| Arc::clone(shown)).collect()
            }
            Scope::Service(name) => self.service(name).cloned().into_iter().collect(),
        }
    }

    fn instance(&self, name: &InstanceName) -> Option<&Arc<Instance>> {
        self.services.get(&name.service)?.shown.instances.get(&name.id)
    }

    /// Notes what stands under a key. What is shown is settled later.
    fn set(&mut self, name: &InstanceName, form: Form, pair: Option<&KeyValue>) {
        // Equal names share their memory.
        let known = self.services.get_key_value(&name.service).map(|(known, _)| known);
        let service = known.unwrap_or(&name.service).clone();
        let kept = self.services.entry(service.clone()).or_default();
        let known = kept.raw.get_key_value(&name.id).map(|(known, _)| known);
        let id = known.unwrap_or(&name.id).clone();
        let raw = kept.raw.entry(id.clone()).or_default();
        self.bytes -= raw.bytes();
        let name = InstanceName { service, id };
        let instance = |pair| Arc::new(Instance::of_pair(name.clone(), pair));
        match form {
            Form::Long => raw.long = pair.map(instance),
            Form::Short => raw.short = pair.map(instance),
            Form::Rule => {
                let rule = pair.and_then(|pair| records::decode::<Override>(&pair.value));
                raw.rule = rule.filter(|rule| !rule.is_empty());
            }
        }
        self.bytes += raw.bytes();
        if raw.is_empty() {
            kept.raw.remove(&name.id);
        }
    }

    /// Makes what is shown of an instance what it comes to now. Returns what changed by that.
    fn settle(&mut self, name: InstanceName, touched: Touched) -> Option<Change> {
        let Touched { before, reason } = touched;
        let kept = self.services.get_mut(&name.service)?;
        let after = kept.raw.get(&name.id).and_then(Raw::shown);
        if before != after {
            self.changed = self.revision;
            self.instances -= usize::from(before.is_some());
            self.instances += usize::from(after.is_some());
            Service::set(&mut kept.shown, &name.id, after.clone(), self.revision);
        }
        if kept.raw.is_empty() && kept.shown.instances.is_empty() {
            self.services.remove(&name.service);
        }
        let is_told = match (&before, &after) {
            (None, None) => false,
            (Some(before), Some(after)) => differ(before, after),
            (Some(_), None) | (None, Some(_)) => true,
        };
        let reason = reason.filter(|_| after.is_none());
        is_told.then_some(Change { name, before, after, reason })
    }
}

impl Scope {
    /// Whether a service is within it.
    #[must_use]
    pub fn contains(&self, service: &ServiceName) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => *namespace == service.namespace,
            Self::Service(name) => name == service,
        }
    }

    /// Whether what stands under a key matters to it.
    pub(super) fn concerns(&self, key: &Key) -> bool {
        self.of_interest(key).is_some()
    }

    /// What a key is for, if that matters to it.
    fn of_interest(&self, key: &Key) -> Option<(InstanceName, Form)> {
        let (name, form) = match Place::of(key)? {
            Place::Instance(name) => (name, Form::Long),
            Place::ShortInstance(name) => (name, Form::Short),
            Place::Override(name) => (name, Form::Rule),
            Place::Session(_) | Place::Settings(_) => return None,
        };
        self.contains(&name.service).then_some((name, form))
    }
}

impl Raw {
    /// The instance as it counts.
    fn shown(&self) -> Option<Arc<Instance>> {
        let instance = self.long.as_ref().or(self.short.as_ref())?;
        Some(match &self.rule {
            Some(rule) => Arc::new(rule.applied_to(instance)),
            None => Arc::clone(instance),
        })
    }

    fn is_empty(&self) -> bool {
        self.long.is_none() && self.short.is_none() && self.rule.is_none()
    }

    /// Bytes of memory that it takes, with what is shown of it.
    fn bytes(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let forms = [&self.long, &self.short].into_iter().flatten();
        let forms: usize = forms.map(|instance| weight(instance)).sum();
        RAW_BYTES + if self.rule.is_some() { forms * 2 } else { forms }
    }
}

impl From<DeleteReason> for DownReason {
    fn from(reason: DeleteReason) -> Self {
        match reason {
            DeleteReason::Client | DeleteReason::Revoked => Self::Deregistered,
            DeleteReason::Expired => Self::Expired,
        }
    }
}

/// Whether anything but the revision of the last change differs: putting the same again is no change.
fn differ(before: &Instance, after: &Instance) -> bool {
    Instance { modified: after.modified, ..before.clone() } != *after
}

/// Bytes of memory that an instance takes, about: its own, those of maps with anything in them, and of
/// its texts, which stand in the encoding of its service once more.
pub(super) fn weight(instance: &Instance) -> usize {
    let Instance { address, version, zone, registered_at, ports, tags, metadata, .. } = instance;
    let texts: usize = [address, version, zone, registered_at].map(String::len).iter().sum();
    let ports: usize = ports.keys().map(|name| 2 * name.len() + TEXT_BYTES).sum();
    let tags: usize = tags.iter().map(|tag| 2 * tag.len() + TEXT_BYTES).sum();
    let metadata: usize =
        metadata.iter().map(|(name, value)| 2 * (name.len() + value.len()) + 2 * TEXT_BYTES).sum();
    let maps = [ports, tags, metadata].iter().filter(|bytes| **bytes > 0).count();
    INSTANCE_BYTES + 2 * texts + ports + tags + metadata + maps * MAP_BYTES
}
