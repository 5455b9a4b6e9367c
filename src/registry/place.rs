//! Where things stand: the keys of the registry, a contract with every etcd client.
//!
//! | key | what |
//! |---|---|
//! | `/services/<namespace>/<service>/<id>` | an instance |
//! | `/services/<service>/<id>` | the same in the namespace `default`; read, not written |
//! | `/quorate/registry/override/<namespace>/<service>/<id>` | an operator's override |
//! | `/quorate/registry/session/<session>` | a session |
//! | `/quorate/registry/service/<namespace>/<service>` | settings of a service |

use crate::{
    registry::{InstanceName, Name, ServiceName},
    types::{Key, KeyRange},
};

const INSTANCES: &str = "/services/";
const OVERRIDES: &str = "/quorate/registry/override/";
const SESSIONS: &str = "/quorate/registry/session/";
const SETTINGS: &str = "/quorate/registry/service/";

/// What a key of the registry is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An instance.
    Instance(InstanceName),
    /// An instance of the default namespace, under a key that does not name it.
    ShortInstance(InstanceName),
    /// The override of an instance.
    Override(InstanceName),
    /// A session.
    Session(Name),
    /// The settings of a service.
    Settings(ServiceName),
}

impl Place {
    /// What a key is for, if it is the registry's.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        let text = std::str::from_utf8(key.as_bytes()).ok()?;
        if let Some(rest) = text.strip_prefix(INSTANCES) {
            return match parts(rest) {
                [Some(service), Some(id), None, None] => {
                    let namespace = Name::default_namespace();
                    Some(Self::ShortInstance(instance(namespace, service, id)))
                }
                [Some(namespace), Some(service), Some(id), None] => {
                    Some(Self::Instance(instance(namespace, service, id)))
                }
                _ => None,
            };
        }
        if let Some(rest) = text.strip_prefix(OVERRIDES) {
            return match parts(rest) {
                [Some(namespace), Some(service), Some(id), None] => {
                    Some(Self::Override(instance(namespace, service, id)))
                }
                _ => None,
            };
        }
        if let Some(rest) = text.strip_prefix(SETTINGS) {
            return match parts(rest) {
                [Some(namespace), Some(service), None, None] => {
                    Some(Self::Settings(ServiceName { namespace, service }))
                }
                _ => None,
            };
        }
        text.strip_prefix(SESSIONS).and_then(Name::new).map(Self::Session)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> Key {
        let text = match self {
            Self::Instance(name) => format!("{INSTANCES}{name}"),
            Self::ShortInstance(name) => format!("{INSTANCES}{}/{}", name.service.service, name.id),
            Self::Override(name) => format!("{OVERRIDES}{name}"),
            Self::Session(name) => format!("{SESSIONS}{name}"),
            Self::Settings(name) => format!("{SETTINGS}{name}"),
        };
        key(text)
    }
}

/// The ranges with everything that instances are made of: overrides, then instances. Others may have
/// very many keys in between, as Kubernetes has below `/registry/`.
#[must_use]
pub fn everything() -> [KeyRange; 2] {
    [overrides(None, None), instances(None, None)]
}

/// The keys of all instances, or of those of a namespace or a service, without the short form.
#[must_use]
pub fn instances(namespace: Option<&Name>, service: Option<&Name>) -> KeyRange {
    below(INSTANCES, namespace, service)
}

/// The keys of overrides, in the same way.
#[must_use]
pub fn overrides(namespace: Option<&Name>, service: Option<&Name>) -> KeyRange {
    below(OVERRIDES, namespace, service)
}

/// The keys of instances of a service of the default namespace in the short form.
#[must_use]
pub fn short_instances(service: &Name) -> KeyRange {
    KeyRange::prefix(key(format!("{INSTANCES}{service}/")))
}

fn below(prefix: &str, namespace: Option<&Name>, service: Option<&Name>) -> KeyRange {
    let text = match (namespace, service) {
        (Some(namespace), Some(service)) => format!("{prefix}{namespace}/{service}/"),
        (Some(namespace), None) => format!("{prefix}{namespace}/"),
        (None, _) => prefix.to_owned(),
    };
    KeyRange::prefix(key(text))
}

fn key(text: String) -> Key {
    Key::new(text).expect("keys of the registry begin with a prefix")
}

fn instance(namespace: Name, service: Name, id: Name) -> InstanceName {
    InstanceName { service: ServiceName { namespace, service }, id }
}

/// Up to four names with slashes between them; none when something is not a name, or there are more.
fn parts(text: &str) -> [Option<Name>; 4] {
    let mut names = text.split('/').map(Name::new);
    let found = [(); 4].map(|()| names.next());
    match found.iter().any(|name| matches!(name, Some(None))) || names.next().is_some() {
        true => [None, None, None, None],
        false => found.map(Option::flatten),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Place> {
        Place::of(&Key::new(text.to_owned()).unwrap())
    }

    /// Each kind of key is read as what it was made of.
    #[test]
    fn keys_and_places_are_the_same_thing() {
        for text in [
            "/services/prod/user/10.0.0.7:8080",
            "/services/user/[::1]:80",
            "/quorate/registry/override/prod/user/a",
            "/quorate/registry/session/s-1",
            "/quorate/registry/service/prod/user",
        ] {
            let place = of(text).unwrap_or_else(|| panic!("{text} is nothing"));
            assert_eq!(place.key(), Key::new(text.to_owned()).unwrap());
        }
    }

    /// Other keys are left alone.
    #[test]
    fn other_keys_are_not_of_the_registry() {
        for text in [
            "/services/",
            "/services/user",
            "/services//a/b",
            "/services/a/b/c/d",
            "/services/a/b/",
            "/services/a b/c",
            "/quorate/registry/override/a/b",
            "/quorate/registry/session/a/b",
            "/quorate/registry/service/a",
            "/servicesx/a/b",
            "services/a/b",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    /// What is followed has instances and overrides in it, and nobody else's keys.
    #[test]
    fn two_ranges_cover_what_instances_are_made_of() {
        let is_in = |text: &str| {
            let key = Key::new(text.to_owned()).unwrap();
            everything().iter().any(|range| range.contains(&key))
        };
        for text in ["/services/a/b/c", "/services/a/b", "/quorate/registry/override/a/b/c"] {
            assert!(is_in(text), "{text}");
        }
        for text in ["/registry/pods/a/b", "/quorate/registry/session/s", "/servicesx", "/r", "a"] {
            assert!(!is_in(text), "{text}");
        }
    }
}
