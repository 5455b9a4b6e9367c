//! [`Service`]: the instances of a service, shared by whoever reads it.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    registry::{Instance, Name},
    types::Revision,
};

/// The instances of a service with overrides applied, as of its last change. Shared and never changed.
#[derive(Debug, Default)]
pub struct Service {
    /// By id, those that cannot be called included.
    pub instances: BTreeMap<Name, Arc<Instance>>,
    callable: usize,
    changed: Revision,
    encoded: OnceLock<Bytes>,
}

impl Service {
    /// A service with these instances, which may have changed at this revision.
    pub(super) fn new(instances: BTreeMap<Name, Arc<Instance>>, changed: Revision) -> Self {
        let callable = instances.values().filter(|instance| instance.is_callable()).count();
        Self { instances, callable, changed, encoded: OnceLock::new() }
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
    /// same for all.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
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
            let encoded = OnceLock::new();
            *service = Arc::new(Self { instances, callable, changed: at, encoded });
        }
        let service = Arc::get_mut(service).expect("nobody has the copy yet");
        service.changed = at;
        service.encoded = OnceLock::new();
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
    use super::*;
    use crate::registry::{InstanceName, ServiceName};

    fn instance(id: &Name) -> Option<Arc<Instance>> {
        let name = |text| Name::new(text).unwrap();
        let service = ServiceName { namespace: name("n"), service: name("s") };
        let named = Instance::new(InstanceName { service, id: id.clone() });
        Some(Arc::new(Instance { address: "h".to_owned(), port: 1, ..named }))
    }

    /// What was made of it holds until it changes, and a reader keeps what it read.
    #[test]
    fn it_is_encoded_once_for_each_change() {
        let ids = ["a", "b", "c"].map(|text| Name::new(text).unwrap());
        let mut service = Arc::default();
        let count = |service: &Service| Bytes::from(service.instances.len().to_string());
        let mut made = 0;
        let mut encoded = |service: &Arc<Service>| {
            service.encoded(|it| {
                made += 1;
                count(it)
            })
        };
        for (id, expected) in ids.iter().zip(["1", "2", "3"]) {
            let before = Arc::clone(&service);
            let of_before = encoded(&before);
            Service::set(&mut service, id, instance(id), Revision(2));
            assert_eq!(encoded(&service), expected);
            assert_eq!(encoded(&service), expected);
            assert_eq!(encoded(&before), of_before);
        }
        // In place, because nobody reads it now.
        Service::set(&mut service, &ids[0], None, Revision(3));
        assert_eq!(encoded(&service), "2");
        assert_eq!(made, 5);
        assert_eq!((service.total(), service.callable(), service.changed()), (2, 2, Revision(3)));
    }
}
