//! [`PeerService`]: what other members call.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::{
    runtime::Handle,
    select,
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use super::{
    ChunkError, GrpcPeers, Refusal,
    assembly::{Assembly, Step},
    renewals, wire,
};
use crate::{
    node::{
        Error,
        ports::{Inbox, StageId, StateStore},
    },
    proto::internal::{
        Handshake, LeaseRenewalAnswer, LeaseRenewalBatch, LeaseTimeLeftRequest,
        LeaseTimeLeftResponse, MembersRequest, MembersResponse, PeerAck, PeerFrame,
        PromoteMemberRequest, PromoteMemberResponse, SnapshotChunk,
        peer_server::{Peer, PeerServer},
    },
    types::{Fault, LeaseId, MemberId, limits},
};

/// Who opens a call says who it is at once.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// How long a member is heard after its removal.
const REMOVED_HEARD_FOR: Duration = Duration::from_secs(1);

/// A sender that is silent for this long within a snapshot has given up.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// What other members call. Cheap to clone.
#[derive(Clone)]
pub struct PeerService {
    peers: Arc<GrpcPeers>,
    inbox: Arc<dyn Inbox>,
    /// Turns true when this member stops: streams end then.
    closing: watch::Receiver<bool>,
    /// The last refusal that was told: callers try again and again.
    told: Arc<Mutex<Option<Refusal>>>,
    /// One snapshot at a time: a second one would only fill the disk.
    snapshots: Arc<Semaphore>,
}

impl PeerService {
    /// Calls end up in `inbox`; when `closing` turns true, streams end.
    #[must_use]
    pub fn new(
        peers: Arc<GrpcPeers>,
        inbox: Arc<dyn Inbox>,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self { peers, inbox, closing, told: Arc::default(), snapshots: Arc::new(Semaphore::new(1)) }
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
        let greeting = first.as_ref().and_then(wire::greeting_of);
        let from = self.sender(greeting)?;
        let urls = greeting.map(wire::urls_of).unwrap_or_default();
        let _admitted = self.peers.admit(from, urls).inspect_err(|refusal| self.tell(refusal))?;
        let _counts = self.peers.heard_of(from);
        select! {
            ended = self.take_frames(from, frames) => ended,
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
            self.inbox.deliver(from, frame);
        }
        Ok(())
    }

    async fn take_snapshot(&self, chunks: &mut Streaming<SnapshotChunk>) -> Result<(), Status> {
        let mut chunk = next_chunk(chunks).await?;
        let from = self.sender(chunk.handshake.as_ref())?;
        let _turn = self
            .snapshots
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is being received"))?;
        info!(peer = %from, "receiving snapshot");
        let stage = Stage::open(&self.peers).await?;
        let mut assembly = Assembly::default();
        let message = loop {
            match assembly.take(chunk)? {
                Step::Write { file, offset, data } => {
                    stage.write(file, offset, data).await?;
                }
                Step::Announce(message) => break message,
            }
            chunk = next_chunk(chunks).await?;
        };
        info!(peer = %from, "snapshot received");
        self.inbox.deliver_snapshot(from, message, stage.keep());
        Ok(())
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
        let mut chunks = request.into_inner();
        let taken = self.until_closing(self.take_snapshot(&mut chunks)).await;
        if let Err(status) = &taken {
            warn!(reason = status.message(), "snapshot refused");
        }
        taken.map(|()| Response::new(PeerAck {}))
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

async fn next_chunk(chunks: &mut Streaming<SnapshotChunk>) -> Result<SnapshotChunk, Status> {
    let chunk = within(CHUNK_WITHIN, chunks.message()).await?;
    chunk.ok_or_else(|| Status::data_loss("the snapshot ended before its announcing message"))
}

/// A place where a snapshot comes in; emptied unless the snapshot is kept.
struct Stage {
    runtime: Handle,
    store: Arc<dyn StateStore>,
    id: StageId,
    kept: bool,
    /// A call may end while its last write is still on its way: dropping waits for it.
    turn: Arc<Mutex<()>>,
}

impl Stage {
    async fn open(peers: &GrpcPeers) -> Result<Self, Status> {
        let store = Arc::clone(peers.store());
        let opener = Arc::clone(&store);
        let id = on_disk(move || opener.stage()).await?;
        Ok(Self { runtime: peers.runtime().clone(), store, id, kept: false, turn: Arc::default() })
    }

    async fn write(&self, file: String, offset: u64, data: Bytes) -> Result<(), Status> {
        let (store, id, turn) = (Arc::clone(&self.store), self.id, Arc::clone(&self.turn));
        on_disk(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            store.stage_write(id, &file, offset, &data)
        })
        .await
    }

    /// From here on the stage is somebody else's.
    fn keep(mut self) -> StageId {
        self.kept = true;
        self.id
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.kept {
            let (store, id, turn) = (Arc::clone(&self.store), self.id, Arc::clone(&self.turn));
            self.runtime.spawn_blocking(move || {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                store.stage_drop(id);
            });
        }
    }
}

/// Runs what waits for the disk on a thread that may. That this member cannot store a snapshot
/// does not stop it: it serves on with what it has, and the leader tries again.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Status> {
    match spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(fault)) => Err(Status::internal(fault.to_string())),
        Err(_) => Err(Status::internal("the disk's thread ended")),
    }
}
