//! The versions a member tells: the level of the API it speaks, and its own.

/// The etcd release whose API and behaviour this server has.
pub const SERVER: &str = "3.7.1";
/// The level that all members of the cluster have; there is only this one yet.
pub const CLUSTER: &str = "3.7.0";
/// The level of what is on disk, as far as the API tells of it.
pub const STORAGE: &str = "3.7.0";
/// The version of this program.
pub const QUORATE: &str = env!("CARGO_PKG_VERSION");
