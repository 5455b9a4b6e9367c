//! One connection: HTTP/1.1 or HTTP/2, with limits, from its first byte to its orderly end.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response, body::Body, body::Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, split},
    pin, select,
    time::{sleep, timeout},
};
use tower::{BoxError, Service};
use tracing::debug;

use super::{
    call::{Caller, Traffic},
    door::{AnyRead, AnyWrite, Door, Entered, Remote, Socket},
    gather::{self, Gather},
    listener::Shared,
    phase::{Phase, Phases},
};
use crate::{
    config::Http,
    telemetry::{Counter, ListenerMetrics},
    types::limits,
};

/// Long enough for any network, and short enough that silent connections do not pile up.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// The bytes with which an HTTP/2 connection begins.
const HELLO_BYTES: u64 = 24;
/// A buffer that holds the largest headers of an HTTP/1.1 request.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// What is expected of the connections of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    /// What the listener is called in the log.
    pub(super) name: &'static str,
    /// What is served.
    pub(super) traffic: Traffic,
    pub(super) connections_max: usize,
    /// How long a new connection may take to say which protocol it speaks, and an HTTP/1.1 request
    /// to send its headers.
    pub(super) hello_within: Duration,
    /// Bytes that a client may send on one stream before we read them, and on all of them.
    pub(super) stream_window: u32,
    pub(super) connection_window: u32,
    /// Calls of one connection at once.
    pub(super) streams_max: u32,
    /// A connection that is silent is asked for a sign of life, which must come in time; `None`: it
    /// may be silent.
    pub(super) ping_every: Option<Duration>,
    pub(super) ping_timeout: Duration,
}

impl Profile {
    /// For clients. `open_files_max` is the process' limit: half of it is left to the engines.
    pub(super) fn clients(open_files_max: Option<u64>, settings: &Http) -> Self {
        let cap = limits::CLIENT_CONNECTIONS_MAX;
        let cap = open_files_max.map_or(cap, |files| cap.min(files / 2));
        Self {
            name: "client listener",
            traffic: Traffic::Both,
            connections_max: usize::try_from(cap).unwrap_or(usize::MAX),
            hello_within: HELLO_WITHIN,
            stream_window: 1024 * 1024,
            connection_window: 8 * 1024 * 1024,
            streams_max: settings.max_concurrent_streams,
            ping_every: settings.keepalive_interval,
            ping_timeout: settings.keepalive_timeout,
        }
    }

    /// For other members, which send large messages and are missed soon.
    pub(super) fn peers(election_timeout: Duration) -> Self {
        Self {
            name: "peer listener",
            traffic: Traffic::Both,
            connections_max: usize::try_from(limits::PEER_CONNECTIONS_MAX).unwrap_or(usize::MAX),
            hello_within: HELLO_WITHIN,
            stream_window: 8 * 1024 * 1024,
            connection_window: 16 * 1024 * 1024,
            streams_max: limits::STREAMS_PER_CONNECTION_MAX,
            ping_every: Some(election_timeout),
            ping_timeout: election_timeout * 2,
        }
    }

    /// Both versions of HTTP on one socket, with every limit set by us.
    pub(super) fn protocols(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.hello_within)
            .max_buf_size(HTTP1_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            // Answers of gRPC have none, and one for each would cost.
            .auto_date_header(false)
            .max_concurrent_streams(self.streams_max)
            .max_pending_accept_reset_streams(limits::RESET_STREAMS_MAX)
            .max_local_error_reset_streams(limits::RESET_STREAMS_MAX)
            .max_header_list_size(limits::HEADER_BYTES_MAX)
            .max_send_buf_size(limits::STREAM_SEND_BUFFER_BYTES)
            .initial_stream_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .keep_alive_interval(self.ping_every)
            .keep_alive_timeout(self.ping_timeout);
        builder
    }
}

