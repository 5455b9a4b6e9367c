//! What the workers of a simulated member do that is no more than a function: chores, and a look at the
//! entries that pass by.

use crate::{
    node::{
        Changed, Chore, Input, LogTask,
        ports::{FenceStore, StateStore},
    },
    raft::{ConfigChange, LogEntry, Payload, Position, payload},
    sim::{
        checks::Violation,
        config::Planted,
        disk::{Disk, SimStore},
    },
    state::meta,
    types::{Fault, Index},
};

/// Does a housekeeper's chore.
pub(super) fn carry_out_chore(
    Disk { store, identity, .. }: &Disk,
    chore: Chore,
    planted: Planted,
) -> Result<Input, Fault> {
    match chore {
        Chore::Flush => {
            store.flush()?;
            store.flushed().map(Input::Flushed)
        }
        Chore::RaiseFence(above) => identity.raise(above).map(|_| Input::FenceRaised),
        Chore::LiftFence => identity.lift().map(|()| Input::FenceLifted),
        Chore::Checkpoint => {
            let mut made = store.checkpoint();
            if planted == Planted::NoCheckpoints {
                store.release_all();
                made = Err(Fault::new("none is made"));
            }
            if let (Planted::WrongConfiguration, Ok((_, conf))) = (planted, &mut made)
                && conf.voters.len() > 1
            {
                conf.voters.pop();
            }
            Ok(Input::CheckpointMade(made))
        }
    }
}

/// The entries that a step appends.
pub(super) fn appended(step: &[LogTask]) -> impl Iterator<Item = &LogEntry> {
    let writes = step.iter().filter_map(|task| match task {
        LogTask::Write { write, .. } => Some(&write.entries),
        LogTask::Reset { .. } | LogTask::Truncate(_) | LogTask::Fetch(_) => None,
    });
    writes.flatten()
}

/// What an entry changes of the configuration.
pub(super) fn change(entry: &LogEntry) -> Option<ConfigChange> {
    match payload(entry) {
        Ok(Payload::Change(change, _)) => Some(change),
        Ok(Payload::Requests(_)) | Err(_) => None,
    }
}

/// Tells of a change that was appended as if it were applied.
pub(super) fn early(change: ConfigChange, store: &SimStore) -> Result<Input, Violation> {
    let broken = |fault: Fault| Violation(fault.to_string());
    let view = store.view().map_err(broken)?;
    let mut conf = meta::conf_state(&*view).map_err(broken)?;
    let (index, term) = meta::applied(&*view).map_err(broken)?;
    let (ConfigChange::AddVoter(id) | ConfigChange::AddLearner(id) | ConfigChange::Remove(id)) =
        change;
    conf.voters.retain(|voter| *voter != id);
    conf.learners.retain(|learner| *learner != id);
    match change {
        ConfigChange::AddVoter(id) => conf.voters.push(id),
        ConfigChange::AddLearner(id) => conf.learners.push(id),
        ConfigChange::Remove(_) => {}
    }
    conf.voters.sort_unstable();
    conf.learners.sort_unstable();
    let changed = Changed { changes: vec![change], conf };
    Ok(Input::Applied(Position { index, term }, Some(changed)))
}

/// Up to which entry the log is applied.
pub(super) fn applied(store: &SimStore) -> Result<Index, Violation> {
    let view = store.view().and_then(|view| meta::applied(&*view));
    view.map(|(index, _)| index).map_err(|fault| Violation(fault.to_string()))
}
