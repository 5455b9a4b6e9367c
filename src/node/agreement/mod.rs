//! Members compare what they hold, so that one whose data differ is found before many have read
//! them.
//!
//! Every so often the leader asks all members, itself included, for the checksum of the same part of
//! the store's history ([`Span`]). A member that lags waits until it has that part; one that cannot
//! tell now, because it is away, or compacted further meanwhile, is left out of the round: nobody is
//! suspected for silence. A difference counts when the next round, over newer history, shows it
//! again. Then the alarm CORRUPT is raised through the log for whoever is in the wrong (`judge`).
//!
//! A member that the alarm names is *corrupt*, until an operator clears the alarm: it gives up
//! leadership, stands for election only when nobody else does, and serves no client (the api asks
//! [`Handle::is_corrupt`]). It goes on to store and acknowledge the log, which is not what is wrong
//! with it.
//!
//! A checksum reads everything, at a pace that leaves the processors to others (`pace`), and the
//! next round waits for a hundred times what the slowest member worked for this one.
//!
//! Absent: what is no pair of the store (leases, members), and a running checksum of what is
//! applied. The latter would show at once that members apply the same entry differently; but it
//! would not see what a disk does to the data later, it would have to be kept in every state and
//! checkpoint, and it would forbid members of two versions to write their records differently.

mod judge;
mod pace;

