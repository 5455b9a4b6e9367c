//! How an instance is given on the command line, and how it is shown.

use std::collections::BTreeMap;

use crate::{cli::lease::parse_id, proto::registry::Instance};

/// The namespace of those who name none.
const DEFAULT_NAMESPACE: &str = "default";

/// The namespace as it is written.
pub(super) fn namespace_or_default(namespace: &str) -> &str {
    if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace }
}

/// `namespace/service/id`.
pub(super) fn full_name(instance: &Instance) -> String {
    let namespace = namespace_or_default(&instance.namespace);
    format!("{namespace}/{}/{}", instance.service, instance.id)
}

/// Where an instance is called: `host:port`, with brackets around an IPv6 address. `-` without one.
pub(super) fn target(instance: &Instance) -> String {
    match instance.address.as_str() {
        "" => "-".to_owned(),
        address if address.contains(':') && !address.starts_with('[') => {
            format!("[{address}]:{}", instance.port)
        }
        address => format!("{address}:{}", instance.port),
    }
}

/// Reads `host:port` or `[ipv6]:port`. What a host may be is for the registry to say.
pub(super) fn parse_address(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("it has no port: HOST:PORT")?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Err("an IPv6 address stands in brackets: [HOST]:PORT".to_owned());
    }
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or("the port is not a number from 1 to 65535")?;
    match bracketed.unwrap_or(host) {
        "" => Err("it has no host: HOST:PORT".to_owned()),
        host => Ok((host.to_owned(), port)),
    }
}

/// Reads `name=value`.
pub(super) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`: KEY=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `name=port`.
pub(super) fn parse_port(text: &str) -> Result<(String, u32), String> {
    let (name, port) = text.split_once('=').ok_or("it has no `=`: NAME=NUMBER")?;
    let port = port.parse::<u16>().map_err(|error| format!("bad port {port:?}: {error}"))?;
    Ok((name.to_owned(), port.into()))
}

/// Reads a lease's id, as it is shown.
pub(super) fn parse_lease(text: &str) -> Result<i64, String> {
    match parse_id(text)? {
        0 => Err("no lease has the id 0".to_owned()),
        id => Ok(id),
    }
}

/// Pairs as a map; a name that is given twice is a mistake.
pub(super) fn to_map<V: Clone>(pairs: &[(String, V)]) -> Result<BTreeMap<String, V>, String> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("{name:?} is given twice"));
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is shown as it was written.
    #[test]
    fn addresses_are_shown_as_they_are_given() {
        for text in ["10.0.0.7:80", "host.example:65535", "[::1]:80"] {
            let (address, port) = parse_address(text).unwrap();
            let instance = Instance { address, port: port.into(), ..Instance::default() };
            assert_eq!(target(&instance), text);
        }
        for text in ["", "host", "host:", ":80", "[]:80", "host:0", "host:65536", "::1:80"] {
            assert!(parse_address(text).is_err(), "{text:?}");
        }
        assert_eq!(target(&Instance::default()), "-");
    }

    /// A lease is given as it is shown; 0 would stand for any.
    #[test]
    fn leases_are_given_as_they_are_shown() {
        for lease in [1, i64::MAX, -2] {
            assert_eq!(parse_lease(&format!("{lease:016x}")), Ok(lease));
        }
        for text in ["", "0", "0x1", "g", "-1"] {
            assert!(parse_lease(text).is_err(), "{text:?}");
        }
    }

    /// Names are unique; values may have anything in them.
    #[test]
    fn pairs_have_different_names() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(parse_port("metrics=9100"), Ok(("metrics".to_owned(), 9100)));
        assert!(parse_pair("a").is_err());
        assert!(parse_port("a=70000").is_err());

        let pair = |name: &str| (name.to_owned(), 1);
        assert_eq!(to_map(&[pair("a"), pair("b")]).unwrap().len(), 2);
        assert_eq!(to_map(&[pair("a"), pair("a")]), Err("\"a\" is given twice".to_owned()));
    }
}
