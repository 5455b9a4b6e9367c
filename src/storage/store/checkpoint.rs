//! Copies of the whole state: made here to be sent, and received here to be installed.
//!
//! A checkpoint is a directory of hard links, so it costs little to make and keeps its files
//! however long it takes to send them. A staged one is another member's, file by file; it becomes
//! a state directory by a rename once all of it is synced.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    node::{
        fail_points,
        ports::{Checkpoint, CheckpointFile, CheckpointId, StageId},
    },
    state::ConfState,
    storage::{
        files,
        store::database::{self, Database},
    },
    types::Fault,
};

/// Files of one staged checkpoint; a terabyte of state has fewer.
const STAGED_FILES_MAX: usize = 65_536;
/// Checkpoints being received at once. One leader sends one; a second may be begun before the
/// first is given up.
const STAGES_MAX: usize = 4;
const FILE_NAME_LEN_MAX: usize = 64;
/// Bytes of a staged checkpoint after which they are brought to disk: the syncs of the log wait behind
/// them, the longer the more they are.
const SYNC_EVERY_BYTES: u64 = 2 * 1024 * 1024;

/// The copies of the state that are being sent.
pub(super) struct Checkpoints {
    root: PathBuf,
    next: AtomicU64,
}

impl Checkpoints {
    /// Begins with none: those of earlier processes are removed.
    pub(super) fn open(root: PathBuf) -> Result<Self, Fault> {
        files::empty_dir(&root).map_err(|error| fault(&root, "empty", &error))?;
        Ok(Self { root, next: AtomicU64::new(1) })
    }

    pub(super) fn make(&self, database: &Database) -> Result<(Checkpoint, ConfState), Fault> {
        let id = CheckpointId(self.next.fetch_add(1, Ordering::Relaxed));
        let path = self.path(id);
        // It flushes first, and so may contain commits made since it was asked for: only the copy
        // itself knows what it holds.
        rocksdb::checkpoint::Checkpoint::new(database.db())
            .and_then(|maker| maker.create_checkpoint(&path))
            .map_err(|error| database.fault("make a checkpoint", &error))?;
        fail_points::pass("checkpoint-made")?;
        let (applied, conf) = database::applied_in(&path).inspect_err(|_| {
            // What is left of it goes at the next start.
            let _ = files::remove_dir(&path);
        })?;
        Ok((Checkpoint { id, applied }, conf))
    }

    pub(super) fn files(&self, id: CheckpointId) -> Result<Vec<CheckpointFile>, Fault> {
        let path = self.path(id);
        let list = || -> io::Result<Vec<CheckpointFile>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                if belongs_to_database(&name) {
                    files.push(CheckpointFile { name, len: entry.metadata()?.len() });
                }
            }
            files.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(files)
        };
        list().map_err(|error| fault(&path, "list", &error))
    }

    pub(super) fn read(
        &self,
        id: CheckpointId,
        name: &str,
        offset: u64,
        len_max: usize,
    ) -> Result<Bytes, Fault> {
        let path = self.path(id).join(checked(name)?);
        let read = || -> io::Result<Bytes> {
            let file = File::open(&path)?;
            let left = file.metadata()?.len().saturating_sub(offset);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(len_max);
            let mut data = vec![0; len];
            file.read_exact_at(&mut data, offset)?;
            Ok(data.into())
        };
        read().map_err(|error| fault(&path, "read", &error))
    }

    pub(super) fn release(&self, id: CheckpointId) {
        // What is left of it goes at the next start.
        let _ = files::remove_dir(&self.path(id));
    }

    /// Where it lies.
    pub(super) fn path(&self, id: CheckpointId) -> PathBuf {
        self.root.join(id.0.to_string())
    }
}

/// The copies of other members' states that are being received.
pub(super) struct Staging {
    root: PathBuf,
    stages: Mutex<Stages>,
}

#[derive(Default)]
struct Stages {
    last: u64,
    /// Each with a lock of its own, so that nobody waits for a disk who only asks for another one.
    open: BTreeMap<StageId, Arc<Mutex<Stage>>>,
}

/// A checkpoint that is being received.
#[derive(Default)]
struct Stage {
    /// Its files, and how long they are so far.
    files: BTreeMap<String, u64>,
    /// The one that was written last.
    open: Option<(String, File)>,
    /// Bytes of it that were not brought to disk yet.
    unsynced: u64,
}

