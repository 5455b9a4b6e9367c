//! The log writer's step: everything that waits becomes one synced write.

use crate::{
    node::{
        ports::{Frame, LogStore},
        task::{Input, LogTask},
    },
    raft::{LogEntry, LogWrite},
    types::{Fault, MemberId},
};

/// What a step of the log writer leads to.
#[derive(Debug, Default)]
pub struct LogDone {
    /// Frames that may leave now.
    pub sends: Vec<(MemberId, Frame)>,
    /// What the replica is to hear.
    pub inputs: Vec<Input>,
    /// Whether something was synced.
    pub synced: bool,
}

/// Carries out the tasks that wait, in order. Rounds next to each other become one write with one
/// sync, however many they are; the messages that rest on them come out after it.
pub fn carry_out(store: &dyn LogStore, tasks: Vec<LogTask>) -> Result<LogDone, Fault> {
    let mut done = LogDone::default();
    let mut group = Group::default();
    for task in tasks {
        match task {
            LogTask::Write { number, write, must_sync, after_sync } => {
                group.add(number, write, must_sync, after_sync);
            }
            LogTask::Reset { number, to, hard_state, after_sync } => {
                group.finish(store, &mut done)?;
                store.reset(to, hard_state)?;
                done.sends.extend(after_sync);
                done.inputs.push(Input::Persisted(number));
            }
            LogTask::Truncate(to) => {
                group.finish(store, &mut done)?;
                store.truncate(to)?;
            }
            LogTask::Fetch(fetch) => {
                group.finish(store, &mut done)?;
                let entries = store.entries(fetch.low, fetch.high, fetch.bytes_max)?;
                done.inputs.push(Input::Fetched(fetch.ticket, entries));
            }
        }
    }
    group.finish(store, &mut done)?;
    Ok(done)
}

/// Rounds that are written as one.
#[derive(Debug, Default)]
struct Group {
    last: Option<u64>,
    write: LogWrite,
    must_sync: bool,
    after_sync: Vec<(MemberId, Frame)>,
}

impl Group {
    fn add(
        &mut self,
        number: u64,
        write: LogWrite,
        must_sync: bool,
        after_sync: Vec<(MemberId, Frame)>,
    ) {
        self.last = Some(number);
        self.must_sync |= must_sync;
        self.after_sync.extend(after_sync);
        if write.hard_state.is_some() {
            self.write.hard_state = write.hard_state;
        }
        append(&mut self.write.entries, write.entries);
    }

    fn finish(&mut self, store: &dyn LogStore, done: &mut LogDone) -> Result<(), Fault> {
        let group = std::mem::take(self);
        let Some(last) = group.last else { return Ok(()) };
        // Otherwise only the commit index moved. It need not be remembered: a member learns it anew
        // from its leader, and a leader by committing an entry of its own term.
        if group.must_sync {
            store.write(group.write)?;
            done.synced = true;
        }
        done.sends.extend(group.after_sync);
        done.inputs.push(Input::Persisted(last));
        Ok(())
    }
}

/// Appends a later round's entries, which may replace a suffix of what is there.
fn append(entries: &mut Vec<LogEntry>, later: Vec<LogEntry>) {
    if let Some(first) = later.first() {
        entries.retain(|entry| entry.index < first.index);
    }
    entries.extend(later);
}
