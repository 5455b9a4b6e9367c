//! [`Service`]: the instances of a service, shared by whoever reads it.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::{
    registry::{Instance, Name},
    types::{Revision, limits::SMALL_READ_KEYS_MAX},
};

/// The instances of a service with overrides applied, as of its last change. Shared and never changed.
#[derive(Debug, Default)]
pub struct Service {
    /// By id, those that cannot be called included.
    pub instances: BTreeMap<Name, Arc<Instance>>,
    callable: usize,
    changed: Revision,
    encoded: OnceCell<Bytes>,
}

impl Service {
    /// A service with these instances, which may have changed at this revision.
    pub(in crate::registry) fn new(
        instances: BTreeMap<Name, Arc<Instance>>,
        changed: Revision,
    ) -> Self {
        let callable = instances.values().filter(|instance| instance.is_callable()).count();
        Self { instances, callable, changed, encoded: OnceCell::new() }
    }

    /// How many instances there are.
    #[must_use]
    pub fn total(&self) -> u32 {
        u32::try_from(self.instances.len()).unwrap_or(u32::MAX)
    }

    /// How many of them can be called.
    #[must_use]
    pub fn callable(&self) -> u32 {
        u32::try_from(self.callable).unwrap_or(u32::MAX)
    }

    /// The newest revision at which anything of it may have changed.
    #[must_use]
    pub fn changed(&self) -> Revision {
        self.changed
    }

    /// What `encode` makes of the service, made once for all who ask until it changes. It must be the
    /// same for all. Of a large service it is made on a thread that may take long; whoever asks
    /// meanwhile waits without a thread.
    pub async fn encoded(self: &Arc<Self>, encode: fn(&Self) -> Bytes) -> Bytes {
        let make = async || {
            if self.instances.len() <= SMALL_READ_KEYS_MAX {
                return encode(self);
            }
            let service = Arc::clone(self);
            // It fails when the runtime ends.
            let made = spawn_blocking(move || encode(&service)).await;
            made.unwrap_or_else(|_| encode(self))
        };
        self.encoded.get_or_init(make).await.clone()
    }

    /// Replaces an instance, or takes it away. Who reads the service keeps what it has.
    pub(super) fn set(
        service: &mut Arc<Self>,
        id: &Name,
        instance: Option<Arc<Instance>>,
        at: Revision,
    ) {
        if Arc::get_mut(service).is_none() {
            let Self { instances, callable, .. } = &**service;
            let (instances, callable) = (instances.clone(), *callable);
            let encoded = OnceCell::new();
            *service = Arc::new(Self { instances, callable, changed: at, encoded });
        }
        let service = Arc::get_mut(service).expect("nobody has the copy yet");
        service.changed = at;
        service.encoded = OnceCell::new();
        let is_callable = |instance: &Arc<Instance>| instance.is_callable();
        service.callable += usize::from(instance.as_ref().is_some_and(is_callable));
        let before = match instance {
            Some(instance) => service.instances.insert(id.clone(), instance),
            None => service.instances.remove(id),
        };
        service.callable -= usize::from(before.as_ref().is_some_and(is_callable));
    }
}

/// What there is to tell of it; not when it changed, and what was made of it.
impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        (&self.instances, self.callable) == (&other.instances, other.callable)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Barrier,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::{future::join_all, poll};

    use super::*;
    use crate::registry::{InstanceName, ServiceName};

    fn instance(id: &Name) -> Option<Arc<Instance>> {
        let name = |text| Name::new(text).unwrap();
        let service = ServiceName { namespace: name("n"), service: name("s") };
        let named = Instance::new(InstanceName { service, id: id.clone() });
        Some(Arc::new(Instance { address: "h".to_owned(), port: 1, ..named }))
    }

    /// How many instances there are, as text.
    fn count(service: &Service) -> Bytes {
        service.instances.len().to_string().into()
    }

    /// What was made of it holds until it changes, and a reader keeps what it read.
    #[tokio::test]
    async fn it_is_encoded_once_for_each_change() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let encode = |service: &Service| {
            MADE.fetch_add(1, Ordering::Relaxed);
            count(service)
        };
        let ids = ["a", "b", "c"].map(|text| Name::new(text).unwrap());
        let mut service: Arc<Service> = Arc::default();
        for (id, expected) in ids.iter().zip(["1", "2", "3"]) {
            let before = Arc::clone(&service);
            let of_before = before.encoded(encode).await;
            Service::set(&mut service, id, instance(id), Revision(2));
            assert_eq!(service.encoded(encode).await, expected);
            assert_eq!(service.encoded(encode).await, expected);
            assert_eq!(before.encoded(encode).await, of_before);
        }
        // In place, because nobody reads it now.
        Service::set(&mut service, &ids[0], None, Revision(3));
        assert_eq!(service.encoded(encode).await, "2");
        assert_eq!(MADE.load(Ordering::Relaxed), 5);
        assert_eq!((service.total(), service.callable(), service.changed()), (2, 2, Revision(3)));
    }

    /// A large service is encoded on another thread, while the one that asks does other things, and
    /// once for all who ask.
    #[tokio::test]
    async fn a_large_service_is_encoded_aside() {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        static GO: Barrier = Barrier::new(2);
        let encode = |service: &Service| {
            GO.wait();
            MADE.fetch_add(1, Ordering::Relaxed);
            count(service)
        };
        let ids = (0..=SMALL_READ_KEYS_MAX).map(|number| Name::new(&number.to_string()).unwrap());
        let instances = ids.map(|id| (id.clone(), instance(&id).unwrap())).collect();
        let service = Arc::new(Service::new(instances, Revision(2)));

        let asking = join_all([service.encoded(encode), service.encoded(encode)]);
        let mut asking = pin!(asking);
        // It would hang here if the encoding were made on this thread.
        assert!(poll!(asking.as_mut()).is_pending());
        GO.wait();
        assert_eq!(asking.await, ["1001", "1001"]);
        assert_eq!(MADE.load(Ordering::Relaxed), 1);
    }
}
