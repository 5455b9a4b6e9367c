//! Settings of encryption: what both listeners show, whom they let in, and what this member dials with.
//!
//! What stands in the files is looked at when they are opened, by the `tls` room. Here it is seen to it
//! that they are named in pairs, and that a URL with TLS has a certificate.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Config, ListenUrl,
    check::Check,
    print::{list, quote},
    settings::{Group, List, Setting, setting, switch},
};
use crate::types::tls::{CipherSuite, TlsVersion, WEAK_CIPHER_SUITES};

/// Encryption of both listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// For clients.
    pub client: TlsSide,
    /// For other members.
    pub peer: TlsSide,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The newest; none: the newest there is.
    pub max_version: Option<TlsVersion>,
    /// The suites of TLS 1.2 that may be agreed on; none: all there are. Those of TLS 1.3 always may.
    pub cipher_suites: Vec<CipherSuite>,
    /// Suites that were asked for and are not offered.
    pub weak_cipher_suites: Vec<String>,
    /// How many years a certificate lasts that this member makes for itself.
    pub self_signed_cert_validity: u64,
}

/// Encryption towards clients, or towards other members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSide {
    /// The certificate that callers are shown.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The certificate that this member shows when it calls; none: the other one.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
    /// Whether callers must show a certificate.
    pub client_cert_auth: bool,
    /// Who must have signed it. Alone, this demands one, too.
    pub trusted_ca_file: Option<PathBuf>,
    /// Which of them are revoked.
    pub crl_file: Option<PathBuf>,
    /// Common names of which a caller must have one; none: any.
    pub allowed_cns: Vec<String>,
    /// Host names of which a caller must have one; none: any.
    pub allowed_hostnames: Vec<String>,
    /// Whether this member makes its certificate itself.
    pub auto_tls: bool,
    /// Whether a caller's certificate need not fit the address it calls from. Never checked of clients.
    pub skip_client_san_verification: bool,
}

impl TlsSide {
    /// Whether there is a certificate to show.
    #[must_use]
    pub fn has_certificate(&self) -> bool {
        self.auto_tls || (self.cert_file.is_some() && self.key_file.is_some())
    }

    /// Whether any file is named that only TLS uses.
    fn names_files(&self) -> bool {
        self.cert_file.is_some() || self.key_file.is_some()
    }

    /// Whether certificates are to be looked at more closely than for who has signed them.
    fn restricts(&self) -> bool {
        self.crl_file.is_some()
            || !self.allowed_cns.is_empty()
            || !self.allowed_hostnames.is_empty()
    }

