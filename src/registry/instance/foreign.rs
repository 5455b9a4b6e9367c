//! Values that were not written by this program: what a plain etcd client registered.
//!
//! Taken for an address are, in this order: the fields `Addr` or `addr`; `address`, `host` or `ip`
//! with `port`; a value that is `host:port` itself; the id if it is `host:port`. What cannot be a host
//! or a port is no address. All other fields of a JSON object are kept as metadata. Without an address
//! the instance is listed and not resolved.

use std::net::Ipv6Addr;

use serde_json::{Map, Value};

use crate::{
    registry::{Instance, InstanceName},
    types::limits::INSTANCE_TEXT_LEN_MAX,
};

/// The fields that an address may stand in together with a port.
const HOSTS: [&str; 3] = ["address", "host", "ip"];
/// The fields that an address may stand in by itself.
const TARGETS: [&str; 2] = ["Addr", "addr"];

/// Reads a value as well as can be.
pub(super) fn read(name: InstanceName, value: &[u8]) -> Instance {
    let mut instance = Instance::new(name);
    let text = std::str::from_utf8(value).unwrap_or_default();
    let found = match serde_json::from_str(text) {
        Ok(Value::Object(mut fields)) => {
            let found = address_in(&mut fields);
            take_known(&mut instance, &mut fields);
            instance.metadata.extend(fields.into_iter().map(|(name, value)| (name, plain(value))));
            found
        }
        Ok(Value::String(text)) => host_and_port(&text),
        Ok(_) | Err(_) => host_and_port(text.trim()),
    };
    if let Some((address, port)) = found.or_else(|| host_and_port(instance.name.id.as_str())) {
        (instance.address, instance.port) = (address, port);
    }
    instance
}

/// Finds the address among the fields, and takes it out.
fn address_in(fields: &mut Map<String, Value>) -> Option<(String, u16)> {
    for target in TARGETS {
        let found = fields.get(target).and_then(Value::as_str).and_then(host_and_port);
        if found.is_some() {
            fields.remove(target);
            return found;
        }
    }
    let port = fields.get("port").and_then(port_of)?;
    for field in HOSTS {
        if let Some(found) = fields.get(field).and_then(Value::as_str).and_then(host) {
            fields.remove(field);
            fields.remove("port");
            return Some((found, port));
        }
    }
    None
}

/// Takes out what has a place of its own, where it has the right shape: `Op` is of no use to anyone,
/// and `Metadata` of the Go client is metadata itself if it is an object.
fn take_known(instance: &mut Instance, fields: &mut Map<String, Value>) {
    fields.remove("Op");
    for name in ["Metadata", "metadata"] {
        match fields.remove(name) {
            Some(Value::Object(metadata)) => {
                let metadata = metadata.into_iter().map(|(name, value)| (name, plain(value)));
                instance.metadata.extend(metadata);
            }
            Some(Value::Null) | None => {}
            Some(other) => {
                fields.insert(name.to_owned(), other);
            }
        }
    }
    let mut text = |name: &str| match fields.get(name) {
        Some(Value::String(_)) => fields.remove(name).map(plain),
        Some(_) | None => None,
    };
    instance.version = text("version").unwrap_or_default();
    instance.zone = text("zone").unwrap_or_default();
    let weight = fields.get("weight").and_then(Value::as_u64).and_then(|it| it.try_into().ok());
    if let Some(weight) = weight {
        instance.weight = weight;
        fields.remove("weight");
    }
    if let Some(enabled) = fields.get("enabled").and_then(Value::as_bool) {
        instance.enabled = enabled;
        fields.remove("enabled");
    }
    if let Some(tags) = fields.get("tags").and_then(strings) {
        instance.tags = tags.into_iter().collect();
        fields.remove("tags");
    }
}

/// `host:port`, with brackets around an IPv6 address, as its two parts.
pub(super) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (name, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    // Without brackets nobody could tell where an IPv6 address ends.
    let is_clear = name.starts_with('[') || !name.contains(':');
    host(name).filter(|_| is_clear).map(|host| (host, port))
}

