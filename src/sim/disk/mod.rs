//! The disks of simulated members: what survives a crash, and what does not.
//!
//! [`SimLog`] and [`SimStore`] fulfil the ports of a node in memory. Each holds two images, what
//! reads show and what a crash leaves; [`SimLog::crash`] and [`SimStore::crash`] make the second
//! the first. How long a write takes is not their matter: the world calls them when it is done.

mod image;
mod log;
mod store;

pub use self::{
    log::{LogFault, SimLog},
    store::SimStore,
};
