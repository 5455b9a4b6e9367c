//! The initial cluster out of the DNS: its SRV records name the peer URLs of all founders.
//!
//! As for etcd, a member finds its own entry by where its advertised peer URLs lead. The URLs of the
//! cluster are those of the records, on every member, because ids are made of them.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use tracing::{info, warn};

use super::dns::{self, Target};
use crate::config::{Config, InitialMember, Url};

/// etcd's names of the service, with and without TLS.
const TLS_SERVICE: &str = "etcd-server-ssl";
const SERVICE: &str = "etcd-server";
/// How long a name may take to be resolved.
const RESOLVED_WITHIN: Duration = Duration::from_secs(5);

/// Why the DNS names no cluster for this member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The records cannot be had.
    #[error("error querying DNS SRV records for {0}: {1}")]
    Query(String, String),
    /// There are none.
    #[error("there are no DNS SRV records for {0}")]
    NoRecords(String),
    /// There are only records of members with TLS.
    #[error("{0} has DNS SRV records, but tls between members is not supported yet")]
    Tls(String),
    /// A record leads nowhere.
    #[error("cannot resolve {0}, which the DNS SRV records name: {1}")]
    Target(String, String),
    /// A record is of no use.
    #[error("the DNS SRV records name {0}: {1}")]
    BadTarget(String, String),
    /// An own URL leads nowhere.
    #[error("cannot resolve initial-advertise-peer-urls {0}: {1}")]
    Own(String, String),
    /// No record is this member's.
    #[error(
        "cannot find local etcd member {name:?} in SRV records: none of {targets} leads to where \
         initial-advertise-peer-urls {own} lead"
    )]
    NotAmongThem {
        /// This member's name.
        name: String,
        /// The URLs that the records name.
        targets: String,
        /// Its own URLs.
        own: String,
    },
}

/// The initial cluster that a domain's records name.
pub(super) async fn initial_cluster(
    config: &Config,
    domain: &str,
) -> Result<Vec<InitialMember>, DiscoveryError> {
    let mut own = BTreeSet::new();
    for url in &config.initial_advertise_peer_urls {
        let addresses = addresses_of(&url.authority()).await;
        own.extend(addresses.map_err(|reason| DiscoveryError::Own(url.to_string(), reason))?);
    }
    let suffix = match config.discovery_srv_name.as_str() {
        "" => String::new(),
        name => format!("-{name}"),
    };
    let query = async |service: &str| {
        let name = format!("_{service}{suffix}._tcp.{domain}");
        let found = dns::targets(&name, config.discovery_srv_resolver).await;
        info!(name, ?found, "asked for SRV records");
        (name, found)
    };
    let (tls_name, with_tls) = query(TLS_SERVICE).await;
    let (name, found) = query(SERVICE).await;
    let has_tls = with_tls.is_ok_and(|targets| !targets.is_empty());
    let targets = found.map_err(|reason| DiscoveryError::Query(name.clone(), reason))?;
    match (targets.is_empty(), has_tls) {
        (true, true) => return Err(DiscoveryError::Tls(tls_name)),
        (true, false) => return Err(DiscoveryError::NoRecords(name)),
        (false, true) => warn!(name = tls_name, "records are passed over: tls is not supported"),
        (false, false) => {}
    }
    let mut entries = Vec::with_capacity(targets.len());
    for target in targets {
        let (url, authority) = url_of(&target)?;
        let addresses = addresses_of(&authority).await;
        let addresses = addresses.map_err(|reason| DiscoveryError::Target(authority, reason))?;
        entries.push((url, addresses));
    }
    members(config, &own, &entries)
}

fn url_of(target: &Target) -> Result<(Url, String), DiscoveryError> {
    let authority = format!("{}:{}", target.host, target.port);
    match Url::parse(&format!("http://{authority}")) {
        Ok(url) => Ok((url, authority)),
        Err(error) => Err(DiscoveryError::BadTarget(authority, error.to_string())),
    }
}

/// The members that URLs name: this one under its name, the others under where they are.
fn members(
    config: &Config,
    own: &BTreeSet<SocketAddr>,
    entries: &[(Url, BTreeSet<SocketAddr>)],
) -> Result<Vec<InitialMember>, DiscoveryError> {
    let (mine, others): (Vec<_>, Vec<_>) =
        entries.iter().partition(|(_, addresses)| !addresses.is_disjoint(own));
    if mine.is_empty() {
        return Err(DiscoveryError::NotAmongThem {
            name: config.name.clone(),
            targets: join(entries.iter().map(|(url, _)| url)),
            own: join(&config.initial_advertise_peer_urls),
        });
    }
    let mut peer_urls: Vec<Url> = mine.into_iter().map(|(url, _)| url.clone()).collect();
    peer_urls.sort_by_key(Url::to_string);
    let mut members = vec![InitialMember { name: config.name.clone(), peer_urls }];
    members.extend(others.into_iter().map(|(url, _)| {
        // No name can contain a colon that follows two slashes: it is nobody's.
        InitialMember { name: url.to_string(), peer_urls: vec![url.clone()] }
    }));
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

fn join<'a>(urls: impl IntoIterator<Item = &'a Url>) -> String {
    urls.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// All addresses that a host and port lead to.
async fn addresses_of(authority: &str) -> Result<BTreeSet<SocketAddr>, String> {
    match timeout(RESOLVED_WITHIN, lookup_host(authority)).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", RESOLVED_WITHIN.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Inputs};

    fn config() -> Config {
        let flags = [("name", "b"), ("initial-advertise-peer-urls", "http://127.0.0.2:2380")];
        let flags = flags.map(|(name, value)| (name.to_owned(), value.to_owned()));
        config::load(&Inputs { flags: flags.into(), ..Inputs::default() }).unwrap().config
    }

    fn entry(url: &str, address: &str) -> (Url, BTreeSet<SocketAddr>) {
        (Url::parse(url).unwrap(), BTreeSet::from([address.parse().unwrap()]))
    }

    /// This member's entry is the one that leads to it; its URL is that of the record.
    #[test]
    fn the_own_entry_is_found_by_its_address() {
        let own = BTreeSet::from(["127.0.0.2:2380".parse().unwrap()]);
        let entries = [
            entry("http://a.test:2380", "127.0.0.1:2380"),
            entry("http://b.test:2380", "127.0.0.2:2380"),
            entry("http://b.test:2381", "127.0.0.2:2381"),
        ];
        let found = members(&config(), &own, &entries).unwrap();
        let names: Vec<&str> = found.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["b", "http://a.test:2380", "http://b.test:2381"]);
        assert_eq!(found[0].peer_urls, [Url::parse("http://b.test:2380").unwrap()]);

        let error = members(&config(), &own, &entries[..1]).unwrap_err().to_string();
        assert!(error.starts_with("cannot find local etcd member \"b\" in SRV records"), "{error}");
        assert!(error.contains("http://a.test:2380"), "{error}");
    }

    /// What no URL can hold is refused by name.
    #[test]
    fn a_bad_target_is_refused() {
        let error = url_of(&Target { host: "a b".into(), port: 1 }).unwrap_err().to_string();
        assert!(error.starts_with("the DNS SRV records name a b:1: "), "{error}");
    }
}
