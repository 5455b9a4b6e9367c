//! The engine's files, watched while it recovers.
//!
//! At start the engine cuts its newest file where a record cannot be read, because a crash may
//! leave one half written. The same rule would silently drop everything behind a flipped bit,
//! votes and commit index included. So the cut itself is watched: it stands only in the newest
//! file, and only when nothing valid lies behind it, as after a crash, where the record being
//! written is the last; and when that record is not there but for one bit, which no crash leaves.
//! Any other cut is refused, the file is left as it is, and opening fails.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};

use crate::{
    node::fail_points,
    storage::log::{
        scan,
        writer::{LogWriter, Written},
    },
    types::Fault,
};

type Inner = DefaultFileSystem;
type InnerHandle = <Inner as FileSystem>::Handle;
type InnerReader = <Inner as FileSystem>::Reader;

thread_local! {
    /// The file that this thread has read last: the engine does not say which one is damaged.
    static LAST_READ: RefCell<Option<Arc<Path>>> = const { RefCell::new(None) };
}

/// What each file begins with: who wrote it, in which format, and that records are not aligned. The
/// engine takes an alignment at its word, and asks for memory of that size.
pub(super) const HEAD: &[u8] =
    b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
/// How the names of appended files end; rewritten ones are copies, and may end in several unsynced
/// records.
const APPENDED: &str = ".raftlog";
const REWRITTEN: &str = ".rewrite";
/// The engine's files.
pub(super) struct LogFiles {
    inner: Inner,
    refused: Arc<Mutex<Option<Fault>>>,
    written: Written,
}

/// A way to read one.
pub(super) struct LogReader {
    inner: InnerReader,
    path: Arc<Path>,
}

/// One of them.
pub(super) struct LogFile {
    inner: Arc<InnerHandle>,
    path: Arc<Path>,
    refused: Arc<Mutex<Option<Fault>>>,
}

impl LogFiles {
    pub(super) fn new() -> Self {
        Self { inner: DefaultFileSystem, refused: Arc::default(), written: Written::default() }
    }

    /// The file that the calling thread has read last.
    pub(super) fn last_read() -> Option<Arc<Path>> {
        LAST_READ.with_borrow(Option::clone)
    }

    /// Why a cut was refused, or which file could not be synced.
    pub(super) fn refused(&self) -> Option<Fault> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is written to the files, and how long that takes.
    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    fn file(&self, inner: InnerHandle, path: &Path) -> LogFile {
        LogFile { inner: Arc::new(inner), path: path.into(), refused: Arc::clone(&self.refused) }
    }
}

impl FileSystem for LogFiles {
    type Handle = LogFile;
    type Reader = LogReader;
    type Writer = LogWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogFile> {
        Ok(self.file(self.inner.create(&path)?, path.as_ref()))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogFile> {
        let file = self.file(self.inner.open(&path, permission)?, path.as_ref());
        if file.has_foreign_head()? {
            let why = format!("log file {} is damaged in its head", file.path.display());
            return Err(file.refuse(Fault::damage(why)));
        }
        Ok(file)
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.inner.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn new_reader(&self, file: Arc<LogFile>) -> io::Result<Self::Reader> {
        let inner = self.inner.new_reader(Arc::clone(&file.inner))?;
        Ok(LogReader { inner, path: Arc::clone(&file.path) })
    }

    fn new_writer(&self, file: Arc<LogFile>) -> io::Result<LogWriter> {
        let inner = self.inner.new_writer(Arc::clone(&file.inner))?;
        Ok(LogWriter::new(inner, self.written.clone()))
    }
}

impl Handle for LogFile {
    /// Only recovery cuts through the handle; a writer gives back the space it allocated through
    /// its own.
    fn truncate(&self, offset: usize) -> io::Result<()> {
        if let Some(why) = self.objection(offset)? {
            return Err(self.refuse(Fault::damage(why)));
        }
        self.inner.truncate(offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        self.inner.file_size()
    }

    fn sync(&self) -> io::Result<()> {
        fail_points::pass_io("log-before-sync")
            .and_then(|()| self.inner.sync())
            .and_then(|()| fail_points::pass_io("log-synced"))
            .map_err(|error| {
                self.refuse(Fault::new(format!("log file {}: sync: {error}", self.path.display())))
            })
    }
}

impl Read for LogReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        LAST_READ.set(Some(Arc::clone(&self.path)));
        self.inner.read(buffer)
    }
}

impl Seek for LogReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl LogFile {
    fn refuse(&self, why: Fault) -> io::Error {
        let error = io::Error::other(why.to_string());
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        error
    }

