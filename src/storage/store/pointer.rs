//! Which `state-<n>` directory is the state.
//!
//! The pointer file is replaced as a whole and synced, so after a crash it names the old state or
//! the new one. Every other state directory is rubbish, and goes at start.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{node::fail_points, storage::files, types::Fault};

const POINTER: &str = "state";
const PREFIX: &str = "state-";

/// The directory of state number `number`.
pub(super) fn state_dir(root: &Path, number: u64) -> PathBuf {
    root.join(format!("{PREFIX}{number}"))
}

/// The number of the current state. In a new data directory it makes the first one, empty.
pub(super) fn read_or_begin(root: &Path) -> Result<u64, Fault> {
    let path = root.join(POINTER);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return begin(root),
        Err(error) => return Err(fault(&path, "read", &error)),
    };
    let number = text
        .strip_suffix('\n')
        .and_then(state_number)
        .ok_or_else(|| Fault::new(format!("{}: it names no state: {text:?}", path.display())))?;
    let dir = state_dir(root, number);
    if !dir.is_dir() {
        return Err(Fault::new(format!("{} is missing, but it is the state", dir.display())));
    }
    Ok(number)
}

/// Makes state number `number` the current one. Durable when it returns.
pub(super) fn write(root: &Path, number: u64) -> Result<(), Fault> {
    let path = root.join(POINTER);
    files::replace(&path, format!("{PREFIX}{number}\n").as_bytes())
        .map_err(|error| fault(&path, "write", &error))
}

/// Removes the state directories that are not the current one: what a crash left of an install, or
/// a state that was still being read when the process ended.
pub(super) fn remove_others(root: &Path, current: u64) -> Result<(), Fault> {
    for number in state_numbers(root)? {
        if number != current {
            let dir = state_dir(root, number);
            files::remove_dir(&dir).map_err(|error| fault(&dir, "remove", &error))?;
        }
    }
    Ok(())
}

/// Without a pointer there must be no state yet: one that lost its pointer is not thrown away.
fn begin(root: &Path) -> Result<u64, Fault> {
    const FIRST: u64 = 1;
    for number in state_numbers(root)? {
        let dir = state_dir(root, number);
        let mut content = fs::read_dir(&dir).map_err(|error| fault(&dir, "list", &error))?;
        if content.next().is_some() {
            return Err(Fault::new(format!(
                "{} holds a state, but the file {POINTER:?} that should name it is missing",
                dir.display()
            )));
        }
    }
    let dir = state_dir(root, FIRST);
    files::empty_dir(&dir)
        .and_then(|()| files::sync_dir(root))
        .map_err(|error| fault(&dir, "make", &error))?;
    fail_points::pass("state-dir-made")?;
    write(root, FIRST)?;
    Ok(FIRST)
}

fn state_numbers(root: &Path) -> Result<Vec<u64>, Fault> {
    let list = || -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(root)? {
            numbers.extend(entry?.file_name().to_str().and_then(state_number));
        }
        Ok(numbers)
    };
    list().map_err(|error| fault(root, "list", &error))
}

fn state_number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

fn fault(path: &Path, step: &str, error: &io::Error) -> Fault {
    Fault::new(format!("{}: {step}: {error}", path.display()))
}
