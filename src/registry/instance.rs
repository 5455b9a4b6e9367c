//! [`Instance`]: what is known of an instance, and its value in the store.
//!
//! The value is JSON in UTF-8 with its fields in a fixed order. `Op`, `Addr` and `Metadata` are what
//! the resolver of etcd's Go client reads. A value that somebody else wrote is read tolerantly
//! ([`foreign`]); nothing under an instance's key is ever an error.

mod foreign;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    registry::{InstanceName, Name},
    types::{KeyValue, LeaseId, Revision},
};

/// An instance of a service, as it stands in the store or is to stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: InstanceName,
    /// Host name or IP address; empty when a foreign value has none.
    pub address: String,
    /// 0 when the address is empty.
    pub port: u16,
    /// Further ports by name.
    pub ports: BTreeMap<String, u16>,
    /// Empty when not said.
    pub version: String,
    /// Empty when not said.
    pub zone: String,
    /// What share of the calls it is to get, compared with others.
    pub weight: u16,
    /// Words that it is found by.
    pub tags: BTreeSet<String>,
    /// What else is to be known of it.
    pub metadata: BTreeMap<String, String>,
    /// Whether it is to be called.
    pub enabled: bool,
    /// The session that holds it.
    pub session: Option<Name>,
    /// RFC 3339, UTC; empty when not known.
    pub registered_at: String,
    /// The lease that its key is on.
    pub lease: Option<LeaseId>,
    /// The revision that created its key.
    pub created: Revision,
    /// The revision of the last change of its key.
    pub modified: Revision,
    /// An override says `enabled` or `weight`.
    pub overridden: bool,
}

/// The weight of an instance that names none.
pub const WEIGHT_DEFAULT: u16 = 100;

/// The value, as this program writes it. The order of the fields is part of the format.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "Op")]
    op: u8,
    #[serde(rename = "Addr")]
    addr: String,
    #[serde(rename = "Metadata")]
    metadata: &'a BTreeMap<String, String>,
    id: &'a str,
    namespace: &'a str,
    service: &'a str,
    address: &'a str,
    port: u16,
    ports: &'a BTreeMap<String, u16>,
    version: &'a str,
    zone: &'a str,
    weight: u16,
    tags: &'a BTreeSet<String>,
    enabled: bool,
    session: &'a str,
    registered_at: &'a str,
}

/// The same, read again. That the first five are there tells it from a foreign value; the name is
/// that of the key.
#[derive(Deserialize)]
#[expect(dead_code, reason = "some fields only tell whose value it is")]
struct Read {
    #[serde(rename = "Op")]
    op: u8,
    #[serde(rename = "Addr")]
    addr: String,
    id: String,
    namespace: String,
    service: String,
    #[serde(rename = "Metadata", default)]
    metadata: BTreeMap<String, String>,
    address: String,
    port: u16,
    #[serde(default)]
    ports: BTreeMap<String, u16>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    zone: String,
    #[serde(default = "weight_default")]
    weight: u16,
    #[serde(default)]
    tags: BTreeSet<String>,
    #[serde(default = "enabled_default")]
    enabled: bool,
    #[serde(default)]
    session: String,
    #[serde(default)]
    registered_at: String,
}

impl Instance {
    /// An instance of which nothing is known but its name.
    #[must_use]
    pub fn new(name: InstanceName) -> Self {
        Self {
            name,
            address: String::new(),
            port: 0,
            ports: BTreeMap::new(),
            version: String::new(),
            zone: String::new(),
            weight: WEIGHT_DEFAULT,
            tags: BTreeSet::new(),
            metadata: BTreeMap::new(),
            enabled: true,
            session: None,
            registered_at: String::new(),
            lease: None,
            created: Revision(0),
            modified: Revision(0),
            overridden: false,
        }
    }

    /// The same at an address, if that is one: anybody may have written it.
    fn at(name: InstanceName, address: &str, port: u16) -> Self {
        let instance = Self::new(name);
        match foreign::host(address).filter(|_| port > 0) {
            Some(address) => Self { address, port, ..instance },
            None => instance,
        }
    }

