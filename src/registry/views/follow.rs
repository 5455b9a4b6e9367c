//! [`Follow`]: a snapshot, then each change.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    select,
    sync::{SemaphorePermit, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    Views,
    keep::TICK,
    load::{Failed, load},
    no_room,
    present::{Next, Seat},
    snapshot::{Room, Snapshot},
};
use crate::{
    node::{Changes, Happened},
    registry::{Catalog, Change, Error, Scope, Service, place},
    types::Revision,
};

/// Follows a scope: a snapshot unless it goes on from a revision, then each change.
#[derive(Debug)]
pub struct Follow {
    views: Arc<Views>,
    scope: Scope,
    place: Place,
    /// Everything up to here was told.
    told: Revision,
}

/// Where a follower stands.
#[derive(Debug)]
enum Place {
    /// It is to be told everything; what it knows is void if this is a reset.
    Anew { reset: bool },
    /// It goes on after what it was told, and it is to be found out how.
    After,
    /// It shares the recent changes.
    Among(Among),
    /// It has a catalog and changes of its own.
    Apart(Box<Apart>),
}

/// A cursor on the recent changes.
#[derive(Debug)]
struct Among {
    seat: Seat,
    next: Revision,
    ticked: watch::Receiver<Revision>,
}

/// A catalog of the scope that follows changes of its own.
#[derive(Debug)]
struct Apart {
    catalog: Catalog,
    changes: Changes,
    /// What changed and is not told yet.
    ready: VecDeque<(Revision, Vec<Change>)>,
    /// When to ask how far things have come; at once, because it may have met the others.
    tick: Interval,
    room: Room,
}

/// What a follower is told.
#[derive(Debug)]
pub enum Told {
    /// Everything within the scope, as of a revision.
    Snapshot {
        /// The revision.
        revision: Revision,
        /// What was known before is void.
        reset: bool,
        /// All instances.
        instances: Snapshot,
    },
    /// What happened at a revision; never empty.
    Changes {
        /// The revision.
        revision: Revision,
        /// What happened, by name.
        changes: Vec<Change>,
    },
    /// Everything up to this revision was told.
    Bookmark(Revision),
}

impl Views {
    /// Follows a scope from a snapshot, or from after a revision, which may be to come.
    ///
    /// # Errors
    ///
    /// What keeps the member from answering.
    pub async fn follow(
        self: &Arc<Self>,
        scope: Scope,
        after: Option<Revision>,
    ) -> Result<Follow, Error> {
        self.followers.fetch_add(1, Ordering::Relaxed);
        let place = if after.is_some() { Place::After } else { Place::Anew { reset: false } };
        // Before the first revision there was nothing.
        let told = after.unwrap_or_default().max(Revision::FIRST);
        Ok(Follow { views: Arc::clone(self), scope, place, told })
    }

    /// Has a follower share the recent changes, if there is everything from a revision on.
    fn join(&self, scope: &Scope, next: Revision) -> Option<Among> {
        let seat = self.shared.sit(scope);
        let present = self.shared.read();
        let has_all = present.catalog().is_some()
            && matches!(present.next(scope, next), Next::Happened(_) | Next::Nothing(_));
        drop(present);
        has_all.then(|| Among { seat, next, ticked: self.ticked.subscribe() })
    }

    /// Everything within a scope, at a revision or later, and a place among those who share what
    /// comes next.
    fn enter(&self, scope: &Scope, from: Revision) -> Option<(Revision, Vec<Arc<Service>>, Among)> {
        let seat = self.shared.sit(scope);
        let present = self.shared.read();
        let newest = present.catalog().filter(|it| it.revision() >= from);
        let newest = newest.map(|it| (it.revision(), it.within(scope)));
        drop(present);
        let (revision, services) = newest?;
        let among = Among { seat, next: revision.next(), ticked: self.ticked.subscribe() };
        Some((revision, services, among))
    }

    /// A place among those who load what history begins with.
    async fn catch_up_place(&self) -> SemaphorePermit<'_> {
        self.catch_ups.acquire().await.expect("nobody closes the places")
    }

    /// Makes a follower a catalog of its own, as of a revision or now.
    async fn set_apart(
        self: &Arc<Self>,
        scope: &Scope,
        at: Option<Revision>,
        place: SemaphorePermit<'_>,
    ) -> Result<Apart, Failed> {
        let mut room = Room::new(self);
        let catalog = load(&self.node, scope, at, |bytes| room.take(bytes)).await?;
        drop(place);
        let everything = place::everything().into();
        let changes = self.node.changes_within(everything, catalog.revision().next());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Apart { catalog, changes, ready: VecDeque::new(), tick, room })
    }
}

impl Follow {
    /// What comes next. A wait that is given up loses nothing.
    ///
    /// # Errors
    ///
    /// What keeps the member from answering; then it is over.
    pub async fn next(&mut self) -> Result<Told, Error> {
        loop {
            match &mut self.place {
                Place::Anew { reset } => {
                    let reset = *reset;
                    return self.begin(reset).await;
                }
                Place::After => self.go_on().await?,
                Place::Among(among) => match among.next(&self.scope, self.told).await {
                    Ok(told) => {
                        self.told = told.revision();
                        return Ok(told);
                    }
                    Err(told) => {
                        self.told = self.told.max(told);
                        self.place = Place::After;
                    }
                },
                Place::Apart(apart) => {
                    if let Some((revision, changes)) = apart.ready.pop_front() {
                        self.told = revision;
                        return Ok(Told::Changes { revision, changes });
                    }
                    let known = apart.catalog.revision();
                    if let Some(among) = self.views.join(&self.scope, known.next()) {
                        self.told = self.told.max(known);
                        self.place = Place::Among(among);
                        continue;
                    }
                    match apart.advance(&self.views, self.told).await {
                        None => self.place = Place::Anew { reset: true },
                        Some(through) if through > self.told && apart.ready.is_empty() => {
                            self.told = through;
                            return Ok(Told::Bookmark(through));
                        }
                        Some(_) => {}
                    }
                }
            }
        }
    }