impl Stage {
    /// Brings the open file to disk.
    fn sync(&mut self) -> io::Result<()> {
        if let Some((_, file)) = self.open.as_ref().filter(|_| self.unsynced > 0) {
            file.sync_data()?;
        }
        self.unsynced = 0;
        Ok(())
    }

    fn append(&mut self, folder: &Path, name: &str, data: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            self.sync()?;
            let new = !self.files.contains_key(name);
            let file = OpenOptions::new().append(true).create_new(new).open(folder.join(name))?;
            self.open = Some((name.to_owned(), file));
        }
        if let Some((_, file)) = &mut self.open {
            file.write_all(data)?;
        }
        fail_points::pass_io("stage-written")?;
        *self.files.entry(name.to_owned()).or_default() += data.len() as u64;
        self.unsynced += data.len() as u64;
        if self.unsynced >= SYNC_EVERY_BYTES { self.sync() } else { Ok(()) }
    }
}

impl Staging {
    /// Begins with none: those of earlier processes are removed.
    pub(super) fn open(root: PathBuf) -> Result<Self, Fault> {
        files::empty_dir(&root).map_err(|error| fault(&root, "empty", &error))?;
        Ok(Self { root, stages: Mutex::default() })
    }

    pub(super) fn begin(&self) -> Result<StageId, Fault> {
        let mut stages = self.lock();
        if stages.open.len() >= STAGES_MAX {
            return Err(Fault::new(format!("{STAGES_MAX} checkpoints are being received already")));
        }
        let id = StageId(stages.last + 1);
        let path = self.path(id);
        files::empty_dir(&path).map_err(|error| fault(&path, "make", &error))?;
        stages.last = id.0;
        stages.open.insert(id, Arc::default());
        Ok(id)
    }

    pub(super) fn write(
        &self,
        id: StageId,
        name: &str,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Fault> {
        let stage = self.lock().open.get(&id).map(Arc::clone).ok_or_else(|| unknown(id))?;
        let folder = self.path(id);
        let path = folder.join(checked(name)?);
        let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
        let len = stage.files.get(name).copied();
        if len.is_none() && stage.files.len() >= STAGED_FILES_MAX {
            return Err(Fault::new(format!("{}: too many files", path.display())));
        }
        let len = len.unwrap_or_default();
        if offset != len {
            let path = path.display();
            return Err(Fault::new(format!("{path}: offset {offset}, but {len} bytes so far")));
        }
        stage.append(&folder, name, data).map_err(|error| fault(&path, "write", &error))
    }

    /// Syncs a stage and moves it to `target`. The stage is gone afterwards, also when this fails.
    pub(super) fn finish(&self, id: StageId, target: &Path) -> Result<(), Fault> {
        let stage = self.lock().open.remove(&id).ok_or_else(|| unknown(id))?;
        let stage = std::mem::take(&mut *stage.lock().unwrap_or_else(PoisonError::into_inner));
        let path = self.path(id);
        let finish = || -> io::Result<()> {
            // Most of it is on disk already.
            for name in stage.files.keys() {
                File::open(path.join(name))?.sync_all()?;
            }
            files::sync_dir(&path)?;
            fail_points::pass_io("stage-synced")?;
            fs::rename(&path, target)?;
            files::sync_dir(&self.root)?;
            files::sync_dir(target.parent().unwrap_or(Path::new(".")))
        };
        finish().map_err(|error| fault(&path, "install", &error))
    }

    pub(super) fn discard(&self, id: StageId) {
        if self.lock().open.remove(&id).is_some() {
            // What is left of it goes at the next start.
            let _ = files::remove_dir(&self.path(id));
        }
    }

    fn path(&self, id: StageId) -> PathBuf {
        self.root.join(id.0.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, Stages> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file of a checkpoint's directory is part of it. Reading one leaves files of its own.
fn belongs_to_database(name: &str) -> bool {
    name != "LOCK" && name != "LOG" && !name.starts_with("LOG.")
}

/// A name that came from another member, if it names a file within a directory and nothing else.
fn checked(name: &str) -> Result<&str, Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fine = !name.is_empty()
        && name.len() <= FILE_NAME_LEN_MAX
        && !name.starts_with('.')
        && name.bytes().all(plain);
    if fine { Ok(name) } else { Err(Fault::new(format!("{name:?} is not a checkpoint's file"))) }
}

fn unknown(id: StageId) -> Fault {
    Fault::new(format!("no checkpoint is being received as {}", id.0))
}

fn fault(path: &Path, step: &str, error: &dyn Display) -> Fault {
    Fault::new(format!("{}: {step}: {error}", path.display()))
}
