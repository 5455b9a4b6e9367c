//! What the settings of encryption come to: what both listeners show and demand, and what other members
//! are dialled with.

use std::path::Path;

use crate::{
    config::{Config, ListenUrl, Place, TlsSide, Url},
    telemetry::Registry,
    tls::{
        Acceptor, Allowed, Callers, DialSettings, Dialer, Error, ListenSettings, Pair, Protocol,
        SettingFile, TlsMetrics, self_signed,
    },
    types::tls::TlsVersion,
};

/// Where etcd keeps the certificates that it made by itself, below its data directory.
const OWN_CERTIFICATES: &str = "fixtures";

/// All of it, with what is read of files.
pub(super) struct Encryption {
    /// For clients, and those who ask for metrics; none: nobody is served over TLS.
    pub(super) clients: Option<Acceptor>,
    /// For other members.
    pub(super) peers: Option<Acceptor>,
    /// How other members are dialled.
    pub(super) dialer: Dialer,
    client_metrics: TlsMetrics,
    peer_metrics: TlsMetrics,
}

/// The settings of one side, as they are called.
struct Names {
    cert: &'static str,
    key: &'static str,
    client_cert: &'static str,
    client_key: &'static str,
    authorities: &'static str,
    revoked: &'static str,
    auto: &'static str,
    folder: &'static str,
}

const CLIENT: Names = Names {
    cert: "cert-file",
    key: "key-file",
    client_cert: "client-cert-file",
    client_key: "client-key-file",
    authorities: "trusted-ca-file",
    revoked: "client-crl-file",
    auto: "auto-tls",
    folder: "client",
};

const PEER: Names = Names {
    cert: "peer-cert-file",
    key: "peer-key-file",
    client_cert: "peer-client-cert-file",
    client_key: "peer-client-key-file",
    authorities: "peer-trusted-ca-file",
    revoked: "peer-crl-file",
    auto: "peer-auto-tls",
    folder: "peer",
};

impl Encryption {
    /// Reads whatever files the settings name, and makes the certificates that they ask for.
    pub(super) fn load(config: &Config, data_dir: &Path) -> Result<Self, Error> {
        let (client_metrics, peer_metrics) = (TlsMetrics::default(), TlsMetrics::default());
        let own = data_dir.join(OWN_CERTIFICATES);
        let client = Side { names: &CLIENT, side: &config.tls.client, config };
        let peer = Side { names: &PEER, side: &config.tls.peer, config };

        let client_urls = config
            .listen_client_urls
            .iter()
            .chain(&config.http.listen_client_http_urls)
            .chain(&config.listen_metrics_urls);
        let clients = client.acceptor(client_urls, &own, &client_metrics)?;
        let peers = peer.acceptor(config.listen_peer_urls.iter(), &own, &peer_metrics)?;
        let settings = peer.dial_settings(&own)?;
        let dialer = Dialer::new(settings, peer_metrics.clone())?;
        Ok(Self { clients, peers, dialer, client_metrics, peer_metrics })
    }

    /// Shows what goes wrong.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.client_metrics.register(registry, "quorate_server_client");
        self.peer_metrics.register(registry, "quorate_server_peer");
    }
}

/// The settings of one side, with all others.
struct Side<'a> {
    names: &'a Names,
    side: &'a TlsSide,
    config: &'a Config,
}

impl Side<'_> {
    /// What the listeners of these URLs need; none when nothing is encrypted there.
    fn acceptor<'a>(
        &self,
        urls: impl Iterator<Item = &'a ListenUrl>,
        own: &Path,
        metrics: &TlsMetrics,
    ) -> Result<Option<Acceptor>, Error> {
        if !urls.into_iter().any(|url| url.scheme.is_tls()) {
            return Ok(None);
        }
        let Some(pair) = self.shown(own)? else { return Ok(None) };
        let (side, names) = (self.side, self.names);
        let callers = side.demands_certificate().then(|| Callers {
            authorities: file(names.authorities, side.trusted_ca_file.as_deref()),
            revoked: file(names.revoked, side.crl_file.as_deref()),
            allowed: self.allowed(),
        });
        let settings = ListenSettings { pair, callers, protocol: self.protocol() };
        Acceptor::new(settings, metrics.clone()).map(Some)
    }

    fn dial_settings(&self, own: &Path) -> Result<DialSettings, Error> {
        let (side, names) = (self.side, self.names);
        let set = pair(
            (names.client_cert, side.client_cert_file.as_deref()),
            (names.client_key, side.client_key_file.as_deref()),
        );
        let shown = match set {
            Some(pair) => Some(pair),
            None => self.shown(own)?,
        };
        Ok(DialSettings {
            pair: shown,
            authorities: file(names.authorities, side.trusted_ca_file.as_deref()),
            allowed: self.allowed(),
            // A certificate that somebody made for himself proves nothing.
            insecure: self.is_own(),
            protocol: self.protocol(),
        })
    }

    /// Whether this side goes by a certificate that the member has made.
    fn is_own(&self) -> bool {
        self.side.auto_tls && self.side.cert_file.is_none()
    }

    /// What callers are shown.
    fn shown(&self, own: &Path) -> Result<Option<Pair>, Error> {
        let (side, names) = (self.side, self.names);
        if self.is_own() {
            let years = self.config.tls.self_signed_cert_validity;
            let made = self_signed(names.auto, &own.join(names.folder), &hosts(self.config), years);
            return made.map(Some);
        }
        let (cert, key) = (side.cert_file.as_deref(), side.key_file.as_deref());
        Ok(pair((names.cert, cert), (names.key, key)))
    }

    fn allowed(&self) -> Allowed {
        let TlsSide { allowed_cns, allowed_hostnames, .. } = self.side;
        match (allowed_cns.as_slice(), allowed_hostnames.as_slice()) {
            ([], []) => Allowed::Anybody,
            ([], names) => Allowed::Hostnames(names.to_vec()),
            (names, _) => Allowed::CommonNames(names.to_vec()),
        }
    }

    fn protocol(&self) -> Protocol {
        let tls = &self.config.tls;
        Protocol {
            min: tls.min_version,
            max: tls.max_version.unwrap_or(TlsVersion::V13),
            suites: tls.cipher_suites.clone(),
        }
    }
}

type Named<'a> = (&'static str, Option<&'a Path>);

fn file(setting: &'static str, path: Option<&Path>) -> Option<SettingFile> {
    path.map(|path| SettingFile { setting, path: path.to_owned() })
}

fn pair((cert, cert_path): Named<'_>, (key, key_path): Named<'_>) -> Option<Pair> {
    Some(Pair { cert: file(cert, cert_path)?, key: file(key, key_path)? })
}

/// Every host that a certificate of this member's own is to be good for.
fn hosts(config: &Config) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let listeners = [
        &config.listen_client_urls,
        &config.http.listen_client_http_urls,
        &config.listen_peer_urls,
    ];
    let listened = listeners.into_iter().flatten();
    let listened =
        listened.filter_map(|url| url.place.socket_addr()).map(|address| address.ip().to_string());
    hosts.extend(listened);
    let advertised = config.advertise_client_urls.iter().chain(&config.initial_advertise_peer_urls);
    hosts.extend(advertised.filter_map(host));
    hosts.sort();
    hosts.dedup();
    hosts
}

fn host(url: &Url) -> Option<String> {
    match url.place() {
        Place::Port { host, .. } => Some(host.clone()),
        Place::Socket(_) => None,
    }
}
