//! [`Present`]: the newest catalog, what changed lately, and who is to be told.
//!
//! Whoever follows a scope is a cursor on the recent changes, which all followers share. For each
//! scope that has some of them, or a follower, there is a [`Topic`]: at which revisions something
//! changed within it. So a follower is woken by its own scope alone, and has lost its place only when
//! something that concerns it left memory.
//!
//! Bounded are the revisions kept, and their bytes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use tokio::sync::watch;

use crate::{
    registry::{Catalog, Change, Scope, Service, ServiceName, catalog::weight},
    types::{Event, Revision},
};

/// How much of the recent past is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) revisions: usize,
    pub(super) bytes: usize,
}

/// The newest catalog, and what changed lately.
#[derive(Debug)]
pub(super) struct Present {
    bounds: Bounds,
    /// None while it is being loaded, or too large.
    catalog: Option<Catalog>,
    /// Revisions with changes, in order.
    recent: VecDeque<Arc<Happening>>,
    bytes: usize,
    /// Every change after it, up to `through`, is among the recent ones.
    forgotten: Revision,
    /// How far the catalog has come, or had when it went away.
    through: Revision,
    topics: BTreeMap<Scope, Topic>,
}

/// What changed at a revision.
#[derive(Debug)]
pub(super) struct Happening {
    pub(super) revision: Revision,
    /// By name, never empty.
    pub(super) changes: Vec<Change>,
    bytes: usize,
}

/// When something changed within a scope.
#[derive(Debug)]
struct Topic {
    /// Revisions among the recent ones.
    recent: VecDeque<Revision>,
    /// There may have been changes, up to here, that are not among these.
    forgotten: Revision,
    bell: watch::Sender<()>,
}

/// Those who are to be woken, once the lock is free.
#[must_use]
#[derive(Debug, Default)]
pub(super) struct Bells(Vec<watch::Sender<()>>);

/// What comes next for a follower.
#[derive(Debug)]
pub(super) enum Next {
    /// This changed.
    Happened(Arc<Happening>),
    /// Nothing up to here.
    Nothing(Revision),
    /// There may have been something that is not kept any more.
    Lost,
    /// Nothing up to here, and nothing more will come.
    Withdrawn(Revision),
}

/// Whether something changed after a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    /// Something did, or that cannot be told. This is now.
    Changed(Revision),
    /// Nothing did.
    Unchanged,
    /// Nobody knows.
    Withdrawn,
}

impl Present {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            catalog: None,
            recent: VecDeque::new(),
            bytes: 0,
            forgotten: Revision(0),
            through: Revision(0),
            topics: BTreeMap::new(),
        }
    }

    /// The newest catalog.
    pub(super) fn catalog(&self) -> Option<&Catalog> {
        self.catalog.as_ref()
    }

    /// How many revisions with changes are kept, and their bytes.
    pub(super) fn recent(&self) -> (usize, usize) {
        (self.recent.len(), self.bytes)
    }

    /// How many scopes have followers or recent changes.
    #[cfg(test)]
    pub(super) fn topics(&self) -> usize {
        self.topics.len()
    }

    /// Begins with a catalog. What changed before is forgotten.
    pub(super) fn install(&mut self, catalog: Catalog) -> Bells {
        (self.forgotten, self.through) = (catalog.revision(), catalog.revision());
        self.catalog = Some(catalog);
        self.recent.clear();
        self.bytes = 0;
        self.topics.retain(|_, topic| topic.has_followers());
        let mut bells = Bells::default();
        for topic in self.topics.values_mut() {
            topic.recent.clear();
            topic.forgotten = self.forgotten;
            bells.add(topic);
        }
        bells
    }

    /// Gives the catalog up. Followers are told what is left.
    pub(super) fn withdraw(&mut self) -> Bells {
        self.catalog = None;
        let mut bells = Bells::default();
        self.topics.values().for_each(|topic| bells.add(topic));
        bells
    }

    /// Takes in what happened at a revision, while there is a catalog.
    pub(super) fn apply(&mut self, revision: Revision, events: &[Event]) -> Bells {
        let mut bells = Bells::default();
        let Some(catalog) = &mut self.catalog else { return bells };
        let changes = catalog.apply(revision, events);
        self.through = revision;
        if changes.is_empty() {
            return bells;
        }
        for scope in scopes(&changes) {
            let topic =
                self.topics.entry(scope).or_insert_with(|| Topic::forgetting(self.forgotten));
            topic.recent.push_back(revision);
            bells.add(topic);
        }
        let sides = changes.iter().flat_map(|change| [&change.before, &change.after]);
        let bytes = sides.flatten().map(|instance| weight(instance)).sum();
        self.bytes += bytes;
        self.recent.push_back(Arc::new(Happening { revision, changes, bytes }));
        self.evict();
        bells
    }

    /// Notes that nothing happened up to a revision.
    pub(super) fn advance(&mut self, revision: Revision) {
        if let Some(catalog) = &mut self.catalog
            && revision > self.through
        {
            catalog.advance(revision);
            self.through = revision;
        }
    }

    /// What comes next within a scope, from a revision on.
    pub(super) fn next(&self, scope: &Scope, from: Revision) -> Next {
        let (forgotten, found) = match self.topics.get(scope) {
            Some(topic) => (topic.forgotten, topic.first(from)),
            None => (self.forgotten, None),
        };
        if forgotten >= from {
            return Next::Lost;
        }
        let found = found.and_then(|revision| {
            let at = self.recent.binary_search_by_key(&revision, |happening| happening.revision);
            at.ok().and_then(|at| self.recent.get(at))
        });
        match found {
            Some(happening) => Next::Happened(Arc::clone(happening)),
            None if self.catalog.is_none() => Next::Withdrawn(self.through),
            None => Next::Nothing(self.through),
        }
    }

    /// Whether something changed within a scope after a revision.
    pub(super) fn changed_since(&self, scope: &Scope, revision: Revision) -> Since {
        let Some(catalog) = &self.catalog else { return Since::Withdrawn };
        let (forgotten, found) = match self.topics.get(scope) {
            Some(topic) => (topic.forgotten, topic.first(revision.next())),
            None => (self.forgotten, None),
        };
        let changed = match scope {
            Scope::Service(name) => catalog.service(name).map(|service| service.changed()),
            Scope::Namespace(_) | Scope::All => Some(catalog.changed()),
        };
        let is_unchanged = changed.is_some_and(|changed| changed <= revision);
        if found.is_none() && (forgotten <= revision || is_unchanged) {
            Since::Unchanged
        } else {
            Since::Changed(self.through)
        }
    }

    /// A service as it was at a revision, 0 for now, and when that is; none if that is not known here.
    pub(super) fn service(
        &self,
        name: &ServiceName,
        at: Revision,
    ) -> Option<(Revision, Arc<Service>)> {
        let catalog = self.catalog.as_ref()?;
        if at == Revision(0) {
            return Some((self.through, catalog.shown(name)));
        }
        let service = catalog
            .service(name)
            .filter(|service| service.changed() <= at && at <= self.through)?;
        Some((at, Arc::clone(service)))
    }

    fn evict(&mut self) {
        let Bounds { revisions, bytes } = self.bounds;
        while self.recent.len() > revisions || (self.recent.len() > 1 && self.bytes > bytes) {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.bytes -= oldest.bytes;
            self.forgotten = oldest.revision;
            for scope in scopes(&oldest.changes) {
                let Some(topic) = self.topics.get_mut(&scope) else { continue };
                topic.recent.pop_front();
                topic.forgotten = oldest.revision;
                if topic.is_idle() {
                    self.topics.remove(&scope);
                }
            }
        }
    }
}

