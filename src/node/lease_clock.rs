//! How long leases have left, told by the clock of the leader, wherever it was asked.

use tokio::sync::watch;

use crate::{
    node::{
        Error, Handle,
        ports::{Asked, TimeLeft},
    },
    types::{LeaseId, MemberId, Millis},
};

/// How long to wait before a leader is asked again that could not answer yet.
const RETRY: Millis = Millis(20);

/// Whose clock counts.
#[derive(Clone, Copy)]
enum Leader {
    Here,
    There(MemberId),
}

impl Handle {
    /// How long a lease has left, on the leader's clock; any member can be asked. `None`: there is
    /// no such lease.
    ///
    /// # Errors
    ///
    /// When no leader answered within the request timeout, or the member stops.
    pub async fn time_left(&self, lease: LeaseId) -> Result<Option<TimeLeft>, Error> {
        self.ask_leader(move |handle, leader| {
            Box::pin(async move {
                match leader {
                    Leader::Here => handle.time_left_here(lease).await,
                    Leader::There(id) => handle.peers().time_left(id, lease).await,
                }
            })
        })
        .await
    }

    /// Asks the clock of whoever leads until one answers.
    async fn ask_leader<T>(&self, ask: impl Fn(Self, Leader) -> Asked<T>) -> Result<T, Error> {
        self.in_time(async {
            loop {
                let mut known = self.leadership();
                let leader = *known.borrow_and_update();
                let answer = match leader {
                    None => Err(Error::NoLeader),
                    Some(id) if id == self.member_id() => ask(self.clone(), Leader::Here).await,
                    Some(id) => ask(self.clone(), Leader::There(id)).await,
                };
                match answer {
                    Ok(answer) => return Ok(answer),
                    Err(error) => self.wait_to_retry(error, &mut known).await?,
                }
            }
        })
        .await
    }

    /// How long a lease has left on this member's own clock, for other members.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`] when this member does not lead.
    pub async fn time_left_here(&self, lease: LeaseId) -> Result<Option<TimeLeft>, Error> {
        self.read_barrier().await?;
        self.confirm_clock().await?;
        let now = self.now();
        let left = self.shared().lessor().time_left(lease, now).map_err(|_| Error::NotLeader)?;
        Ok(left.map(|left| TimeLeft { left: left.left, granted: left.granted }))
    }

    /// The time now, once it is certain that this member led at it and its clock runs. What is
    /// committed but not applied here the clock does not know yet.
    ///
    /// A leader that was replaced without knowing it must not acknowledge a renewal, because the
    /// new one counts from its own beginning. So leadership is confirmed after the clock was read.
    pub(super) async fn confirm_clock(&self) -> Result<Millis, Error> {
        let asked = self.now();
        if self.shared().leader() != Some(self.member_id()) {
            return Err(Error::NotLeader);
        }
        self.leader_barrier().await?;
        let leads = self.shared().leader() == Some(self.member_id());
        let clock_runs = self.shared().lessor().term() == Some(self.shared().term());
        if leads && clock_runs { Ok(asked) } else { Err(Error::NotLeader) }
    }

    /// Waits for another leader or a moment, when asking again can help.
    async fn wait_to_retry(
        &self,
        error: Error,
        leader: &mut watch::Receiver<Option<MemberId>>,
    ) -> Result<(), Error> {
        if !error.may_pass() {
            return Err(error);
        }
        let wait = std::time::Duration::from_millis(RETRY.0);
        let _ = tokio::time::timeout(wait, leader.changed()).await;
        Ok(())
    }
}
