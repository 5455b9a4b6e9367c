//! The raft log on raft-engine: a [`LogStore`].
//!
//! Entries, hard state and the truncated position are written in batches of the engine, each synced
//! before the next is begun, so a crash leaves a prefix of them. After a failed write or sync
//! nothing more is written: what the file then holds is unknown.
//!
//! The engine panics where it cannot go on. Here that is a [`Fault`] like any other.

mod files;
mod record;
mod scan;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    any::Any,
    cell::Cell,
    fmt::Display,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};

use crate::{
    node::{LogStart, fail_points, ports::LogStore},
    raft::{HardState, LogEntry, LogState, LogWrite, Position},
    storage::{DataDir, log::files::LogFiles},
    types::{Distribution, Fault, Index, Term},
};

/// The engine holds many logs; this is the number of ours.
const REGION: u64 = 1;
/// Bytes of entries read at once while the log is loaded.
const LOAD_BYTES: u64 = 4 * 1024 * 1024;

/// Sizes of the log's files.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Where a file is full and the next one begins.
    pub file_bytes: u64,
    /// Above this size whole files of dropped entries are reused. The live log should stay below a
    /// fifth of it, or the engine copies live entries to get rid of files.
    pub purge_bytes: u64,
    /// Files written with zeros at start, because a write into an existing file syncs faster. The
    /// engine makes one and a half times as many files as fit in here.
    pub prefill_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            file_bytes: fail_points::size("log-file-bytes", 32 * MIB),
            purge_bytes: fail_points::size("log-purge-bytes", 512 * MIB),
            prefill_bytes: fail_points::size("log-prefill-bytes", 64 * MIB),
        }
    }
}

/// The raft log on disk.
pub struct Log {
    engine: Engine<LogFiles>,
    files: Arc<LogFiles>,
    path: PathBuf,
    bounds: Mutex<Bounds>,
    /// The start of the member that wrote to it last.
    start: Mutex<Option<LogStart>>,
    /// Keeps other processes out until the engine is closed.
    dir: Arc<DataDir>,
}

/// Where the log begins and ends, as told to the engine last.
#[derive(Clone, Copy)]
struct Bounds {
    truncated: Position,
    last: Index,
    /// A write failed; nothing is written any more.
    failed: bool,
}

struct Entries;

impl MessageExt for Entries {
    type Entry = LogEntry;

    fn index(entry: &LogEntry) -> u64 {
        entry.index
    }
}

impl Log {
    /// Opens the log of a data directory, empty when there is none.
    pub fn open(dir: &Arc<DataDir>, options: LogOptions) -> Result<Self, Fault> {
        dir.assert_begun();
        let path = dir.log();
        let place = path.to_str().ok_or_else(|| {
            Fault::new(format!("log {}: the path is not valid text", path.display()))
        })?;
        let config = Config {
            dir: place.to_owned(),
            recovery_mode: RecoveryMode::TolerateTailCorruption,
            recovery_threads: 1,
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize(options.file_bytes),
            purge_threshold: ReadableSize(options.purge_bytes),
            enable_log_recycle: true,
            prefill_for_recycle: options.prefill_bytes > 0,
            prefill_limit: (options.prefill_bytes > 0)
                .then_some(ReadableSize(options.prefill_bytes)),
            ..Config::default()
        };
        files::delete_begun(&path)
            .map_err(|error| Fault::new(format!("log {place}: open: {error}")))?;
        let files = Arc::new(LogFiles::new());
        let opened = caught(|| Engine::open_with_file_system(config, Arc::clone(&files)));
        let engine = match (opened, files.refused()) {
            (Ok(engine), _) => engine,
            (Err(_), Some(why)) => return Err(why),
            (Err(Failed { text, in_system: true }), None) => {
                return Err(Fault::new(format!("log {}: open: {text}", path.display())));
            }
            (Err(Failed { text: error, in_system: false }), None) => {
                let place = files::find_damaged(&path).map_or_else(
                    || format!("log {}", path.display()),
                    |(file, at)| format!("log file {} is damaged at offset {at}", file.display()),
                );
                return Err(Fault::damage(format!("{place}: open: {error}")));
            }
        };
        let unknown = Bounds { truncated: Position::default(), last: Index(0), failed: false };
        let (bounds, start) = (Mutex::new(unknown), Mutex::default());
        let log = Self { engine, files, path, bounds, start, dir: Arc::clone(dir) };
        log.find_bounds()?;
        log.find_start()?;
        log.files.written().counts.store(true, Ordering::Relaxed);
        Ok(log)
    }

    /// How long writes to the log's files took, in microseconds. They wait for no disk.
    #[must_use]
    pub fn write_micros(&self) -> &Arc<Distribution> {
        &self.files.written().micros
    }

    /// Lets the engine reuse files of dropped entries. Cheap when there is nothing to do.
    pub fn purge(&self) -> Result<(), Fault> {
        // It names regions it would like truncated; ours is, as far as the node allows.
        self.call("purge", || self.engine.purge_expired_files()).map(drop)
    }