    /// Whether this is a file of the engine, but not as we have it write them.
    fn has_foreign_head(&self) -> io::Result<bool> {
        let mut head = Vec::with_capacity(HEAD.len());
        File::open(&self.path)?.take(HEAD.len() as u64).read_to_end(&mut head)?;
        // A file that was only begun, or written ahead, is the engine's to deal with.
        let same = head.iter().zip(HEAD).take_while(|(found, expected)| found == expected).count();
        Ok(head.iter().skip(same).any(|byte| *byte != 0))
    }

    /// Why this file must not be cut at `offset`, if there is a reason.
    fn objection(&self, offset: usize) -> io::Result<Option<String>> {
        let file = self.path.display();
        if offset == 0 {
            // Files that were only begun are gone by now, and the engine would write its oldest
            // format into one that it empties.
            return Ok(Some(format!("log file {file} has lost its head")));
        }
        let Some(sequence) = appended_sequence(&self.path) else { return Ok(None) };
        if let Some(newer) = newest_sequence(&self.path)?.filter(|newest| *newest > sequence) {
            return Ok(Some(format!(
                "log file {file} is damaged at offset {offset}, and file {newer} follows it"
            )));
        }
        let signature = signature(sequence);
        let content = fs::read(&self.path)?;
        if let Some(at) = scan::find_record(&content, offset.saturating_add(1), signature) {
            return Ok(Some(format!(
                "log file {file} is damaged at offset {offset}, with a valid record behind it at \
                 {at}: synced entries would be lost"
            )));
        }
        let rest = content.get(offset..).unwrap_or_default();
        Ok(scan::has_flipped_bit(rest, signature).then(|| {
            format!(
                "log file {file} is damaged at offset {offset}: its last record is whole but for \
                 one bit, so synced entries would be lost"
            )
        }))
    }
}

/// The first file of the log that is not whole, and where: the engine says that there is one, but
/// not which. The newest of its kind may end in the middle, as after a crash.
pub(super) fn find_damaged(folder: &Path) -> Option<(PathBuf, usize)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.into_iter().find_map(|path| {
        let name = path.file_name()?.to_str()?;
        let sequence = name.strip_suffix(APPENDED).or_else(|| name.strip_suffix(REWRITTEN))?;
        let damaged = scan::first_damaged(
            &fs::read(&path).ok()?,
            HEAD.len(),
            signature(sequence.parse().ok()?),
        )?;
        Some((path, damaged))
    })
}

/// Deletes the newest file of each kind when a crash left it without a whole head.
///
/// Nothing that was synced is in it. The engine would empty it and go on in it in its oldest
/// format, which has no signatures, and which is refused at the next start.
pub(super) fn delete_begun(folder: &Path) -> io::Result<()> {
    if !folder.try_exists()? {
        return Ok(());
    }
    for ending in [APPENDED, REWRITTEN] {
        let mut newest = None;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            newest = newest.max(sequence_of(&path, ending).map(|sequence| (sequence, path)));
        }
        let Some((sequence, path)) = newest else { continue };
        // A file is dropped only after the next one has a synced head.
        let before = format!("{:016}{ending}", sequence.saturating_sub(1));
        let may_be_begun = sequence == 1 || folder.join(before).try_exists()?;
        if may_be_begun && is_only_begun(&path, signature(sequence))? {
            fs::remove_file(&path)?;
            File::open(folder)?.sync_all()?;
        }
    }
    Ok(())
}

/// Whether the file has the front of a head, with zeros behind it, and no record.
fn is_only_begun(path: &Path, signature: u32) -> io::Result<bool> {
    let mut head = Vec::with_capacity(HEAD.len());
    File::open(path)?.take(HEAD.len() as u64).read_to_end(&mut head)?;
    let same = head.iter().zip(HEAD).take_while(|(found, expected)| found == expected).count();
    if same == HEAD.len() || head.iter().skip(same).any(|byte| *byte != 0) {
        return Ok(false);
    }
    Ok(scan::find_record(&fs::read(path)?, 0, signature).is_none())
}

/// With what the engine signs the records of a file: the low half of its number.
fn signature(sequence: u64) -> u32 {
    u32::try_from(sequence & u64::from(u32::MAX)).unwrap_or_default()
}

/// The number in the name of an appended file.
fn appended_sequence(path: &Path) -> Option<u64> {
    sequence_of(path, APPENDED)
}

/// The number in the name of a file that ends so.
fn sequence_of(path: &Path, ending: &str) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(ending)?.parse().ok()
}

/// The highest number among the appended files beside `path`.
fn newest_sequence(path: &Path) -> io::Result<Option<u64>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        newest = newest.max(appended_sequence(&entry?.path()));
    }
    Ok(newest)
}
