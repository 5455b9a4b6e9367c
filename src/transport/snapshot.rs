//! Sends a checkpoint, file by file, on a connection of its own.
//!
//! When the stream breaks, the receiver is asked how far it has come, and the next stream goes on
//! from there, with growing pauses and until nothing more arrives. Raft hears of one outcome.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    pin, select,
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};
use tracing::{error, info, warn};

use super::{
    assembly::Place,
    head::{self, Head, SnapshotName},
    link::{chain, dial},
    peers::Shared,
    snapshot_metrics::SnapshotMetrics,
    source::{self, Source},
    wire,
};
use crate::{
    node::ports::{Checkpoint, CheckpointFile},
    proto::internal::{SnapshotChunk, SnapshotProgressRequest, peer_client::PeerClient},
    types::{Fault, MemberId},
};

/// Chunks read ahead of the connection.
const CHUNKS_AHEAD: usize = 4;

/// A receiver that takes nothing for this long has stopped to receive.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// A receiver may have to end the stream before first.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Pauses between streams, and how many in a row may bring nothing.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
const VAIN_STREAMS_MAX: u32 = 15;
/// A link on which a snapshot breaks this often is no link.
const STREAMS_MAX: u32 = 200;

/// A snapshot on its way. However it ends, also when its task is aborted, the outcome is reported
/// once and the checkpoint is released.
pub(super) struct Sending {
    pub(super) shared: Arc<Shared>,
    pub(super) to: MemberId,
    pub(super) urls: Arc<[String]>,
    pub(super) checkpoint: Checkpoint,
    pub(super) message: Bytes,
    pub(super) metrics: SnapshotMetrics,
    /// Cleared at the end. `None`: another snapshot is on its way, or the member is unknown.
    pub(super) busy: Option<Arc<AtomicBool>>,
}

/// How a stream ended early.
#[derive(Debug)]
enum Broken {
    /// Another one may go on.
    Again(String),
    /// Another one would end the same way.
    ForGood(String),
}

impl Sending {
    /// Sends it; the outcome is reported even of a task that is aborted before it runs.
    pub(super) fn run(self) -> impl Future<Output = ()> + Send {
        Outcome { ok: false, sending: self }.reach()
    }
    async fn send(&self) -> Result<(), String> {
        let (peer, index) = (self.to, self.checkpoint.applied.index);
        let (store, id) = (Arc::clone(&self.shared.store), self.checkpoint.id);
        let files = on_disk(move || store.checkpoint_files(id)).await?;
        let files: Arc<[CheckpointFile]> = files.into();
        info!(%peer, %index, bytes = source::totals(&files).bytes, "sending snapshot");
        let mut patience = Patience::default();
        loop {
            let mut there = None;
            let reason = match self.stream(&files, &mut there).await {
                Ok(()) => return Ok(()),
                Err(Broken::ForGood(reason)) => return Err(reason),
                Err(Broken::Again(reason)) => reason,
            };
            let Some(pause) = patience.pause(there) else { return Err(reason) };
            warn!(%peer, %index, reason, "snapshot broke off, it will go on");
            sleep(pause).await;
        }
    }

    /// One stream, from where the receiver has come; says how many bytes were there.
    async fn stream(
        &self,
        files: &Arc<[CheckpointFile]>,
        there: &mut Option<u64>,
    ) -> Result<(), Broken> {
        let mut client = PeerClient::new(self.connect().await?);
        let config = self.shared.config;
        let name = SnapshotName::new(config.member, config.boot, self.checkpoint);
        let question = SnapshotProgressRequest {
            handshake: Some(wire::handshake(config, self.to)),
            name: Some(name.to_proto()),
        };
        let answer = timeout(ANSWER_WITHIN, client.snapshot_progress(question)).await;
        let answer = answer.map_err(|_| Broken::Again("no answer in time".to_owned()))??;
        let answer = answer.into_inner();
        if answer.arrived {
            return Ok(());
        }
        let place = head::place_of_proto(answer.place).unwrap_or_default();
        // A place that this checkpoint does not have is none.
        let (from, bytes) = match source::bytes_before(files, place) {
            Some(bytes) => (place, bytes),
            None => (Place::default(), 0),
        };
        *there = Some(bytes);
        if bytes > 0 {
            let (peer, index) = (self.to, self.checkpoint.applied.index);
            info!(%peer, %index, bytes, "snapshot goes on where it broke off");
            self.metrics.resumed(self.to);
        }
        let (store, id) = (Arc::clone(&self.shared.store), self.checkpoint.id);
        let list = Arc::clone(files);
        let source = on_disk(move || Source::at(store, id, list, from)).await;
        let head = Head { name, totals: source::totals(files), from };
        self.stream_from(client, source.map_err(Broken::ForGood)?, head).await
    }

    async fn stream_from(
        &self,
        mut client: PeerClient<Channel>,
        source: Source,
        head: Head,
    ) -> Result<(), Broken> {
        let first = SnapshotChunk {
            handshake: Some(wire::handshake(self.shared.config, self.to)),
            head: Some(head.to_proto()),
            ..SnapshotChunk::default()
        };
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let call = client.snapshot(ReceiverStream::new(chunks));
        let feeding = self.feed(source, first, sender);
        pin!(call, feeding);
        let answer = select! {
            answer = &mut call => answer,
            fed = &mut feeding => {
                fed?;
                timeout(STALLED_AFTER, call).await.map_err(|_| stalled())?
            }
        };
        answer?;
        Ok(())
    }

