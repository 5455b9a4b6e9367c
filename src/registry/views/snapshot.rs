//! [`Snapshot`]: what a follower is told first; and the [`Room`] that followers' own things take.

use std::{
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
    vec,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Views, no_room};
use crate::{
    registry::{Error, Instance, Name, Service},
    types::limits::REGISTRY_SNAPSHOT_WITHIN,
};

/// All instances within a scope as of a revision, by service and id.
///
/// It shares its services with the catalog and with other followers. What changes meanwhile it keeps
/// as it was, so that a client that does not take what it is sent could keep very much. So it is
/// [over](Snapshot::take) after a while, taken or not.
#[derive(Debug)]
pub struct Snapshot {
    left: Arc<Mutex<Left>>,
    /// Dropped with it, which ends the wait for its end.
    _held: oneshot::Sender<()>,
}

/// What was not taken yet.
#[derive(Debug)]
struct Left {
    /// Each with an instance at least that was not taken.
    services: vec::IntoIter<Arc<Service>>,
    /// Of the first service this instance was taken, and those before it.
    after: Option<Name>,
    _room: Option<Room>,
    /// It was not taken in time.
    is_late: bool,
}

impl Snapshot {
    /// A snapshot of these services, each with an instance at least.
    pub(super) fn new(views: &Arc<Views>, services: Vec<Arc<Service>>) -> Result<Self, Error> {
        let mut room = Room::new(views);
        if !room.take(services.capacity() * size_of::<Arc<Service>>()) {
            return Err(no_room());
        }
        let time = Duration::from_millis(REGISTRY_SNAPSHOT_WITHIN.0);
        Ok(Self::within(Some(room), services, time))
    }

    pub(super) fn within(room: Option<Room>, services: Vec<Arc<Service>>, time: Duration) -> Self {
        let services = services.into_iter();
        let left =
            Arc::new(Mutex::new(Left { services, after: None, _room: room, is_late: false }));
        let (held, dropped) = oneshot::channel();
        let late = Arc::clone(&left);
        tokio::spawn(async move {
            if timeout(time, dropped).await.is_err() {
                let services = Vec::new().into_iter();
                *lock(&late) = Left { services, after: None, _room: None, is_late: true };
            }
        });
        Self { left, _held: held }
    }

    /// The next instance; none after the last.
    ///
    /// # Errors
    ///
    /// When not all of it was taken in time.
    pub fn take(&mut self) -> Result<Option<Arc<Instance>>, Error> {
        let mut left = lock(&self.left);
        if left.is_late {
            return Err(no_room());
        }
        let Some(service) = left.services.as_slice().first() else { return Ok(None) };
        let from = left.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = service.instances.range((from, Bound::Unbounded));
        let (id, instance) = rest.next().map(|(id, it)| (id.clone(), Arc::clone(it))).unzip();
        if rest.next().is_some() {
            left.after = id;
        } else {
            left.after = None;
            left.services.next();
        }
        Ok(instance)
    }

    /// Whether everything was taken.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let left = lock(&self.left);
        !left.is_late && left.services.as_slice().is_empty()
    }

    /// One of these instances, for those who show snapshots.
    #[cfg(test)]
    pub(crate) fn of(instances: Vec<Arc<Instance>>) -> Self {
        let services = instances.chunk_by(|a, b| a.name.service == b.name.service).map(|them| {
            let by_id = them.iter().map(|it| (it.name.id.clone(), Arc::clone(it)));
            Arc::new(Service::new(by_id.collect(), crate::types::Revision(0)))
        });
        Self::within(None, services.collect(), Duration::MAX)
    }

    /// All of it.
    #[cfg(test)]
    pub(super) fn all(mut self) -> Vec<Arc<Instance>> {
        std::iter::from_fn(|| self.take().unwrap()).collect()
    }
}

/// Each step leaves it whole.
fn lock(left: &Mutex<Left>) -> MutexGuard<'_, Left> {
    left.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What something that a follower has of its own takes of the room for all of them.
#[derive(Debug)]
pub(super) struct Room {
    views: Arc<Views>,
    bytes: usize,
}

impl Room {
    pub(super) fn new(views: &Arc<Views>) -> Self {
        Self { views: Arc::clone(views), bytes: 0 }
    }

    /// Takes so many bytes. False when that is more than there is room for.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.note(bytes);
        self.views.own_bytes.load(Ordering::Relaxed) <= self.views.limits.own
    }

    /// Notes that it takes so many bytes.
    pub(super) fn note(&mut self, bytes: usize) {
        self.views.own_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.views.own_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.note(0);
    }
}
