//! Is there a leader, and when is it lost? For clients that would rather hear "no leader" than wait.
//! And could this member be one?

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    sync::watch,
    time::{self, MissedTickBehavior},
};

use crate::{node::Handle, types::MemberId};

/// Looks without a leader, an election timeout apart, after which a stream that needs one is ended.
const LOOKS_MAX: u32 = 3;

/// Comes to an end when the leader is lost.
pub type Lost = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a member knows about the leader of its cluster, and of itself.
pub trait Leadership: Send + Sync + 'static {
    /// Whether this member can never be it, because it has no vote.
    fn is_learner(&self) -> bool;

    /// Whether a leader is known.
    fn has_leader(&self) -> bool;

    /// Whether the member lost something, and serves nobody until it is whole.
    fn is_fenced(&self) -> bool {
        false
    }

    /// Comes to an end when no leader was known at several looks in a row.
    fn lost(&self) -> Lost;

    /// Whether this member's data are known to be wrong.
    fn is_corrupt(&self) -> bool;
}

impl Leadership for Handle {
    fn is_learner(&self) -> bool {
        Self::is_learner(self)
    }

    fn has_leader(&self) -> bool {
        self.status().leader.is_some()
    }

    fn is_fenced(&self) -> bool {
        Handle::is_fenced(self)
    }

    fn lost(&self) -> Lost {
        let period = Duration::from_millis(self.settings().election_timeout.0);
        Box::pin(lost(self.leadership(), period))
    }

    fn is_corrupt(&self) -> bool {
        Handle::is_corrupt(self)
    }
}

async fn lost(leader: watch::Receiver<Option<MemberId>>, period: Duration) {
    let mut looks = time::interval(period);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.tick().await; // the first comes at once
    let mut without = 0;
    while without < LOOKS_MAX {
        looks.tick().await;
        without = if leader.borrow().is_none() { without + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(5);
    const SOON: Duration = Duration::from_secs(10);

    /// With a leader the watch never ends, and with none it ends after three looks.
    #[tokio::test]
    async fn a_leader_is_lost_after_three_looks_in_a_row() {
        let (leader, seen) = watch::channel(Some(MemberId(1)));
        let mut watched = Box::pin(lost(seen, PERIOD));
        assert!(timeout(PERIOD * 10, &mut watched).await.is_err());

        leader.send_replace(None);
        timeout(SOON, watched).await.expect("the leader is gone");
    }
}
