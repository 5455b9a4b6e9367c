//! Changes of the members, and the checks before them that keep the quorum safe.
//!
//! The member that is asked looks at what it has applied and whom it is in contact with, and refuses
//! a change that could leave the cluster without a quorum; `Settings::strict_reconfig_check` turns
//! that off. What must hold in any case is checked once more when the change is applied. Only the
//! leader knows how far a learner is, so another member has it promote.
//!
//! The checks are etcd's, also in what they leave out: they count a member as started once it has
//! published its name, and as connected once it has been in contact for [`CONTACT_MIN`].

use std::time::Duration;

use tokio::{
    select,
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    node::{
        Error, Handle, RequestError, TimeoutCause, clock,
        ports::{Asked, Promotion},
    },
    raft::Progress,
    state::{Answer, Command, Member, MemberChange, Refused, Response, member, meta},
    types::{Identity, Index, MemberId, Url},
};

/// A member that came into contact more recently may just as soon be gone again.
const CONTACT_MIN: Duration = Duration::from_secs(5);

/// The pause before a leader is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Why the members were not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Too few of the members that would decide have ever started.
    #[error("not enough started members")]
    NotEnoughStarted,
    /// This member is not in contact with enough of those that would decide.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// The learner is too far behind the leader to be given a vote.
    #[error("the learner is not in sync with the leader")]
    LearnerNotReady,
    /// Declined by the state, or not now.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl From<Error> for MembershipError {
    fn from(error: Error) -> Self {
        Self::Request(error.into())
    }
}

type Changed = Result<Vec<Member>, MembershipError>;

impl Handle {
    /// Adds a member, which can be started then. Returns it, and all members.
    ///
    /// # Errors
    ///
    /// When the change is not safe, declined, or cannot be made now.
    pub async fn add_member(
        &self,
        peer_urls: &[Url],
        learner: bool,
    ) -> Result<(Member, Vec<Member>), MembershipError> {
        let mut peer_urls: Vec<String> = peer_urls.iter().map(Url::to_string).collect();
        peer_urls.sort_unstable();
        let id = member::added_member_id(&peer_urls, clock::unix_seconds());
        if self.settings().strict_reconfig_check {
            let voters = self.voters();
            self.told("addition", id, may_add(&voters, learner, self.connected(&voters)))?;
        }
        let member = Member { id, peer_urls: peer_urls.clone(), learner, ..Member::default() };
        let learners_max = self.settings().learners_max;
        let change = MemberChange::Add { id, peer_urls, learner, learners_max };
        Ok((member, self.change(change).await?))
    }

    /// Removes a member for good. Returns all that are left.
    ///
    /// # Errors
    ///
    /// As for [`Handle::add_member`].
    pub async fn remove_member(&self, id: MemberId) -> Changed {
        // Learners decide nothing.
        if self.settings().strict_reconfig_check && !self.membership().is_learner(id) {
            let voters = self.voters();
            let is_there = id == self.member_id() || self.peers().connected_for(id).is_some();
            let allowed = may_remove(&voters, id, is_there.then(|| self.connected(&voters)));
            self.told("removal", id, allowed)?;
        }
        self.change(MemberChange::Remove(id)).await
    }

    /// Changes where the others reach a member. Returns all members.
    ///
    /// # Errors
    ///
    /// When it is declined or cannot be made now.
    pub async fn update_member(&self, id: MemberId, peer_urls: &[Url]) -> Changed {
        let peer_urls = peer_urls.iter().map(Url::to_string).collect();
        self.change(MemberChange::Update { id, peer_urls }).await
    }

    /// Gives a learner a vote. Returns all members. Any member can be asked.
    ///
    /// # Errors
    ///
    /// As for [`Handle::add_member`], and when the learner is not in sync with the leader.
    pub async fn promote_member(&self, id: MemberId) -> Changed {
        let patience = Duration::from_millis(self.settings().request_timeout().0);
        match timeout(patience, self.have_promoted(id)).await {
            Ok(result) => result,
            Err(_) => Err(Error::TimedOut(TimeoutCause::Unknown).into()),
        }
    }