    /// Whether callers must show a certificate.
    #[must_use]
    pub fn demands_certificate(&self) -> bool {
        self.client_cert_auth || self.trusted_ca_file.is_some()
    }
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TlsSettings {
    cert_file: String,
    key_file: String,
    client_cert_file: String,
    client_key_file: String,
    client_cert_auth: bool,
    trusted_ca_file: String,
    client_crl_file: String,
    client_cert_allowed_hostname: List,
    auto_tls: bool,
    peer_cert_file: String,
    peer_key_file: String,
    peer_client_cert_file: String,
    peer_client_key_file: String,
    peer_client_cert_auth: bool,
    peer_trusted_ca_file: String,
    peer_crl_file: String,
    peer_cert_allowed_cn: List,
    peer_cert_allowed_hostname: List,
    peer_skip_client_san_verification: bool,
    peer_auto_tls: bool,
    self_signed_cert_validity: u64,
    tls_min_version: String,
    tls_max_version: String,
    cipher_suites: List,
}

impl Default for TlsSettings {
    fn default() -> Self {
        let (text, none) = (String::new, List::default);
        Self {
            cert_file: text(),
            key_file: text(),
            client_cert_file: text(),
            client_key_file: text(),
            client_cert_auth: false,
            trusted_ca_file: text(),
            client_crl_file: text(),
            client_cert_allowed_hostname: none(),
            auto_tls: false,
            peer_cert_file: text(),
            peer_key_file: text(),
            peer_client_cert_file: text(),
            peer_client_key_file: text(),
            peer_client_cert_auth: false,
            peer_trusted_ca_file: text(),
            peer_crl_file: text(),
            peer_cert_allowed_cn: none(),
            peer_cert_allowed_hostname: none(),
            peer_skip_client_san_verification: false,
            peer_auto_tls: false,
            self_signed_cert_validity: 1,
            tls_min_version: TlsVersion::V12.as_str().to_owned(),
            tls_max_version: text(),
            cipher_suites: none(),
        }
    }
}

impl Group for TlsSettings {
    const SETTINGS: &'static [Setting] = &[
        setting("cert-file", "FILE", "Certificate that clients are shown"),
        setting("key-file", "FILE", "Its key"),
        setting("client-cert-file", "FILE", "Certificate to call itself with [default: cert-file]"),
        setting("client-key-file", "FILE", "Its key"),
        switch("client-cert-auth", "Clients must show a certificate [default: false]"),
        setting("trusted-ca-file", "FILE", "Who must have signed it; alone, this demands one"),
        setting("client-crl-file", "FILE", "Certificates of clients that are revoked"),
        setting("client-cert-allowed-hostname", "NAMES", "Clients need one of these host names"),
        switch("auto-tls", "Make the certificate for clients by itself [default: false]"),
        setting("peer-cert-file", "FILE", "Certificate that other members are shown"),
        setting("peer-key-file", "FILE", "Its key"),
        setting(
            "peer-client-cert-file",
            "FILE",
            "Certificate to call other members with [default: peer-cert-file]",
        ),
        setting("peer-client-key-file", "FILE", "Its key"),
        switch("peer-client-cert-auth", "Other members must show a certificate [default: false]"),
        setting(
            "peer-trusted-ca-file",
            "FILE",
            "Who must have signed members' certificates; alone, this demands one",
        ),
        setting("peer-crl-file", "FILE", "Certificates of members that are revoked"),
        setting("peer-cert-allowed-cn", "NAMES", "Members need one of these common names"),
        setting("peer-cert-allowed-hostname", "NAMES", "Members need one of these host names"),
        switch(
            "peer-skip-client-san-verification",
            "Members' certificates need not fit where they call from [default: false]",
        ),
        switch("peer-auto-tls", "Make the certificate for members by itself [default: false]"),
        setting(
            "self-signed-cert-validity",
            "YEARS",
            "How long certificates last that it made by itself [default: 1]",
        ),
        setting("tls-min-version", "VERSION", "TLS1.2 or TLS1.3 [default: TLS1.2]"),
        setting("tls-max-version", "VERSION", "TLS1.2 or TLS1.3 [default: the newest]"),
        setting("cipher-suites", "NAMES", "Suites of TLS 1.2, by their names in Go [default: all]"),
    ];
    type Checked = Tls;

    fn check(self, check: &mut Check<'_>) -> Tls {
        let validity = self.self_signed_cert_validity;
        if validity == 0 && (self.auto_tls || self.peer_auto_tls) {
            check.problem("self-signed-cert-validity", "must be at least 1 year");
        }
        if validity > VALIDITY_YEARS_MAX {
            let reason = format!("{validity} years are more than {VALIDITY_YEARS_MAX}");
            check.problem("self-signed-cert-validity", reason);
        }
        let min_version = version("tls-min-version", &self.tls_min_version, check);
        let min_version = min_version.unwrap_or(TlsVersion::V12);
        let max_version = version("tls-max-version", &self.tls_max_version, check);
        if let Some(max) = max_version.filter(|max| *max < min_version) {
            let (min, max) = (min_version.as_str(), max.as_str());
            let reason = format!("min version ({min}) is greater than max version ({max})");
            check.problem("tls-min-version", reason);
        }
        let (cipher_suites, weak_cipher_suites) = suites(&self.cipher_suites, min_version, check);
        let client = TlsSide {
            cert_file: path(&self.cert_file),
            key_file: path(&self.key_file),
            client_cert_file: path(&self.client_cert_file),
            client_key_file: path(&self.client_key_file),
            client_cert_auth: self.client_cert_auth,
            trusted_ca_file: path(&self.trusted_ca_file),
            crl_file: path(&self.client_crl_file),
            allowed_cns: Vec::new(),
            allowed_hostnames: self.client_cert_allowed_hostname.0,
            auto_tls: self.auto_tls,
            skip_client_san_verification: true,
        };
        let peer = TlsSide {
            cert_file: path(&self.peer_cert_file),
            key_file: path(&self.peer_key_file),
            client_cert_file: path(&self.peer_client_cert_file),
            client_key_file: path(&self.peer_client_key_file),
            client_cert_auth: self.peer_client_cert_auth,
            trusted_ca_file: path(&self.peer_trusted_ca_file),
            crl_file: path(&self.peer_crl_file),
            allowed_cns: self.peer_cert_allowed_cn.0,
            allowed_hostnames: self.peer_cert_allowed_hostname.0,
            auto_tls: self.peer_auto_tls,
            skip_client_san_verification: self.peer_skip_client_san_verification,
        };
        pairs("", &client, check);
        pairs("peer-", &peer, check);
        if !peer.allowed_cns.is_empty() && !peer.allowed_hostnames.is_empty() {
            let reason = "cannot be set together with peer-cert-allowed-hostname";
            check.problem("peer-cert-allowed-cn", reason);
        }
        Tls {
            client,
            peer,
            min_version,
            max_version,
            cipher_suites,
            weak_cipher_suites,
            self_signed_cert_validity: validity,
        }
    }

