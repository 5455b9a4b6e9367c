//! Renewals and remaining times, answered by the clock of the leader, wherever they were asked.

use tokio::sync::watch;

use crate::{
    lease::Renewal,
    node::{
        Error, Handle, RequestError, TimeoutCause,
        ports::{Asked, TimeLeft},
    },
    state::Command,
    types::{Identity, LeaseId, MemberId, Millis, Seconds},
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
    /// Renews a lease, on the leader's clock; any member can be asked. `None`: there is no such
    /// lease. An acknowledged renewal holds: the lease lives for its time to live from the moment
    /// this was called, whoever leads by then.
    ///
    /// # Errors
    ///
    /// When no leader answered within the request timeout, or the member stops.
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<Option<Seconds>, Error> {
        self.ask_leader(move |handle, leader| {
            Box::pin(async move {
                match leader {
                    Leader::Here => handle.renew_one(lease).await,
                    Leader::There(id) => {
                        let ttls = handle.peers().renew(id, vec![lease]).await?;
                        ttls.first().copied().ok_or(Error::NotLeader)
                    }
                }
            })
        })
        .await
    }

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

    /// Renews leases on this member's own clock, for other members.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`] when this member does not lead.
    pub async fn renew_here(&self, leases: Vec<LeaseId>) -> Result<Vec<Option<Seconds>>, Error> {
        let asked = self.confirm_clock().await?;
        let mut ttls = Vec::with_capacity(leases.len());
        for lease in leases {
            ttls.push(self.renew_confirmed(lease, asked).await?);
        }
        Ok(ttls)
    }

    /// How long a lease has left on this member's own clock, for other members.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`] when this member does not lead.
    pub async fn time_left_here(&self, lease: LeaseId) -> Result<Option<TimeLeft>, Error> {
        self.confirm_clock().await?;
        let now = self.now();
        let left = self.shared().lessor().time_left(lease, now).map_err(|_| Error::NotLeader)?;
        Ok(left.map(|left| TimeLeft { left: left.left, granted: left.granted }))
    }

    async fn renew_one(&self, lease: LeaseId) -> Result<Option<Seconds>, Error> {
        let asked = self.confirm_clock().await?;
        self.renew_confirmed(lease, asked).await
    }

    /// The time now, once it is certain that this member led at it and its clock knows the leases.
    ///
    /// A leader that was replaced without knowing it must not acknowledge a renewal, because the
    /// new one counts from its own beginning. So leadership is confirmed after the clock was read.
    async fn confirm_clock(&self) -> Result<Millis, Error> {
        let asked = self.now();
        if self.shared().leader() != Some(self.member_id()) {
            return Err(Error::NotLeader);
        }
        self.read_barrier().await?;
        let leads = self.shared().leader() == Some(self.member_id());
        let clock_runs = self.shared().lessor().term() == Some(self.shared().term());
        if leads && clock_runs { Ok(asked) } else { Err(Error::NotLeader) }
    }

    /// Renews a lease as of `asked`. One whose end is already proposed is not saved by a renewal:
    /// the answer waits until the end is applied.
    async fn renew_confirmed(
        &self,
        lease: LeaseId,
        asked: Millis,
    ) -> Result<Option<Seconds>, Error> {
        let mut revisions = self.watch_hub().subscribe();
        loop {
            revisions.mark_unchanged();
            let renewal = self.shared().lessor().renew(lease, asked);
            match renewal.map_err(|_| Error::NotLeader)? {
                Renewal::Renewed(ttl) => return Ok(Some(ttl)),
                Renewal::Unknown => return Ok(None),
                Renewal::Checkpointed => self.clear_checkpoint(lease).await?,
                Renewal::Revoking => {
                    // A lease without keys ends without a revision, so this also looks by itself.
                    let wait = std::time::Duration::from_millis(RETRY.0);
                    let _ = tokio::time::timeout(wait, revisions.changed()).await;
                }
            }
        }
    }

    /// Has the log forget how long a lease had left.
    async fn clear_checkpoint(&self, lease: LeaseId) -> Result<(), Error> {
        let command = Command::LeaseCheckpoint(vec![(lease, Seconds(0))]);
        match self.propose(Identity::anonymous(), command).await {
            Ok(_) => Ok(()),
            Err(RequestError::Node(error)) => Err(error),
            Err(RequestError::Refused(refused)) => {
                unreachable!("a checkpoint is never refused: {refused}")
            }
        }
    }

    /// Waits for another leader or a moment, when asking again can help.
    async fn wait_to_retry(
        &self,
        error: Error,
        leader: &mut watch::Receiver<Option<MemberId>>,
    ) -> Result<(), Error> {
        match error {
            Error::NoLeader
            | Error::NotLeader
            | Error::LeaderChanged
            | Error::TooManyRequests
            | Error::TimedOut(
                TimeoutCause::Unknown
                | TimeoutCause::ConnectionLost
                | TimeoutCause::LeaderFailure
                | TimeoutCause::AppliedIndex
                | TimeoutCause::NoLeader,
            ) => {
                let wait = std::time::Duration::from_millis(RETRY.0);
                let _ = tokio::time::timeout(wait, leader.changed()).await;
                Ok(())
            }
            Error::TooLarge(_) | Error::Stopped | Error::Fault(_) => Err(error),
        }
    }
}