    /// Asks whoever leads until there is an answer.
    async fn have_promoted(&self, id: MemberId) -> Changed {
        let mut leadership = self.leadership();
        // An attempt of which nothing was heard may have succeeded.
        let mut uncertain = false;
        loop {
            let leader = *leadership.borrow_and_update();
            let asked = match leader {
                Some(leader) if leader == self.member_id() => self.promote_if_leader(id).await,
                Some(leader) => self.peers().promote(leader, id).await,
                None => Err(Error::NoLeader),
            };
            match heard(asked, id, uncertain) {
                Next::Done => return self.members_now().await,
                Next::Refused(error) => return Err(error),
                Next::Ask => {}
                Next::AskUncertain => uncertain = true,
            }
            if !self.serving() {
                return Err(Error::Stopped.into());
            }
            select! {
                _ = leadership.changed() => {}
                () = sleep(ASK_AGAIN_AFTER) => {}
            }
        }
    }

    /// Gives a learner a vote if this member leads and knows it to be in sync.
    async fn promote_as_leader(&self, id: MemberId) -> Changed {
        // Changes that were answered before count as well.
        self.read_barrier().await?;
        let progress = self.progress().await?;
        may_be_promoted(&progress, self.member_id(), id)?;
        if self.settings().strict_reconfig_check {
            may_promote(&self.voters())?;
        }
        self.change(MemberChange::Promote(id)).await
    }

    /// The same, for this member or another, with what came of it on the log.
    pub(super) fn promote_if_leader(&self, id: MemberId) -> Asked<Promotion> {
        let node = self.clone();
        Box::pin(async move {
            let promoted = node.promote_as_leader(id).await;
            let decided = match node.told("promotion", id, promoted) {
                Ok(_) => Ok(Promotion::Done),
                Err(MembershipError::NotEnoughStarted) => Ok(Promotion::NotEnoughStarted),
                Err(MembershipError::LearnerNotReady) => Ok(Promotion::NotReady),
                Err(MembershipError::Request(RequestError::Refused(Refused::NotALearner(_)))) => {
                    Ok(Promotion::NotALearner)
                }
                // No other refusal is about a promotion.
                Err(MembershipError::Request(RequestError::Refused(_))) => Ok(Promotion::NotFound),
                Err(MembershipError::Request(RequestError::Node(error))) => Err(error),
                Err(MembershipError::Unhealthy) => {
                    unreachable!("a promotion does not depend on contact")
                }
            };
            if let Ok(promotion) = decided {
                node.shared().metrics.figures.decided(promotion);
            }
            decided
        })
    }

    /// Has a change agreed on; returns the members after it.
    async fn change(&self, change: MemberChange) -> Changed {
        let command = Command::ChangeMembers(change);
        let Answer { response, .. } = self.propose(Identity::anonymous(), command).await?;
        let Response::Members(members) = response else {
            unreachable!("a change of the members got the answer of another command");
        };
        Ok(members)
    }

    async fn members_now(&self) -> Changed {
        self.read_barrier().await?;
        Ok(meta::members(&*self.view()?).map_err(Error::from)?)
    }

    /// Those who decide, by what is applied here.
    fn voters(&self) -> Vec<Member> {
        let membership = self.membership();
        membership.members.iter().filter(|member| !member.learner).cloned().collect()
    }

    /// How many of them this member has been in contact with for long enough, itself included.
    fn connected(&self, members: &[Member]) -> usize {
        let this = self.member_id();
        let lasting = |id| self.peers().connected_for(id).is_some_and(|lasts| lasts > CONTACT_MIN);
        members.iter().filter(|member| member.id == this || lasting(member.id)).count()
    }

    /// Puts a refusal on the log of the member: who operates the cluster looks there.
    fn told<T>(
        &self,
        what: &str,
        id: MemberId,
        result: Result<T, MembershipError>,
    ) -> Result<T, MembershipError> {
        if let Err(reason) = &result {
            warn!(member = %self.member_id(), "{what} of member {id} refused: {reason}");
        }
        result
    }
}

