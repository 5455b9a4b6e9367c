//! Why a member stops: a signal, or the end of its parent.

use std::{future::pending, process};

use tokio::{
    io::{AsyncReadExt, stdin},
    select,
    signal::unix::{Signal, SignalKind, signal},
};
use tracing::{info, warn};

use super::Error;

/// Somebody who may ask the member to stop.
pub(super) struct Requests {
    terminate: Signal,
    interrupt: Signal,
    exit_with_parent: bool,
}

impl Requests {
    /// From here on signals do not end the process by themselves.
    pub(super) fn listen(exit_with_parent: bool) -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            exit_with_parent,
        })
    }

    /// Waits until the member is asked to stop.
    pub(super) async fn first(&mut self) {
        let cause = select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = parent_gone(self.exit_with_parent) => "end of standard input",
        };
        info!(cause, "stopping");
    }

    /// Ends the process when it is asked once more: somebody cannot wait.
    pub(super) async fn second(mut self) {
        select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        warn!("asked to stop again: ending at once");
        process::exit(1);
    }
}

/// Waits until standard input ends, which its writer's death brings about, however it died.
async fn parent_gone(watched: bool) {
    if !watched {
        return pending().await;
    }
    let mut input = stdin();
    let mut ignored = [0; 64];
    while matches!(input.read(&mut ignored).await, Ok(1..)) {}
}
