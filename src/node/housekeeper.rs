//! Slow work on the state, on a thread that may wait: flushes, checkpoints, a look at the engine
//! and at the disk.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    node::{
        driver::Mailbox,
        shared::Shared,
        task::{Chore, Input},
    },
    types::{Fault, Millis},
};

/// How often engine and disk are looked at, and how old the known flushed index may be.
const PERIOD: Millis = Millis(500);

/// Carries out a chore, and returns what the replica is to hear of it.
pub(super) fn carry_out(shared: &Shared, chore: Chore) -> Result<Input, Fault> {
    match chore {
        Chore::Flush => {
            shared.store.flush()?;
            shared.store.flushed().map(Input::Flushed)
        }
        Chore::Checkpoint => {
            let begun = shared.clock.now_micros();
            let made = shared.store.checkpoint();
            let took = shared.clock.now_micros().saturating_sub(begun);
            shared.metrics.figures.checkpoints.observe(took);
            Ok(Input::CheckpointMade(made))
        }
        Chore::RaiseFence(above) => shared.fence_store()?.raise(above).map(|_| Input::FenceRaised),
        Chore::LiftFence => shared.fence_store()?.lift().map(|()| Input::FenceLifted),
    }
}

/// Looks at the engine and at the disk, and returns what the replica is to hear of it.
pub(super) fn look(shared: &Shared) -> Result<Vec<Input>, Fault> {
    shared.store.check()?;
    let mut inputs = vec![Input::Flushed(shared.store.flushed()?)];
    inputs.extend(shared.measure_disk()?.map(Input::Proposal));
    Ok(inputs)
}

pub(super) fn run(
    shared: &Arc<Shared>,
    chores: &Receiver<Chore>,
    mailbox: &Mailbox,
) -> Result<(), Fault> {
    let mut next_look = shared.clock.now() + PERIOD;
    loop {
        let wait = next_look.since(shared.clock.now());
        match chores.recv_timeout(Duration::from_millis(wait.0)) {
            Ok(chore) => mailbox.post(carry_out(shared, chore)?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        // Also while one chore follows the other: then it matters most.
        if shared.clock.now() >= next_look {
            look(shared)?.into_iter().for_each(|input| mailbox.post(input));
            next_look = shared.clock.now() + PERIOD;
        }
    }
}
