//! Slow work on the state, on a thread that may wait: flushes, checkpoints, a look at the engine.

use std::{sync::Arc, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    node::{
        driver::Mailbox,
        shared::Shared,
        task::{Chore, Input},
    },
    types::Fault,
};

/// How often the engine is looked at, and how old the known flushed index may be.
const PERIOD: Duration = Duration::from_secs(1);

/// Carries out a chore, and returns what the replica is to hear of it.
pub(super) fn carry_out(shared: &Shared, chore: Chore) -> Result<Input, Fault> {
    match chore {
        Chore::Flush => {
            shared.store.flush()?;
            shared.store.flushed().map(Input::Flushed)
        }
        Chore::Checkpoint => Ok(Input::CheckpointMade(shared.store.checkpoint())),
    }
}

pub(super) fn run(
    shared: &Arc<Shared>,
    chores: &Receiver<Chore>,
    mailbox: &Mailbox,
) -> Result<(), Fault> {
    loop {
        let input = match chores.recv_timeout(PERIOD) {
            Ok(chore) => carry_out(shared, chore)?,
            Err(RecvTimeoutError::Timeout) => {
                shared.store.check()?;
                Input::Flushed(shared.store.flushed()?)
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        mailbox.post(input);
    }
}
