//! Black-box tests: the real binary, real sockets, real clients.
//!
//! Each test starts a cluster of its own on free ports, in a folder of its own, and both are gone
//! after it, also when it fails; then the members' logs are printed. Nothing here waits for a fixed
//! time: each wait is for a condition, with a deadline. See [`harness`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and what it says is for whoever reads its output"
)]

mod backup;
mod behind;
mod cli;
mod clients;
mod corrupt;
mod discovery;
mod failover;
mod full_disk;
mod gateway;
#[allow(dead_code, reason = "it is shared, and no one test target needs all of it")]
mod harness;
mod hung;
mod joining;
mod kv;
mod kv_cases;
mod lease;
mod lease_bench;
mod lease_cases;
mod lease_faults;
mod lease_proof;
mod life;
mod lists;
mod load;
mod local_cluster;
mod locks;
mod maintenance;
mod membership;
mod metrics;
mod quota;
mod registry;
mod registry_http;
mod renewals;
mod rolling;
mod same_words;
mod scenario;
mod service_cli;
mod start_lines;
mod startup;
mod stock_clients;
mod tls_cases;
mod upkeep;
mod version;
mod watch;
mod watch_bench;
mod watch_cases;
mod watch_faults;
mod watch_proof;
