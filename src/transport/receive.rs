//! Receives snapshots: one at a time, and what has come of a broken one is kept for a while.
//!
//! A stream of chunks may break anywhere. Its stage then waits, with all that the checksums have
//! proved, for the next stream of the same checkpoint, which goes on from there. At most one stage
//! is there at a time: another checkpoint takes the place of the one that waits, and when nobody
//! comes it goes after a minute. What is kept does not outlive the process.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use tokio::{
    runtime::Handle,
    select,
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tonic::{Status, Streaming};
use tracing::{debug, info};

use super::{
    GrpcPeers,
    assembly::{Assembly, Place, Step, Totals},
    head::{Head, SnapshotName},
};
use crate::{
    node::ports::{Inbox, StageId, StateStore},
    proto::internal::SnapshotChunk,
    types::{Fault, limits},
};

/// A sender that is silent for this long within a snapshot has given up.
const CHUNK_WITHIN: Duration = Duration::from_secs(30);

/// How long a broken snapshot waits for its sender, which tries again every few seconds.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(60);

/// A stream that is told to end does so once its last write is on its way to the disk.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Where snapshots come in.
pub(super) struct Reception {
    peers: Arc<GrpcPeers>,
    inbox: Arc<dyn Inbox>,
    /// Turns true when this member stops.
    closing: watch::Receiver<bool>,
    kept_for: Duration,
    desk: Mutex<Desk>,
    /// Told whenever a stream has ended.
    ended: Notify,
}

#[derive(Default)]
struct Desk {
    stand: Stand,
    /// The last snapshot that arrived whole: its sender may not have heard of it.
    arrived: Option<SnapshotName>,
    /// Counts the stages that were kept.
    kept: u64,
}

#[derive(Default)]
enum Stand {
    #[default]
    Free,
    /// A stream is open.
    Taking { name: SnapshotName, end: Arc<Notify> },
    /// A stream broke, and this is what it brought.
    Kept(Kept),
}

struct Kept {
    name: SnapshotName,
    stage: Stage,
    assembly: Assembly,
    number: u64,
}

/// How a stream ended.
enum Ended {
    /// With the message that announces the snapshot.
    Whole(Bytes),
    /// Early; what came before is good.
    Broken(Status),
    /// With an error after which nothing of it can be trusted.
    Spoiled(Status),
}

impl Reception {
    pub(super) fn new(
        peers: Arc<GrpcPeers>,
        inbox: Arc<dyn Inbox>,
        closing: watch::Receiver<bool>,
        kept_for: Duration,
    ) -> Arc<Self> {
        let (desk, ended) = (Mutex::default(), Notify::new());
        Arc::new(Self { peers, inbox, closing, kept_for, desk, ended })
    }

