//! Encryption: what this member shows on its listeners, whom it lets in, and how it dials others.
//!
//! [`Acceptor`] makes an encrypted connection of one that came in, [`Dialer`] of one that goes out, and
//! [`Way`] is a dialled gRPC channel under any URL, encrypted or not. Certificates, keys, authorities and
//! lists of revoked certificates are read again for every handshake: files that were replaced count from
//! the next connection on, without a restart. What cannot be used is told once, and the last that could
//! be stays in force. Sessions are never taken up again, since that would pass by the checks.
//!
//! [`self_signed()`] makes a certificate for whoever has none.
//!
//! Absent: what a certificate allows its owner to do; listening, deadlines, addresses.

mod accept;
mod certs;
mod dial;
mod error;
mod files;
mod metrics;
mod protocol;
mod reload;
mod self_signed;
mod settings;
mod verify;
mod way;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use accept::{Acceptor, PeerNames, Refused, Secured};
pub use dial::{Connector, Dialer, Duplex};
pub use error::Error;
pub use metrics::TlsMetrics;
pub use self_signed::self_signed;
pub use settings::{Allowed, Callers, DialSettings, ListenSettings, Pair, Protocol, SettingFile};
pub use way::Way;
