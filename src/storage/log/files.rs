//! The engine's files, watched while it recovers.
//!
//! At start the engine cuts its newest file where a record cannot be read, because a crash may
//! leave one half written. The same rule would silently drop everything behind a flipped bit,
//! votes and commit index included. So the cut itself is watched: it stands only in the newest
//! file, and only when nothing valid lies behind it, as after a crash, where the record being
//! written is the last. Any other cut is refused, the file is left as it is, and opening fails.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};

use crate::node::fail_points;

type Inner = DefaultFileSystem;
type InnerHandle = <Inner as FileSystem>::Handle;
type InnerReader = <Inner as FileSystem>::Reader;

thread_local! {
    /// The file that this thread has read last: the engine does not say which one is damaged.
    static LAST_READ: RefCell<Option<Arc<Path>>> = const { RefCell::new(None) };
}

/// What each file begins with: who wrote it, in which format, and that records are not aligned. The
/// engine takes an alignment at its word, and asks for memory of that size.
const HEAD: &[u8] =
    b"RAFT-LOG-FILE-HEADER-9986AB3E47F320B394C8E84916EB0ED5\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
const MAGIC_BYTES: usize = 53;
/// How the names of appended files end; rewritten ones are copies, and may end in several unsynced
/// records.
const APPENDED: &str = ".raftlog";
/// A record starts with its length and kind, and where its footer starts.
const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;
/// Footers are indexes of a few bytes per entry. A longer claim is not one, and checking it for
/// every position would take quadratic time.
const FOOTER_BYTES_MAX: usize = 1024 * 1024;

/// The engine's files.
pub(super) struct LogFiles {
    inner: Inner,
    refused: Arc<Mutex<Option<String>>>,
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
    refused: Arc<Mutex<Option<String>>>,
}

impl LogFiles {
    pub(super) fn new() -> Self {
        Self { inner: DefaultFileSystem, refused: Arc::default() }
    }

    /// The file that the calling thread has read last.
    pub(super) fn last_read() -> Option<Arc<Path>> {
        LAST_READ.with_borrow(Option::clone)
    }

    /// Why a cut was refused, or which file could not be synced.
    pub(super) fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn file(&self, inner: InnerHandle, path: &Path) -> LogFile {
        LogFile { inner: Arc::new(inner), path: path.into(), refused: Arc::clone(&self.refused) }
    }
}

impl FileSystem for LogFiles {
    type Handle = LogFile;
    type Reader = LogReader;
    type Writer = <Inner as FileSystem>::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<LogFile> {
        Ok(self.file(self.inner.create(&path)?, path.as_ref()))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<LogFile> {
        let file = self.file(self.inner.open(&path, permission)?, path.as_ref());
        if file.has_foreign_head()? {
            let why = format!("log file {} is damaged in its head", file.path.display());
            return Err(file.refuse(why));
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

    fn new_writer(&self, file: Arc<LogFile>) -> io::Result<Self::Writer> {
        self.inner.new_writer(Arc::clone(&file.inner))
    }
}

impl Handle for LogFile {
    /// Only recovery cuts through the handle; a writer gives back the space it allocated through
    /// its own.
    fn truncate(&self, offset: usize) -> io::Result<()> {
        if let Some(why) = self.objection(offset)? {
            return Err(self.refuse(why));
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
                self.refuse(format!("log file {}: sync: {error}", self.path.display()))
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
    fn refuse(&self, why: String) -> io::Error {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        io::Error::other(why)
    }

    /// Whether this is a file of the engine, but not as we have it write them.
    fn has_foreign_head(&self) -> io::Result<bool> {
        let mut head = Vec::with_capacity(HEAD.len());
        File::open(&self.path)?.take(HEAD.len() as u64).read_to_end(&mut head)?;
        // A file that was only begun, or written ahead, is the engine's to deal with.
        let begun = head.len() == HEAD.len() && head.get(..MAGIC_BYTES) == HEAD.get(..MAGIC_BYTES);
        Ok(begun && head != HEAD)
    }

    /// Why this file must not be cut at `offset`, if there is a reason.
    fn objection(&self, offset: usize) -> io::Result<Option<String>> {
        let Some(sequence) = appended_sequence(&self.path) else { return Ok(None) };
        let file = self.path.display();
        if let Some(newer) = newest_sequence(&self.path)?.filter(|newest| *newest > sequence) {
            return Ok(Some(format!(
                "log file {file} is damaged at offset {offset}, and file {newer} follows it"
            )));
        }
        // The engine signs a record with the low half of its file's number.
        let signature = u32::try_from(sequence & u64::from(u32::MAX)).unwrap_or_default();
        let valid = find_record(&fs::read(&self.path)?, offset.saturating_add(1), signature);
        Ok(valid.map(|at| {
            format!(
                "log file {file} is damaged at offset {offset}, with a valid record behind it at \
                 {at}: synced entries would be lost"
            )
        }))
    }
}

/// The number in the name of an appended file.
fn appended_sequence(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(APPENDED)?.parse().ok()
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

/// Where, from `start` on, the first whole record of the file with this signature is.
fn find_record(content: &[u8], start: usize, signature: u32) -> Option<usize> {
    // A file mostly ends in zeros, written ahead. They are skipped by the block but for the last
    // few: the first half of a record's head is never all zero.
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut start = start;
    while start < content.len() {
        let block = content.get(start..start + ZEROS.len());
        if block.is_some_and(|block| block == ZEROS) {
            start += ZEROS.len() - HEADER_BYTES / 2;
            continue;
        }
        let end = content.len().min(start + ZEROS.len());
        let mut places = start..end;
        let found = places
            .find(|at| content.get(*at..).is_some_and(|rest| starts_with_record(rest, signature)));
        if found.is_some() {
            return found;
        }
        start = end;
    }
    None
}

/// Whether a whole record of the file with this signature starts here.
fn starts_with_record(bytes: &[u8], signature: u32) -> bool {
    record_footer(bytes).is_some_and(|footer| {
        footer.split_last_chunk::<CHECKSUM_BYTES>().is_some_and(|(items, sum)| {
            !items.is_empty() && crc32fast::hash(items) == u32::from_le_bytes(*sum) ^ signature
        })
    })
}

/// The footer of the record that the bytes would start with, if they look like one.
fn record_footer(bytes: &[u8]) -> Option<&[u8]> {
    let (head, _) = bytes.split_first_chunk::<8>()?;
    // Length in the upper bytes, kind of compression (0 or 1) in the lowest.
    let head = u64::from_be_bytes(*head);
    if head & 0xfe != 0 || head >> 8 < HEADER_BYTES as u64 {
        return None;
    }
    let len = usize::try_from(head >> 8).ok().filter(|len| *len <= bytes.len())?;
    let (footer, _) = bytes.get(8..)?.split_first_chunk::<8>()?;
    let footer = usize::try_from(u64::from_be_bytes(*footer)).ok()?;
    if footer < HEADER_BYTES || len.checked_sub(footer)? > FOOTER_BYTES_MAX {
        return None;
    }
    bytes.get(footer..len)
}