    fn print(tls: &Tls, setting: &str) -> String {
        let suites = || tls.cipher_suites.iter().map(|suite| suite.as_str());
        match setting {
            "self-signed-cert-validity" => tls.self_signed_cert_validity.to_string(),
            "tls-min-version" => quote(tls.min_version.as_str()),
            "tls-max-version" => quote(tls.max_version.map_or("", TlsVersion::as_str)),
            "cipher-suites" => {
                list(suites().chain(tls.weak_cipher_suites.iter().map(String::as_str)))
            }
            setting => match setting.strip_prefix("peer-") {
                Some(name) => print_side(&tls.peer, name),
                None => print_side(&tls.client, setting),
            },
        }
    }
}

/// More is a mistake, and would be a date that a certificate cannot hold.
const VALIDITY_YEARS_MAX: u64 = 1_000;

/// A setting of one side, without what tells the sides apart.
fn print_side(side: &TlsSide, name: &str) -> String {
    let path = |path: &Option<PathBuf>| {
        quote(&path.as_ref().map(|path| path.to_string_lossy()).unwrap_or_default())
    };
    match name {
        "cert-file" => path(&side.cert_file),
        "key-file" => path(&side.key_file),
        "client-cert-file" => path(&side.client_cert_file),
        "client-key-file" => path(&side.client_key_file),
        "client-cert-auth" => side.client_cert_auth.to_string(),
        "trusted-ca-file" => path(&side.trusted_ca_file),
        "client-crl-file" | "crl-file" => path(&side.crl_file),
        "client-cert-allowed-hostname" | "cert-allowed-hostname" => list(&side.allowed_hostnames),
        "cert-allowed-cn" => list(&side.allowed_cns),
        "auto-tls" => side.auto_tls.to_string(),
        "skip-client-san-verification" => side.skip_client_san_verification.to_string(),
        unknown => unreachable!("setting {unknown} is listed but not printed"),
    }
}

fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

fn version(setting: &str, text: &str, check: &mut Check<'_>) -> Option<TlsVersion> {
    let version = TlsVersion::named(text);
    if version.is_none() && !text.is_empty() {
        let reason = format!("unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)");
        check.problem(setting, reason);
    }
    version
}

/// The suites that are offered, and those that only etcd would offer.
fn suites(
    names: &List,
    min_version: TlsVersion,
    check: &mut Check<'_>,
) -> (Vec<CipherSuite>, Vec<String>) {
    let setting = "cipher-suites";
    let (mut offered, mut weak) = (Vec::new(), Vec::new());
    for name in &names.0 {
        match CipherSuite::named(name) {
            Some(suite) => offered.push(suite),
            None if WEAK_CIPHER_SUITES.contains(&name.as_str()) => weak.push(name.clone()),
            None => {
                let known: Vec<&str> =
                    CipherSuite::ALL.iter().map(|suite| suite.as_str()).collect();
                let reason =
                    format!("unexpected TLS cipher suite {name:?}: known are {}", known.join(", "));
                check.problem(setting, reason);
            }
        }
    }
    if min_version == TlsVersion::V13 && !names.0.is_empty() {
        check.problem(setting, "cannot be configured when only TLS1.3 is enabled");
    }
    if offered.is_empty() && !weak.is_empty() {
        let reason = format!("{} only: none of them is offered", weak.join(", "));
        check.problem(setting, reason);
    }
    (offered, weak)
}

