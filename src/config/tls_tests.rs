//! What settings of encryption and of listeners mean together.

use super::{Config, Inputs, ListenPlace, Scheme, load, tls_notices};
use crate::types::tls::{CipherSuite, TlsVersion};

fn inputs(list: &[(&str, &str)]) -> Inputs {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Inputs { flags: list.iter().map(pair).collect(), ..Inputs::default() }
}

fn config(list: &[(&str, &str)]) -> Config {
    load(&inputs(list)).unwrap().config
}

fn refusal(list: &[(&str, &str)]) -> String {
    load(&inputs(list)).unwrap_err().to_string()
}

const SECURE: [(&str, &str); 6] = [
    ("listen-client-urls", "https://localhost:2379"),
    ("advertise-client-urls", "https://localhost:2379"),
    ("cert-file", "s.crt"),
    ("key-file", "s.key"),
    ("listen-peer-urls", "https://localhost:2380"),
    ("peer-auto-tls", "true"),
];

/// A URL with TLS needs a certificate, and a certificate its key; both are named in the refusal.
#[test]
fn certificates_come_with_keys_and_where_they_are_needed() {
    let tls = config(&SECURE).tls;
    assert_eq!(tls.client.cert_file.unwrap().to_str(), Some("s.crt"));
    assert!(tls.peer.auto_tls && !tls.peer.demands_certificate());

    assert_eq!(
        refusal(&[("cert-file", "s.crt"), ("peer-client-key-file", "p.key")]),
        "key-file: is required, because cert-file is s.crt (default)\npeer-client-cert-file: is \
         required, because peer-client-key-file is p.key (default)"
    );
    for (setting, url) in [
        ("listen-metrics-urls", "https://localhost:1"),
        ("listen-client-http-urls", "unixs://localhost:1"),
    ] {
        let refused = refusal(&[(setting, url)]);
        assert!(refused.contains(&format!("must be provided for {url} of {setting}")), "{refused}");
    }
    let refused = refusal(&[("listen-peer-urls", "https://localhost:1")]);
    assert!(refused.starts_with("peer-cert-file: a certificate and its key"), "{refused}");
}

/// Who must have signed certificates is enough to demand them, as in etcd.
#[test]
fn a_ca_alone_demands_certificates() {
    let demands = |list| config(list).tls.client.demands_certificate();
    assert!(demands(&[("trusted-ca-file", "ca.crt")]));
    assert!(demands(&[("client-cert-auth", "true")]));
    assert!(!demands(&[]));
}

/// Suites go by their names in Go. A weak one is passed over aloud, an unknown one refused with the list.
#[test]
fn suites_and_versions_are_those_of_go() {
    let aes = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let set = format!("{aes},TLS_RSA_WITH_AES_128_CBC_SHA");
    let found = config(&[("cipher-suites", &set), ("tls-max-version", "TLS1.3")]);
    assert_eq!(found.tls.cipher_suites, [CipherSuite::RsaAes128Gcm]);
    assert_eq!(
        (found.tls.min_version, found.tls.max_version),
        (TlsVersion::V12, Some(TlsVersion::V13))
    );
    let notice = "cipher-suites: TLS_RSA_WITH_AES_128_CBC_SHA are not offered";
    assert_eq!(tls_notices(&found), [notice]);

    let unknown = refusal(&[("cipher-suites", "AES")]);
    assert!(
        unknown.contains("unexpected TLS cipher suite \"AES\"") && unknown.contains(aes),
        "{unknown}"
    );
    let weak = refusal(&[("cipher-suites", "TLS_RSA_WITH_AES_128_CBC_SHA")]);
    assert!(weak.contains("none of them is offered"), "{weak}");
    let only_13 = refusal(&[("cipher-suites", aes), ("tls-min-version", "TLS1.3")]);
    assert!(only_13.contains("cannot be configured when only TLS1.3 is enabled"), "{only_13}");
    let crossed = refusal(&[("tls-min-version", "TLS1.3"), ("tls-max-version", "TLS1.2")]);
    assert!(
        crossed.contains("min version (TLS1.3) is greater than max version (TLS1.2)"),
        "{crossed}"
    );
    let old = refusal(&[("tls-min-version", "TLS1.1")]);
    assert!(old.contains("unexpected TLS version \"TLS1.1\""), "{old}");
}

/// What excludes each other is refused, and so is a certificate without a life.
#[test]
fn contradictions_are_refused() {
    let both = refusal(&[("peer-cert-allowed-cn", "a"), ("peer-cert-allowed-hostname", "b")]);
    assert!(both.contains("cannot be set together with peer-cert-allowed-hostname"), "{both}");
    let dead = refusal(&[("auto-tls", "true"), ("self-signed-cert-validity", "0")]);
    assert!(dead.contains("must be at least 1 year"), "{dead}");
}

/// What has no effect is said.
#[test]
fn certificates_for_plain_urls_are_noticed() {
    let found = config(&[("cert-file", "a"), ("key-file", "b"), ("peer-trusted-ca-file", "c")]);
    assert_eq!(
        tls_notices(&found),
        [
            "http://localhost:2379 is not encrypted: cert-file and key-file are ignored for it",
            "http://localhost:2380 is not encrypted: whoever connects to it is asked for no certificate",
        ]
    );
    assert_eq!(tls_notices(&config(&SECURE)), [""; 0]);
}

/// One address may be listed plainly and with TLS, but not under two settings.
#[test]
fn an_address_may_be_listed_under_both_schemes() {
    let urls = "http://localhost:2379,https://localhost:2379,unix:///run/q.sock";
    let found = config(&[
        ("listen-client-urls", urls),
        ("advertise-client-urls", "https://localhost:2379"),
        ("auto-tls", "true"),
        ("listen-client-http-urls", "http://localhost:8080"),
    ]);
    let schemes: Vec<Scheme> = found.listen_client_urls.iter().map(|url| url.scheme).collect();
    assert_eq!(schemes, [Scheme::Http, Scheme::Https, Scheme::Unix]);
    assert_eq!(found.listen_client_urls[0].place, found.listen_client_urls[1].place);
    assert_eq!(found.listen_client_urls[2].place, ListenPlace::Socket("/run/q.sock".to_owned()));

    let refused =
        refusal(&[("listen-client-http-urls", "https://localhost:2379"), ("auto-tls", "true")]);
    assert!(refused.contains("https://localhost:2379 is also in listen-client-urls"), "{refused}");
}

/// What is printed sets the same.
#[test]
fn a_printed_configuration_loads_to_itself() {
    let mut list = SECURE.to_vec();
    list.extend([
        ("cipher-suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA"),
        ("peer-cert-allowed-cn", "a,b"),
        ("listen-client-http-urls", "https://127.0.0.1:7"),
        ("socket-reuse-port", "true"),
        ("tls-max-version", "TLS1.2"),
    ]);
    let first = load(&inputs(&list)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quorate.toml");
    std::fs::write(&path, &first.printed).unwrap();

    let second = load(&Inputs { config_file: Some(path), ..Inputs::default() }).unwrap();

    assert_eq!(second.config, Config { initial_cluster_is_set: true, ..first.config });
}
