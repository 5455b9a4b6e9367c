//! [`SimLog`]: a raft log in memory that forgets at a crash what it had not synced, and now and then
//! loses what it had.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use crate::{
    node::{LogStart, ports::LogStore},
    raft::{HardState, LogEntry, LogState, LogWrite, Payload, Position, payload},
    types::{BootNumber, Fault, Index, Term},
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

/// What a log that is not written to loses of what it had synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It is an older copy of itself, of an earlier start of its member.
    PutBack,
    /// It is gone.
    Gone,
    /// It cannot be read, which shows when it is opened.
    Unopened,
    /// It cannot be read, which shows when its entries are.
    Unread,
    /// Its end is gone behind an entry that is not the last one known to be committed.
    Cut,
    /// Its end is gone, and nothing in it says so.
    CutUnseen,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::PutBack, Self::Gone, Self::Unopened, Self::Unread, Self::Cut, Self::CutUnseen];

    /// Its place among all of them.
    #[must_use]
    pub fn place(self) -> usize {
        match self {
            Self::PutBack => 0,
            Self::Gone => 1,
            Self::Unopened => 2,
            Self::Unread => 3,
            Self::Cut => 4,
            Self::CutUnseen => 5,
        }
    }
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
    /// What somebody once made a copy of.
    copy: Option<Image>,
    /// How it cannot be read, if it cannot.
    damaged: Option<Loss>,
}

#[derive(Clone, Debug, Default)]
struct Image {
    hard_state: HardState,
    truncated: Position,
    entries: BTreeMap<u64, LogEntry>,
    start: Option<LogStart>,
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

    /// The start of the member in which it was last begun to be written.
    #[must_use]
    pub fn written_in(&self) -> Option<LogStart> {
        self.lock().visible.start
    }

    /// Remembers, durably, that it is written in this start from now on.
    pub fn begin_start(&self, start: LogStart) {
        let mut images = self.lock();
        images.visible.start = Some(start);
        images.durable.start = Some(start);
    }

    /// Fails as opening it does, when that is how it is damaged.
    pub fn open(&self) -> Result<(), Fault> {
        self.lock().fail(Loss::Unopened)
    }

    /// It is moved out of the way, and an empty one is begun.
    pub fn set_aside(&self) {
        let mut images = self.lock();
        let copy = images.copy.take();
        *images = Images { copy, ..Images::default() };
    }

    /// Somebody makes a copy of what is on disk.
    pub fn copy(&self) {
        let mut images = self.lock();
        images.copy = Some(images.durable.clone());
    }

    /// Whether there is a copy.
    #[must_use]
    pub fn has_copy(&self) -> bool {
        self.lock().copy.is_some()
    }

    /// Where its last entry is, and the hard state, as they are on disk.
    #[must_use]
    pub fn on_disk(&self) -> (Position, HardState) {
        let images = self.lock();
        (images.durable.last(), images.durable.hard_state)
    }

    /// Whether reads show this entry, or what was dropped held it.
    #[must_use]
    pub fn has(&self, entry: Position) -> bool {
        self.lock().visible.has(entry)
    }

    /// Whether this entry is on disk.
    #[must_use]
    pub fn has_on_disk(&self, entry: Position) -> bool {
        self.lock().durable.has(entry)
    }

    /// Puts the copy back, if there is one that was made before the start numbered `last`.
    pub fn put_back(&self, last: BootNumber) -> bool {
        let mut images = self.lock();
        let copy = images.copy.take_if(|copy| {
            let boot = copy.start.map_or(BootNumber(0), |start| start.boot);
            boot < last
        });
        let Some(copy) = copy else { return false };
        images.damaged = None;
        images.replace(copy);
        true
    }

    /// Loses everything, or becomes unreadable.
    pub fn lose(&self, loss: Loss) {
        let mut images = self.lock();
        images.damaged = matches!(loss, Loss::Unopened | Loss::Unread).then_some(loss);
        if images.damaged.is_none() {
            images.replace(Image::default());
        }
    }

    /// Loses the entries after `last`, which it holds.
    pub fn cut_after(&self, last: Index) {
        let mut images = self.lock();
        let mut cut = images.durable.clone();
        cut.entries.split_off(&last.next().0);
        images.replace(cut);
    }

    /// After which entries it can be cut.
    #[must_use]
    pub fn first_cut(&self) -> Index {
        self.lock().durable.truncated.index
    }

    fn lock(&self) -> MutexGuard<'_, Images> {
        self.images.lock().expect("one thread simulates, and it does not go on after a panic")
    }
}

impl LogStore for SimLog {
    fn load(&self) -> Result<LogState, Fault> {
        let images = self.lock();
        images.fail(Loss::Unread)?;
        Ok(images.visible.state())
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
        let start = images.visible.start;
        images.damaged = None;
        images.replace(Image { hard_state, truncated: to, entries: BTreeMap::new(), start });
        Ok(())
    }
}

impl Images {
    fn replace(&mut self, image: Image) {
        self.visible = image.clone();
        self.durable = image;
    }

    fn fail(&self, how: Loss) -> Result<(), Fault> {
        match self.damaged {
            Some(damaged) if damaged == how => Err(Fault::damage("the log cannot be read")),
            Some(_) | None => Ok(()),
        }
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

    fn has(&self, entry: Position) -> bool {
        let found = self.entries.get(&entry.index.0).map(position);
        found == Some(entry) || self.truncated.index >= entry.index
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

    /// A copy is put back only when it is of an earlier start; then the log knows that start alone.
    #[test]
    fn a_copy_of_an_earlier_start_is_put_back() {
        let log = SimLog::new(LogFault::None);
        let start = |boot| LogStart { boot: BootNumber(boot), state: 0, counted: true };
        log.begin_start(start(1));
        log.write(write(&[entry(1, 2)])).unwrap();
        log.copy();
        assert!(!log.put_back(BootNumber(1)), "of the same start");
        log.begin_start(start(2));
        log.write(write(&[entry(2, 2)])).unwrap();
        assert!(log.put_back(BootNumber(2)));
        assert_eq!((log.written_in(), log.on_disk().0.index), (Some(start(1)), Index(1)));
    }

    /// What cannot be read shows when the log is opened or when it is loaded, and is gone with the next log.
    #[test]
    fn damage_shows_until_the_log_begins_anew() {
        let log = SimLog::new(LogFault::None);
        log.write(write(&[entry(1, 2)])).unwrap();
        log.lose(Loss::Unopened);
        assert!(log.open().unwrap_err().is_damage() && log.load().is_ok());
        log.set_aside();
        assert!(log.open().is_ok());
        assert_eq!(log.load().unwrap().last, Position::default());
        log.lose(Loss::Unread);
        assert!(log.open().is_ok() && log.load().unwrap_err().is_damage());
        log.reset(Position::default(), HardState::default()).unwrap();
        assert!(log.load().is_ok());
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
