//! [`Paced`]: a view for somebody who reads everything and is in no hurry.

use std::{cell::Cell, convert::Infallible, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    node::{ports::OwnedView, shared::Shared},
    state::{Cursor, Direction, Family, View},
    types::Fault,
};

/// Bytes of records between two looks at the clock.
const BYTES_BETWEEN_LOOKS: usize = 16 * 1024;
/// What a record counts beside its bytes.
const RECORD_BYTES: usize = 64;
/// How long it works at a time: a moment that a client's request may have to wait for.
const WORK_MICROS: u64 = 500;
/// How many times as long as it worked it rests.
const REST_TIMES: u64 = 3;
/// The longest rest: what took longer waited for the disk, which is a rest by itself.
const REST_MICROS_MAX: u64 = 10_000;

/// A view that rests between its steps, and ends the walk when nobody waits for it any more.
pub(super) struct Paced {
    view: OwnedView,
    shared: Arc<Shared>,
    /// The asker holds the other end as long as it waits.
    asker: oneshot::Sender<Infallible>,
    /// Bytes since the last look at the clock.
    passed: Cell<usize>,
    /// When the work began that was not rested from yet.
    since: Cell<u64>,
    worked_micros: Cell<u64>,
}

impl Paced {
    pub(super) fn new(
        view: OwnedView,
        shared: Arc<Shared>,
        asker: oneshot::Sender<Infallible>,
    ) -> Self {
        let since = Cell::new(shared.clock.now_micros());
        Self { view, shared, asker, passed: Cell::new(0), since, worked_micros: Cell::new(0) }
    }

    /// Whether nobody waits for what is read.
    pub(super) fn is_abandoned(&self) -> bool {
        self.asker.is_closed() || self.shared.why_stopped().is_some()
    }

    /// How long it has worked.
    pub(super) fn worked_micros(&self) -> u64 {
        self.worked_micros.get() + self.working_micros()
    }

    fn working_micros(&self) -> u64 {
        self.shared.clock.now_micros().saturating_sub(self.since.get())
    }

    /// A record of so many bytes is done: rests when it is time to.
    fn passed(&self, bytes: usize) -> Result<(), Fault> {
        self.passed.set(self.passed.get() + RECORD_BYTES + bytes);
        if self.passed.get() < BYTES_BETWEEN_LOOKS {
            return Ok(());
        }
        self.passed.set(0);
        if self.is_abandoned() {
            return Err(Fault::new("nobody waits for this checksum any more"));
        }
        let worked = self.working_micros();
        if worked >= WORK_MICROS {
            self.worked_micros.set(self.worked_micros.get() + worked);
            let rest = worked.saturating_mul(REST_TIMES).min(REST_MICROS_MAX);
            thread::sleep(Duration::from_micros(rest));
            self.since.set(self.shared.clock.now_micros());
        }
        Ok(())
    }
}

impl View for Paced {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.view.get(family, key)
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        Ok(Box::new(Steps { cursor: self.view.cursor(family, start, end)?, paced: self }))
    }
}

struct Steps<'a> {
    cursor: Box<dyn Cursor + 'a>,
    paced: &'a Paced,
}

impl Cursor for Steps<'_> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        self.cursor.begin(direction)
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        self.cursor.seek(key, direction)
    }

    fn step(&mut self) -> Result<(), Fault> {
        let bytes = self.cursor.item().map_or(0, |(key, value)| key.len() + value.len());
        self.paced.passed(bytes)?;
        self.cursor.step()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.item()
    }
}
