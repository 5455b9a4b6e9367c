//! What a start finds out about its member's life: whether the log is the one that was written last,
//! and whether the member is whole. The rules are in the node's [`Starts`] and [`Fencing`].

use std::sync::Arc;

use super::Error;
use crate::{
    node::{Fencing, LogStart, Starts, fail_points, raise_fence, voters_of},
    storage::{self, DataDir, DataDirError, IdentityRecord, Life, Log, LogOptions, Store},
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
    let starts = starts(&identity, &log);
    // A member that joins has nothing that could be made whole: the node refuses it without its log.
    let joins = identity.life == Life::Joining;
    if let Some(loss) = starts.loss().filter(|_| !joins) {
        raise(&loss)?;
    }
    fencing.may_have_installed = starts.has_installed(store.number());
    Ok(log)
}

/// Counts this start, in the log and in the identity.
pub(super) fn count_start(dir: &DataDir, log: &Log, store: &Store) -> Result<BootNumber, Error> {
    let identity = dir.identity().ok_or_else(|| no_identity(dir))?;
    let boot = starts(&identity, log).next();
    let start = LogStart { boot, state: store.number(), counted: false };
    log.begin_start(start).map_err(Error::Start)?;
    fail_points::pass("start-in-log").map_err(Error::Start)?;
    let boot = dir.next_boot_above(BootNumber(boot.0 - 1))?;
    log.begin_start(LogStart { counted: true, ..start }).map_err(Error::Start)?;
    Ok(boot)
}

fn starts(identity: &IdentityRecord, log: &Log) -> Starts {
    Starts { counted: identity.boot, written: log.written_in() }
}

fn no_identity(dir: &DataDir) -> DataDirError {
    DataDirError::NoIdentity { path: dir.path().to_path_buf() }
}
