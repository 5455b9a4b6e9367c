//! [`Schedule`]: virtual time, and what is to happen when.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    node::{
        Chore,
        ports::{Checkpoint, Frame},
    },
    sim::links::Way,
    types::MemberId,
};

/// A start of a member; what an earlier start had ordered reaches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    /// The member.
    pub member: MemberId,
    /// The number of the start.
    pub boot: u64,
}

/// Something that happens at a point in time.
#[derive(Debug)]
pub enum Event {
    /// A member looks at what came in.
    Round(Life),
    /// A member's heartbeat interval has passed.
    Tick(Life),
    /// A member's log writer has finished a step.
    LogWritten(Life),
    /// A member's applier has finished a task.
    Applied(Life),
    /// A member's housekeeper has finished a chore.
    ChoreDone(Life, Chore),
    /// A member's housekeeper looks at the store, and the engine may have flushed by itself.
    Housekeeping(Life),
    /// A frame arrives.
    Arrival {
        /// On which stream.
        way: Way,
        /// What.
        frame: Frame,
    },
    /// A checkpoint arrives, or turns out not to.
    CheckpointArrival {
        /// The start of the member that sent it.
        from: Life,
        /// To whom.
        to: MemberId,
        /// Which.
        checkpoint: Checkpoint,
        /// The message that announces it.
        message: Bytes,
        /// Whether the network carried it.
        carried: bool,
    },
    /// A client has its turn.
    ClientTurn(u64),
    /// A client has waited long enough for this call.
    ClientTimeout(u64, u64),
    /// A holder looks after its lease.
    HolderTurn(u64),
    /// An observer looks at its stream.
    ObserverTurn(u64),
    /// A member that was paused has leases ended; only when that is planted.
    StaleExpiries(Life),
    /// More than it can take is asked of every member.
    Flood,
    /// Somebody asks for a compaction.
    Compaction,
    /// Something breaks, or is repaired.
    Fault,
    /// The operator looks at the cluster.
    OperatorTurn,
    /// The machine of a member that was removed is switched off for good.
    SwitchOff(MemberId),
    /// A crashed member starts again.
    Restart(MemberId),
}

/// What is to happen, in order. Events of the same time happen in the order they were scheduled.
#[derive(Debug, Default)]
pub struct Schedule {
    now: u64,
    scheduled: u64,
    events: BTreeMap<(u64, u64), Event>,
}

impl Schedule {
    /// The time in microseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets an event happen after `delay` microseconds.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + delay, self.scheduled), event);
    }

    /// Goes to the next event, unless it lies behind `until`; then goes there.
    pub fn next_until(&mut self, until: u64) -> Option<Event> {
        let due = self.events.first_entry().filter(|next| next.key().0 <= until);
        match due {
            Some(next) => {
                self.now = next.key().0;
                Some(next.remove())
            }
            None => {
                self.now = until;
                None
            }
        }
    }
}