    /// Reads and hands over chunk by chunk, no faster than this member may send.
    async fn feed(
        &self,
        mut source: Source,
        mut head: SnapshotChunk,
        sender: mpsc::Sender<SnapshotChunk>,
    ) -> Result<(), Broken> {
        let bytes = self.metrics.sent_bytes(self.to);
        loop {
            let (back, chunk) = on_disk(move || {
                let chunk = source.next()?;
                Ok((source, chunk))
            })
            .await
            .map_err(Broken::ForGood)?;
            source = back;
            let last = chunk.is_none();
            let mut chunk = chunk.unwrap_or_default();
            if last {
                chunk.raft = self.message.clone();
            }
            (chunk.handshake, chunk.head) = (head.handshake.take(), head.head.take());
            let len = chunk.data.len();
            self.shared.snapshot_rate.take(len).await;
            match timeout(STALLED_AFTER, sender.send(chunk)).await {
                Ok(Ok(())) => bytes.inc_by(u64::try_from(len).unwrap_or(u64::MAX)),
                // Nobody takes it any more, which the call explains.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(stalled()),
            };
            if last {
                return Ok(());
            }
        }
    }

    async fn connect(&self) -> Result<Channel, Broken> {
        let mut reason = "the member has no url".to_owned();
        for url in self.urls.iter() {
            match dial(url, &self.shared).await {
                Ok(channel) => return Ok(channel),
                Err(error) => reason = error,
            }
        }
        Err(Broken::Again(reason))
    }
}

fn stalled() -> Broken {
    Broken::Again(format!("nothing was taken for {} s", STALLED_AFTER.as_secs()))
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        let reason = chain(&status);
        // A receiver that refuses who we are, or does not know the call, will do so again.
        let refused = [Code::FailedPrecondition, Code::Unimplemented, Code::InvalidArgument];
        if refused.contains(&status.code()) { Self::ForGood(reason) } else { Self::Again(reason) }
    }
}

/// Reads on a thread that may wait for the disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, String> {
    match spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(fault)) => {
            error!(%fault, "checkpoint cannot be read");
            Err(fault.to_string())
        }
        Err(_) => Err("the checkpoint's reader ended".to_owned()),
    }
}

/// How often it is tried again.
#[derive(Debug, Default)]
struct Patience {
    streams: u32,
    /// Streams in a row before which no more had arrived than before the one before.
    vain: u32,
    most: u64,
}

impl Patience {
    /// The pause after a stream before which so many bytes were there, or which could not ask.
    /// `None`: enough.
    fn pause(&mut self, there: Option<u64>) -> Option<Duration> {
        self.streams += 1;
        match there {
            Some(bytes) if bytes > self.most => (self.most, self.vain) = (bytes, 0),
            Some(_) | None => self.vain += 1,
        }
        let again = self.streams < STREAMS_MAX && self.vain < VAIN_STREAMS_MAX;
        let doubled = PAUSE_MIN.saturating_mul(1_u32.checked_shl(self.vain).unwrap_or(u32::MAX));
        again.then(|| doubled.min(PAUSE_MAX))
    }
}

/// Reports and cleans up when it is dropped.
struct Outcome {
    ok: bool,
    sending: Sending,
}

impl Outcome {
    async fn reach(mut self) {
        let sending = &self.sending;
        let (peer, index) = (sending.to, sending.checkpoint.applied.index);
        if sending.busy.is_none() {
            warn!(%peer, %index, "no snapshot sent: another one is on its way, or the member is unknown");
            return;
        }
        let timer = sending.metrics.sending(peer);
        match sending.send().await {
            Ok(()) => {
                info!(%peer, %index, "snapshot sent");
                timer.arrived();
                self.ok = true;
            }
            Err(reason) => warn!(%peer, %index, reason, "snapshot not sent"),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as something arrives it goes on; when nothing does, pauses grow, and it ends.
    #[test]
    fn patience_lasts_as_long_as_something_arrives() {
        let mut patience = Patience::default();
        for bytes in 1..100 {
            assert_eq!(patience.pause(Some(bytes)), Some(PAUSE_MIN));
        }
        let rest: Vec<_> = std::iter::from_fn(|| patience.pause(None)).collect();
        assert_eq!(rest.len(), usize::try_from(VAIN_STREAMS_MAX - 1).unwrap());
        assert!(rest.is_sorted() && rest.last() == Some(&PAUSE_MAX), "{rest:?}");
    }

    /// A link on which it breaks again and again is given up.
    #[test]
    fn streams_are_bounded() {
        let mut patience = Patience::default();
        let pauses = (1..).take_while(|bytes| patience.pause(Some(*bytes)).is_some());
        assert_eq!(pauses.count(), usize::try_from(STREAMS_MAX - 1).unwrap());
    }
}
