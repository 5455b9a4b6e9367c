//! The versions a member tells: the level of the API it speaks, and its own.

use crate::state::Level;

/// The etcd release whose API and behaviour this server has.
pub const SERVER: &str = "3.7.1";
/// The level of what is on disk, as far as the API tells of it.
pub const STORAGE: &str = "3.7.0";
/// The version of this program.
pub const QUORATE: &str = env!("CARGO_PKG_VERSION");

/// The version of etcd's API that all members of a cluster have. Every call is served before the
/// cluster has agreed on one, as in etcd.
#[must_use]
pub fn cluster(agreed: Option<Level>) -> &'static str {
    match agreed {
        None => "not_decided",
        // There has been no other yet; a member that is older than its cluster does not run.
        Some(_) => "3.7.0",
    }
}
