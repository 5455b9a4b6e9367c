//! Snapshots: the whole state of this member as a stream, for whoever keeps it in a file.
//!
//! The state of one moment is read twice, on a thread that may wait: to learn how much there is, and
//! to send it. Nothing of it is kept in memory, writes go on meanwhile, and their processors are left
//! to them in between. Whoever stops reading, or goes away, ends it, and nothing is left on disk.

use std::{ops::ControlFlow, sync::Arc, thread, time::Duration};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{
    runtime::Handle as RuntimeHandle,
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    api::{status, version},
    backup,
    node::{Error, Handle, ports::OwnedView},
    proto::etcdserverpb::SnapshotResponse,
    telemetry::Metrics,
    types::{Fault, limits},
};

/// Pieces that wait for the connection.
const PIECES_WAITING_MAX: usize = 4;
/// Bytes of records between two looks at the clock and at the client, and what a record counts
/// beside its bytes.
const BYTES_BETWEEN_LOOKS: usize = 64 * 1024;
const RECORD_BYTES: usize = 64;
/// How long is worked at a time, and how long rested then: requests share the processor with it.
const WORK: Duration = Duration::from_millis(2);
const REST: Duration = Duration::from_millis(1);

/// The snapshots that are under way.
#[derive(Clone, Debug)]
pub(super) struct Snapshots {
    node: Handle,
    places: Arc<Semaphore>,
    figures: Figures,
}

/// What became of them.
#[derive(Clone, Debug)]
struct Figures {
    sent_bytes: Counter,
}

/// The messages of one.
pub(super) type Pieces = ReceiverStream<Result<SnapshotResponse, Status>>;

impl Snapshots {
    pub(super) fn new(node: Handle, metrics: &Metrics) -> Self {
        let figures = Figures::new();
        metrics.register(|registry| figures.register(registry));
        Self { node, places: Arc::new(Semaphore::new(limits::SNAPSHOTS_MAX)), figures }
    }

    /// Begins to send one, once there is a place for it.
    pub(super) async fn send(&self) -> Result<Pieces, Status> {
        if self.node.is_fenced() {
            return Err(status::of_node(Error::Fenced)); // what it holds is older than what it served
        }
        let wait = Duration::from_millis(self.node.settings().request_timeout().0);
        let place = timeout(wait, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| status::of_node(Error::TooManyRequests))?
            .expect("nobody closes the places");
        let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
        let (node, figures) = (self.node.clone(), self.figures.clone());
        let runtime = RuntimeHandle::current();
        spawn_blocking(move || {
            let begun = Instant::now();
            let stall = Duration::from_millis(limits::SNAPSHOT_STALL_MAX.0);
            let client = Client { sender, runtime, figures, stall };
            let mut sending = Sending { client, passed: 0, since: begun };
            if let Err(error) = sending.run(&node) {
                sending.client.refuse(status::of_node(error));
            }
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            node.figures().checkpoints.observe(took);
            drop(place);
        });
        Ok(ReceiverStream::new(pieces))
    }
}

impl Figures {
    fn new() -> Self {
        Self { sent_bytes: Counter::default() }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "quorate_backup_sent_bytes",
            "Bytes of snapshots sent to clients",
            self.sent_bytes.clone(),
        );
    }
}

/// Who is sent a snapshot.
struct Client {
    sender: mpsc::Sender<Result<SnapshotResponse, Status>>,
    runtime: RuntimeHandle,
    figures: Figures,
    /// For so long it may take nothing.
    stall: Duration,
}

impl Client {
    /// Hands a message over, once there is room for it. A client that takes nothing for long has no
    /// use for it any more.
    fn take(&self, message: Result<SnapshotResponse, Status>) -> ControlFlow<()> {
        let bytes = message.as_ref().map_or(0, |message| message.blob.len() as u64);
        let sent = self.runtime.block_on(self.sender.send_timeout(message, self.stall));
        if sent.is_err() {
            return ControlFlow::Break(());
        }
        self.figures.sent_bytes.inc_by(bytes);
        ControlFlow::Continue(())
    }

    fn refuse(&self, status: Status) {
        let _ = self.take(Err(status));
    }
}

/// A snapshot on its way.
struct Sending {
    client: Client,
    /// Bytes of records since the last look at the clock.
    passed: usize,
    /// Since when is worked.
    since: Instant,
}

impl Sending {
    fn run(&mut self, node: &Handle) -> Result<(), Error> {
        let view = node.frozen_view()?;
        let origin = backup::Origin {
            cluster: node.cluster_id(),
            member: node.member_id(),
            version: version::STORAGE.to_owned(),
        };
        let measured = backup::measure(&*view, origin, &mut |bytes| self.between(bytes))?;
        let Some(head) = measured else { return Ok(()) };
        tracing::info!(
            revision = head.revision.0,
            keys = head.keys,
            bytes = head.file_bytes(),
            "sending a snapshot to a client"
        );
        let done = self.send(&view, &head)?;
        tracing::info!(done, "a snapshot to a client has ended");
        Ok(())
    }

    fn send(&mut self, view: &OwnedView, head: &backup::Head) -> Result<bool, Fault> {
        let this = std::cell::RefCell::new(self);
        let mut remaining = head.data_bytes();
        backup::write(&**view, head, &mut |bytes| this.borrow_mut().between(bytes), &mut |piece| {
            let mut this = this.borrow_mut();
            // The SHA-256 at the end counts for nothing.
            remaining = remaining.saturating_sub(piece.len() as u64);
            let flow = this.client.take(Ok(SnapshotResponse {
                header: None,
                remaining_bytes: remaining,
                blob: piece,
                version: version::STORAGE.to_owned(),
            }));
            this.since = Instant::now(); // to wait is to rest
            flow
        })
    }

    /// A record of so many bytes is next: looks whether its client is still there, and rests when it
    /// is time to.
    fn between(&mut self, bytes: usize) -> ControlFlow<()> {
        self.passed = self.passed.saturating_add(RECORD_BYTES).saturating_add(bytes);
        if self.passed < BYTES_BETWEEN_LOOKS {
            return ControlFlow::Continue(());
        }
        self.passed = 0;
        if self.client.sender.is_closed() {
            return ControlFlow::Break(());
        }
        if self.since.elapsed() >= WORK {
            thread::sleep(REST);
            self.since = Instant::now();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that takes nothing for too long is given up, and one that has left at once.
    #[tokio::test]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (sender, mut pieces) = mpsc::channel(1);
        let (runtime, figures) = (RuntimeHandle::current(), Figures::new());
        let mut client = Client { sender, runtime, figures, stall: Duration::from_millis(50) };
        let piece = || Ok(SnapshotResponse { blob: "abc".into(), ..SnapshotResponse::default() });
        let given_up = spawn_blocking(move || {
            let flows = [client.take(piece()), client.take(piece())];
            client.stall = Duration::from_secs(3_600);
            (flows, client)
        });
        let (flows, client) = given_up.await.unwrap();
        assert_eq!(flows, [ControlFlow::Continue(()), ControlFlow::Break(())]);
        assert_eq!(client.figures.sent_bytes.get(), 3);

        pieces.recv().await.unwrap().unwrap();
        drop(pieces);
        let left = spawn_blocking(move || client.take(piece())).await.unwrap();
        assert_eq!(left, ControlFlow::Break(()));
    }
}
