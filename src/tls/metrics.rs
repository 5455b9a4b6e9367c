//! Figures of encryption.

use crate::telemetry::{Counter, Registry};

/// What goes wrong on the encrypted listeners of one kind.
#[derive(Clone, Debug, Default)]
pub struct TlsMetrics {
    /// Handshakes that came to nothing.
    pub handshakes_failed: Counter,
    /// Times that files could not be read again or used.
    pub reloads_failed: Counter,
}

impl TlsMetrics {
    /// Shows them under the names of a kind of listener.
    pub fn register(&self, registry: &mut Registry, prefix: &str) {
        registry.register(
            format!("{prefix}_tls_handshakes_failed"),
            "TLS handshakes that came to nothing",
            self.handshakes_failed.clone(),
        );
        registry.register(
            format!("{prefix}_tls_reloads_failed"),
            "Times that files of certificates could not be read again",
            self.reloads_failed.clone(),
        );
    }
}
