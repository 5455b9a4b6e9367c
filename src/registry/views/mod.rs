//! [`Views`]: answers to readers of the registry.
//!
//! One task ([`Views::follow_keys`]) keeps a catalog of everything in memory, as of a revision, by
//! following the keys. Readers take what it has for free; a linearizable read has it catch up first.
//! What it does not have is read from the store: a revision that the catalog has passed, and anything
//! while it is being loaded or is larger than it may be. Either way the answer is the same.
//!
//! Followers ([`Follow`]) are cursors on the recent changes, which they share. One that goes on from
//! further back has a catalog of its own, of its scope, and reads history until it meets the others.

mod census;
mod follow;
mod keep;
mod load;
mod present;
mod snapshot;
#[cfg(test)]
mod tests;

pub use self::{
    follow::{Follow, Told},
    snapshot::Snapshot,
};

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    select,
    sync::{Notify, Semaphore, watch},
    time::{sleep, timeout},
};

use self::{
    census::Listings,
    load::{Failed, load},
    present::{Bounds, Shared, Since},
};
use crate::{
    node::{self, Handle},
    registry::{Error, Name, Scope, Service, ServiceName, place},
    types::{
        Revision,
        limits::{
            REGISTRY_CATCH_UP_BYTES_MAX, REGISTRY_CATCH_UPS_MAX, REGISTRY_CENSUSES_MAX,
            REGISTRY_FAR_REVISIONS, REGISTRY_RECENT_BYTES_MAX, REGISTRY_RECENT_REVISIONS_MAX,
            REGISTRY_RESOLVES_MAX,
        },
    },
};

/// How long a linearizable read waits for the catalog before it reads the store.
const CATCH_UP_WITHIN: Duration = Duration::from_millis(200);

/// Revisions that a wait for one to come may be woken by, each of them.
const NEAR: i64 = 1_000;

/// How often it is looked whether one that is further away has come near.
const LOOK: Duration = Duration::from_millis(100);

/// The registry as readers of this member see it: one [`Catalog`](crate::registry::Catalog) of everything, kept up by following
/// the keys, bounded in memory; what it does not have is read from the store.
#[derive(Debug)]
pub struct Views {
    node: Handle,
    limits: Limits,
    shared: Shared,
    /// How far the catalog has come; none while there is none.
    progressed: watch::Sender<Option<Revision>>,
    /// The same, rung once a second at most.
    ticked: watch::Sender<Revision>,
    /// The catalog is there, or to be expected.
    fits: watch::Sender<bool>,
    /// Somebody waits for the catalog to catch up.
    wanted: Notify,
    /// Places for followers that load what history begins with.
    catch_ups: Semaphore,
    /// Places for readers of single services who are answered from the store.
    resolves: Semaphore,
    /// Places for lists of services that are made from the store.
    censuses: Semaphore,
    listings: Mutex<Listings>,
    /// Bytes of catalogs that followers have of their own.
    own_bytes: AtomicUsize,
    followers: AtomicUsize,
}

/// The bounds of views.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Of the catalog, in bytes.
    view: usize,
    recent: Bounds,
    /// Of catalogs of followers, in bytes.
    own: usize,
    /// Revisions behind which the catalog is loaded again.
    far: i64,
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What there is, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whether the catalog is in memory.
    pub is_in_memory: bool,
    /// What it reflects.
    pub revision: Revision,
    /// Services with instances.
    pub services: usize,
    /// Instances.
    pub instances: usize,
    /// Bytes of the catalog, about.
    pub catalog_bytes: usize,
    /// Bytes of recent changes, about.
    pub recent_bytes: usize,
    /// Who follows the registry.
    pub followers: usize,
    /// Bytes of what followers have of their own, about.
    pub follower_bytes: usize,
}

impl Views {
    /// The views of a member, not more than so many bytes of them in memory; 0: nothing.
    #[must_use]
    pub fn new(node: Handle, bytes_max: u64) -> Arc<Self> {
        let recent =
            Bounds { revisions: REGISTRY_RECENT_REVISIONS_MAX, bytes: REGISTRY_RECENT_BYTES_MAX };
        let limits = Limits {
            view: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            recent,
            own: REGISTRY_CATCH_UP_BYTES_MAX,
            far: REGISTRY_FAR_REVISIONS,
        };
        Self::bounded(node, limits)
    }

