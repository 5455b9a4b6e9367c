//! How a simulated member starts: as a real one, on what its disk holds.
//!
//! The order of the steps is that of the server: the log is opened, the starts that it and the identity
//! remember are held against each other, log and state are fitted to each other, and the start is counted,
//! in the log first. What each step concludes is the node's business.

use crate::{
    node::{Fencing, Initial, LogStart, Opened, Starts, open, raise_fence, voters_of},
    sim::{disk::Disk, world::Context},
    types::{BootNumber, Fault, MemberId},
};

/// Whoever starts.
#[derive(Clone, Copy, Debug)]
pub struct Starting {
    /// The member.
    pub member: MemberId,
    /// Whether it waits for its first state.
    pub joins: bool,
    /// Tells this start apart from all others of it.
    pub start: u64,
}

/// Opens what the disk holds, and puts the fence up if it is not all that was written.
pub fn open_disk(disk: &Disk, starting: Starting, ctx: &Context) -> Result<Opened, Fault> {
    let Starting { member, joins, start } = starting;
    let (store, kept) = (disk.identity.clone(), disk.identity.found());
    let mut fencing = Fencing::new(store, member, kept.incarnation, kept.fenced, start);
    if let Err(damage) = disk.log.open() {
        raise(&mut fencing, &damage, disk)?;
        disk.log.set_aside();
    }
    let starts = starts(disk);
    if let Some(loss) = starts.loss().filter(|_| !joins) {
        raise(&mut fencing, &loss, disk)?;
    }
    fencing.may_have_installed = starts.has_installed(disk.store.number());
    let initial = if joins {
        Initial::Joining { again: kept.boot > BootNumber(0) }
    } else {
        ctx.config.initial()
    };
    open(&*disk.log, &*disk.store, &initial, fencing)
}

/// Counts a start, in the log and in the identity, unless the process ends in between.
pub fn count(disk: &Disk, ends_amid: bool) -> Option<BootNumber> {
    let boot = starts(disk).next();
    let start = LogStart { boot, state: disk.store.number(), counted: false };
    disk.log.begin_start(start);
    if ends_amid {
        return None;
    }
    let boot = disk.identity.count_start(boot);
    disk.log.begin_start(LogStart { counted: true, ..start });
    Some(boot)
}

fn starts(disk: &Disk) -> Starts {
    Starts { counted: disk.identity.found().boot, written: disk.log.written_in() }
}

fn raise(fencing: &mut Fencing, loss: &Fault, disk: &Disk) -> Result<(), Fault> {
    raise_fence(fencing, loss, &voters_of(&*disk.store)?)
}
