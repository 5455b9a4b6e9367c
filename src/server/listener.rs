//! The accept loop: from a socket that listens to connections that are served.
//!
//! It survives whatever accepting a connection can fail with. Above its limit it refuses
//! connections instead of letting them wait, so that a client can try another member.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Request, Response, body::Body, body::Incoming};
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    select,
    task::JoinSet,
    time::sleep,
};
use tower::{BoxError, Service};
use tracing::{debug, warn};

use super::{
    bind::{Listening, SocketFile},
    connection::{self, Profile},
    door::{Door, Remote, Socket},
    phase::{Phase, Phases},
};
use crate::telemetry::ListenerMetrics;

/// How long to wait when the system has no file or memory for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What listeners of one kind share.
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) profile: Profile,
    pub(super) metrics: ListenerMetrics,
    pub(super) protocols: auto::Builder<TokioExecutor>,
}

impl<S> Shared<S> {
    pub(super) fn new(service: S, profile: Profile, metrics: ListenerMetrics) -> Arc<Self> {
        let protocols = profile.protocols();
        Arc::new(Self { service, profile, metrics, protocols })
    }
}

/// Where connections come from.
pub(super) trait Accept: Send {
    /// A connection.
    type Stream: Socket;

    /// The next connection, and who opened it.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, Remote)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Remote)> {
        let (stream, address) = Self::accept(self).await?;
        Ok((stream, Remote::Address(address)))
    }
}

/// A unix socket that listens. Its file goes with it.
struct SocketListener {
    listener: UnixListener,
    _file: SocketFile,
}

impl Accept for SocketListener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Remote)> {
        let (stream, _) = self.listener.accept().await?;
        Ok((stream, Remote::Local))
    }
}

/// Serves a socket until the member refuses connections, and then the connections until they end.
pub(super) async fn serve<S, B>(
    socket: Listening,
    door: Door,
    shared: Arc<Shared<S>>,
    phases: Phases,
) -> io::Result<()>
where
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
    match socket {
        Listening::Tcp(socket) => {
            serve_from(TcpListener::from_std(socket)?, door, shared, phases).await;
        }
        Listening::Unix(socket, file) => {
            let socket = SocketListener { listener: UnixListener::from_std(socket)?, _file: file };
            serve_from(socket, door, shared, phases).await;
        }
    }
    Ok(())
}

pub(super) async fn serve_from<A, S, B>(
    mut source: A,
    door: Door,
    shared: Arc<Shared<S>>,
    mut phases: Phases,
) where
    A: Accept,
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
    let door = Arc::new(door);
    let mut connections = JoinSet::new();
    let mut failing = false;
    loop {
        let accepted = select! {
            () = phases.reached(Phase::Refusing) => break,
            // Those that ended make room; one that panicked was logged by the panic hook.
            Some(_) = connections.join_next() => continue,
            accepted = source.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                failing = false;
                if connections.len() >= shared.profile.connections_max {
                    shared.metrics.refused.inc();
                    debug!(%remote, "connection refused: there are too many");
                    continue;
                }
                connections.spawn(connection::serve(
                    stream,
                    remote,
                    Arc::clone(&door),
                    Arc::clone(&shared),
                    phases.clone(),
                ));
            }
            // The connection was gone before it was accepted, which says nothing about the next.
            Err(error) if is_of_connection(&error) => debug!(%error, "connection lost early"),
            Err(error) => {
                if !failing {
                    warn!(listener = shared.profile.name, %error, "connections cannot be accepted");
                }
                failing = true;
                select! {
                    () = sleep(ACCEPT_PAUSE) => {}
                    () = phases.reached(Phase::Refusing) => break,
                }
            }
        }
    }
    // From here on the address is free.
    drop(source);
    while connections.join_next().await.is_some() {}
}

fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
