//! How far a member's stop has come, for whoever must act on it.

use tokio::sync::watch;

/// How far a member's stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It takes no new connections; those that are open are served as before.
    Refusing,
    /// Calls that run may end, streams are ended, connections close.
    Draining,
}

/// The phase, as seen by those who act on it.
#[derive(Clone, Debug)]
pub(super) struct Phases(watch::Receiver<Phase>);

impl Phases {
    /// Serving, and the switch to go on from there.
    pub(super) fn new() -> (watch::Sender<Phase>, Self) {
        let (switch, phases) = watch::channel(Phase::Serving);
        (switch, Self(phases))
    }

    /// Waits until this phase or a later one. Whoever holds the switch went away: the last phase.
    pub(super) async fn reached(&mut self, phase: Phase) {
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
