//! Sends a checkpoint, file by file, on a connection of its own.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{pin, select, sync::mpsc, task::spawn_blocking, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{error, info, warn};

use super::{
    Config,
    link::{chain, dial},
    peers::Shared,
    wire,
};
use crate::{
    node::ports::{Checkpoint, StateStore},
    proto::internal::{SnapshotChunk, peer_client::PeerClient},
    types::{Fault, MemberId, limits},
};

/// Chunks read ahead of the connection.
const CHUNKS_AHEAD: usize = 4;

/// A receiver that takes nothing for this long has stopped to receive.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// A snapshot on its way. However it ends, also when its task is aborted, the outcome is reported
/// once and the checkpoint is released.
pub(super) struct Sending {
    pub(super) shared: Arc<Shared>,
    pub(super) to: MemberId,
    pub(super) urls: Arc<[String]>,
    pub(super) checkpoint: Checkpoint,
    pub(super) message: Bytes,
    /// Cleared at the end. `None`: another snapshot is on its way, or the member is unknown.
    pub(super) busy: Option<Arc<AtomicBool>>,
}

impl Sending {
    pub(super) async fn run(self) {
        let mut outcome = Outcome { ok: false, sending: self };
        let sending = &outcome.sending;
        let (peer, index) = (sending.to, sending.checkpoint.applied.index);
        if sending.busy.is_none() {
            warn!(%peer, %index, "no snapshot sent: another one is on its way, or the member is unknown");
            return;
        }
        info!(%peer, %index, "sending snapshot");
        match sending.send().await {
            Ok(()) => {
                info!(%peer, %index, "snapshot sent");
                outcome.ok = true;
            }
            Err(reason) => warn!(%peer, %index, reason, "snapshot not sent"),
        }
    }

    async fn send(&self) -> Result<(), String> {
        let config = self.shared.config;
        let mut channel = Err("the member has no url".to_owned());
        for url in self.urls.iter() {
            channel = dial(url, config).await;
            if channel.is_ok() {
                break;
            }
        }
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let taken = Arc::new(AtomicU64::new(0));
        let reader = self.reader(config, sender, Arc::clone(&taken));
        let mut client = PeerClient::new(channel?);
        let call = client.snapshot(ReceiverStream::new(chunks));
        let mut reading = spawn_blocking(move || reader.read());
        pin!(call);

        let mut read = false;
        loop {
            let before = taken.load(Ordering::Relaxed);
            select! {
                answer = &mut call => {
                    return match answer {
                        Ok(_) => Ok(()),
                        Err(status) => Err(chain(&status)),
                    };
                }
                result = &mut reading, if !read => {
                    read = true;
                    match result {
                        Ok(Ok(())) => {}
                        Ok(Err(fault)) => {
                            error!(%fault, "checkpoint cannot be read");
                            return Err(fault.to_string());
                        }
                        Err(_) => return Err("the checkpoint's reader ended".to_owned()),
                    }
                }
                () = sleep(STALLED_AFTER) => {
                    if taken.load(Ordering::Relaxed) == before {
                        return Err(format!("nothing was taken for {} s", STALLED_AFTER.as_secs()));
                    }
                }
            }
        }
    }

    fn reader(
        &self,
        config: Config,
        sender: mpsc::Sender<SnapshotChunk>,
        taken: Arc<AtomicU64>,
    ) -> Reader {
        let first = SnapshotChunk {
            handshake: Some(wire::handshake(config, self.to)),
            ..SnapshotChunk::default()
        };
        Reader {
            store: Arc::clone(&self.shared.store),
            checkpoint: self.checkpoint,
            message: self.message.clone(),
            next: first,
            sender,
            taken,
        }
    }
}

/// Reports and cleans up when it is dropped.
struct Outcome {
    ok: bool,
    sending: Sending,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let Sending { shared, to, checkpoint, busy, .. } = &self.sending;
        if let Some(busy) = busy {
            busy.store(false, Ordering::Release);
        }
        if let Some(inbox) = shared.inbox() {
            inbox.report_snapshot(*to, checkpoint.id, self.ok);
        }
        let (store, id) = (Arc::clone(&shared.store), checkpoint.id);
        shared.runtime.spawn_blocking(move || store.checkpoint_release(id));
    }
}

/// Reads the checkpoint on a thread that may wait for the disk.
struct Reader {
    store: Arc<dyn StateStore>,
    checkpoint: Checkpoint,
    message: Bytes,
    /// What the next chunk starts from: the first one has the handshake.
    next: SnapshotChunk,
    sender: mpsc::Sender<SnapshotChunk>,
    taken: Arc<AtomicU64>,
}

impl Reader {
    fn read(mut self) -> Result<(), Fault> {
        for file in self.store.checkpoint_files(self.checkpoint.id)? {
            let mut offset = 0;
            loop {
                let data = self.store.checkpoint_read(
                    self.checkpoint.id,
                    &file.name,
                    offset,
                    limits::SNAPSHOT_CHUNK_BYTES,
                )?;
                let end = offset.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
                let last_of_file = end >= file.len;
                if data.is_empty() && !last_of_file {
                    return Err(Fault::new(format!(
                        "checkpoint file {} ends at {end} instead of {}",
                        file.name, file.len
                    )));
                }
                let crc32 = crc32fast::hash(&data);
                let name = file.name.clone();
                if !self.pass(|chunk| SnapshotChunk {
                    file: name,
                    offset,
                    data,
                    crc32,
                    last_of_file,
                    ..chunk
                }) {
                    return Ok(());
                }
                if last_of_file {
                    break;
                }
                offset = end;
            }
        }
        let message = self.message.clone();
        self.pass(|chunk| SnapshotChunk { raft: message, ..chunk });
        Ok(())
    }

    /// Hands the next chunk over; `false` when nobody takes it any more, which the call explains.
    fn pass(&mut self, fill: impl FnOnce(SnapshotChunk) -> SnapshotChunk) -> bool {
        let chunk = fill(mem::take(&mut self.next));
        let taken = self.sender.blocking_send(chunk).is_ok();
        self.taken.fetch_add(1, Ordering::Relaxed);
        taken
    }
}
