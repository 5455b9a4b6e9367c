//! A data directory that is filled beside its place, and moved there as a whole.
//!
//! So nobody ever finds half of one: a crash leaves the place as it was, or with all of it. What it
//! leaves beside the place the next attempt removes, by a mark that shows whose it is.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    node::fail_points,
    storage::{DataDir, DataDirError, data_dir, files},
};

/// Added to the name of the place.
const SUFFIX: &str = ".restoring";
/// The mark: in a directory that is not in its place yet it says that all of it may be removed.
const MARK: &str = "restoring";
const LOCK: &str = "lock";

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
        require_free(place)?;
        let name = place.file_name().ok_or_else(|| not_free(place))?;
        let mut beside = name.to_os_string();
        beside.push(SUFFIX);
        let path = place.with_file_name(beside);
        remove_left_over(&path)?;
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
        let moved = || -> io::Result<()> {
            files::sync_dir(&self.path)?;
            fail_points::pass_io("restore-filled")?;
            fs::rename(&self.path, &self.place)?;
            files::sync_dir(data_dir::parent_of(&self.place))?;
            fail_points::pass_io("restore-moved")?;
            // In its place it means nothing, so a crash before this does no harm.
            fs::remove_file(self.place.join(MARK))
        };
        let path = self.place.clone();
        moved().map_err(|source| DataDirError::Io { action: "make", path, source })?;
        self.path = PathBuf::new();
        Ok(())
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

fn require_free(place: &Path) -> Result<(), DataDirError> {
    match fs::read_dir(place).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(not_free(place)),
    }
}

fn not_free(place: &Path) -> DataDirError {
    DataDirError::NotFree { path: place.to_path_buf() }
}

/// Removes what an attempt has left that did not get to its end.
fn remove_left_over(path: &Path) -> Result<(), DataDirError> {
    let names = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(_) => return Err(not_free(path)),
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>(),
    };
    if !names.iter().any(|name| name == MARK) && !names.iter().all(|name| name == LOCK) {
        return Err(not_free(path));
    }
    if let Err(error @ DataDirError::InUse { .. }) = DataDir::open(path) {
        return Err(error);
    }
    files::remove_dir(path).map_err(|source| DataDirError::Io {
        action: "remove",
        path: path.to_path_buf(),
        source,
    })
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
