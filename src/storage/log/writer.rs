//! [`LogWriter`]: what the engine writes to its files, counted on the way.

use std::{
    io::{self, Seek, SeekFrom, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use raft_engine::env::{DefaultFileSystem, FileSystem, WriteExt};

use crate::{
    node::{Clock, MonotonicClock},
    types::{Distribution, distribution::doubling},
};

/// Bounds of the durations, in microseconds: those of etcd, 1 ms to 8 s, and some below.
static WRITE_MICROS: [u64; 17] = doubling(125);

/// What is written to the log's files. Clones share it.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) bytes: Arc<AtomicU64>,
    /// Of each write, which leaves bytes with the system and waits for no disk, in microseconds.
    pub(super) micros: Arc<Distribution>,
    /// Before, the engine fills files with zeros.
    pub(super) counts: Arc<AtomicBool>,
    clock: Arc<MonotonicClock>,
}

impl Default for Written {
    fn default() -> Self {
        let micros = Arc::new(Distribution::new(&WRITE_MICROS));
        Self { bytes: Arc::default(), micros, counts: Arc::default(), clock: Arc::default() }
    }
}

/// Writes one of the engine's files.
pub(super) struct LogWriter {
    inner: <DefaultFileSystem as FileSystem>::Writer,
    written: Written,
}

impl LogWriter {
    pub(super) fn new(inner: <DefaultFileSystem as FileSystem>::Writer, written: Written) -> Self {
        Self { inner, written }
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.written.counts.load(Ordering::Relaxed) {
            return self.inner.write(bytes);
        }
        let begun = self.written.clock.now_micros();
        let len = self.inner.write(bytes)?;
        self.written.micros.observe(self.written.clock.now_micros().saturating_sub(begun));
        let added = u64::try_from(len).unwrap_or(u64::MAX);
        self.written.bytes.fetch_add(added, Ordering::Relaxed);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Seek for LogWriter {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl WriteExt for LogWriter {
    fn truncate(&mut self, offset: usize) -> io::Result<()> {
        self.inner.truncate(offset)
    }

    fn allocate(&mut self, offset: usize, size: usize) -> io::Result<()> {
        self.inner.allocate(offset, size)
    }
}
