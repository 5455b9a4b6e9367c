//! The programs under `examples/`, as a user would run them: against three real members, killed, ended
//! cleanly, and going on while members are killed and restarted.
//!
//! `build.sh` builds them. A language that is missing on this machine is skipped, aloud. What a watcher
//! of a service prints is compared line by line with what happened: nothing may be missing, and
//! nothing may be there that did not happen.

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

mod balance;
mod example;
mod foreign;
mod lives;
mod scene;

use std::time::Duration;

/// How long things may take on a busy machine that are not about time.
const SOON: Duration = Duration::from_secs(60);
