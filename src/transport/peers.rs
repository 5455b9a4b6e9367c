//! [`GrpcPeers`]: the other members, as the node sees them.

use std::{
    collections::BTreeMap,
    future::{Future, ready},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};
use tonic::{Response, Status, transport::Channel};
use tracing::{debug, error, warn};

use super::{
    Config, PeerMetrics,
    contact::{Contacts, Direction, Stream},
    link::{Link, Signals, way},
    metrics::MemberMetrics,
    queue::{Pushed, Queue},
    rate::Rate,
    renewals::RenewalLink,
    snapshot::Sending,
    snapshot_metrics::SnapshotMetrics,
    wire,
};
use crate::{
    node::{
        Error, TimeoutCause,
        ports::{
            Asked, Checkpoint, Frame, HASH_FORMULA, Hashed, Inbox, Membership, Peers, Promotion,
            Renewed, Span, StateStore, TimeLeft,
        },
    },
    proto::internal::{
        LeaseTimeLeftRequest, LeaseTimeLeftResponse, PromoteMemberRequest, PromoteMemberResponse,
        StateHashRequest, peer_client::PeerClient,
    },
    tls::Dialer,
    types::{LeaseId, MemberId, Seconds, limits},
};

/// How long the link to a member that is none any more goes on with what was queued: the news of its
/// removal is among that.
const LINGER: Duration = Duration::from_secs(1);

/// The other members over gRPC: a queue, a stream and a task for each.
///
/// Tasks run on the runtime given to [`GrpcPeers::new`], which does nothing else, so that no client
/// can delay a heartbeat.
pub struct GrpcPeers {
    shared: Arc<Shared>,
    pub(super) members: RwLock<BTreeMap<MemberId, Member>>,
    pub(super) metrics: PeerMetrics,
    /// As it was told last.
    pub(super) membership: watch::Sender<Arc<Membership>>,
}

/// What all tasks of the transport share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) dialer: Dialer,
    pub(super) runtime: Handle,
    pub(super) store: Arc<dyn StateStore>,
    pub(super) contacts: Arc<Contacts>,
    /// All snapshots that this member sends share it.
    pub(super) snapshot_rate: Rate,
    inbox: RwLock<Option<Arc<dyn Inbox>>>,
    own_urls: RwLock<Arc<[String]>>,
}