/// Serves a connection until its end. In the last phase it takes no more requests, and it ends
/// when the running ones are answered.
pub(super) async fn serve<K, S, B>(
    stream: K,
    remote: Remote,
    door: Arc<Door>,
    shared: Arc<Shared<S>>,
    mut phases: Phases,
) where
    K: Socket,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + Unpin
        + 'static,
    S::Future: Send + Unpin,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let _open = Open::new(&shared.metrics);
    stream.send_at_once();
    if matches!(*door, Door::Plain) {
        let (receiving, sending) = stream.halves();
        return talk(receiving, sending, remote, false, shared, phases).await;
    }
    // On the heap, so that plain connections do not have to be as large.
    let entering = Box::pin(timeout(shared.profile.hello_within, door.enter(stream, remote)));
    let entered = select! {
        entered = entering => entered,
        () = phases.reached(Phase::Draining) => return,
    };
    match entered {
        Ok(Some(Entered::Plain(stream))) => {
            let (receiving, sending) = stream.halves();
            talk(receiving, sending, remote, false, shared, phases).await;
        }
        Ok(Some(Entered::Secured(stream))) => {
            let (receiving, sending): (AnyRead, AnyWrite) = split(stream);
            Box::pin(talk(receiving, sending, remote, true, shared, phases)).await;
        }
        Ok(None) => {}
        Err(_) => {
            door.timed_out();
            debug!(%remote, "connection closed: it did not shake hands in time");
        }
    }
}

/// Speaks HTTP until the end of a connection that was let in.
async fn talk<R, W, S, B>(
    receiving: R,
    sending: W,
    remote: Remote,
    is_encrypted: bool,
    shared: Arc<Shared<S>>,
    mut phases: Phases,
) where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + Unpin
        + 'static,
    S::Future: Send + Unpin,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let received = Arc::new(AtomicU64::new(0));
    let caller = Caller {
        service: shared.service.clone(),
        phases: phases.clone(),
        panics: shared.metrics.panics.clone(),
        traffic: shared.profile.traffic,
        remote: remote.address(),
        is_encrypted,
    };
    let (gather, sender) = gather::gather(sending);
    let stream = Metered {
        socket: receiving,
        gather,
        received: Arc::clone(&received),
        received_bytes: shared.metrics.received_bytes.clone(),
        sent_bytes: shared.metrics.sent_bytes.clone(),
    };
    let connection = shared.protocols.serve_connection(TokioIo::new(stream), caller);
    let hello = sleep(shared.profile.hello_within);
    pin!(connection, hello);

    let (mut greeted, mut draining) = (false, false);
    loop {
        select! {
            result = poll_fn(|context| poll_both(connection.as_mut(), &sender, context)) => {
                match result {
                    Ok(()) => {
                        // An end without a shutdown leaves what was written last.
                        let parting = poll_fn(|context| sender.poll_finish(context));
                        let _ = timeout(shared.profile.hello_within, parting).await;
                    }
                    Err(error) => debug!(%remote, error, "connection ended"),
                }
                return;
            }
            () = phases.reached(Phase::Draining), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut hello, if !greeted => {
                greeted = true;
                if received.load(Ordering::Relaxed) < HELLO_BYTES {
                    debug!(%remote, "connection closed: it said nothing in time");
                    return;
                }
            }
        }
    }
}

/// Polls a connection, and then sends what it has written.
fn poll_both<W: AsyncWrite + Unpin>(
    connection: Pin<&mut impl Future<Output = Result<(), BoxError>>>,
    sender: &gather::Sender<W>,
    context: &mut Context<'_>,
) -> Poll<Result<(), BoxError>> {
    match connection.poll(context) {
        Poll::Ready(result) => Poll::Ready(result),
        Poll::Pending => sender.poll_send(context).map(|error| Err(error.into())),
    }
}

/// Counts a connection while it lives.
struct Open {
    metrics: ListenerMetrics,
}

impl Open {
    fn new(metrics: &ListenerMetrics) -> Self {
        metrics.connections.inc();
        Self { metrics: metrics.clone() }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// A stream whose bytes are counted.
struct Metered<R, W> {
    socket: R,
    gather: Gather<W>,
    /// By this connection alone.
    received: Arc<AtomicU64>,
    received_bytes: Counter,
    sent_bytes: Counter,
}

impl<R: AsyncRead + Unpin, W: Unpin> AsyncRead for Metered<R, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.socket).poll_read(context, buffer);
        let read = to_u64(buffer.filled().len().saturating_sub(before));
        self.received.fetch_add(read, Ordering::Relaxed);
        self.received_bytes.inc_by(read);
        result
    }
}

impl<R, W> Metered<R, W> {
    fn sent(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(sent)) = &result {
            self.sent_bytes.inc_by(to_u64(*sent));
        }
        result
    }
}

impl<R: Unpin, W: AsyncWrite + Unpin> AsyncWrite for Metered<R, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.gather).poll_write(context, bytes);
        self.sent(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.gather).poll_write_vectored(context, parts);
        self.sent(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.gather.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.gather).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.gather).poll_shutdown(context)
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
