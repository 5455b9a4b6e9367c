//! [`SimLog`]: a raft log in memory that forgets at a crash what it had not synced.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{
    node::ports::LogStore,
    raft::{HardState, LogEntry, LogState, LogWrite, Payload, Position, payload},
    types::{Fault, Index, Term},
};

/// A fault planted into a log, to show that the checks find it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFault {
    /// None: the log keeps its promise.
    #[default]
    None,
    /// A write returns before it is synced; a crash loses all writes since the last truncation.
    AcknowledgesBeforeSync,
    /// The hard state is written but not synced, so that a crash forgets votes and terms.
    ForgetsVotes,
}

/// A raft log in memory.
#[derive(Debug)]
pub struct SimLog {
    images: Mutex<Images>,
    fault: LogFault,
}

#[derive(Debug, Default)]
struct Images {
    /// What reads show.
    visible: Image,
    /// What a crash leaves.
    durable: Image,
}

#[derive(Clone, Debug, Default)]
struct Image {
    hard_state: HardState,
    truncated: Position,
    entries: BTreeMap<u64, LogEntry>,
}

impl SimLog {
    /// An empty log.
    #[must_use]
    pub fn new(fault: LogFault) -> Self {
        Self { images: Mutex::default(), fault }
    }

    /// The process or the machine dies: what was not synced is gone.
    pub fn crash(&self) {
        let mut images = self.lock();
        images.visible = images.durable.clone();
    }

    /// How many entries after `index` change the configuration.
    #[must_use]
    pub fn changes_after(&self, index: Index) -> usize {
        let images = self.lock();
        let after = images.visible.entries.range(index.next().0..);
        after.filter(|(_, entry)| matches!(payload(entry), Ok(Payload::Change(..)))).count()
    }

    fn lock(&self) -> MutexGuard<'_, Images> {
        self.images.lock().expect("one thread simulates, and it does not go on after a panic")
    }
}

impl LogStore for SimLog {
    fn load(&self) -> Result<LogState, Fault> {
        Ok(self.lock().visible.state())
    }

    fn entries(&self, low: Index, high: Index, bytes_max: u64) -> Result<Vec<LogEntry>, Fault> {
        let images = self.lock();
        let mut bytes = 0;
        let mut found = Vec::new();
        for index in low.0..high.0 {
            let entry = images.visible.entries.get(&index).ok_or_else(|| {
                Fault::new(format!("entry {index} was asked for but is not in the log"))
            })?;
            bytes += entry.data.len() as u64;
            if bytes > bytes_max && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn write(&self, write: LogWrite) -> Result<(), Fault> {
        let mut images = self.lock();
        images.visible.write(&write)?;
        match self.fault {
            LogFault::None => images.durable = images.visible.clone(),
            LogFault::AcknowledgesBeforeSync => {}
            LogFault::ForgetsVotes => {
                let hard_state = images.durable.hard_state;
                images.durable = images.visible.clone();
                images.durable.hard_state = hard_state;
            }
        }
        Ok(())
    }

    fn truncate(&self, to: Position) -> Result<(), Fault> {
        let mut images = self.lock();
        // Unsynced: the next write takes it along, and a crash before that undoes it.
        images.visible.truncate(to);
        if self.fault == LogFault::AcknowledgesBeforeSync {
            images.durable = images.visible.clone();
        }
        Ok(())
    }

    fn reset(&self, to: Position, hard_state: HardState) -> Result<(), Fault> {
        let mut images = self.lock();
        images.visible = Image { hard_state, truncated: to, entries: BTreeMap::new() };
        images.durable = images.visible.clone();
        Ok(())
    }
}

impl Image {
    fn state(&self) -> LogState {
        let mut runs: Vec<Position> = Vec::new();
        for entry in self.entries.values() {
            if runs.last().is_none_or(|run| run.term.0 != entry.term) {
                runs.push(position(entry));
            }
        }
        LogState {
            hard_state: self.hard_state,
            truncated: self.truncated,
            last: self.last(),
            term_runs: runs,
            bytes: self.entries.values().map(|entry| entry.data.len() as u64).sum(),
        }
    }

    fn last(&self) -> Position {
        self.entries.values().next_back().map_or(self.truncated, position)
    }

    fn write(&mut self, write: &LogWrite) -> Result<(), Fault> {
        if let Some(first) = write.entries.first() {
            if first.index <= self.truncated.index.0 || first.index > self.last().index.0 + 1 {
                return Err(Fault::new(format!(
                    "entry {} does not join a log of entries {} to {}",
                    first.index,
                    self.truncated.index.next(),
                    self.last().index,
                )));
            }
            self.entries.split_off(&first.index);
        }
        for entry in &write.entries {
            self.entries.insert(entry.index, entry.clone());
        }
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        Ok(())
    }

    fn truncate(&mut self, to: Position) {
        if to.index > self.truncated.index && to.index <= self.last().index {
            self.entries = self.entries.split_off(&to.index.next().0);
            self.truncated = to;
        }
    }
}

fn position(entry: &LogEntry) -> Position {
    Position { index: Index(entry.index), term: Term(entry.term) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> LogEntry {
        LogEntry { index, term, ..LogEntry::default() }
    }

    fn write(entries: &[LogEntry]) -> LogWrite {
        LogWrite { entries: entries.to_vec(), hard_state: None }
    }

    /// A conflicting append replaces the rest of the log, and the runs of terms follow it.
    #[test]
    fn an_append_replaces_what_follows() {
        let log = SimLog::new(LogFault::None);
        log.write(write(&[entry(1, 2), entry(2, 2), entry(3, 2)])).unwrap();
        log.write(write(&[entry(2, 3)])).unwrap();
        let state = log.load().unwrap();
        assert_eq!(state.last, Position { index: Index(2), term: Term(3) });
        assert_eq!(state.term_runs.len(), 2);
        assert!(log.write(write(&[entry(4, 3)])).is_err(), "a gap is a fault");
    }

    /// A sound log keeps every write; one that acknowledges too early loses it.
    #[test]
    fn a_crash_takes_what_was_not_synced() {
        for (fault, last) in [(LogFault::None, 1), (LogFault::AcknowledgesBeforeSync, 0)] {
            let log = SimLog::new(fault);
            log.write(write(&[entry(1, 2)])).unwrap();
            log.crash();
            assert_eq!(log.load().unwrap().last.index, Index(last));
        }
    }

    /// A truncation that nothing followed is undone by a crash, which costs nothing.
    #[test]
    fn a_truncation_is_durable_with_the_next_write() {
        let log = SimLog::new(LogFault::None);
        log.write(write(&[entry(1, 2), entry(2, 2)])).unwrap();
        let to = Position { index: Index(1), term: Term(2) };
        log.truncate(to).unwrap();
        log.crash();
        assert_eq!(log.load().unwrap().truncated, Position::default());
        log.truncate(to).unwrap();
        log.write(write(&[entry(3, 2)])).unwrap();
        log.crash();
        assert_eq!(log.load().unwrap().truncated, to);
    }
}
