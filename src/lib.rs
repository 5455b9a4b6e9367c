//! Quorate: a coordination store with the etcd v3 API.
//!
//! The rooms, from the inside out: [`types`] is the vocabulary; [`raft`], [`state`], [`lease`] and
//! [`watch`] are the pure core; [`node`] is the shell that runs it; [`storage`] and [`transport`]
//! fulfil what the shell needs from the world; [`recipes`] are locks and elections, [`registry`] services and their instances; [`api`] gives it a gRPC face; [`tls`] encrypts; [`server`] puts it all
//! together from a [`config`]; [`cli`] is the command line. `ARCHITECTURE.md` walks through them.

pub mod api;
pub mod backup;
pub mod cli;
pub mod config;
pub mod lease;
pub mod node;
pub mod proto;
pub mod raft;
pub mod recipes;
pub mod registry;
pub mod server;
#[cfg(feature = "sim")]
pub mod sim;
pub mod state;
pub mod storage;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod types;
pub mod watch;
