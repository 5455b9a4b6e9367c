//! The engines, and nobody else knows them: raft-engine for the log, RocksDB for the state.
//!
//! [`DataDir`] is the way in: it makes the directory, keeps other processes out, and knows to whom
//! the data belong. [`Log`] and [`Store`] live in it and fulfil the ports of the node.
//!
//! What is promised: a [`Log`] write that returned survives a crash as one unit. A [`Store`]
//! commit survives none by itself, but what does survive is always the state after a whole commit,
//! in all families alike, and the store tells which. A checkpoint is installed in one step. What is
//! found damaged is a [`Fault`](crate::types::Fault) that names the file; nothing is repaired
//! silently, and nothing is retried after a failed sync.
//!
//! What is absent: any meaning of keys and values, which is the state room's, and every decision
//! about when to flush, truncate, or take a checkpoint, which is the node's.
//!
//! ```text
//! identity           to whom the directory belongs, how often it was started, whether it is fenced
//! lock               held while a process uses the directory
//! log/               the raft log
//! log.damaged/       the last one that could not be read and was begun anew
//! state              names the current state directory
//! state-<n>/         a RocksDB database
//! reclaimed          how much garbage its files were rid of so far
//! checkpoints/<id>/  copies of the state that are being sent; emptied at start
//! staging/<id>/      copies of another member's state on their way in; emptied at start
//! ```

mod ballast;
mod data_dir;
mod draft_dir;
mod error;
mod fence;
mod files;
mod identity;
mod log;
mod memory;
mod store;
#[cfg(test)]
mod testing;

pub use data_dir::DataDir;
pub use draft_dir::DraftDir;
pub use error::DataDirError;
pub use fence::random;
pub use identity::{IdentityRecord, Life};
pub use log::{Log, LogOptions, catches_panic};
pub use memory::block_cache_bytes;
pub use store::{Store, StoreOptions};