    /// Its value in the store.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let InstanceName { service, id } = &self.name;
        let written = Written {
            op: 0,
            addr: self.target(),
            metadata: &self.metadata,
            id: id.as_str(),
            namespace: service.namespace.as_str(),
            service: service.service.as_str(),
            address: &self.address,
            port: self.port,
            ports: &self.ports,
            version: &self.version,
            zone: &self.zone,
            weight: self.weight,
            tags: &self.tags,
            enabled: self.enabled,
            session: self.session.as_ref().map_or("", Name::as_str),
            registered_at: &self.registered_at,
        };
        serde_json::to_vec(&written).expect("maps have strings for keys").into()
    }

    /// The instance whose key has this pair, whoever wrote it.
    #[must_use]
    pub fn of_pair(name: InstanceName, pair: &KeyValue) -> Self {
        let mut instance = match serde_json::from_slice::<Read>(&pair.value) {
            Ok(read) => Self {
                ports: read.ports.into_iter().filter(|(_, port)| *port > 0).collect(),
                version: read.version,
                zone: read.zone,
                weight: read.weight,
                tags: read.tags,
                metadata: read.metadata,
                enabled: read.enabled,
                session: Name::new(&read.session),
                registered_at: read.registered_at,
                ..Self::at(name, &read.address, read.port)
            },
            Err(_) => foreign::read(name, &pair.value),
        };
        instance.lease = pair.lease;
        instance.created = pair.create_revision;
        instance.modified = pair.mod_revision;
        instance
    }

    /// Where it is called: `host:port`, with brackets around an IPv6 address. Empty without an
    /// address.
    #[must_use]
    pub fn target(&self) -> String {
        match self.address.as_str() {
            "" => String::new(),
            address if address.contains(':') && !address.starts_with('[') => {
                format!("[{address}]:{}", self.port)
            }
            address => format!("{address}:{}", self.port),
        }
    }

    /// Whether a call can go to it.
    #[must_use]
    pub fn is_callable(&self) -> bool {
        self.enabled && !self.address.is_empty()
    }
}

fn weight_default() -> u16 {
    WEIGHT_DEFAULT
}

fn enabled_default() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::ServiceName, types::Key};

    fn name() -> InstanceName {
        let [namespace, service, id] = ["prod", "user", "u-1"].map(|text| Name::new(text).unwrap());
        InstanceName { service: ServiceName { namespace, service }, id }
    }

    fn instance() -> Instance {
        Instance {
            address: "10.0.0.7".to_owned(),
            port: 8080,
            ports: [("metrics".to_owned(), 9100)].into(),
            version: "v1.2.0".to_owned(),
            zone: "cn-east".to_owned(),
            tags: ["canary".to_owned()].into(),
            metadata: [("team".to_owned(), "core".to_owned())].into(),
            session: Name::new("s-1"),
            registered_at: "2026-01-02T03:04:05Z".to_owned(),
            ..Instance::new(name())
        }
    }

    fn pair(value: &[u8]) -> KeyValue {
        KeyValue {
            key: Key::new("k").unwrap(),
            value: Bytes::copy_from_slice(value),
            create_revision: Revision(3),
            mod_revision: Revision(5),
            version: 2,
            lease: Some(LeaseId(7)),
        }
    }

    /// The value is a contract, byte for byte.
    #[test]
    fn the_value_has_its_fields_in_order() {
        let expected = concat!(
            r#"{"Op":0,"Addr":"10.0.0.7:8080","Metadata":{"team":"core"},"id":"u-1","#,
            r#""namespace":"prod","service":"user","address":"10.0.0.7","port":8080,"#,
            r#""ports":{"metrics":9100},"version":"v1.2.0","zone":"cn-east","weight":100,"#,
            r#""tags":["canary"],"enabled":true,"session":"s-1","#,
            r#""registered_at":"2026-01-02T03:04:05Z"}"#,
        );
        assert_eq!(instance().encode(), expected);
    }

    /// What is written is read again, with what its pair says beside the value.
    #[test]
    fn what_is_written_is_read() {
        let read = Instance::of_pair(name(), &pair(&instance().encode()));
        let expected = Instance {
            lease: Some(LeaseId(7)),
            created: Revision(3),
            modified: Revision(5),
            ..instance()
        };
        assert_eq!(read, expected);
    }

    /// A value in our form that somebody else wrote may have no address.
    #[test]
    fn what_is_no_address_is_not_called() {
        for (address, port) in [("a\tb", 80), ("", 80), ("[]", 80), ("h", 0)] {
            let ports = [("a".to_owned(), 0), ("b".to_owned(), 1)].into();
            let odd = Instance { address: address.to_owned(), port, ports, ..instance() };
            let read = Instance::of_pair(name(), &pair(&odd.encode()));
            assert_eq!((read.target().as_str(), read.port), ("", 0), "{address:?}");
            assert!(!read.is_callable());
            assert_eq!(read.ports.into_keys().collect::<Vec<_>>(), ["b"]);
            assert_eq!(read.zone, "cn-east", "the rest is as it says");
        }
    }

    /// An IPv6 address stands in brackets before a port.
    #[test]
    fn ipv6_addresses_stand_in_brackets() {
        let instance = Instance { address: "::1".to_owned(), ..instance() };
        assert_eq!(instance.target(), "[::1]:8080");
    }
}
