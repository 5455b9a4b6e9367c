//! Words of encryption that settings use: versions of the protocol, and cipher suites by their names in Go.

/// A version of TLS. Older ones are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl TlsVersion {
    /// The word that a setting uses for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "TLS1.2",
            Self::V13 => "TLS1.3",
        }
    }

    /// The version of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::V12, Self::V13].into_iter().find(|version| version.as_str() == name)
    }
}

/// A cipher suite that both sides of a connection may agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CipherSuite {
    /// TLS 1.2, certificates with elliptic curves.
    EcdsaAes128Gcm,
    /// TLS 1.2, certificates with elliptic curves.
    EcdsaAes256Gcm,
    /// TLS 1.2, certificates with elliptic curves.
    EcdsaChacha20,
    /// TLS 1.2, RSA certificates.
    RsaAes128Gcm,
    /// TLS 1.2, RSA certificates.
    RsaAes256Gcm,
    /// TLS 1.2, RSA certificates.
    RsaChacha20,
    /// TLS 1.3, which offers all of its three whatever is set.
    Aes128Gcm,
    /// TLS 1.3.
    Aes256Gcm,
    /// TLS 1.3.
    Chacha20,
}

impl CipherSuite {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::EcdsaAes128Gcm,
        Self::EcdsaAes256Gcm,
        Self::EcdsaChacha20,
        Self::RsaAes128Gcm,
        Self::RsaAes256Gcm,
        Self::RsaChacha20,
        Self::Aes128Gcm,
        Self::Aes256Gcm,
        Self::Chacha20,
    ];

    /// Its name in Go.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdsaAes256Gcm => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaChacha20 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::RsaAes128Gcm => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::RsaAes256Gcm => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::RsaChacha20 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::Chacha20 => "TLS_CHACHA20_POLY1305_SHA256",
        }
    }

    /// The suite of this name, or of the shorter one that two of them also have in Go.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let long = format!("{name}_SHA256");
        let short = |suite: &Self| {
            matches!(suite, Self::EcdsaChacha20 | Self::RsaChacha20) && suite.as_str() == long
        };
        Self::ALL.into_iter().find(|suite| suite.as_str() == name || short(suite))
    }

    /// Whether it is one of TLS 1.2, the only ones that can be chosen.
    #[must_use]
    pub fn is_of_12(self) -> bool {
        match self {
            Self::EcdsaAes128Gcm
            | Self::EcdsaAes256Gcm
            | Self::EcdsaChacha20
            | Self::RsaAes128Gcm
            | Self::RsaAes256Gcm
            | Self::RsaChacha20 => true,
            Self::Aes128Gcm | Self::Aes256Gcm | Self::Chacha20 => false,
        }
    }
}

/// Suites that Go knows and that no careful server offers: without forward secrecy, or without
/// authenticated encryption. etcd accepts their names, so they are passed over and not refused.
pub const WEAK_CIPHER_SUITES: [&str; 16] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name leads back to what it names, and no weak suite is offered.
    #[test]
    fn names_lead_back() {
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::named(suite.as_str()), Some(suite));
        }
        let short = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305";
        assert_eq!(CipherSuite::named(short), Some(CipherSuite::RsaChacha20));
        assert_eq!(CipherSuite::named("TLS_CHACHA20_POLY1305"), None);
        assert!(WEAK_CIPHER_SUITES.iter().all(|name| CipherSuite::named(name).is_none()));
        for version in [TlsVersion::V12, TlsVersion::V13] {
            assert_eq!(TlsVersion::named(version.as_str()), Some(version));
        }
        assert_eq!(TlsVersion::named("TLS1.1"), None);
    }
}
