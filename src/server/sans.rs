//! Whether a member's certificate fits where it calls from, by etcd's rules.
//!
//! A certificate without names fits everywhere. Otherwise one of its addresses is the caller's, or one of
//! its host names leads to the caller. Names with a wildcard lead nowhere: for these the caller's
//! address must have a name.

use std::net::IpAddr;

use tokio::net::lookup_host;

use super::dns;
use crate::tls::PeerNames;

/// Names of a certificate that are resolved: each takes time.
const NAMES_MAX: usize = 100;

/// Says why a certificate with these names does not fit a caller at this address.
pub(super) async fn check(names: &PeerNames, caller: IpAddr) -> Result<(), String> {
    // An IPv4 caller of a socket for both looks like this.
    let caller = caller.to_canonical();
    let PeerNames { addresses, hosts } = names;
    if (addresses.is_empty() && hosts.is_empty()) || addresses.contains(&caller) {
        return Ok(());
    }
    if hosts.is_empty() {
        return Err(format!("certificate is for {addresses:?}, not for {caller}, which shows it"));
    }
    for host in hosts.iter().filter(|host| !host.starts_with("*.")).take(NAMES_MAX) {
        // A name that cannot be resolved leads nowhere; the next one may.
        if let Ok(mut found) = lookup_host((host.as_str(), 0)).await
            && found.any(|address| address.ip().to_canonical() == caller)
        {
            return Ok(());
        }
    }
    let reversed = dns::names_of(caller).await.unwrap_or_default();
    if hosts.iter().any(|host| reversed.iter().any(|name| matches(host, name))) {
        return Ok(());
    }
    Err(format!("tls: \"{caller}\" does not match any of DNSNames {hosts:?}"))
}

/// Whether a name is the one of a certificate, of which `*.` is the beginning of many.
fn matches(host: &str, name: &str) -> bool {
    let (host, name) = (host.to_ascii_lowercase(), name.to_ascii_lowercase());
    match host.strip_prefix('*') {
        Some(end) if end.starts_with('.') => name.ends_with(end),
        _ => host == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(addresses: &[&str], hosts: &[&str]) -> PeerNames {
        PeerNames {
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            hosts: hosts.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    /// A certificate without names fits everywhere, one with names where they lead.
    #[tokio::test]
    async fn names_must_lead_to_the_caller() {
        let caller: IpAddr = "127.0.0.1".parse().unwrap();
        for fitting in [
            names(&[], &[]),
            names(&["10.0.0.1", "127.0.0.1"], &[]),
            names(&["10.0.0.1"], &["localhost"]),
        ] {
            assert_eq!(check(&fitting, caller).await, Ok(()), "{fitting:?}");
        }
        let mapped = "::ffff:127.0.0.1".parse().unwrap();
        assert_eq!(check(&names(&["127.0.0.1"], &[]), mapped).await, Ok(()));

        let refused = check(&names(&["10.0.0.1"], &[]), caller).await.unwrap_err();
        assert_eq!(refused, "certificate is for [10.0.0.1], not for 127.0.0.1, which shows it");
    }

    /// A wildcard stands for the beginning of a name, as etcd has it.
    #[test]
    fn wildcards_stand_for_beginnings() {
        assert!(matches("*.Etcd.test", "a.etcd.test"));
        assert!(!matches("*.etcd.test", "etcd.test"));
        assert!(matches("a.test", "A.test"));
        assert!(!matches("*", "a"));
    }
}
