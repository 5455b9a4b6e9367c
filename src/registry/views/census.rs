//! Pages of services: from the catalog if it has what is asked for, else from a list of all services
//! at that revision, which is remembered for the pages to come.
//!
//! Such a list is made from the store by counting instances without keeping them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::{Arc, MutexGuard, PoisonError},
};

use super::{
    At, Listed, Page, Views,
    load::{TRIES, Walk, of_namespace},
};
use crate::{
    registry::{
        Catalog, Error, Instance, InstanceName, Name, Scope, ServiceName,
        place::Place,
        records::{self, Override},
    },
    types::{
        KeyValue, Revision,
        limits::{REGISTRY_LISTED_MAX, REGISTRY_LISTINGS_MAX},
    },
};

/// All services of a namespace, or of all, with their counts.
type Listing = Arc<BTreeMap<ServiceName, (u32, u32)>>;

/// Lists that were made lately, the newest last.
#[derive(Debug, Default)]
pub(super) struct Listings(VecDeque<Remembered>);

/// A list, and as of when it is true.
#[derive(Debug)]
struct Remembered {
    namespace: Option<Name>,
    from: Revision,
    to: Revision,
    listing: Listing,
}

impl Views {
    /// A page of services.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn list(&self, page: Page, at: At) -> Result<Listed, Error> {
        if let Some(known) = self.known(at).await?
            && let Some(listed) = self.list_known(&page, known)
        {
            return Ok(listed);
        }
        let _place = self.censuses.acquire().await.expect("nobody closes the places");
        // Whoever had the place before may have made it.
        let known = at.revision().and_then(|at| self.listings().find(&page, at));
        if let Some(listed) = known {
            return Ok(listed);
        }
        let (revision, listing) = self.count(&page, at.revision()).await?;
        let listed = page.of(revision, &listing);
        self.listings().remember(&page, revision, revision, listing);
        Ok(listed)
    }

    /// A page out of memory, as of a revision, 0 for now.
    fn list_known(&self, page: &Page, at: Revision) -> Option<Listed> {
        let present = self.shared.read();
        let catalog = present.catalog();
        let catalog = catalog.filter(|catalog| {
            at == Revision(0) || (catalog.changed() <= at && at <= catalog.revision())
        });
        let Some(catalog) = catalog else {
            drop(present);
            return self.listings().find(page, at);
        };
        let at = if at == Revision(0) { catalog.revision() } else { at };
        let services = catalog.services(page.namespace.as_ref());
        let counted = services.map(|(name, it)| (name, (it.total(), it.callable())));
        let listed = page.take(at, counted.skip_while(|(name, _)| page.is_past(name)));
        if listed.next.is_some() {
            // The pages to come are of this revision, whatever happens meanwhile.
            self.remember(page, catalog);
        }
        Some(listed)
    }

    fn remember(&self, page: &Page, catalog: &Catalog) {
        let (from, to) = (catalog.changed(), catalog.revision());
        let mut listings = self.listings();
        if !listings.prolong(page, from, to) {
            let services = catalog.services(page.namespace.as_ref());
            let counted = services.map(|(name, it)| (name.clone(), (it.total(), it.callable())));
            listings.remember(page, from, to, Arc::new(counted.collect()));
        }
    }

    fn listings(&self) -> MutexGuard<'_, Listings> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the instances in the store. When a compaction overtakes what is counted as of now, it is
    /// begun again.
    async fn count(&self, page: &Page, at: Option<Revision>) -> Result<(Revision, Listing), Error> {
        let mut tries = 1;
        loop {
            match self.count_once(page, at).await {
                Err(Error::Compacted(_)) if at.is_none() && tries < TRIES => tries += 1,
                counted => return counted,
            }
        }
    }

    async fn count_once(
        &self,
        page: &Page,
        at: Option<Revision>,
    ) -> Result<(Revision, Listing), Error> {
        let namespace = page.namespace.as_ref();
        let scope = namespace.map_or(Scope::All, |name| Scope::Namespace(name.clone()));
        let mut walk = Walk::new(&self.node, of_namespace(namespace), at);
        let mut census = Census { scope, ..Census::default() };
        while let Some(pairs) = walk.next().await? {
            pairs.iter().for_each(|pair| census.take_in(pair));
        }
        Ok((walk.revision(), Arc::new(census.finish())))
    }
}

impl Page {
    /// Whether a service stands before the page.
    fn is_past(&self, service: &ServiceName) -> bool {
        self.after.as_ref().is_some_and(|after| service <= after)
    }

