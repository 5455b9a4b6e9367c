//! Helpers for this room's tests.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use crate::{
    storage::DataDir,
    types::{ClusterId, MemberId},
};

/// A fresh directory, gone after the test.
pub(super) fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The data directory in `dir`, begun for some member if nobody did before.
pub(super) fn data_dir(dir: &TempDir) -> Arc<DataDir> {
    let data_dir = DataDir::open(dir.path()).unwrap();
    if data_dir.identity().is_none() {
        data_dir.begin(ClusterId(0xc1), MemberId(0xa1), "one").unwrap();
    }
    Arc::new(data_dir)
}

/// Another directory with the same files, which nobody has open.
pub(super) fn copy_of(dir: &TempDir) -> TempDir {
    let copy = temporary();
    copy_into(dir.path(), copy.path()).unwrap();
    copy
}

/// What a crash of the process that has `dir` open would leave: its files as they are now, under
/// another path, because the locks on them are still held.
pub(super) fn crash(dir: &TempDir) -> TempDir {
    // The engines delete files in the background. A copy during which that happened is of no
    // moment in particular, and is made again.
    for _ in 0..1_000 {
        let copy = temporary();
        let before = files_in(dir.path());
        if copy_into(dir.path(), copy.path()).is_ok() && files_in(dir.path()) == before {
            return copy;
        }
    }
    panic!("the files of {} never rest", dir.path().display());
}

/// All files below a directory, with their lengths.
fn files_in(dir: &Path) -> BTreeMap<PathBuf, u64> {
    let mut files = BTreeMap::new();
    // What vanishes meanwhile is missing here, and so differs from the other listing.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(files_in(&entry.path())),
            Ok(metadata) => _ = files.insert(entry.path(), metadata.len()),
            Err(_) => (),
        }
    }
    files
}

fn copy_into(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_into(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