impl Topic {
    fn forgetting(forgotten: Revision) -> Self {
        Self { recent: VecDeque::new(), forgotten, bell: watch::Sender::new(()) }
    }

    /// The first of its recent revisions from one on.
    fn first(&self, from: Revision) -> Option<Revision> {
        self.recent.get(self.recent.partition_point(|revision| *revision < from)).copied()
    }

    fn has_followers(&self) -> bool {
        self.bell.receiver_count() > 0
    }

    fn is_idle(&self) -> bool {
        self.recent.is_empty() && !self.has_followers()
    }
}

impl Bells {
    fn add(&mut self, topic: &Topic) {
        if topic.has_followers() {
            self.0.push(topic.bell.clone());
        }
    }

    pub(super) fn ring(self) {
        for bell in self.0 {
            bell.send_replace(());
        }
    }
}

/// The scopes that changes, which are in order, lie in.
fn scopes(changes: &[Change]) -> BTreeSet<Scope> {
    let mut scopes = BTreeSet::from([Scope::All]);
    for of_service in changes.chunk_by(|a, b| a.name.service == b.name.service) {
        let Some(Change { name, .. }) = of_service.first() else { continue };
        scopes.insert(Scope::Namespace(name.service.namespace.clone()));
        scopes.insert(Scope::Service(name.service.clone()));
    }
    scopes
}

/// The present, shared by who keeps it up and who reads it. Its lock is held for moments.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<RwLock<Present>>);

/// A place from which a scope is followed: its bell rings when something changed, and the topic is
/// kept as long as there are such.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Shared,
    scope: Scope,
    bell: Option<watch::Receiver<()>>,
}

impl Shared {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self(Arc::new(RwLock::new(Present::new(bounds))))
    }

    /// Each step leaves the present whole, so nothing is torn even if one panicked.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Present> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Present> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat.
    pub(super) fn sit(&self, scope: &Scope) -> Seat {
        let mut present = self.write();
        let forgotten = present.forgotten;
        let topic = present.topics.entry(scope.clone());
        let topic = topic.or_insert_with(|| Topic::forgetting(forgotten));
        let bell = Some(topic.bell.subscribe());
        Seat { shared: self.clone(), scope: scope.clone(), bell }
    }
}

impl Seat {
    /// What is looked at from now on is newer than all that was rung for.
    pub(super) fn listen(&mut self) -> RwLockReadGuard<'_, Present> {
        if let Some(bell) = &mut self.bell {
            bell.mark_unchanged();
        }
        self.shared.read()
    }

    /// Waits until something may have changed since it was listened.
    pub(super) async fn rung(&mut self) {
        if let Some(bell) = &mut self.bell {
            bell.changed().await.expect("a topic with a follower stays");
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut present = self.shared.write();
        self.bell = None;
        if present.topics.get(&self.scope).is_some_and(Topic::is_idle) {
            present.topics.remove(&self.scope);
        }
    }
}