    /// How far a checkpoint has come; `None`: all of it has arrived. Its sender has no stream any
    /// more when it asks, so one that is still open here is one whose end nobody has heard of.
    pub(super) async fn progress(&self, name: SnapshotName) -> Result<Option<Place>, Status> {
        let deadline = Instant::now() + END_WITHIN;
        loop {
            let ended = self.ended.notified();
            {
                let desk = self.desk();
                if desk.arrived == Some(name) {
                    return Ok(None);
                }
                match &desk.stand {
                    Stand::Kept(kept) if kept.name == name => {
                        return Ok(Some(kept.assembly.place()));
                    }
                    Stand::Free | Stand::Kept(_) => return Ok(Some(Place::default())),
                    Stand::Taking { name: other, end } if name.supersedes(*other) => {
                        end.notify_one();
                    }
                    Stand::Taking { .. } => return Err(occupied()),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            timeout(left, ended).await.map_err(|_| occupied())?;
        }
    }

    /// Takes a stream, from its first chunk on. It goes on by itself when its call is given up, so
    /// that it always comes to an end at which what is staged is known.
    pub(super) async fn take(
        self: Arc<Self>,
        head: Head,
        first: SnapshotChunk,
        chunks: Streaming<SnapshotChunk>,
    ) -> Result<(), Status> {
        let runtime = self.peers.runtime().clone();
        let receiving = self.receive(head, first, chunks);
        runtime.spawn(receiving).await.unwrap_or_else(|_| Err(Status::internal("it was aborted")))
    }

    async fn receive(
        self: Arc<Self>,
        head: Head,
        first: SnapshotChunk,
        mut chunks: Streaming<SnapshotChunk>,
    ) -> Result<(), Status> {
        let Head { name, totals, from } = head;
        let peer = name.from;
        let end = Arc::new(Notify::new());
        let (stage, mut assembly) = match self.begin(name, from, &end)? {
            Some(kept) => {
                info!(%peer, index = %name.applied.index, bytes = kept.1.bytes(), "receiving goes on");
                kept
            }
            None => {
                info!(%peer, index = %name.applied.index, bytes = totals.bytes, "receiving snapshot");
                match self.open(totals).await {
                    Ok(opened) => opened,
                    Err(status) => {
                        self.stand(Stand::Free);
                        return Err(status);
                    }
                }
            }
        };
        let metrics = self.peers.snapshot_metrics();
        let (running, received) = (metrics.receiving(peer), metrics.received_bytes(peer));
        let ended = self.take_chunks(&stage, &mut assembly, first, &mut chunks, (&end, &received));
        match ended.await {
            Ended::Whole(message) => {
                info!(%peer, index = %name.applied.index, "snapshot received");
                running.arrived();
                self.desk().arrived = Some(name);
                self.stand(Stand::Free);
                self.inbox.deliver_snapshot(peer, message, stage.keep());
                Ok(())
            }
            Ended::Broken(status) => {
                info!(
                    %peer, index = %name.applied.index, bytes = assembly.bytes(),
                    of = assembly.totals().bytes, reason = status.message(), "snapshot broke off"
                );
                self.keep(name, stage, assembly);
                Err(status)
            }
            Ended::Spoiled(status) => {
                drop(stage);
                self.stand(Stand::Free);
                Err(status)
            }
        }
    }

    /// Takes the only place there is, with what is kept of this checkpoint.
    fn begin(
        &self,
        name: SnapshotName,
        from: Place,
        end: &Arc<Notify>,
    ) -> Result<Option<(Stage, Assembly)>, Status> {
        let mut desk = self.desk();
        let found = match &desk.stand {
            Stand::Taking { .. } => return Err(occupied()),
            Stand::Kept(kept) if kept.name == name => kept.assembly.place(),
            Stand::Free | Stand::Kept(_) => Place::default(),
        };
        if from != Place::default() && from != found {
            return Err(Status::aborted("what it is to go on from is not there"));
        }
        let taking = Stand::Taking { name, end: Arc::clone(end) };
        let before = std::mem::replace(&mut desk.stand, taking);
        drop(desk);
        match before {
            // What is there of it is what the stream goes on from, were it nothing.
            Stand::Kept(Kept { stage, assembly, .. }) if from != Place::default() => {
                Ok(Some((stage, assembly)))
            }
            // Another one takes its place, or the same one from its start.
            Stand::Kept(_) | Stand::Free | Stand::Taking { .. } => Ok(None),
        }
    }

    /// An empty stage for so much, if the disk has room for it.
    async fn open(&self, totals: Totals) -> Result<(Stage, Assembly), Status> {
        let assembly = Assembly::new(totals)?;
        let store = Arc::clone(self.peers.store());
        let opener = Arc::clone(&store);
        let id = on_disk(move || {
            let space = opener.disk_space()?;
            let reserve =
                limits::DISK_RESERVE_BYTES.min(space.total / limits::DISK_RESERVE_SHARE);
            if space.free < totals.bytes.saturating_add(reserve) {
                let (bytes, free) = (totals.bytes, space.free);
                return Err(Fault::new(format!(
                    "no room for a snapshot of {bytes} bytes: {free} are left, {reserve} of them in reserve"
                )));
            }
            opener.stage()
        })
        .await?;
        Ok((Stage { runtime: self.peers.runtime().clone(), store, id, kept: false }, assembly))
    }

    async fn take_chunks(
        &self,
        stage: &Stage,
        assembly: &mut Assembly,
        first: SnapshotChunk,
        chunks: &mut Streaming<SnapshotChunk>,
        (end, received): (&Notify, &Counter),
    ) -> Ended {
        let mut chunk = first;
        loop {
            match assembly.take(chunk) {
                // Always waited for: what is kept must be on disk as the assembly has it.
                Ok(Step::Write { file, offset, data }) => {
                    received.inc_by(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    if let Err(status) = stage.write(file, offset, data).await {
                        return Ended::Spoiled(status);
                    }
                }
                Ok(Step::Announce(message)) => return Ended::Whole(message),
                Err(error) if error.spoils() => return Ended::Spoiled(error.into()),
                Err(error) => return Ended::Broken(error.into()),
            }
            chunk = match self.next(chunks, end).await {
                Ok(chunk) => chunk,
                Err(status) => return Ended::Broken(status),
            };
        }
    }

    async fn next(
        &self,
        chunks: &mut Streaming<SnapshotChunk>,
        end: &Notify,
    ) -> Result<SnapshotChunk, Status> {
        let mut closing = self.closing.clone();
        let chunk = select! {
            chunk = chunks.message() => chunk?,
            () = end.notified() => return Err(Status::aborted("its sender came again")),
            _ = closing.wait_for(|closing| *closing) => {
                return Err(Status::unavailable("member is shutting down"));
            }
            () = sleep(CHUNK_WITHIN) => {
                return Err(Status::deadline_exceeded("nothing was sent in time"));
            }
        };
        chunk.ok_or_else(|| Status::data_loss("the snapshot ended before its announcing message"))
    }

    /// Keeps what a broken stream has brought, for a while.
    fn keep(self: &Arc<Self>, name: SnapshotName, stage: Stage, assembly: Assembly) {
        let mut desk = self.desk();
        desk.kept += 1;
        let number = desk.kept;
        drop(desk);
        self.stand(Stand::Kept(Kept { name, stage, assembly, number }));
        let (weak, kept_for) = (Arc::downgrade(self), self.kept_for);
        self.peers.runtime().spawn(async move {
            sleep(kept_for).await;
            if let Some(reception) = weak.upgrade() {
                reception.expire(number);
            }
        });
    }

    fn expire(&self, number: u64) {
        let mut desk = self.desk();
        if matches!(&desk.stand, Stand::Kept(kept) if kept.number == number) {
            let expired = std::mem::take(&mut desk.stand);
            drop(desk);
            drop(expired);
            debug!("nobody came for the rest of a snapshot, what there was is gone");
        }
    }

    fn stand(&self, stand: Stand) {
        let before = std::mem::replace(&mut self.desk().stand, stand);
        drop(before);
        self.ended.notify_waiters();
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn occupied() -> Status {
    Status::resource_exhausted("another snapshot is being received")
}

/// A place where a snapshot comes in; emptied unless the snapshot is kept.
struct Stage {
    runtime: Handle,
    store: Arc<dyn StateStore>,
    id: StageId,
    kept: bool,
}

impl Stage {
    async fn write(&self, file: String, offset: u64, data: Bytes) -> Result<(), Status> {
        let (store, id) = (Arc::clone(&self.store), self.id);
        on_disk(move || store.stage_write(id, &file, offset, &data)).await
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
            let (store, id) = (Arc::clone(&self.store), self.id);
            self.runtime.spawn_blocking(move || store.stage_drop(id));
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
