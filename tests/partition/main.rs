//! Members that cannot hear each other, and members that stand still.
//!
//! The real binary runs in three network namespaces, between which single directions are cut or lose
//! packets; where namespaces cannot be made, proxies stand between members. Clients go on meanwhile,
//! and what they were told is judged by the checks of the simulator: is there an order in which it is
//! linearizable, and does the history that survived explain it? See [`network`] and [`judge`].
//!
//! A run counts only if there was traffic before, during and after the fault, and if the fault was
//! seen to be there. Tests take turns: several clusters at once would measure the machine.

#![cfg(feature = "sim")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and what it says is for whoever reads its output"
)]

#[path = "../cluster/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "it is shared, and no one test target needs all of it")]
mod harness;

mod client;
mod cuts;
mod inside;
mod isolated;
mod judge;
mod load;
mod loss;
mod namespaces;
mod network;
mod pauses;
mod proxies;
mod spans;
mod world;
