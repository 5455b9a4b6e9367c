//! A data directory that is filled aside, and moved to its place once it is whole.
//!
//! A place that is not there yet appears by one step. One that is there, and empty, may be a file system
//! of its own that nothing can be moved over: there the directory is filled in a folder of it, and what
//! says whose it is moves up last. Before that no member starts with what is there. What a crash leaves the next
//! attempt removes, by a mark that shows whose it is.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    node::fail_points,
    storage::{DataDir, DataDirError, data_dir, files},
};

/// Added to the name of a place that is not there.
const SUFFIX: &str = ".restoring";
/// The folder in a place that is there.
const INSIDE: &str = "unfinished";
/// The mark: in a directory that is not in its place yet it says that all of it may be removed.
const MARK: &str = "restoring";
const LOCK: &str = "lock";
const IDENTITY: &str = "identity";

/// A data directory that is not finished. It goes when it is dropped before that.
#[derive(Debug)]
pub struct DraftDir {
    place: PathBuf,
    path: PathBuf,
    dir: Option<Arc<DataDir>>,
}

impl DraftDir {
    /// Begins one for `place`, which must be empty or not be there.
    pub fn begin(place: &Path) -> Result<Self, DataDirError> {
        let path = match names_in(place)? {
            None => {
                let mut beside = place.file_name().ok_or_else(|| not_free(place))?.to_os_string();
                beside.push(SUFFIX);
                let path = place.with_file_name(beside);
                if let Some(names) = names_in(&path)? {
                    let is_ours = names.iter().any(|name| name == MARK)
                        || names.iter().all(|name| name == LOCK);
                    require(is_ours, &path)?;
                    remove_left_over(&path, [&path])?;
                }
                path
            }
            Some(names) => {
                let path = place.join(INSIDE);
                if !names.is_empty() {
                    // With an identity a member may have started since.
                    let has = |wanted: &str| names.iter().any(|name| name == wanted);
                    require(has(INSIDE) && !has(IDENTITY), place)?;
                    let all: Vec<_> = names.iter().map(|name| place.join(name)).collect();
                    remove_left_over(&path, &all)?;
                }
                path
            }
        };
        let dir = Arc::new(DataDir::open(&path)?);
        let draft = Self { place: place.to_path_buf(), path, dir: Some(dir) };
        let mark = draft.path.join(MARK);
        let marked = File::create(&mark).and_then(|file| file.sync_all());
        marked
            .and_then(|()| files::sync_dir(&draft.path))
            .and_then(|()| fail_points::pass_io("restore-begun"))
            .map_err(|source| DataDirError::Io { action: "make", path: mark, source })?;
        Ok(draft)
    }

    /// Opens it. Whoever opened it before must have let go of it.
    pub fn open(&mut self) -> Result<DataDir, DataDirError> {
        match self.dir.take().map(Arc::try_unwrap) {
            Some(Ok(dir)) => Ok(dir),
            Some(Err(_)) | None => DataDir::open(&self.path),
        }
    }

    /// Moves it to its place. Durable when it returns.
    pub fn finish(mut self) -> Result<(), DataDirError> {
        let inside = self.path.starts_with(&self.place);
        let moved = if inside { self.move_up() } else { self.move_beside() };
        let path = self.place.clone();
        moved.map_err(|source| DataDirError::Io { action: "make", path, source })?;
        self.path = PathBuf::new();
        Ok(())
    }

    fn move_beside(&self) -> io::Result<()> {
        files::sync_dir(&self.path)?;
        fail_points::pass_io("restore-filled")?;
        fs::rename(&self.path, &self.place)?;
        files::sync_dir(data_dir::parent_of(&self.place))?;
        fail_points::pass_io("restore-moved")?;
        // In its place it means nothing, so a crash before this does no harm.
        fs::remove_file(self.place.join(MARK))
    }

    fn move_up(&self) -> io::Result<()> {
        let move_up = |name: &Path| fs::rename(self.path.join(name), self.place.join(name));
        fail_points::pass_io("restore-filled")?;
        let entries = fs::read_dir(&self.path)?.collect::<io::Result<Vec<_>>>()?;
        for name in entries.into_iter().map(|entry| entry.file_name()) {
            if name != MARK && name != LOCK && name != IDENTITY {
                move_up(Path::new(&name))?;
                fail_points::pass_io("restore-half-moved")?;
            }
        }
        files::sync_dir(&self.place)?;
        move_up(Path::new(IDENTITY))?;
        files::sync_dir(&self.place)?;
        fail_points::pass_io("restore-moved")?;
        files::remove_dir(&self.path)
    }
}

impl Drop for DraftDir {
    fn drop(&mut self) {
        self.dir = None;
        if !self.path.as_os_str().is_empty() {
            // What is left of it the next attempt removes.
            let _ = files::remove_dir(&self.path);
        }
    }
}

