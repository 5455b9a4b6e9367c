//! [`Selector`]: which instances of a service a client wants.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::registry::{Instance, Service};

/// What instances must have, all of it. The default is every instance that can be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Tags.
    pub tags: BTreeSet<String>,
    /// The version, if it matters.
    pub version: Option<String>,
    /// The zone, if it matters.
    pub zone: Option<String>,
    /// Metadata with these values.
    pub metadata: BTreeMap<String, String>,
    /// Only those of this zone if there are any, else all.
    pub prefer_zone: Option<String>,
    /// So many at most, in the order of their ids.
    pub limit: Option<usize>,
    /// Also those that are disabled.
    pub include_disabled: bool,
}

impl Selector {
    /// Whether an instance is wanted, preference and limit aside. One without an address never is.
    #[must_use]
    pub fn matches(&self, instance: &Instance) -> bool {
        let has = |(name, value): (&String, &String)| instance.metadata.get(name) == Some(value);
        !instance.address.is_empty()
            && (instance.enabled || self.include_disabled)
            && self.tags.is_subset(&instance.tags)
            && self.version.as_ref().is_none_or(|version| *version == instance.version)
            && self.zone.as_ref().is_none_or(|zone| *zone == instance.zone)
            && self.metadata.iter().all(has)
    }
    /// Whether it wants exactly the instances that can be called.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The instances of a service that are wanted, by id.
    #[must_use]
    pub fn of<'a>(&self, service: &'a Service) -> Vec<&'a Arc<Instance>> {
        let matching = || service.instances.values().filter(|instance| self.matches(instance));
        let limit = self.limit.unwrap_or(usize::MAX);
        if let Some(zone) = &self.prefer_zone {
            let near = matching().filter(|instance| instance.zone == *zone).take(limit);
            let near: Vec<_> = near.collect();
            if !near.is_empty() {
                return near;
            }
        }
        matching().take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        registry::{Catalog, InstanceName, Name, Scope, ServiceName, place::Place},
        types::{KeyValue, Revision},
    };

    /// Instances `a` to `e`: two zones, one is disabled, one has no address.
    fn service() -> Arc<Service> {
        let [namespace, name] = ["n", "s"].map(|text| Name::new(text).unwrap());
        let named = ServiceName { namespace, service: name };
        let instances = ["a", "b", "c", "d", "e"].map(|id| {
            let id = Name::new(id).unwrap();
            let mut instance = Instance::new(InstanceName { service: named.clone(), id });
            let id = instance.name.id.to_string();
            if id != "e" {
                (instance.address, instance.port) = (format!("host-{id}"), 80);
            }
            instance.enabled = id != "d";
            instance.zone = if id.as_str() < "c" { "east" } else { "west" }.to_owned();
            instance.version = if id == "a" { "v1" } else { "v2" }.to_owned();
            instance.tags = ["all".to_owned(), format!("tag-{id}")].into();
            instance.metadata = [("letter".to_owned(), id)].into();
            instance
        });
        let pair = |instance: Instance| KeyValue {
            key: Place::Instance(instance.name.clone()).key(),
            value: instance.encode(),
            create_revision: Revision(2),
            mod_revision: Revision(2),
            version: 1,
            lease: None,
        };
        let catalog = Catalog::load(Scope::All, Revision(2), instances.map(pair));
        Arc::clone(catalog.service(&named).unwrap())
    }

    fn chosen(selector: &Selector) -> String {
        selector.of(&service()).iter().map(|instance| instance.name.id.as_str()).collect()
    }

    /// Each demand by itself, and what they come to together.
    #[test]
    fn only_what_is_wanted_is_chosen() {
        let text = |text: &str| Some(text.to_owned());
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        let letter = |id: &str| [("letter".to_owned(), id.to_owned())].into();
        let any = Selector::default;
        for (expected, selector) in [
            ("abc", any()),
            ("abcd", Selector { include_disabled: true, ..any() }),
            ("ab", Selector { limit: Some(2), ..any() }),
            ("abc", Selector { tags: tags(&["all"]), ..any() }),
            ("b", Selector { tags: tags(&["all", "tag-b"]), ..any() }),
            ("", Selector { tags: tags(&["tag-a", "tag-b"]), ..any() }),
            ("bc", Selector { version: text("v2"), ..any() }),
            ("ab", Selector { zone: text("east"), ..any() }),
            ("", Selector { zone: text("north"), ..any() }),
            ("c", Selector { metadata: letter("c"), ..any() }),
            ("c", Selector { prefer_zone: text("west"), ..any() }),
            ("abc", Selector { prefer_zone: text("north"), ..any() }),
            ("a", Selector { prefer_zone: text("west"), version: text("v1"), ..any() }),
            ("a", Selector { prefer_zone: text("east"), limit: Some(1), ..any() }),
        ] {
            assert_eq!(chosen(&selector), expected, "{selector:?}");
            assert_eq!(selector.is_plain(), selector == any());
        }
    }
}