    /// Tells everything.
    async fn begin(&mut self, reset: bool) -> Result<Told, Error> {
        let (revision, services) = self.everything().await?;
        let instances = Snapshot::new(&self.views, services)?;
        self.told = revision;
        Ok(Told::Snapshot { revision, reset, instances })
    }

    /// Everything there is, and a place to go on from there.
    async fn everything(&mut self) -> Result<(Revision, Vec<Arc<Service>>), Error> {
        let views = Arc::clone(&self.views);
        let mut permit = None;
        loop {
            // The store is never behind what was told; the catalog may be.
            if let Some((revision, services, among)) = views.enter(&self.scope, self.told) {
                self.place = Place::Among(among);
                return Ok((revision, services));
            }
            let Some(permit) = permit.take() else {
                // The catalog may come while others have the places.
                permit = Some(views.catch_up_place().await);
                continue;
            };
            match views.set_apart(&self.scope, None, permit).await {
                Ok(apart) => {
                    let (revision, services) =
                        (apart.catalog.revision(), apart.catalog.within(&self.scope));
                    self.place = Place::Apart(Box::new(apart));
                    return Ok((revision, services));
                }
                // Who shares the snapshot of all takes no room.
                Err(Failed::TooLarge) if views.arrives(self.told).await => {}
                Err(Failed::TooLarge) => return Err(no_room()),
                Err(Failed::Error(error)) => return Err(error),
            }
        }
    }

    /// Finds out how to go on after what was told.
    async fn go_on(&mut self) -> Result<(), Error> {
        let views = Arc::clone(&self.views);
        let mut permit = None;
        loop {
            if let Some(among) = views.join(&self.scope, self.told.next()) {
                self.place = Place::Among(among);
                return Ok(());
            }
            let mut published = views.node.watch_hub().subscribe();
            let mut progressed = views.progressed.subscribe();
            if *published.borrow_and_update() < self.told {
                // It is to come: here, or first in the views.
                select! {
                    _ = published.changed() => {}
                    _ = progressed.changed() => {}
                }
                continue;
            }
            let Some(permit) = permit.take() else {
                permit = Some(views.catch_up_place().await);
                continue;
            };
            self.place = match views.set_apart(&self.scope, Some(self.told), permit).await {
                Ok(apart) => Place::Apart(Box::new(apart)),
                Err(Failed::Error(Error::Compacted(_))) => Place::Anew { reset: true },
                Err(Failed::TooLarge) if views.arrives(self.told).await => {
                    Place::Anew { reset: true }
                }
                Err(Failed::TooLarge) => return Err(no_room()),
                Err(Failed::Error(error)) => return Err(error),
            };
            return Ok(());
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.views.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Told {
    /// Everything up to here is told with it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Snapshot { revision, .. } | Self::Changes { revision, .. } => *revision,
            Self::Bookmark(revision) => *revision,
        }
    }
}

impl Among {
    /// What comes next. Or, when that is not among the recent changes, up to where everything was
    /// told.
    async fn next(&mut self, scope: &Scope, told: Revision) -> Result<Told, Revision> {
        let mut is_due = false;
        loop {
            let next = self.seat.listen().next(scope, self.next);
            match next {
                Next::Happened(happening) => {
                    let revision = happening.revision;
                    self.next = revision.next();
                    let wanted = happening.changes.iter();
                    let wanted = wanted.filter(|change| scope.contains(&change.name.service));
                    return Ok(Told::Changes { revision, changes: wanted.cloned().collect() });
                }
                Next::Lost => return Err(Revision(self.next.0 - 1)),
                Next::Withdrawn(through) => {
                    return Err(through.max(Revision(self.next.0 - 1)));
                }
                Next::Nothing(through) => {
                    self.next = self.next.max(through.next());
                    if is_due && through > told {
                        return Ok(Told::Bookmark(through));
                    }
                }
            }
            select! {
                () = self.seat.rung() => {}
                ticked = self.ticked.changed() => {
                    ticked.expect("the views outlive their followers");
                    is_due = true;
                }
            }
        }
    }
}

impl Apart {
    /// Waits until something is ready, or there may be others to join: then it returns how far it
    /// has come. None when history that it needs is gone.
    async fn advance(&mut self, views: &Views, told: Revision) -> Option<Revision> {
        loop {
            select! {
                happened = self.changes.next() => {
                    let happened = happened?;
                    self.take_in(&happened);
                    if happened.events.is_empty() || !self.ready.is_empty() {
                        return Some(self.catalog.revision());
                    }
                }
                _ = self.tick.tick() => {
                    if views.node.revision() > told {
                        self.changes.ask_progress();
                    }
                }
            }
        }
    }

    fn take_in(&mut self, happened: &Happened) {
        for events in happened.events.chunk_by(|a, b| a.id.revision == b.id.revision) {
            let Some(first) = events.first() else { continue };
            let changes = self.catalog.apply(first.id.revision, events);
            if !changes.is_empty() {
                self.ready.push_back((first.id.revision, changes));
            }
        }
        if happened.told() > self.catalog.revision() {
            self.catalog.advance(happened.told());
        }
        self.room.note(self.catalog.bytes());
    }
}
