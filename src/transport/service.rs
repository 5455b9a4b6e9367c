//! [`PeerService`]: what other members call.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::stream::BoxStream;
use tokio::{
    select,
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::{
    ChunkError, GrpcPeers, Refusal,
    head::{self, Head, SnapshotName},
    receive::{self, Reception},
    renewals, wire,
};
use crate::{
    node::{
        Error,
        ports::{HASH_FORMULA, Hashed, Inbox, Span},
    },
    proto::internal::{
        EchoRequest, EchoResponse, Handshake, LeaseRenewalAnswer, LeaseRenewalBatch,
        LeaseTimeLeftRequest, LeaseTimeLeftResponse, MembersRequest, MembersResponse, PeerAck,
        PeerFrame, PromoteMemberRequest, PromoteMemberResponse, SnapshotChunk,
        SnapshotProgressRequest, SnapshotProgressResponse, StateHashRequest, StateHashResponse,
        peer_server::{Peer, PeerServer},
    },
    types::{Incarnation, LeaseId, MemberId, Revision, limits},
};

/// Who opens a call says who it is at once.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How long a member is heard after its removal.
const REMOVED_HEARD_FOR: Duration = Duration::from_secs(1);

/// What other members call. Cheap to clone.
#[derive(Clone)]
pub struct PeerService {
    peers: Arc<GrpcPeers>,
    inbox: Arc<dyn Inbox>,
    /// Turns true when this member stops: streams end then.
    closing: watch::Receiver<bool>,
    /// The last refusal that was told: callers try again and again.
    told: Arc<Mutex<Option<Refusal>>>,
    reception: Arc<Reception>,
}

impl PeerService {
    /// Calls end up in `inbox`; when `closing` turns true, streams end.
    #[must_use]
    pub fn new(
        peers: Arc<GrpcPeers>,
        inbox: Arc<dyn Inbox>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let (to, end) = (Arc::clone(&inbox), closing.clone());
        let reception = Reception::new(Arc::clone(&peers), to, end, receive::KEPT_FOR);
        Self { peers, inbox, closing, told: Arc::default(), reception }
    }

    /// Keeps what broken snapshots brought for so long.
    #[cfg(test)]
    pub(super) fn keeping_for(mut self, kept_for: Duration) -> Self {
        let (peers, inbox) = (Arc::clone(&self.peers), Arc::clone(&self.inbox));
        self.reception = Reception::new(peers, inbox, self.closing.clone(), kept_for);
        self
    }

    /// The service with its limits, for a router.
    #[must_use]
    pub fn into_server(self) -> PeerServer<Self> {
        PeerServer::new(self).max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
    }

    /// The sender, if it may talk to us.
    fn sender(&self, handshake: Option<&Handshake>) -> Result<MemberId, Refusal> {
        let local = self.peers.config();
        let checked = wire::check_handshake(handshake, local).and_then(|from| {
            // A sender that is in no list may be newer than the list. It must not have been in one.
            if self.peers.membership().is_removed(from) {
                return Err(Refusal::Removed(from, local.cluster));
            }
            Ok(from)
        });
        checked.inspect_err(|refusal| self.tell(refusal))
    }

    fn tell(&self, refusal: &Refusal) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() == Some(refusal) {
            debug!(reason = %refusal, "call of another member refused");
        } else {
            warn!(reason = %refusal, "call of another member refused");
            *told = Some(refusal.clone());
        }
    }

    async fn take_messages(&self, frames: &mut Streaming<PeerFrame>) -> Result<(), Status> {
        let first = within(HANDSHAKE_WITHIN, frames.message()).await?;
        let handshake = first.as_ref().and_then(wire::greeting_of);
        let from = self.sender(handshake)?;
        let urls = handshake.map(wire::urls_of).unwrap_or_default();
        let _admitted = self.peers.admit(from, urls).inspect_err(|refusal| self.tell(refusal))?;
        let _counts = self.peers.heard_of(from);
        let greeting = handshake.map(wire::greeting_in).unwrap_or_default();
        self.inbox.greeted(from, greeting);
        select! {
            ended = self.take_frames(from, greeting.incarnation, frames) => ended,
            refusal = self.removal_of(from) => Err(refusal.into()),
        }
    }

    /// Resolves some time after `from` was removed: until then it is heard, because it may have had
    /// a part in its own removal that is not over yet.
    async fn removal_of(&self, from: MemberId) -> Refusal {
        self.peers.until_removed(from).await;
        sleep(REMOVED_HEARD_FOR).await;
        let refusal = Refusal::Removed(from, self.peers.config().cluster);
        self.tell(&refusal);
        refusal
    }

    async fn take_frames(
        &self,
        from: MemberId,
        incarnation: Incarnation,
        frames: &mut Streaming<PeerFrame>,
    ) -> Result<(), Status> {
        let metrics = self.peers.member_metrics(from);
        while let Some(frame) = frames.message().await? {
            let Some(frame) = wire::from_proto(frame) else {
                return Err(Status::invalid_argument("frame of an unknown kind"));
            };
            if let Some(metrics) = &metrics {
                let len = wire::payload_len(&frame);
                metrics.received_bytes.inc_by(u64::try_from(len).unwrap_or(u64::MAX));
            }
            self.inbox.deliver(from, incarnation, frame);
        }
        Ok(())
    }

    async fn take_snapshot(&self, mut chunks: Streaming<SnapshotChunk>) -> Result<(), Status> {
        let first = self.until_closing(within(HANDSHAKE_WITHIN, chunks.message())).await?;
        let mut first = first.unwrap_or_default();
        let from = self.sender(first.handshake.as_ref())?;
        let head = Head::of_proto(from, first.head.take());
        let head = head.ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
        Arc::clone(&self.reception).take(head, first, chunks).await
    }

    /// Runs a call until this member stops.
    async fn until_closing<T>(
        &self,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut closing = self.closing.clone();
        select! {
            result = call => result,
            _ = closing.wait_for(|closing| *closing) => {
                Err(Status::unavailable("member is shutting down"))
            }
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn messages(
        &self,
        request: Request<Streaming<PeerFrame>>,
    ) -> Result<Response<PeerAck>, Status> {
        let mut frames = request.into_inner();
        self.until_closing(self.take_messages(&mut frames)).await?;
        Ok(Response::new(PeerAck {}))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<PeerAck>, Status> {
        let taken = self.take_snapshot(request.into_inner()).await;
        if let Err(status) = &taken {
            warn!(reason = status.message(), "snapshot refused");
        }
        taken.map(|()| Response::new(PeerAck {}))
    }

    async fn snapshot_progress(
        &self,
        request: Request<SnapshotProgressRequest>,
    ) -> Result<Response<SnapshotProgressResponse>, Status> {
        let request = request.into_inner();
        let from = self.sender(request.handshake.as_ref())?;
        let name = SnapshotName::of_proto(from, request.name)
            .ok_or_else(|| Status::invalid_argument("a snapshot without a name"))?;
        let place = self.reception.progress(name).await?;
        Ok(Response::new(SnapshotProgressResponse {
            arrived: place.is_none(),
            place: place.map(head::place_to_proto),
        }))
    }

    type LeaseRenewalsStream = BoxStream<'static, Result<LeaseRenewalAnswer, Status>>;

    async fn lease_renewals(
        &self,
        request: Request<Streaming<LeaseRenewalBatch>>,
    ) -> Result<Response<Self::LeaseRenewalsStream>, Status> {
        let mut batches = request.into_inner();
        let first = within(HANDSHAKE_WITHIN, batches.message());
        let first = self.until_closing(first).await?;
        self.sender(first.as_ref().and_then(|first| first.handshake.as_ref()))?;
        let mut closing = self.closing.clone();
        let closed = async move {
            // Without a sender this member is gone as well.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        let answers = renewals::answers(batches, Arc::clone(&self.inbox), closed);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_left(
        &self,
        request: Request<LeaseTimeLeftRequest>,
    ) -> Result<Response<LeaseTimeLeftResponse>, Status> {
        let request = request.into_inner();
        self.sender(request.handshake.as_ref())?;
        let answer = self.inbox.time_left_here(LeaseId(request.lease)).await;
        let mut response = LeaseTimeLeftResponse::default();
        if let Some(left) = unless_not_leader(answer)? {
            response.leader = true;
            if let Some(left) = left {
                response.found = true;
                response.ttl = left.left.0;
                response.granted_ttl = left.granted.0;
            }
        }
        Ok(Response::new(response))
    }

    async fn promote_member(
        &self,
        request: Request<PromoteMemberRequest>,
    ) -> Result<Response<PromoteMemberResponse>, Status> {
        let request = request.into_inner();
        self.sender(request.handshake.as_ref())?;
        let answer = self.inbox.promote_here(MemberId(request.member)).await;
        let mut response = PromoteMemberResponse::default();
        if let Some(promotion) = unless_not_leader(answer)? {
            response.leader = true;
            response.set_promotion(wire::promotion(promotion));
        }
        Ok(Response::new(response))
    }

    async fn members(
        &self,
        request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        wire::check_members_request(&request.into_inner(), self.peers.config())
            .inspect_err(|refusal| self.tell(refusal))?;
        let membership = self.peers.membership();
        if membership.members.is_empty() {
            return Err(Status::unavailable("this member has no state yet"));
        }
        Ok(Response::new(wire::members_response(self.peers.config().cluster, &membership)))
    }

    async fn echo(&self, _: Request<EchoRequest>) -> Result<Response<EchoResponse>, Status> {
        Ok(Response::new(EchoResponse {}))
    }

    async fn state_hash(
        &self,
        request: Request<StateHashRequest>,
    ) -> Result<Response<StateHashResponse>, Status> {
        let request = request.into_inner();
        self.sender(request.handshake.as_ref())?;
        if request.formula != HASH_FORMULA {
            return Ok(Response::new(StateHashResponse::default()));
        }
        let span = Span { floor: Revision(request.floor), revision: Revision(request.revision) };
        let hashed = async {
            let hashed = self.inbox.state_hash_here(span).await;
            hashed.map_err(|error| Status::unavailable(error.to_string()))
        };
        let response = match self.until_closing(hashed).await? {
            Some(Hashed { hash, worked_micros }) => {
                StateHashResponse { comparable: true, hash, worked_micros }
            }
            None => StateHashResponse::default(),
        };
        Ok(Response::new(response))
    }
}

/// `None` when this member does not lead, which is an answer and not an error.
fn unless_not_leader<T>(answer: Result<T, Error>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::NotLeader) => Ok(None),
        Err(error) => Err(Status::unavailable(error.to_string())),
    }
}

impl From<ChunkError> for Status {
    fn from(error: ChunkError) -> Self {
        Self::data_loss(error.to_string())
    }
}

async fn within<T>(
    patience: Duration,
    step: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    timeout(patience, step)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("nothing was sent in time")))
}