/// A host name or an IP address, without the brackets that an IPv6 address may have.
pub(super) fn host(text: &str) -> Option<String> {
    let host = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let is_sound = if host.contains(':') {
        let (address, zone) = host.split_once('%').unwrap_or((host, "zone"));
        address.parse::<Ipv6Addr>().is_ok() && is_name(zone)
    } else {
        is_name(host)
    };
    is_sound.then(|| host.to_owned())
}

/// Whether this may be a host name; more than DNS has is allowed.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"/{}\"[]".contains(&byte);
    (1..=INSTANCE_TEXT_LEN_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn port_of(value: &Value) -> Option<u16> {
    let port = match value {
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    port.filter(|port| *port > 0)
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A value as text: strings as they are, everything else as JSON.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::registry::{Name, ServiceName};

    fn read_as(id: &str, value: &str) -> Instance {
        let [namespace, service, id] = ["default", "user", id].map(|it| Name::new(it).unwrap());
        read(InstanceName { service: ServiceName { namespace, service }, id }, value.as_bytes())
    }

    fn target(id: &str, value: &str) -> String {
        read_as(id, value).target()
    }

    /// Each form that is known to be in use.
    #[test]
    fn addresses_are_found_in_every_form() {
        for value in [
            r#"{"Op":0,"Addr":"10.0.0.7:80","Metadata":null}"#,
            r#"{"addr":"10.0.0.7:80"}"#,
            r#"{"address":"10.0.0.7","port":80}"#,
            r#"{"host":"10.0.0.7","port":"80"}"#,
            r#"{"ip":"10.0.0.7","port":80}"#,
            "10.0.0.7:80",
            "10.0.0.7:80\n",
            r#""10.0.0.7:80""#,
        ] {
            assert_eq!(target("a", value), "10.0.0.7:80", "{value}");
        }
        for value in ["", "up", "{}", r#"{"port":80}"#, "7", "\u{1}", r#"{"Addr":7}"#] {
            assert_eq!(target("10.0.0.7:80", value), "10.0.0.7:80", "{value}");
            assert_eq!(target("a", value), "", "{value}");
        }
        assert_eq!(target("a", "[::1]:80"), "[::1]:80");
        assert_eq!(target("a", r#"{"address":"::1","port":80}"#), "[::1]:80");
        assert_eq!(target("[::1]:80", ""), "[::1]:80");
    }

    /// What cannot be a host or a port is no address, whichever field it stands in.
    #[test]
    fn what_is_no_address_is_none() {
        let bad = ["", "[]", "[", "a b", "a\nb", "\u{1b}[2J", "a/b", "1:2", "[1:2]", "é"];
        for host in bad.into_iter().map(str::to_owned).chain(["x".repeat(254)]) {
            for field in ["address", "host", "ip"] {
                let value = serde_json::json!({ field: &host, "port": 80 }).to_string();
                let instance = read_as("a", &value);
                assert_eq!((instance.target(), instance.port), (String::new(), 0), "{value}");
            }
            assert_eq!(target("a", &format!("{host}:80")), "", "{host:?}");
        }
        for value in [r#"{"host":"h","port":0}"#, r#"{"host":"h","port":"0"}"#, "h:0", "[::1]:0"] {
            assert_eq!(target("a", value), "", "{value}");
        }
        assert_eq!(target("a", r#"{"ip":"[fe80::1%eth0]","port":80}"#), "[fe80::1%eth0]:80");
    }

    /// What has no place of its own is metadata.
    #[test]
    fn other_fields_are_metadata() {
        let value = r#"{"addr":"h:1","zone":"z","weight":7,"enabled":false,"tags":["b","a"],"n":1,
            "o":{"x":[]},"Metadata":{"k":"v"},"name":"n1","port":5}"#;
        let instance = read_as("a", value);
        let pairs = [("k", "v"), ("n", "1"), ("name", "n1"), ("o", r#"{"x":[]}"#), ("port", "5")];
        let expected = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(instance.metadata, BTreeMap::from(expected));
        assert_eq!((instance.zone.as_str(), instance.weight, instance.enabled), ("z", 7, false));
        assert_eq!(instance.tags.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
}
