//! [`Ballast`]: room on the disk that nobody else can take, for the log of a member whose disk is full.
//!
//! A member that has refused what stores something still writes to its log: deletes, terms, votes. The
//! room it keeps free for that is free to others, too. So there is a file that holds some of it. When
//! the log is about to find none, the file gives up a piece; what is left of it when there is room
//! again grows back. A start on a full disk gives up all of it.
//!
//! Somebody who fills the disk at that very moment may take the piece. So the log waits for a moment
//! before it goes on: whoever fills a disk has then found it full and, as a rule, ended.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::{storage::files, types::limits};

const NAME: &str = "ballast";
const PIECE_BYTES: u64 = 8 * 1024 * 1024;
const PIECES_MAX: u64 = 8;
/// On a small file system it is one part of this many.
const SHARE: u64 = 16;
/// With less than this left the log is about to find no room: it takes it in steps of half as much.
const SCARCE_BYTES: u64 = 4 * 1024 * 1024;
/// With less than this left a start would fail.
const START_BYTES: u64 = 32 * 1024 * 1024;
/// How long others have to find that the disk is full.
const PAUSE: Duration = Duration::from_millis(50);

/// A file that holds room.
#[derive(Debug)]
pub(super) struct Ballast {
    root: PathBuf,
    /// The bytes that it holds, and whether the file system can hold any.
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    bytes: u64,
    works: bool,
}

impl Ballast {
    /// The ballast of a data directory as the process before has left it; none on a full disk.
    pub(super) fn open(root: &Path) -> Self {
        let bytes = root.join(NAME).metadata().map_or(0, |file| file.len());
        let held = Mutex::new(Held { bytes, works: true });
        let ballast = Self { root: root.to_owned(), held };
        if files::room(root).is_ok_and(|(free, _)| free < START_BYTES) {
            while ballast.release() {}
        }
        ballast
    }

    /// Sees to it that there is room for so many bytes, as long as there is ballast.
    pub(super) fn make_room(&self, bytes: u64) {
        let scarce = || {
            let room = files::room(&self.root);
            room.is_ok_and(|(free, _)| free < SCARCE_BYTES.saturating_add(bytes))
        };
        while scarce() && self.release() {
            thread::sleep(PAUSE);
        }
    }

    /// Grows by a piece, if there is room for it above what a member keeps free.
    pub(super) fn grow(&self, free: u64, total: u64) {
        let mut held = self.held();
        let whole = (total / SHARE / PIECE_BYTES).min(PIECES_MAX) * PIECE_BYTES;
        let reserve = limits::DISK_RESERVE_BYTES.min(total / limits::DISK_RESERVE_SHARE);
        let enough = free >= reserve.saturating_add(2 * PIECE_BYTES);
        if !held.works || held.bytes >= whole || !enough {
            return;
        }
        let grown = self.file().and_then(|file| {
            Ok(fallocate(file, FallocateFlags::empty(), held.bytes, PIECE_BYTES)?)
        });
        match grown {
            Ok(()) => held.bytes += PIECE_BYTES,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            Err(error) => {
                tracing::info!(%error, "no room is set aside: the file system cannot");
                held.works = false;
            }
        }
    }

    /// Gives up a piece. False: there is none.
    fn release(&self) -> bool {
        let mut held = self.held();
        let Some(left) = held.bytes.checked_sub(PIECE_BYTES) else { return false };
        if self.file().and_then(|file| file.set_len(left)).is_err() {
            return false;
        }
        held.bytes = left;
        tracing::warn!(left_bytes = left, "the disk is full: the log takes of what was set aside");
        true
    }

    fn file(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).open(self.root.join(NAME))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn len(root: &Path) -> u64 {
        root.join(NAME).metadata().map_or(0, |file| file.len())
    }

    /// It grows piece by piece to its whole size where there is room, is found again by the next
    /// process, and gives up a piece at a time.
    #[test]
    fn it_grows_and_gives_up_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::open(dir.path());
        ballast.grow(limits::DISK_RESERVE_BYTES, 100 * GIB);
        assert_eq!(len(dir.path()), 0, "there is no room for it");
        for pieces in 1..=12 {
            ballast.grow(50 * GIB, 100 * GIB);
            assert_eq!(len(dir.path()), pieces.min(PIECES_MAX) * PIECE_BYTES);
        }

        let ballast = Ballast::open(dir.path());
        assert!(ballast.release());
        assert_eq!(len(dir.path()), (PIECES_MAX - 1) * PIECE_BYTES);
        ballast.make_room(1);
        assert_eq!(len(dir.path()), (PIECES_MAX - 1) * PIECE_BYTES, "the disk has room");
        ballast.grow(50 * GIB, 100 * GIB);
        assert_eq!(len(dir.path()), PIECES_MAX * PIECE_BYTES);
        while ballast.release() {}
        assert_eq!(len(dir.path()), 0);
    }

    /// On a small file system it is small, too.
    #[test]
    fn a_small_disk_has_little_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::open(dir.path());
        (0..20).for_each(|_| ballast.grow(GIB / 2, GIB / 2));
        assert_eq!(len(dir.path()), GIB / 32);
    }
}
