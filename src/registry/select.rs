//! [`Selector`]: which instances of a service a client wants.

use std::collections::{BTreeMap, BTreeSet};

use crate::registry::Instance;

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
}
