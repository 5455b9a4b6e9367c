//! What the tests of this room share: members that record what happens to them, on real sockets.

use std::{
    collections::BTreeMap,
    future::ready,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::{Config, GrpcPeers, PeerMetrics, PeerService, receive::KEPT_FOR};
use crate::{
    node::{
        Error,
        ports::{
            Asked, Between, Checkpoint, CheckpointFile, CheckpointId, ConfState, DiskSpace, Frame,
            Greeting, Hashed, Inbox, Member, Membership, OwnedView, Peers, Promotion, Reclaim,
            Renewed, Span, StageId, StateStore, TimeLeft, Writes,
        },
    },
    raft::Position,
    tls::Dialer,
    types::{BootNumber, ClusterId, Fault, Incarnation, LeaseId, MemberId, Revision, Seconds},
};

/// Long enough for the slowest machine; a test that waits for it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const CLUSTER: ClusterId = ClusterId(0xc);

/// The one that all speak in here.
pub(super) const INCARNATION: Incarnation = Incarnation(77);

/// What happened to a member.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    Frame(MemberId, Frame),
    Snapshot(MemberId, Bytes, StageId),
    Unreachable(MemberId),
    Reported(MemberId, CheckpointId, bool),
    Released(CheckpointId),
    StageDropped(StageId),
    Removed(MemberId),
}

pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A member without consensus: it records what comes in.
pub(super) struct Recorder {
    events: mpsc::UnboundedSender<Happened>,
    /// Files that every checkpoint consists of.
    pub(super) files: Files,
    pub(super) stages: Mutex<BTreeMap<StageId, Files>>,
    next_stage: AtomicU64,
    /// Bytes that the disk has left.
    pub(super) free: AtomicU64,
    pub(super) leads: bool,
}

impl Recorder {
    /// One that nobody listens to.
    pub(super) fn with(files: Files) -> Arc<Self> {
        Self::telling(mpsc::unbounded_channel().0, true, files)
    }

    fn telling(events: mpsc::UnboundedSender<Happened>, leads: bool, files: Files) -> Arc<Self> {
        Arc::new(Self {
            events,
            files,
            stages: Mutex::default(),
            next_stage: AtomicU64::new(1),
            free: AtomicU64::new(1 << 40),
            leads,
        })
    }

    fn record(&self, event: Happened) {
        // A test that is over does not listen any more.
        let _ = self.events.send(event);
    }
}

impl Inbox for Recorder {
    fn greeting(&self) -> Greeting {
        Greeting { incarnation: INCARNATION, ..Greeting::default() }
    }

    fn greeted(&self, _: MemberId, greeting: Greeting) {
        assert_eq!(greeting.incarnation, INCARNATION);
    }

    fn deliver(&self, from: MemberId, incarnation: Incarnation, frame: Frame) {
        assert_eq!(incarnation, INCARNATION);
        self.record(Happened::Frame(from, frame));
    }

    fn deliver_snapshot(&self, from: MemberId, message: Bytes, stage: StageId) {
        self.record(Happened::Snapshot(from, message, stage));
    }

    fn report_unreachable(&self, member: MemberId) {
        self.record(Happened::Unreachable(member));
    }

    fn report_snapshot(&self, to: MemberId, checkpoint: CheckpointId, ok: bool) {
        self.record(Happened::Reported(to, checkpoint, ok));
    }

    fn renew_here(&self, leases: Vec<LeaseId>) -> Asked<Vec<Renewed>> {
        // Leases with a negative id do not exist here, and the end of lease 0 is on its way.
        let known = |lease: LeaseId| match lease.0 {
            ..0 => Renewed::Unknown,
            0 => Renewed::NotYet,
            1.. => Renewed::For(Seconds(lease.0)),
        };
        let answer = if self.leads {
            Ok(leases.into_iter().map(known).collect())
        } else {
            Err(Error::NotLeader)
        };
        Box::pin(ready(answer))
    }

    fn time_left_here(&self, lease: LeaseId) -> Asked<Option<TimeLeft>> {
        let left = TimeLeft { left: Seconds(lease.0), granted: Seconds(100) };
        let answer =
            if self.leads { Ok((lease.0 > 0).then_some(left)) } else { Err(Error::NotLeader) };
        Box::pin(ready(answer))
    }