    fn has(&self, service: &ServiceName) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| *namespace == service.namespace)
            && service.service.as_str().starts_with(&self.prefix)
    }

    /// The page of a list.
    fn of(&self, revision: Revision, listing: &BTreeMap<ServiceName, (u32, u32)>) -> Listed {
        let from = self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let rest = listing.range((from, Bound::Unbounded));
        self.take(revision, rest.map(|(name, counts)| (name, *counts)))
    }

    /// The page of what stands from its beginning on.
    fn take<'a>(
        &self,
        revision: Revision,
        rest: impl Iterator<Item = (&'a ServiceName, (u32, u32))>,
    ) -> Listed {
        let mut rest = rest.filter(|(name, _)| self.has(name)).peekable();
        let taken = rest.by_ref().take(self.size);
        let services: Vec<_> =
            taken.map(|(name, (total, callable))| (name.clone(), total, callable)).collect();
        let last = services.last().map(|(name, ..)| name.clone());
        Listed { revision, services, next: last.filter(|_| rest.peek().is_some()) }
    }
}

impl Listings {
    fn find(&self, page: &Page, at: Revision) -> Option<Listed> {
        let is_it =
            |it: &&Remembered| it.namespace == page.namespace && it.from <= at && at <= it.to;
        self.0.iter().rev().find(is_it).map(|it| page.of(at, &it.listing))
    }

    /// Notes that the list of a revision is still true. False when there is none.
    fn prolong(&mut self, page: &Page, from: Revision, to: Revision) -> bool {
        let is_it = |it: &&mut Remembered| it.namespace == page.namespace && it.from == from;
        let found = self.0.iter_mut().rev().find(is_it);
        found.map(|it| it.to = it.to.max(to)).is_some()
    }

    fn remember(&mut self, page: &Page, from: Revision, to: Revision, listing: Listing) {
        self.0.push_back(Remembered { namespace: page.namespace.clone(), from, to, listing });
        while self.0.len() > 1
            && (self.0.len() > REGISTRY_LISTINGS_MAX
                || self.0.iter().map(|it| it.listing.len()).sum::<usize>() > REGISTRY_LISTED_MAX)
        {
            self.0.pop_front();
        }
    }
}

/// Counts instances in the order of their keys.
#[derive(Debug)]
struct Census {
    scope: Scope,
    /// What overrides say, which come first.
    enabled: BTreeMap<InstanceName, bool>,
    counts: BTreeMap<ServiceName, (u32, u32)>,
    /// Of the default namespace: those that count, and those that do if they are not among these.
    long: BTreeSet<InstanceName>,
    short: BTreeMap<InstanceName, bool>,
}

impl Default for Census {
    fn default() -> Self {
        Self {
            scope: Scope::All,
            enabled: BTreeMap::new(),
            counts: BTreeMap::new(),
            long: BTreeSet::new(),
            short: BTreeMap::new(),
        }
    }
}

impl Census {
    fn take_in(&mut self, pair: &KeyValue) {
        let Some(place) = Place::of(&pair.key) else { return };
        match place {
            Place::Override(name) if self.scope.contains(&name.service) => {
                let rule = records::decode::<Override>(&pair.value);
                if let Some(enabled) = rule.and_then(|rule| rule.enabled) {
                    self.enabled.insert(name, enabled);
                }
            }
            Place::Instance(name) if self.scope.contains(&name.service) => {
                let is_callable = self.is_callable(&name, pair);
                self.count(&name, is_callable);
                if name.service.namespace.is_default_namespace() {
                    self.long.insert(name);
                }
            }
            Place::ShortInstance(name) if self.scope.contains(&name.service) => {
                let is_callable = self.is_callable(&name, pair);
                self.short.insert(name, is_callable);
            }
            Place::Override(_)
            | Place::Instance(_)
            | Place::ShortInstance(_)
            | Place::Session(_)
            | Place::Settings(_) => {}
        }
    }

    fn is_callable(&self, name: &InstanceName, pair: &KeyValue) -> bool {
        let instance = Instance::of_pair(name.clone(), pair);
        let enabled = self.enabled.get(name).copied().unwrap_or(instance.enabled);
        Instance { enabled, ..instance }.is_callable()
    }

    fn count(&mut self, name: &InstanceName, is_callable: bool) {
        if !self.counts.contains_key(&name.service) {
            self.counts.insert(name.service.clone(), (0, 0));
        }
        let Some((total, callable)) = self.counts.get_mut(&name.service) else { return };
        *total = total.saturating_add(1);
        *callable = callable.saturating_add(u32::from(is_callable));
    }

    fn finish(mut self) -> BTreeMap<ServiceName, (u32, u32)> {
        for (name, is_callable) in std::mem::take(&mut self.short) {
            if !self.long.contains(&name) {
                self.count(&name, is_callable);
            }
        }
        self.counts
    }
}
