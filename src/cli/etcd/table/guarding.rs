//! Who may talk to a member, and how that is kept secret.

use super::{Flag, Kind, guard, none, set};

const AUTH_IS_OFF: &str = "there are no users and roles: authentication cannot be enabled";
const OWN_CLIENT: &str = "a member has no client of its own";

pub(super) const SECURITY: &[Flag] = &[
    guard("cert-file", Kind::Text),
    guard("key-file", Kind::Text),
    guard("client-cert-auth", Kind::Switch),
    none("client-cert-file", Kind::Text, OWN_CLIENT),
    none("client-key-file", Kind::Text, OWN_CLIENT),
    guard("client-crl-file", Kind::Text),
    guard("client-cert-allowed-hostname", Kind::Text),
    guard("trusted-ca-file", Kind::Text),
    guard("auto-tls", Kind::Switch),
    guard("peer-cert-file", Kind::Text),
    guard("peer-key-file", Kind::Text),
    guard("peer-client-cert-auth", Kind::Switch),
    guard("peer-client-cert-file", Kind::Text),
    guard("peer-client-key-file", Kind::Text),
    guard("peer-trusted-ca-file", Kind::Text),
    guard("peer-cert-allowed-cn", Kind::Text),
    guard("peer-cert-allowed-hostname", Kind::Text),
    guard("peer-auto-tls", Kind::Switch),
    set("self-signed-cert-validity", Kind::Unsigned(64)),
    guard("peer-crl-file", Kind::Text),
    guard("peer-skip-client-san-verification", Kind::Switch),
    guard("cipher-suites", Kind::Text),
    set("cors", Kind::Urls),
    guard("host-whitelist", Kind::Text),
    set("tls-min-version", Kind::Text),
    set("tls-max-version", Kind::Text),
];

pub(super) const AUTH: &[Flag] = &[
    none("auth-token", Kind::Text, AUTH_IS_OFF),
    none("bcrypt-cost", Kind::Unsigned(64), AUTH_IS_OFF),
    none("auth-token-ttl", Kind::Unsigned(64), AUTH_IS_OFF),
];