    fn bounded(node: Handle, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            node,
            limits,
            shared: Shared::new(limits.recent),
            progressed: watch::Sender::new(None),
            ticked: watch::Sender::default(),
            fits: watch::Sender::new(limits.view > 0),
            wanted: Notify::new(),
            catch_ups: Semaphore::new(REGISTRY_CATCH_UPS_MAX),
            resolves: Semaphore::new(REGISTRY_RESOLVES_MAX),
            censuses: Semaphore::new(REGISTRY_CENSUSES_MAX),
            listings: Mutex::default(),
            own_bytes: AtomicUsize::new(0),
            followers: AtomicUsize::new(0),
        })
    }

    /// The instances of a service.
    ///
    /// # Errors
    ///
    /// [`Error::Compacted`] for a revision that is gone, or what keeps the member from answering.
    pub async fn resolve(&self, service: &ServiceName, at: At) -> Result<Resolved, Error> {
        let known = self.known(at).await?;
        let find = || known.and_then(|at| self.shared.read().service(service, at));
        if let Some((revision, service)) = find() {
            return Ok(Resolved { revision, service });
        }
        let _place = self.resolves.acquire().await.expect("nobody closes the places");
        // The catalog may have come while others had the places.
        if let Some((revision, service)) = find() {
            return Ok(Resolved { revision, service });
        }
        let scope = Scope::Service(service.clone());
        match load(&self.node, &scope, at.revision(), |_| true).await {
            Ok(catalog) => {
                Ok(Resolved { revision: catalog.revision(), service: catalog.shown(service) })
            }
            Err(Failed::Error(error)) => Err(error),
            Err(Failed::TooLarge) => unreachable!("whatever it takes is fine"),
        }
    }

    /// Waits until something within the scope changed after a revision, or the time is over. Returns
    /// the revision that is reflected here then. It may be earlier than need be when the revision is
    /// long gone.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn changed_after(
        &self,
        scope: &Scope,
        revision: Revision,
        wait: Duration,
    ) -> Result<Revision, Error> {
        match timeout(wait, self.when_changed(scope, revision)).await {
            Ok(revision) => Ok(revision),
            Err(_) => Ok(self.revision()),
        }
    }

    async fn when_changed(&self, scope: &Scope, revision: Revision) -> Revision {
        let mut seat = self.shared.sit(scope);
        loop {
            let since = seat.listen().changed_since(scope, revision);
            match since {
                Since::Changed(now) => return now,
                Since::Unchanged => seat.rung().await,
                Since::Withdrawn => break,
            }
        }
        drop(seat);
        self.reached(revision).await;
        let mut changes = self.node.changes_within(place::everything().into(), revision.next());
        while let Some(happened) = changes.next().await {
            if happened.events.iter().any(|event| scope.concerns(event.key())) {
                break;
            }
        }
        self.node.revision()
    }

    /// Waits until this member has come to a revision. Whoever waits for one that is far away is not
    /// woken by each that comes before it.
    pub async fn reached(&self, revision: Revision) {
        while revision.0.saturating_sub(self.node.revision().0) > NEAR {
            sleep(LOOK).await;
        }
        let mut published = self.node.watch_hub().subscribe();
        let _ = published.wait_for(|published| *published >= revision).await;
    }

    /// What is reflected here now.
    #[must_use]
    pub fn revision(&self) -> Revision {
        let known = self.shared.read().catalog().map(|catalog| catalog.revision());
        known.unwrap_or_else(|| self.node.revision())
    }

    /// What there is, in numbers.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let present = self.shared.read();
        let (_, recent_bytes) = present.recent();
        let figures = Figures {
            recent_bytes,
            followers: self.followers.load(Ordering::Relaxed),
            follower_bytes: self.own_bytes.load(Ordering::Relaxed),
            ..Figures::default()
        };
        match present.catalog() {
            None => figures,
            Some(catalog) => Figures {
                is_in_memory: true,
                revision: catalog.revision(),
                services: catalog.services(None).count(),
                instances: catalog.instances(),
                catalog_bytes: catalog.bytes(),
                ..figures
            },
        }
    }

    /// As of when the catalog may be asked for an answer, 0 for its newest; none when it must not be.
    async fn known(&self, at: At) -> Result<Option<Revision>, Error> {
        match at {
            At::Here => Ok(Some(Revision(0))),
            At::Revision(revision) => Ok(Some(revision)),
            At::Linearizable => {
                self.node.read_barrier().await?;
                let has_it = self.reach(self.node.revision()).await;
                Ok(has_it.then_some(Revision(0)))
            }
        }
    }

    /// Waits until the catalog is there and has come to a revision that the store has. False when it
    /// is not to be expected.
    async fn arrives(&self, revision: Revision) -> bool {
        let (mut fits, mut progressed) = (self.fits.subscribe(), self.progressed.subscribe());
        loop {
            let known = *progressed.borrow_and_update();
            if known.is_some_and(|known| known >= revision) {
                return true;
            }
            if !*fits.borrow_and_update() {
                return false;
            }
            if known.is_some() {
                self.wanted.notify_one();
            }
            select! {
                changed = fits.changed() => changed.expect("the views are there"),
                changed = progressed.changed() => changed.expect("the views are there"),
            }
        }
    }

    /// Has the catalog come to a revision, if that does not take long. Returns whether it has.
    async fn reach(&self, revision: Revision) -> bool {
        let mut progressed = self.progressed.subscribe();
        let known = *progressed.borrow_and_update();
        match known {
            None => return false,
            Some(known) if known >= revision => return true,
            Some(_) => self.wanted.notify_one(),
        }
        let there = progressed.wait_for(|known| known.is_none_or(|known| known >= revision));
        matches!(timeout(CATCH_UP_WITHIN, there).await, Ok(Ok(known)) if known.is_some())
    }
}

impl At {
    /// The revision to read the store at; now, if none.
    fn revision(self) -> Option<Revision> {
        match self {
            Self::Here | Self::Linearizable => None,
            Self::Revision(revision) => Some(revision),
        }
    }
}

/// What a request gets when there is no more room for what it needs.
fn no_room() -> Error {
    Error::Node(node::Error::TooManyRequests)
}