    fn promote_here(&self, learner: MemberId) -> Asked<Promotion> {
        // Here every member with an even id is a voter.
        let promotion =
            if learner.0.is_multiple_of(2) { Promotion::NotALearner } else { Promotion::Done };
        Box::pin(ready(if self.leads { Ok(promotion) } else { Err(Error::NotLeader) }))
    }

    fn report_removed(&self, by: MemberId) {
        self.record(Happened::Removed(by));
    }

    fn state_hash_here(&self, span: Span) -> Asked<Option<Hashed>> {
        // History from revision 10 on is all there is.
        let hash = u32::try_from(span.revision.0).unwrap();
        let hashed = Hashed { hash, worked_micros: 7 };
        Box::pin(ready(Ok((span.floor.0 >= 10).then_some(hashed))))
    }
}

impl StateStore for Recorder {
    fn view(&self) -> Result<OwnedView, Fault> {
        unreachable!("transport does not read the state")
    }

    fn commit(&self, _: Writes) -> Result<(), Fault> {
        unreachable!("transport does not write the state")
    }

    fn set_compacted(&self, _: Revision) {
        unreachable!("transport does not compact")
    }

    fn flushed(&self) -> Result<Position, Fault> {
        unreachable!("transport does not ask what is flushed")
    }

    fn flush(&self) -> Result<(), Fault> {
        unreachable!("transport does not flush")
    }

    fn check(&self) -> Result<(), Fault> {
        unreachable!("transport does not look after the engine")
    }

    fn disk_space(&self) -> Result<DiskSpace, Fault> {
        let free = self.free.load(Ordering::Relaxed);
        Ok(DiskSpace { used: 0, free, total: free })
    }

    fn garbage(&self) -> Result<u64, Fault> {
        unreachable!("transport does not look after the disk")
    }

    fn reclaim(&self, _: Reclaim, _: &mut Between<'_>) -> Result<Option<Revision>, Fault> {
        unreachable!("transport does not look after the disk")
    }

    fn interrupt(&self) {
        unreachable!("transport does not look after the engine")
    }

    fn checkpoint(&self) -> Result<(Checkpoint, ConfState), Fault> {
        unreachable!("transport does not make checkpoints")
    }

    fn checkpoint_files(&self, _: CheckpointId) -> Result<Vec<CheckpointFile>, Fault> {
        let file = |(name, data): (&String, &Vec<u8>)| CheckpointFile {
            name: name.clone(),
            len: data.len() as u64,
        };
        Ok(self.files.iter().map(file).collect())
    }

    fn checkpoint_read(
        &self,
        _: CheckpointId,
        file: &str,
        offset: u64,
        len_max: usize,
    ) -> Result<Bytes, Fault> {
        let start = usize::try_from(offset).unwrap();
        let data = &self.files[file];
        Ok(Bytes::copy_from_slice(&data[start..data.len().min(start + len_max)]))
    }

    fn checkpoint_release(&self, id: CheckpointId) {
        self.record(Happened::Released(id));
    }

    fn stage(&self) -> Result<StageId, Fault> {
        let id = StageId(self.next_stage.fetch_add(1, Ordering::Relaxed));
        self.stages.lock().unwrap().insert(id, Files::new());
        Ok(id)
    }

    fn stage_write(&self, id: StageId, file: &str, offset: u64, data: &[u8]) -> Result<(), Fault> {
        let mut stages = self.stages.lock().unwrap();
        let staged = stages.get_mut(&id).unwrap().entry(file.to_owned()).or_default();
        assert_eq!(staged.len() as u64, offset);
        staged.extend_from_slice(data);
        Ok(())
    }

    fn stage_drop(&self, id: StageId) {
        self.stages.lock().unwrap().remove(&id);
        self.record(Happened::StageDropped(id));
    }

    fn install(&self, _: StageId) -> Result<Position, Fault> {
        unreachable!("transport does not install snapshots")
    }
}