/// A certificate is of no use without its key, and the other way round.
fn pairs(prefix: &str, side: &TlsSide, check: &mut Check<'_>) {
    for (cert, key, cert_setting, key_setting) in [
        (&side.cert_file, &side.key_file, "cert-file", "key-file"),
        (&side.client_cert_file, &side.client_key_file, "client-cert-file", "client-key-file"),
    ] {
        let (missing, set, path) = match (cert, key) {
            (Some(cert), None) => (key_setting, cert_setting, cert),
            (None, Some(key)) => (cert_setting, key_setting, key),
            (Some(_), Some(_)) | (None, None) => continue,
        };
        let reason = format!("is required, because {prefix}{set} is {}", path.display());
        check.problem(&format!("{prefix}{missing}"), reason);
    }
}

/// The listeners of one side, each with its setting.
type Listeners<'a> = [(&'static str, &'a [ListenUrl])];

/// A URL with TLS needs a certificate.
pub(super) fn check_urls(config: &Config, check: &mut Check<'_>) {
    let clients: &Listeners<'_> = &[
        ("listen-client-urls", &config.listen_client_urls),
        ("listen-client-http-urls", &config.http.listen_client_http_urls),
        ("listen-metrics-urls", &config.listen_metrics_urls),
    ];
    let peers: &Listeners<'_> = &[("listen-peer-urls", &config.listen_peer_urls)];
    for (prefix, side, listeners) in
        [("", &config.tls.client, clients), ("peer-", &config.tls.peer, peers)]
    {
        if side.has_certificate() || side.names_files() {
            continue; // what is missing of a pair has been said
        }
        let urls =
            listeners.iter().flat_map(|(name, urls)| urls.iter().map(move |url| (name, url)));
        if let Some((name, url)) = urls.into_iter().find(|(_, url)| url.scheme.is_tls()) {
            let reason = format!(
                "a certificate and its key ({prefix}cert-file, {prefix}key-file) must be provided for \
                 {url} of {name}, or {prefix}auto-tls be set"
            );
            check.problem(&format!("{prefix}cert-file"), reason);
        }
    }
}

/// What is set and has no effect, a sentence each.
#[must_use]
pub fn notices(config: &Config) -> Vec<String> {
    let mut notices = Vec::new();
    let weak = &config.tls.weak_cipher_suites;
    if !weak.is_empty() {
        notices.push(format!("cipher-suites: {} are not offered", weak.join(", ")));
    }
    let clients = config.listen_client_urls.iter().chain(&config.http.listen_client_http_urls);
    let clients: Vec<&ListenUrl> = clients.collect();
    let peers: Vec<&ListenUrl> = config.listen_peer_urls.iter().collect();
    for (prefix, side, urls) in
        [("", &config.tls.client, clients), ("peer-", &config.tls.peer, peers)]
    {
        if side.restricts() && !side.demands_certificate() {
            notices.push(format!(
                "whoever connects is asked for no certificate, so none is looked at for its name or for \
                 being revoked: {prefix}trusted-ca-file or {prefix}client-cert-auth is to be set"
            ));
        }
        if side.auto_tls && side.names_files() {
            notices.push(format!("{prefix}auto-tls is ignored, since {prefix}cert-file is set"));
        }
        for url in urls.into_iter().filter(|url| !url.scheme.is_tls()) {
            if side.names_files() {
                notices.push(format!(
                    "{url} is not encrypted: {prefix}cert-file and {prefix}key-file are ignored for it"
                ));
            }
            if side.demands_certificate() {
                notices.push(format!(
                    "{url} is not encrypted: whoever connects to it is asked for no certificate"
                ));
            }
        }
    }
    notices
}