impl Shared {
    /// Where reports go, unless the node is not there yet or not any more.
    pub(super) fn inbox(&self) -> Option<Arc<dyn Inbox>> {
        self.inbox.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where this member is reached, as far as that was told.
    pub(super) fn own_urls(&self) -> Arc<[String]> {
        Arc::clone(&self.own_urls.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn unreachable(&self, member: MemberId) {
        if let Some(inbox) = self.inbox() {
            inbox.report_unreachable(member);
        }
    }
}

/// A member, or a sender that may be one.
pub(super) struct Member {
    /// How many streams of a sender come in that the list of members does not name; `None`: it does.
    pub(super) unlisted: Option<usize>,
    urls: Arc<[String]>,
    queue: Arc<Queue>,
    signals: Arc<Signals>,
    metrics: MemberMetrics,
    /// For questions; one for each URL, connected when first used.
    channels: Vec<Channel>,
    /// Whether a snapshot is on its way.
    snapshot: Arc<AtomicBool>,
    /// The task of the last one.
    snapshot_task: Mutex<Option<AbortHandle>>,
    link: AbortHandle,
    renewals: Arc<RenewalLink>,
}

impl Member {
    fn sends_snapshot(&self, task: AbortHandle) {
        *self.snapshot_task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    fn push(&self, to: MemberId, frame: Frame) {
        let len = wire::payload_len(&frame);
        if len >= limits::PEER_MESSAGE_BYTES_MAX {
            error!(peer = %to, len, "message to member is too large and was dropped");
            return;
        }
        match self.queue.push(wire::to_proto(frame), len) {
            Pushed::Queued => {
                self.metrics.sent_bytes.inc_by(u64::try_from(len).unwrap_or(u64::MAX));
            }
            Pushed::Overflow => {
                self.metrics.sent_failures.inc();
                self.signals.dropped.notify_one();
            }
            Pushed::StillFull => {
                self.metrics.sent_failures.inc();
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.link.abort();
        if let Some(task) = self.snapshot_task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl GrpcPeers {
    /// Nobody yet: the node tells the members by [`Peers::set_members`].
    #[must_use]
    pub fn new(
        config: Config,
        dialer: Dialer,
        runtime: Handle,
        store: Arc<dyn StateStore>,
        metrics: PeerMetrics,
    ) -> Arc<Self> {
        let (contacts, inbox, own_urls) = (Arc::default(), RwLock::default(), RwLock::default());
        let snapshot_rate = Rate::new(config.snapshot_send_rate);
        let shared =
            Shared { config, dialer, runtime, store, contacts, snapshot_rate, inbox, own_urls };
        let shared = Arc::new(shared);
        let membership = watch::Sender::default();
        Arc::new(Self { shared, members: RwLock::default(), metrics, membership })
    }

    /// Tells where this member is reached, for members that have not heard of it yet.
    pub fn reached_at(&self, urls: &[String]) {
        *self.shared.own_urls.write().unwrap_or_else(PoisonError::into_inner) = urls.into();
    }

    /// Tells where reports go. Until then they go nowhere, which is right while there is no node.
    pub fn attach(&self, inbox: Arc<dyn Inbox>) {
        *self.shared.inbox.write().unwrap_or_else(PoisonError::into_inner) = Some(inbox);
    }

    /// Ends all streams and forgets the node. Frames sent from now on are dropped.
    pub fn close(&self) {
        self.members.write().unwrap_or_else(PoisonError::into_inner).clear();
        *self.shared.inbox.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who this member is to the others.
    pub(super) fn config(&self) -> Config {
        self.shared.config
    }

    pub(super) fn store(&self) -> &Arc<dyn StateStore> {
        &self.shared.store
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    pub(super) fn snapshot_metrics(&self) -> &SnapshotMetrics {
        &self.metrics.snapshots
    }

    /// Who the members are, as far as this one knows.
    pub(super) fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership.borrow())
    }

    /// A member was heard of on a stream of its own: ours to it need not wait any longer. The stream
    /// counts until what is returned is dropped.
    pub(super) fn heard_of(&self, member: MemberId) -> Stream {
        self.with_member(member, |it| it.signals.heard.notify_one());
        self.shared.contacts.stream(member, Direction::Incoming, Instant::now())
    }

    /// The counters of a member.
    pub(super) fn member_metrics(&self, member: MemberId) -> Option<MemberMetrics> {
        self.with_member(member, |it| it.metrics.clone())
    }

    fn with_member<T>(&self, member: MemberId, look: impl FnOnce(&Member) -> T) -> Option<T> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).get(&member).map(look)
    }

    /// Lets go of what is no member any more, once what was queued has left.
    fn drop_later(&self, member: Member) {
        self.shared.runtime.spawn(async move {
            sleep(LINGER).await;
            drop(member);
        });
    }

    pub(super) fn start(&self, to: MemberId, urls: Arc<[String]>) -> Member {
        let config = self.shared.config;
        let queue = Queue::new(limits::PEER_QUEUE_MAX, limits::PEER_QUEUE_BYTES_MAX);
        let signals = Arc::new(Signals::default());
        let metrics = self.metrics.member(config.member, to);

        // Channels start tasks of their own, which belong on this runtime too.
        let _on_runtime = self.shared.runtime.enter();
        let mut channels = Vec::new();
        for url in urls.iter() {
            match way(url, &self.shared) {
                Ok(way) => channels.push(way.connect_lazy()),
                Err(reason) => {
                    warn!(peer = %to, url, reason, "member cannot be reached by this url")
                }
            }
        }
        let link = Link {
            shared: Arc::clone(&self.shared),
            to,
            urls: Arc::clone(&urls),
            queue: Arc::clone(&queue),
            signals: Arc::clone(&signals),
            metrics: metrics.clone(),
        };
        let link = self.shared.runtime.spawn(link.run()).abort_handle();
        let renewals = Arc::new(RenewalLink::new(to, config));
        Member {
            unlisted: None,
            urls,
            queue,
            signals,
            metrics,
            channels,
            snapshot: Arc::default(),
            snapshot_task: Mutex::default(),
            link,
            renewals,
        }
    }

    /// A client for questions to a member.
    fn client(&self, member: MemberId) -> Option<PeerClient<Channel>> {
        let channel = self.with_member(member, |it| {
            let used = it.signals.url.load(Ordering::Relaxed);
            it.channels.get(used).or_else(|| it.channels.first()).cloned()
        })??;
        Some(
            PeerClient::new(channel)
                .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
                .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX),
        )
    }

    /// Asks a member, within twice an election timeout: by then there is another leader.
    fn ask<T, U, F>(
        &self,
        member: MemberId,
        call: impl FnOnce(PeerClient<Channel>) -> F,
        read: impl FnOnce(T) -> Result<U, Error> + Send + 'static,
    ) -> Asked<U>
    where
        T: Send + 'static,
        U: Send + 'static,
        F: Future<Output = Result<Response<T>, Status>> + Send + 'static,
    {
        let Some(client) = self.client(member) else {
            return Box::pin(ready(Err(Error::NoLeader)));
        };
        let answer = timeout(self.shared.config.election_timeout * 2, call(client));
        Box::pin(async move {
            match answer.await {
                Ok(Ok(response)) => read(response.into_inner()),
                Ok(Err(status)) => {
                    debug!(peer = %member, %status, "member did not answer");
                    Err(Error::TimedOut(TimeoutCause::ConnectionLost))
                }
                Err(_) => Err(Error::TimedOut(TimeoutCause::ConnectionLost)),
            }
        })
    }
}

impl Peers for GrpcPeers {
    fn send(&self, frames: Vec<(MemberId, Frame)>) {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        for (to, frame) in frames {
            if let Some(member) = members.get(&to) {
                member.push(to, frame);
            }
        }
        members.values().for_each(|member| member.queue.wake());
    }

    fn send_snapshot(&self, to: MemberId, checkpoint: Checkpoint, message: Bytes) {
        let target =
            self.with_member(to, |member| (Arc::clone(&member.urls), Arc::clone(&member.snapshot)));
        let (urls, busy) = match target {
            Some((urls, busy)) if !busy.swap(true, Ordering::AcqRel) => (urls, Some(busy)),
            // Without a URL it fails at once, and the outcome is reported like any other.
            Some(_) | None => (Arc::default(), None),
        };
        let (shared, metrics) = (Arc::clone(&self.shared), self.metrics.snapshots.clone());
        let sending = Sending { shared, to, urls, checkpoint, message, metrics, busy };
        let is_first = sending.busy.is_some();
        let task = self.shared.runtime.spawn(sending.run()).abort_handle();
        // The task of a member that is gone meanwhile ends by itself: nobody answers it for long.
        if is_first {
            self.with_member(to, |member| member.sends_snapshot(task));
        }
    }

    fn set_members(&self, membership: &Membership) {
        let others: BTreeMap<MemberId, Arc<[String]>> = membership
            .members
            .iter()
            .filter(|member| member.id != self.shared.config.member)
            .map(|member| (member.id, Arc::from(member.peer_urls.as_slice())))
            .collect();
        for member in &membership.members {
            self.metrics.known(self.shared.config.member, member.id);
        }
        let mut current = self.members.write().unwrap_or_else(PoisonError::into_inner);
        let gone = current.extract_if(.., |id, member| match others.get(id) {
            Some(urls) => {
                member.unlisted = None;
                *urls != member.urls
            }
            None => member.unlisted.is_none() || membership.is_removed(*id),
        });
        for (id, member) in gone.collect::<Vec<_>>() {
            if !others.contains_key(&id) {
                self.metrics.forget(self.shared.config.member, id);
                self.drop_later(member);
            }
        }
        for (id, urls) in others {
            current.entry(id).or_insert_with(|| self.start(id, urls));
        }
        drop(current);
        self.membership.send_replace(Arc::new(membership.clone()));
    }

    fn connected_for(&self, member: MemberId) -> Option<Duration> {
        self.shared.contacts.lasting(member)
    }

    fn renew(&self, leader: MemberId, leases: Vec<LeaseId>) -> Asked<Vec<Renewed>> {
        match self.with_member(leader, |member| Arc::clone(&member.renewals)) {
            Some(link) => link.renew(&leases, &self.shared.runtime, || self.client(leader)),
            None => Box::pin(ready(Err(Error::NoLeader))),
        }
    }

    fn time_left(&self, leader: MemberId, lease: LeaseId) -> Asked<Option<TimeLeft>> {
        let request = LeaseTimeLeftRequest {
            handshake: Some(wire::handshake(self.shared.config, leader)),
            lease: lease.0,
        };
        self.ask(
            leader,
            |mut client| async move { client.lease_time_left(request).await },
            |response: LeaseTimeLeftResponse| {
                if !response.leader {
                    return Err(Error::NotLeader);
                }
                let left = TimeLeft {
                    left: Seconds(response.ttl),
                    granted: Seconds(response.granted_ttl),
                };
                Ok(response.found.then_some(left))
            },
        )
    }

    fn promote(&self, leader: MemberId, learner: MemberId) -> Asked<Promotion> {
        let request = PromoteMemberRequest {
            handshake: Some(wire::handshake(self.shared.config, leader)),
            member: learner.0,
        };
        self.ask(
            leader,
            |mut client| async move { client.promote_member(request).await },
            |response: PromoteMemberResponse| {
                if !response.leader {
                    return Err(Error::NotLeader);
                }
                // One that we do not know is as good as none.
                wire::promotion_of(response.promotion())
                    .ok_or(Error::TimedOut(TimeoutCause::Unknown))
            },
        )
    }

    fn state_hash(&self, member: MemberId, span: Span) -> Asked<Option<Hashed>> {
        let Some(mut client) = self.client(member) else {
            return Box::pin(ready(Ok(None)));
        };
        let request = StateHashRequest {
            handshake: Some(wire::handshake(self.shared.config, member)),
            floor: span.floor.0,
            revision: span.revision.0,
            formula: HASH_FORMULA,
        };
        Box::pin(async move {
            match client.state_hash(request).await.map(Response::into_inner) {
                Ok(response) => {
                    let (hash, worked_micros) = (response.hash, response.worked_micros);
                    Ok(response.comparable.then_some(Hashed { hash, worked_micros }))
                }
                Err(status) => {
                    debug!(peer = %member, %status, "member did not compare its state");
                    Ok(None)
                }
            }
        })
    }
}
