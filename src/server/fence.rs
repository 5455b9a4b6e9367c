//! What a start finds out about its member's life: whether the log is the one that was written last,
//! and whether the member is whole. The rules are in the node's [`Fencing`].

use std::sync::Arc;

use super::Error;
use crate::{
    node::{Fencing, fail_points, raise_fence, voters_of},
    storage::{self, DataDir, DataDirError, Life, Log, LogOptions, LogStart, Store},
    types::{BootNumber, Fault},
};

/// What the data directory keeps of the fence.
pub(super) fn found(dir: &Arc<DataDir>) -> Result<Fencing, Error> {
    let identity = dir.identity().ok_or_else(|| no_identity(dir))?;
    let start = storage::random().map_err(Error::Start)?;
    let store = Arc::clone(dir);
    Ok(Fencing::new(store, identity.member, identity.incarnation, identity.fenced, start))
}

/// The log that this start goes on with. One that cannot be read is set aside, and an empty one
/// begun; one of an earlier start than the member's last was put back from a copy.
pub(super) fn usable_log(
    dir: &Arc<DataDir>,
    log: Result<Log, Fault>,
    store: &Store,
    fencing: &mut Fencing,
) -> Result<Log, Error> {
    let mut raise = |loss: &Fault| {
        voters_of(store)
            .and_then(|voters| raise_fence(fencing, loss, &voters))
            .map_err(Error::Start)
    };
    let log = match log {
        Ok(log) => log,
        Err(damage) => {
            raise(&damage)?;
            dir.set_log_aside()?;
            Log::open(dir, LogOptions::default()).map_err(Error::Start)?
        }
    };
    let identity = dir.identity().ok_or_else(|| no_identity(dir))?;
    let written = log.written_in();
    let boot = written.map_or(BootNumber(0), |start| start.boot);
    // A start is written to the log first, so that the log may be one ahead. A member that joins has
    // nothing that could be made whole: the node refuses it without its log.
    let joins = identity.life == Life::Joining;
    if !joins && boot != identity.boot && boot.0 != identity.boot.0 + 1 {
        raise(&Fault::new(format!(
            "the log was last written in start {boot} of this member, but its last start was \
             {last}: one of them was put back from a copy",
            last = identity.boot
        )))?;
    }
    fencing.may_have_installed = written.is_some_and(|start| start.state < store.number());
    Ok(log)
}

/// Counts this start, in the log and in the identity.
pub(super) fn count_start(dir: &DataDir, log: &Log, store: &Store) -> Result<BootNumber, Error> {
    let identity = dir.identity().ok_or_else(|| no_identity(dir))?;
    let known = log.written_in().map_or(BootNumber(0), |start| start.boot).max(identity.boot);
    let boot = BootNumber(known.0 + 1);
    log.begin_start(LogStart { boot, state: store.number() }).map_err(Error::Start)?;
    fail_points::pass("start-in-log").map_err(Error::Start)?;
    Ok(dir.next_boot_above(known)?)
}

fn no_identity(dir: &DataDir) -> DataDirError {
    DataDirError::NoIdentity { path: dir.path().to_path_buf() }
}
