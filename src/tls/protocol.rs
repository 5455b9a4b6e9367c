//! Versions and suites, as the library wants them.

use std::sync::Arc;

use rustls::{
    SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{
        CryptoProvider,
        ring::{cipher_suite, default_provider},
    },
    version,
};

use super::Protocol;
use crate::types::tls::{CipherSuite, TlsVersion};

impl Protocol {
    /// The versions that are spoken.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(TlsVersion::V13, &version::TLS13), (TlsVersion::V12, &version::TLS12)];
        let spoken = all.into_iter().filter(|(version, _)| (self.min..=self.max).contains(version));
        spoken.map(|(_, version)| version).collect()
    }

    /// The library's cryptography, with the suites that are offered.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = default_provider();
        let chosen: Vec<SupportedCipherSuite> = self.suites.iter().map(|it| of(*it)).collect();
        // A list chooses among those of TLS 1.2 alone, as in Go.
        if self.suites.iter().any(|suite| suite.is_of_12()) {
            provider.cipher_suites.retain(|suite| {
                suite.version().version == rustls::ProtocolVersion::TLSv1_3
                    || chosen.contains(suite)
            });
        }
        Arc::new(provider)
    }
}

fn of(suite: CipherSuite) -> SupportedCipherSuite {
    match suite {
        CipherSuite::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChacha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChacha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::Chacha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    }
}