use std::{collections::BTreeSet, convert::Infallible, future::pending, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use self::{
    judge::{Judgement, judge},
    pace::Paced,
};
use crate::{
    node::{
        Error, Handle,
        ports::{Hashed, Span},
    },
    state::{self, Alarm, AlarmCommand, AlarmKind, ApplyError, Command, meta},
    types::{Identity, MemberId, Millis},
};

/// How many times as long as a round was work the members rest until the next: each works for less
/// than a hundredth of its time.
const REST_TIMES: u64 = 100;
/// How long one checksum may take before the round goes on without it.
const HASH_WITHIN: Duration = Duration::from_secs(3_600);

/// What came of a round.
#[derive(Debug)]
struct Round {
    /// What the members' answers say.
    judgement: Judgement,
    /// The longest that a member worked for it.
    worked: Millis,
}

impl Handle {
    /// Compares the states of the members from time to time whenever this member leads, until this
    /// is dropped. Without it no difference is found.
    pub async fn compare_states(self) {
        let Some(period) = self.settings().compare_states_every else {
            return pending().await;
        };
        let mut wait = period;
        loop {
            sleep(Duration::from_millis(wait.0)).await;
            match self.compare_and_confirm().await {
                Ok(worked) => wait = period.max(Millis(worked.0.saturating_mul(REST_TIMES))),
                Err(error) => {
                    tracing::warn!(%error, "the states of the members could not be compared");
                    wait = period;
                }
            }
        }
    }

    /// Whether the alarm CORRUPT names this member: it must not serve clients.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.shared().is_corrupt()
    }

    /// A round, and when it shows a difference another one. Raises alarms for what both show.
    async fn compare_and_confirm(&self) -> Result<Millis, Error> {
        let Some(first) = self.compare().await? else { return Ok(Millis(0)) };
        if first.judgement.is_agreement() {
            return Ok(first.worked);
        }
        let Some(second) = self.compare().await? else { return Ok(first.worked) };
        let worked = first.worked.max(second.worked);
        for member in first.judgement.suspects().intersection(&second.judgement.suspects()) {
            self.raise_corrupt(*member).await?;
        }
        Ok(worked)
    }

    /// Asks all members for the checksum of the history up to now. `None`: this member does not
    /// lead, or nobody else could answer.
    async fn compare(&self) -> Result<Option<Round>, Error> {
        let this = self.member_id();
        if self.status().leader != Some(this) {
            return Ok(None);
        }
        // Nobody is named by a leader of the past.
        self.leader_barrier().await?;
        let store = meta::store(&*self.view()?)?;
        let span = Span { floor: store.compacted, revision: store.revision };
        let membership = self.membership();
        let members = &membership.members;
        let others = members.iter().map(|member| member.id).filter(|id| *id != this);
        let others = join_all(others.map(|id| async move {
            let answer = timeout(HASH_WITHIN, self.peers().state_hash(id, span)).await;
            (id, answer.ok().and_then(Result::ok).flatten())
        }));
        let (own, mut answers) = tokio::join!(self.clone().hash_span(span), others);
        answers.push((this, own?));

        let metrics = &self.shared().metrics;
        let hashed = |(id, answer): &(MemberId, Option<Hashed>)| answer.map(|it| (*id, it));
        let answers: Vec<(MemberId, Hashed)> = answers.iter().filter_map(hashed).collect();
        let skipped = members.len().saturating_sub(answers.len());
        metrics.states_not_compared.inc_by(skipped as u64);
        if answers.len() < 2 {
            return Ok(None);
        }
        metrics.states_compared.inc_by(answers.len() as u64);
        let hashes: Vec<_> = answers.iter().map(|(id, answer)| (*id, answer.hash)).collect();
        let judgement = judge(members.len(), &hashes);
        let worked = answers.iter().map(|(_, answer)| answer.worked_micros).max();
        let worked = Millis(worked.unwrap_or(0).div_ceil(1_000));
        let revision = span.revision;
        if judgement.is_agreement() {
            tracing::debug!(%revision, members = answers.len(), "members hold the same");
        } else {
            metrics.states_differed.inc();
            tracing::error!(%revision, "members hold different data: {}", told(&hashes));
        }
        Ok(Some(Round { judgement, worked }))
    }

    async fn raise_corrupt(&self, member: MemberId) -> Result<(), Error> {
        let alarm = Alarm { member, kind: AlarmKind::Corrupt };
        if self.shared().quota.is_raised(alarm) {
            return Ok(());
        }
        let command = Command::Alarm(AlarmCommand { active: true, alarm });
        match self.propose(Identity::anonymous(), command).await {
            Ok(_) => Ok(()),
            Err(crate::node::RequestError::Node(error)) => Err(error),
            Err(crate::node::RequestError::Refused(refused)) => {
                unreachable!("an alarm is never refused: {refused}")
            }
        }
    }

    /// The checksum of a span that another member has applied, for it.
    pub(super) async fn hash_for_member(self, span: Span) -> Result<Option<Hashed>, Error> {
        // Whatever the asker had applied when it asked is applied here after this.
        self.read_barrier().await?;
        self.hash_span(span).await
    }

    /// The checksum of a span on a thread that may wait; it ends early when nobody waits for it any
    /// more. `None`: it cannot be told now.
    async fn hash_span(self, span: Span) -> Result<Option<Hashed>, Error> {
        let Ok(turn) = self.state_hashes().clone().try_acquire_owned() else { return Ok(None) };
        let (waits, asker) = oneshot::channel::<Infallible>();
        let hashed = spawn_blocking(move || {
            let _turn = turn;
            self.hash_paced(span, waits)
        })
        .await;
        drop(asker);
        hashed.unwrap_or(Err(Error::Stopped))
    }

    fn hash_paced(
        &self,
        span: Span,
        asker: oneshot::Sender<Infallible>,
    ) -> Result<Option<Hashed>, Error> {
        let shared = self.shared();
        let view = Paced::new(self.bulk_view()?, shared.clone(), asker);
        if meta::revision(&view)? < span.revision {
            return Ok(None);
        }
        let hash = state::hash::since(&view, span.floor, span.revision);
        // What a compaction gave up meanwhile may be missing. Readers hear of it before that.
        if view.is_abandoned() || shared.compacted() > span.floor {
            return Ok(None);
        }
        match hash {
            Ok(hash) => Ok(Some(Hashed { hash, worked_micros: view.worked_micros() })),
            Err(ApplyError::Refused(_)) => Ok(None),
            Err(ApplyError::Fault(fault)) => {
                self.stop_for(&fault);
                Err(Error::Fault(fault))
            }
        }
    }
}

/// Members and their checksums, for an operator.
fn told(hashes: &[(MemberId, u32)]) -> String {
    let told: BTreeSet<String> =
        hashes.iter().map(|(id, hash)| format!("member {id} has {hash:08x}")).collect();
    told.into_iter().collect::<Vec<_>>().join(", ")
}
