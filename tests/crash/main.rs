//! Crashes and damage: the real binary is ended at every durable step, killed at random moments,
//! and given files with flipped bits. Nothing acknowledged may be lost, and nothing wrong served.
//!
//! The members' files lie below the target folder, on a disk and not in memory. [`replay`] compares
//! what a stopped member holds with what its log alone leads to.

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

mod damage;
mod fence;
mod install;
mod journal;
mod kills;
mod load;
mod points;
mod replay;
mod restore;

use tempfile::TempDir;

/// Sizes that make a member flush, cut its log and take checkpoints every few hundred requests.
const SMALL: &str = "log-prefill-bytes=return(0);log-file-bytes=return(1048576);\
                     unflushed-bytes=return(262144);log-kept-bytes=return(65536);\
                     log-purge-bytes=return(4194304)";
/// As much flushed, but the whole log kept, so that it can be replayed.
const WHOLE_LOG: &str = "log-prefill-bytes=return(0);unflushed-bytes=return(262144)";

/// A folder on the disk of the target folder.
fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What `FAILPOINTS` says so that the process ends at the `nth` time at a place.
fn end_at(place: &str, nth: usize, sizes: &str) -> String {
    match nth {
        0 | 1 => format!("{sizes};{place}=1*return(end)"),
        more => format!("{sizes};{place}={}*off->1*return(end)", more - 1),
    }
}
