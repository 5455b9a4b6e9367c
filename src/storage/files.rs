//! Files and directories that must survive a crash in one of two states: before, or after.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use crate::node::fail_points;

/// Syncs the entries of a directory: without it a crash may undo a create, rename or delete.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces a small file: after a crash it has the old content or the new one, whole.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut draft = path.to_path_buf().into_os_string();
    draft.push(".draft");
    let mut file = File::create(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fail_points::pass_io("file-drafted")?;
    fs::rename(&draft, path)?;
    fail_points::pass_io("file-renamed")?;
    sync_dir(folder)
}

/// Makes `path` an empty directory, whatever was in it.
pub(super) fn empty_dir(path: &Path) -> io::Result<()> {
    remove_dir(path)?;
    fs::create_dir(path)
}

/// The bytes that the file system of `path` has left for this process, and all that it has.
pub(super) fn room(path: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_bavail), bytes(found.f_blocks)))
}

/// Removes a directory and what is in it; one that is not there is removed already.
pub(super) fn remove_dir(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