/// A member as the transport sees one.
pub(super) struct TestMember {
    pub(super) id: MemberId,
    pub(super) peers: Arc<GrpcPeers>,
    pub(super) recorder: Arc<Recorder>,
    happened: mpsc::UnboundedReceiver<Happened>,
}

impl TestMember {
    pub(super) fn new(id: u64) -> Self {
        Self::with(id, true, Files::new())
    }

    pub(super) fn with(id: u64, leads: bool, files: Files) -> Self {
        let (events, happened) = mpsc::unbounded_channel();
        let recorder = Recorder::telling(events, leads, files);
        let id = MemberId(id);
        let config = Config {
            cluster: CLUSTER,
            member: id,
            boot: BootNumber(1),
            election_timeout: Duration::from_secs(1),
            snapshot_send_rate: 0,
        };
        let store: Arc<dyn StateStore> = recorder.clone();
        let peers = GrpcPeers::new(
            config,
            Dialer::default(),
            Handle::current(),
            store,
            PeerMetrics::default(),
        );
        peers.attach(recorder.clone());
        Self { id, peers, recorder, happened }
    }

    /// Makes `other`, which listens at `address`, a member.
    pub(super) fn knows(&self, other: MemberId, address: SocketAddr) {
        let member = |id, url| Member { id, peer_urls: vec![url], ..Member::default() };
        let own = member(self.id, "http://127.0.0.1:1".to_owned());
        let members = vec![own, member(other, format!("http://{address}"))];
        self.peers.set_members(&Membership { members, removed: Vec::new() });
    }

    /// Says where this member is reached.
    pub(super) fn reached_at(&self, url: &str) {
        self.peers.reached_at(&[url.to_owned()]);
    }

    /// Removes a member, here and nowhere else.
    pub(super) fn removes(&self, member: MemberId) {
        let own = Member { id: self.id, ..Member::default() };
        self.peers.set_members(&Membership { members: vec![own], removed: vec![member] });
    }

    /// The next thing that happens and is accepted by `pick`; others are passed over.
    pub(super) async fn next<T>(&mut self, pick: impl Fn(Happened) -> Option<T>) -> T {
        let found = async {
            loop {
                if let Some(found) = pick(self.happened.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, found).await.expect("it happens in time")
    }

    /// The next frame.
    pub(super) async fn frame(&mut self) -> Frame {
        let frame = |it| {
            let Happened::Frame(_, frame) = it else { return None };
            Some(frame)
        };
        self.next(frame).await
    }

    /// The counters of snapshots as their text.
    pub(super) fn snapshot_figures(&self) -> String {
        let mut registry = Registry::default();
        self.peers.snapshot_metrics().register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    /// Serves what others call, on a free port.
    pub(super) async fn serve(&self) -> Served {
        self.serve_at("127.0.0.1:0".parse().unwrap()).await
    }

    pub(super) async fn serve_at(&self, address: SocketAddr) -> Served {
        self.serve_with(address, KEPT_FOR).await
    }

    /// Serves, and keeps what broken snapshots brought for so long.
    pub(super) async fn serve_keeping(&self, kept_for: Duration) -> Served {
        self.serve_with("127.0.0.1:0".parse().unwrap(), kept_for).await
    }

    async fn serve_with(&self, address: SocketAddr, kept_for: Duration) -> Served {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (closing, closed) = watch::channel(false);
        let service = PeerService::new(self.peers.clone(), self.recorder.clone(), closed.clone())
            .keeping_for(kept_for);
        let task = tokio::spawn(async move {
            let mut stop = closed;
            Server::builder()
                .add_service(service.into_server())
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
                    let _ = stop.wait_for(|closing| *closing).await;
                })
                .await
                .unwrap();
        });
        Served { address, closing, task }
    }
}

impl Drop for TestMember {
    fn drop(&mut self) {
        self.peers.close();
    }
}

/// A listener that runs.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Served {
    /// Ends the streams and frees the port.
    pub(super) async fn stop(self) {
        self.closing.send(true).unwrap();
        timeout(PATIENCE, self.task).await.expect("the listener stops in time").unwrap();
    }
}
