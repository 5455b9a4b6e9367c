//! What becomes of a database whose disk is full.
//!
//! The engine stops taking writes when a flush finds no room, and goes on by itself, within seconds,
//! once there is some: it looks for that. A compaction that finds none is put off. Neither loses
//! anything, so neither is a fault, as other errors of the disk are: whoever wants to write waits, and
//! readers are served from what there is.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use rocksdb::ErrorKind;

/// How long somebody waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);
/// How the system says that a disk is full; the engine passes it on.
const NO_SPACE: &str = "No space left on device";

/// Whether the disk of a database is full, as far as the engine has told.
#[derive(Debug, Default)]
pub(super) struct Starved {
    is_full: AtomicBool,
    /// Whether it was nearly full when it was last looked at.
    was_short: AtomicBool,
    /// Errors of flushes and compactions that were only about space.
    forgiven: AtomicU64,
}

impl Starved {
    /// Waits a moment if an error says that the disk is full; says so on the log once. Returns whether
    /// it does.
    pub(super) fn waits_after(&self, error: &rocksdb::Error) -> bool {
        if !is_no_space(error) {
            return false;
        }
        // The next look at the engine finds its errors, maybe when there is room again.
        self.was_short.store(true, Ordering::Relaxed);
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the disk is full: what is to be stored waits for room");
        }
        thread::sleep(PAUSE);
        true
    }

    /// The engine works.
    pub(super) fn works(&self) {
        if self.is_full.load(Ordering::Relaxed) && self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!("the disk has room again: the state is stored");
        }
    }

    /// Whether the disk is nearly full, or was at the look before.
    pub(super) fn is_or_was_short(&self, short: bool) -> bool {
        self.was_short.swap(short, Ordering::Relaxed) || short
    }

    /// So many errors have nothing to say any more: the engine works in spite of them.
    pub(super) fn forgive(&self, errors: u64) {
        self.forgiven.store(errors, Ordering::Relaxed);
    }

    pub(super) fn forgiven(&self) -> u64 {
        self.forgiven.load(Ordering::Relaxed)
    }
}

/// Whether the disk is full, and nothing else is wrong with it.
pub(super) fn is_no_space(error: &rocksdb::Error) -> bool {
    error.kind() == ErrorKind::IOError && error.as_ref().contains(NO_SPACE)
}
