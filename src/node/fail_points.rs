//! Fail points: named places where a test makes a member end, or its disk fail.
//!
//! A place is told in `FAILPOINTS` what to do, as `place=actions;...` in the words of the crate
//! `fail`: `2*off->1*return(end)` ends the process at the third time. What an action returns has a
//! meaning here: `end` ends the process at once, as a kill would, with nothing flushed or closed;
//! anything else is an error of the disk. The log's engine has places of its own, named with `::`.
//!
//! Only builds with the feature `failpoints` have them. Others refuse to be told, because whoever
//! wants a failure should not be left to believe that it came.

use std::io;

#[cfg(feature = "failpoints")]
use rustix::io::Errno;

use crate::types::Fault;

/// Every place at which a member can be ended or its disk fail, in the order a member comes by.
pub const PLACES: &[&str] = &[
    // The first start, and each one after it.
    "dir-made",
    "file-drafted",
    "file-renamed",
    "start-named",
    "start-log-opened",
    "state-dir-made",
    "start-store-opened",
    "first-state-committed",
    "log-before-reset",
    "log-reset",
    "start-fitted",
    "start-in-log",
    "start-counted",
    // A write.
    "log-before-write",
    "log-before-sync",
    "log-synced",
    "log-written",
    "apply-before-commit",
    "apply-committed",
    "apply-published",
    "apply-answered",
    // Maintenance.
    "compacted-for-readers",
    "compacted-mark-raised",
    "flush-begins",
    "flushed",
    "files-freed",
    "reclaim-step",
    "reclaimed",
    "log-before-truncate",
    "log-truncated",
    "log-purged",
    // A checkpoint: made, received, installed.
    "checkpoint-made",
    "stage-written",
    "stage-synced",
    "stage-moved",
    "state-opened",
    "state-pointed",
    "state-retired",
    "state-installed",
    // A state restored from a file.
    "restore-begun",
    "restore-stored",
    "restore-filled",
    "restore-half-moved",
    "restore-moved",
];

/// Bounds that a test makes small, so that a member soon comes by the places of maintenance; and the
/// level of another release.
pub const SIZES: &[&str] = &[
    "unflushed-bytes",
    "log-kept-bytes",
    "log-file-bytes",
    "log-purge-bytes",
    "log-prefill-bytes",
    "write-buffer-bytes",
    "garbage-bytes",
    "level",
];

/// Comes by a place.
///
/// # Errors
///
/// What the disk is made to say there.
#[cfg(feature = "failpoints")]
pub fn pass_io(place: &str) -> io::Result<()> {
    debug_assert!(PLACES.contains(&place), "{place} is in no list");
    match fail::eval(place, Option::unwrap_or_default).as_deref() {
        None => Ok(()),
        Some("end") => std::process::abort(),
        Some(_) => Err(Errno::IO.into()),
    }
}

/// Comes by a place, which is none in this build.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass_io(_place: &str) -> io::Result<()> {
    Ok(())
}

/// Comes by a place where an error of the disk is the member's fault.
///
/// # Errors
///
/// The fault.
#[inline]
pub fn pass(place: &str) -> Result<(), Fault> {
    pass_io(place).map_err(|error| Fault::new(format!("{place}: {error}")))
}

/// A bound, unless a test has set it.
#[must_use]
pub fn size(name: &str, bound: u64) -> u64 {
    #[cfg(feature = "failpoints")]
    if let Some(size) = fail::eval(name, |text| text?.parse().ok()).flatten() {
        return size;
    }
    debug_assert!(SIZES.contains(&name), "{name} is in no list");
    bound
}

/// Tells places what to do.
///
/// # Errors
///
/// What is wrong with the text; in a build without fail points, that there are none.
pub fn arm(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Ok(());
    }
    if cfg!(not(feature = "failpoints")) {
        return Err("this build has no fail points".to_owned());
    }
    for item in text.split(';').map(str::trim).filter(|item| !item.is_empty()) {
        let (place, actions) =
            item.split_once('=').ok_or_else(|| format!("{item:?} has no actions"))?;
        if !place.contains("::") && !PLACES.contains(&place) && !SIZES.contains(&place) {
            return Err(format!("there is no fail point {place:?}"));
        }
        #[cfg(feature = "failpoints")]
        fail::cfg(place, actions)?;
        #[cfg(not(feature = "failpoints"))]
        let _ = actions;
    }
    Ok(())
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    /// A name that no place has, or no actions, is refused: the failure it wants would never come.
    #[test]
    fn what_cannot_happen_is_refused() {
        assert!(arm("no-such-place=return(end)").unwrap_err().contains("no-such-place"));
        assert!(arm("log-synced").unwrap_err().contains("has no actions"));
        assert!(arm("log-synced=jump").is_err());
        assert_eq!(arm(""), Ok(()));
    }
}
