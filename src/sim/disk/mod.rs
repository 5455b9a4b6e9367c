//! The disks of simulated members: what survives a crash, and what does not.
//!
//! [`SimLog`] and [`SimStore`] fulfil the ports of a node in memory. Each holds two images, what
//! reads show and what a crash leaves; [`SimLog::crash`] and [`SimStore::crash`] make the second
//! the first. How long a write takes is not their matter: the world calls them when it is done.
//! A log can also lose what it had synced ([`Loss`]). The [`SimIdentity`] beside them never does.

mod identity;
mod image;
mod log;
mod store;

use std::sync::Arc;

pub use self::{
    identity::{Kept, SimIdentity},
    log::{LogFault, Loss, SimLog},
    store::SimStore,
};

/// All that is left of a member when it does not run.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its log.
    pub log: Arc<SimLog>,
    /// Its state.
    pub store: Arc<SimStore>,
    /// Who it is, and in which life.
    pub identity: Arc<SimIdentity>,
}