/// What lies in a directory; `None`: it is not there.
fn names_in(path: &Path) -> Result<Option<Vec<OsString>>, DataDirError> {
    let list = |entries: fs::ReadDir| -> io::Result<Vec<OsString>> {
        entries.map(|entry| Ok(entry?.file_name())).collect()
    };
    match fs::read_dir(path).and_then(list) {
        Ok(names) => Ok(Some(names)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(_) => Err(not_free(path)),
    }
}

fn require(free: bool, path: &Path) -> Result<(), DataDirError> {
    if free { Ok(()) } else { Err(not_free(path)) }
}

fn not_free(path: &Path) -> DataDirError {
    DataDirError::NotFree { path: path.to_path_buf() }
}

/// Removes what an attempt has left that did not get to its end, unless it is still under way.
fn remove_left_over<P: AsRef<Path>>(
    draft: &Path,
    paths: impl IntoIterator<Item = P>,
) -> Result<(), DataDirError> {
    if let Err(error @ DataDirError::InUse { .. }) = DataDir::open(draft) {
        return Err(error);
    }
    for path in paths {
        let path = path.as_ref();
        let removed = if path.is_dir() { files::remove_dir(path) } else { fs::remove_file(path) };
        removed.map_err(|source| DataDirError::Io {
            action: "remove",
            path: path.to_path_buf(),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        storage::testing::temporary,
        types::{ClusterId, MemberId},
    };

    /// What was filled is in its place, with nothing beside it.
    #[test]
    fn a_finished_directory_is_in_its_place() {
        let folder = temporary();
        for place in ["new", "empty"].map(|name| folder.path().join(name)) {
            if place.ends_with("empty") {
                fs::create_dir(&place).unwrap();
            }
            let mut draft = DraftDir::begin(&place).unwrap();
            draft.open().unwrap().begin(ClusterId(1), MemberId(2), "one").unwrap();
            assert!(!place.exists() || place.ends_with("empty"));

            draft.finish().unwrap();

            assert_eq!(DataDir::open(&place).unwrap().identity().unwrap().member, MemberId(2));
            assert!(!place.join(MARK).exists());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    /// One that is given up leaves nothing.
    #[test]
    fn a_dropped_draft_is_gone() {
        let folder = temporary();
        drop(DraftDir::begin(&folder.path().join("d")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// What a crash left is removed; what is somebody's is not, nor what is in use.
    #[test]
    fn only_what_was_left_over_is_removed() {
        let folder = temporary();
        let (place, beside) = (folder.path().join("d"), folder.path().join("d.restoring"));
        let running = DraftDir::begin(&place).unwrap();
        let refused = DraftDir::begin(&place).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse { .. }), "{refused}");
        drop(running);

        fs::create_dir(&beside).unwrap();
        fs::write(beside.join("data"), "precious").unwrap();
        let refused = DraftDir::begin(&place).unwrap_err();
        assert!(matches!(refused, DataDirError::NotFree { .. }), "{refused}");
        assert!(beside.join("data").exists());

        fs::write(beside.join(MARK), "").unwrap();
        DraftDir::begin(&place).unwrap().finish().unwrap();
        assert!(!place.join("data").exists());
    }

    /// In a place that is there, what an attempt left is removed; but not once it is a member's.
    #[test]
    fn a_member_is_not_taken_for_what_was_left() {
        let folder = temporary();
        let place = folder.path();
        fs::create_dir(place.join(INSIDE)).unwrap();
        fs::create_dir(place.join("state-1")).unwrap();
        fs::write(place.join("state"), "state-1").unwrap();

        let mut draft = DraftDir::begin(place).unwrap();
        assert_eq!(names_in(place).unwrap().unwrap(), [INSIDE]);
        draft.open().unwrap().begin(ClusterId(1), MemberId(2), "one").unwrap();
        fs::create_dir(draft.path.join("state-7")).unwrap();
        draft.finish().unwrap();
        let mut names = names_in(place).unwrap().unwrap();
        names.sort();
        assert_eq!(names, ["identity", "state-7"]);

        fs::create_dir(place.join(INSIDE)).unwrap();
        assert!(matches!(DraftDir::begin(place), Err(DataDirError::NotFree { .. })));
        assert!(place.join("state-7").exists());
    }

    /// A place that holds something is left alone.
    #[test]
    fn a_place_that_is_not_empty_is_refused() {
        let folder = temporary();
        fs::write(folder.path().join("file"), "").unwrap();
        for place in [folder.path().to_path_buf(), folder.path().join("file")] {
            let refused = DraftDir::begin(&place).unwrap_err().to_string();
            assert!(refused.contains("not empty or could not be read"), "{refused}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