    /// The start of the member in which the log was last begun to be written. A log that is older
    /// than its member's identity was put back from a copy.
    #[must_use]
    pub fn written_in(&self) -> Option<LogStart> {
        *self.start.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that the log is written in this start from now on. Durable when it returns.
    pub fn begin_start(&self, start: LogStart) -> Result<(), Fault> {
        let bounds = self.bounds();
        let after = *bounds;
        let mut batch = LogBatch::default();
        Self::put_start(&mut batch, start);
        self.commit(bounds, batch, after)?;
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        Ok(())
    }

    fn put_start(batch: &mut LogBatch, start: LogStart) {
        Self::put(batch, record::START, record::encode_start(start));
        if start.counted {
            Self::put(batch, record::COUNTED, record::encode_counted(start.boot));
        }
    }

    fn find_start(&self) -> Result<(), Fault> {
        let Some(bytes) = self.engine.get(REGION, record::START) else { return Ok(()) };
        let counted = self.engine.get(REGION, record::COUNTED);
        let start = record::decode_start(&bytes, counted.as_deref())
            .ok_or_else(|| self.damage("its last start cannot be read"))?;
        *self.start.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
        Ok(())
    }

    /// Establishes where the log begins and ends.
    fn find_bounds(&self) -> Result<(), Fault> {
        let truncated = match self.engine.get(REGION, record::TRUNCATED) {
            None => Position::default(),
            Some(bytes) => record::decode_position(&bytes)
                .ok_or_else(|| self.damage("its truncated position cannot be read"))?,
        };
        let first = truncated.index.next();
        if self.engine.first_index(REGION).is_some_and(|found| found < first.0) {
            // Dropped entries that the engine had copied come back when the file with the command
            // that dropped them was reused.
            self.engine.compact_to(REGION, first.0);
        }
        if let Some(found) = self.engine.first_index(REGION).filter(|found| *found != first.0) {
            return Err(self.damage(format!(
                "it begins with entry {found}, but entry {first} should be the first"
            )));
        }
        let last = self.engine.last_index(REGION).map_or(truncated.index, Index);
        *self.bounds() = Bounds { truncated, last, failed: false };
        Ok(())
    }

    fn hard_state(&self) -> Result<HardState, Fault> {
        self.engine.get(REGION, record::HARD_STATE).map_or(Ok(HardState::default()), |bytes| {
            record::decode_hard_state(&bytes)
                .ok_or_else(|| self.damage("its hard state cannot be read"))
        })
    }

    /// Reads all entries: their terms, and whether each can be read at all.
    fn read_through(
        &self,
        truncated: Position,
        last: Index,
    ) -> Result<(Vec<Position>, u64), Fault> {
        let (mut runs, mut bytes) = (Vec::new(), 0);
        let mut end = truncated;
        while end.index < last {
            for entry in self.entries(end.index.next(), last.next(), LOAD_BYTES)? {
                let position = Position { index: Index(entry.index), term: Term(entry.term) };
                if position.term < end.term {
                    return Err(self.damage(format!(
                        "entry {} has term {}, the one before has {}",
                        position.index, position.term, end.term
                    )));
                }
                if position.term > end.term || runs.is_empty() {
                    runs.push(position);
                }
                bytes += entry.data.len() as u64;
                end = position;
            }
        }
        Ok((runs, bytes))
    }

    /// Writes a batch as one synced unit; afterwards the log has the bounds `after`.
    fn commit(
        &self,
        mut bounds: MutexGuard<'_, Bounds>,
        mut batch: LogBatch,
        after: Bounds,
    ) -> Result<(), Fault> {
        if bounds.failed {
            return Err(self.fault("write: an earlier write failed"));
        }
        let bytes = u64::try_from(batch.approximate_size()).unwrap_or(u64::MAX);
        self.dir.ballast().make_room(bytes);
        bounds.failed = true;
        self.call("write", || self.engine.write(&mut batch, true))?;
        *bounds = after;
        Ok(())
    }

    fn put(batch: &mut LogBatch, key: &[u8], value: Vec<u8>) {
        batch.put(REGION, key.to_vec(), value).expect("our keys are not the engine's own");
    }

    fn bounds(&self) -> MutexGuard<'_, Bounds> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call<T>(
        &self,
        step: &str,
        work: impl FnOnce() -> raft_engine::Result<T>,
    ) -> Result<T, Fault> {
        caught(work).map_err(|error| match self.files.refused() {
            Some(why) => why,
            None => self.fault(format!("{step}: {}", error.text)),
        })
    }

    fn read_fault(&self, low: Index, high: Index, error: &Failed) -> Fault {
        let what = format!("read entries {low} to {high}: {}", error.text);
        let what = match LogFiles::last_read() {
            Some(file) => format!("log file {}: {what}", file.display()),
            None => format!("log {}: {what}", self.path.display()),
        };
        if error.in_system { Fault::new(what) } else { Fault::damage(what) }
    }

    fn damage(&self, what: impl Display) -> Fault {
        Fault::damage(format!("log {}: {what}", self.path.display()))
    }

    fn fault(&self, what: impl Display) -> Fault {
        Fault::new(format!("log {}: {what}", self.path.display()))
    }
}