/// What becomes of a promotion after the leader was asked for it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// The member has its vote.
    Done,
    /// It does not get one.
    Refused(MembershipError),
    /// Nothing was done: to be asked for again.
    Ask,
    /// The same, but it may have been done.
    AskUncertain,
}

/// `uncertain`: an attempt before this one may have succeeded.
fn heard(asked: Result<Promotion, Error>, id: MemberId, uncertain: bool) -> Next {
    match asked {
        Ok(Promotion::Done) => Next::Done,
        Ok(Promotion::NotALearner) if uncertain => Next::Done,
        Ok(Promotion::NotALearner) => Next::Refused(refused(Refused::NotALearner(id))),
        Ok(Promotion::NotFound) => Next::Refused(refused(Refused::MemberNotFound)),
        Ok(Promotion::NotReady) => Next::Refused(MembershipError::LearnerNotReady),
        Ok(Promotion::NotEnoughStarted) => Next::Refused(MembershipError::NotEnoughStarted),
        Err(Error::NotLeader | Error::NoLeader | Error::LeaderChanged | Error::Fenced) => Next::Ask,
        Err(error @ (Error::TooManyRequests | Error::TooLarge(_) | Error::NotCapable(_))) => {
            Next::Refused(error.into())
        }
        Err(Error::TimedOut(_) | Error::Stopped | Error::Fault(_)) => Next::AskUncertain,
    }
}

fn refused(refused: Refused) -> MembershipError {
    MembershipError::Request(refused.into())
}

fn quorum(members: usize) -> usize {
    members / 2 + 1
}

fn started<'a>(members: impl IntoIterator<Item = &'a Member>) -> usize {
    // Its name is what a member publishes first.
    members.into_iter().filter(|member| !member.name.is_empty()).count()
}

/// Whether a member can be added to these voters, so many of which are connected: the new one counts
/// as down.
fn may_add(voters: &[Member], learner: bool, connected: usize) -> Result<(), MembershipError> {
    let after = voters.len() + 1;
    let started = started(voters);
    // A member alone may always become two: so clusters are restored.
    let grows_from_one = started == 1 && after == 2;
    if !learner && !grows_from_one && started < quorum(after) {
        return Err(MembershipError::NotEnoughStarted);
    }
    if voters.len() != 1 && connected < quorum(after) {
        return Err(MembershipError::Unhealthy);
    }
    Ok(())
}

/// Whether a voter, or nobody, can be removed; `connected` voters if it is in contact, and it is
/// among them. One that is down is no loss.
fn may_remove(
    voters: &[Member],
    id: MemberId,
    connected: Option<usize>,
) -> Result<(), MembershipError> {
    let left: Vec<&Member> = voters.iter().filter(|voter| voter.id != id).collect();
    if started(left.iter().copied()) < quorum(left.len()) {
        return Err(MembershipError::NotEnoughStarted);
    }
    let needed = quorum(voters.len().saturating_sub(1)) + 1;
    if connected.is_some_and(|connected| connected < needed) {
        return Err(MembershipError::Unhealthy);
    }
    Ok(())
}

/// Whether a learner, which counts as started, can join these voters.
fn may_promote(voters: &[Member]) -> Result<(), MembershipError> {
    let after = voters.len() + 1;
    if started(voters) + 1 < quorum(after) {
        return Err(MembershipError::NotEnoughStarted);
    }
    Ok(())
}

/// Whether a member has nine tenths of the leader's log. Whether it is a learner is seen later.
fn may_be_promoted(
    progress: &[Progress],
    leader: MemberId,
    id: MemberId,
) -> Result<(), MembershipError> {
    let matched = |id| {
        let found = progress.iter().find(|progress| progress.member == id);
        found.map(|progress| progress.matched)
    };
    let Some(matched_there) = matched(id) else { return Err(refused(Refused::MemberNotFound)) };
    let Index(last) = matched(leader).unwrap_or_default();
    if u128::from(matched_there.0) * 10 < u128::from(last) * 9 {
        return Err(MembershipError::LearnerNotReady);
    }
    Ok(())
}

#[cfg(test)]
#[path = "reconfigure_tests.rs"]
mod tests;
