//! The initial cluster out of the DNS: its SRV records name the peer URLs of all founders.
//!
//! As for etcd, a member finds its own entry by where its advertised peer URLs lead. The URLs of the
//! cluster are those of the records, on every member, because ids are made of them.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use tokio::{net::lookup_host, time::timeout};
use tracing::info;

use super::dns::{self, Target};
use crate::config::{Config, InitialMember, Scheme, Url};

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
        let addresses = addresses.map_err(|reason| DiscoveryError::Own(url.to_string(), reason))?;
        own.extend(addresses.into_iter().map(|address| (url.scheme(), address)));
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
    let (name, plain) = query(SERVICE).await;
    if let (Err(_), Err(reason)) = (&with_tls, &plain) {
        return Err(DiscoveryError::Query(name, reason.clone()));
    }
    let mut entries = Vec::new();
    for (scheme, targets) in [(Scheme::Https, with_tls), (Scheme::Http, plain)] {
        // As for etcd, one of the two is enough.
        for target in targets.unwrap_or_default() {
            let (url, authority) = url_of(scheme, &target)?;
            let addresses = addresses_of(&authority).await;
            let addresses =
                addresses.map_err(|reason| DiscoveryError::Target(authority, reason))?;
            let leads = |address| (scheme, address);
            entries.push((url, addresses.into_iter().map(leads).collect::<Leads>()));
        }
    }
    if entries.is_empty() {
        return Err(DiscoveryError::NoRecords(format!("{name} and {tls_name}")));
    }
    members(config, &own, &entries)
}

/// Where a URL leads: a member that speaks with TLS there does not speak plainly.
type Leads = BTreeSet<(Scheme, SocketAddr)>;

fn url_of(scheme: Scheme, target: &Target) -> Result<(Url, String), DiscoveryError> {
    let authority = format!("{}:{}", target.host, target.port);
    match Url::parse(&format!("{}://{authority}", scheme.as_str())) {
        Ok(url) => Ok((url, authority)),
        Err(error) => Err(DiscoveryError::BadTarget(authority, error.to_string())),
    }
}

/// The members that URLs name: this one under its name, the others under where they are.
fn members(
    config: &Config,
    own: &Leads,
    entries: &[(Url, Leads)],
) -> Result<Vec<InitialMember>, DiscoveryError> {
    let (mine, others): (Vec<_>, Vec<_>) =
        entries.iter().partition(|(_, leads)| !leads.is_disjoint(own));
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

    fn entry(url: &str, address: &str) -> (Url, Leads) {
        let url = Url::parse(url).unwrap();
        let leads = BTreeSet::from([(url.scheme(), address.parse().unwrap())]);
        (url, leads)
    }

    /// This member's entry is the one that leads to it; its URL is that of the record.
    #[test]
    fn the_own_entry_is_found_by_its_address() {
        let own = BTreeSet::from([(Scheme::Http, "127.0.0.2:2380".parse().unwrap())]);
        let entries = [
            entry("http://a.test:2380", "127.0.0.1:2380"),
            entry("http://b.test:2380", "127.0.0.2:2380"),
            entry("http://b.test:2381", "127.0.0.2:2381"),
            entry("https://b.test:2380", "127.0.0.2:2380"),
        ];
        let found = members(&config(), &own, &entries).unwrap();
        let names: Vec<&str> = found.iter().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["b", "http://a.test:2380", "http://b.test:2381", "https://b.test:2380"]);
        assert_eq!(found[0].peer_urls, [Url::parse("http://b.test:2380").unwrap()]);

        let error = members(&config(), &own, &entries[..1]).unwrap_err().to_string();
        assert!(error.starts_with("cannot find local etcd member \"b\" in SRV records"), "{error}");
        assert!(error.contains("http://a.test:2380"), "{error}");
    }

    /// What no URL can hold is refused by name.
    #[test]
    fn a_bad_target_is_refused() {
        let error =
            url_of(Scheme::Http, &Target { host: "a b".into(), port: 1 }).unwrap_err().to_string();
        assert!(error.starts_with("the DNS SRV records name a b:1: "), "{error}");
    }
}