impl LogStore for Log {
    fn written_bytes(&self) -> u64 {
        self.files.written().bytes.load(Ordering::Relaxed)
    }

    fn load(&self) -> Result<LogState, Fault> {
        let Bounds { truncated, last, .. } = *self.bounds();
        let hard_state = self.hard_state()?;
        if hard_state.commit > last {
            return Err(self.damage(format!(
                "it ends with entry {last}, but entry {} was committed: synced entries are lost",
                hard_state.commit
            )));
        }
        let (term_runs, bytes) = self.read_through(truncated, last)?;
        let term = term_runs.last().map_or(truncated.term, |run| run.term);
        let last = Position { index: last, term };
        Ok(LogState { hard_state, truncated, last, term_runs, bytes })
    }

    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<LogEntry>, Fault> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        caught(|| {
            self.engine.fetch_entries_to::<Entries>(
                REGION,
                low.0,
                high.0,
                Some(bytes_max),
                &mut entries,
            )
        })
        .map_err(|error| self.read_fault(low, high, &error))?;
        if entries.is_empty() && low < high {
            return Err(self.damage(format!("entry {low} is missing")));
        }
        match entries.iter().zip(low.0..).find(|(entry, index)| entry.index != *index) {
            Some((entry, index)) => {
                Err(self.damage(format!("entry {} stands at index {index}", entry.index)))
            }
            None => Ok(entries),
        }
    }

    fn write(&self, write: LogWrite) -> Result<(), Fault> {
        let bounds = self.bounds();
        let mut after = *bounds;
        let mut batch = LogBatch::default();
        if let Some(first) = write.entries.first() {
            // The engine would panic on a gap, and drop the whole log for an entry before its start.
            let joins = bounds.truncated.index.0 < first.index && first.index <= bounds.last.0 + 1;
            let gap = write.entries.iter().zip(first.index..).any(|(entry, at)| entry.index != at);
            if !joins || gap {
                return Err(self.fault(format!(
                    "write: entries from {} do not join a log of {} to {}",
                    first.index,
                    bounds.truncated.index.next(),
                    bounds.last
                )));
            }
            self.call("write", || batch.add_entries::<Entries>(REGION, &write.entries))?;
            after.last = write.entries.last().map_or(after.last, |entry| Index(entry.index));
        }
        if let Some(hard_state) = write.hard_state {
            Self::put(&mut batch, record::HARD_STATE, record::encode_hard_state(hard_state));
        }
        if batch.is_empty() {
            return Ok(());
        }
        fail_points::pass("log-before-write")?;
        self.commit(bounds, batch, after)?;
        fail_points::pass("log-written")
    }

    fn truncate(&self, to: Position) -> Result<(), Fault> {
        let bounds = self.bounds();
        if to.index <= bounds.truncated.index {
            return Ok(());
        }
        if to.index > bounds.last {
            return Err(self.fault(format!(
                "truncate up to entry {}: it ends with entry {}",
                to.index, bounds.last
            )));
        }
        let after = Bounds { truncated: to, ..*bounds };
        let mut batch = LogBatch::default();
        batch.add_command(REGION, Command::Compact { index: to.index.next().0 });
        Self::put(&mut batch, record::TRUNCATED, record::encode_position(to));
        fail_points::pass("log-before-truncate")?;
        // Synced, because files purged on the strength of it do not come back.
        self.commit(bounds, batch, after)?;
        fail_points::pass("log-truncated")?;
        self.purge()?;
        fail_points::pass("log-purged")
    }

    fn reset(&self, to: Position, hard_state: HardState) -> Result<(), Fault> {
        let bounds = self.bounds();
        let after = Bounds { truncated: to, last: to.index, failed: false };
        let mut batch = LogBatch::default();
        batch.add_command(REGION, Command::Clean);
        Self::put(&mut batch, record::HARD_STATE, record::encode_hard_state(hard_state));
        Self::put(&mut batch, record::TRUNCATED, record::encode_position(to));
        if let Some(start) = self.written_in() {
            Self::put_start(&mut batch, start);
        }
        fail_points::pass("log-before-reset")?;
        self.commit(bounds, batch, after)?;
        fail_points::pass("log-reset")
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of the calling thread is about to become a fault, and so ends nothing by itself.
#[must_use]
pub fn catches_panic() -> bool {
    CATCHING.get()
}

/// Why a call of the engine came to nothing.
struct Failed {
    text: String,
    /// The system refused something, which says nothing about what lies on the disk.
    in_system: bool,
}

/// Carries out a call of the engine, with its panics as errors.
fn caught<T>(work: impl FnOnce() -> raft_engine::Result<T>) -> Result<T, Failed> {
    let before = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(before);
    match result {
        Ok(result) => result.map_err(|error| Failed {
            in_system: matches!(&error, raft_engine::Error::Io(error) if !is_damage(error)),
            text: error.to_string(),
        }),
        Err(panic) => {
            let text = format!("the engine gave up: {}", panic_text(panic.as_ref()));
            Err(Failed { text, in_system: false })
        }
    }
}

/// Whether a file ended too early, rather than the system having refused something.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("for an unknown reason")
}
