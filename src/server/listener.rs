//! The accept loop: from a socket that listens to connections that are served.
//!
//! It survives whatever accepting a connection can fail with. Above its limit it refuses
//! connections instead of letting them wait, so that a client can try another member.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hyper::{Request, Response, body::Body, body::Incoming};
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    task::JoinSet,
    time::sleep,
};
use tower::{BoxError, Service};
use tracing::{debug, warn};

use super::{
    connection::{self, Profile},
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
    /// The next connection, and who opened it.
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// Serves a socket until the member refuses connections, and then the connections until they end.
pub(super) async fn serve<S, B>(
    socket: StdListener,
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
    serve_from(TcpListener::from_std(socket)?, shared, phases).await;
    Ok(())
}

pub(super) async fn serve_from<A, S, B>(mut source: A, shared: Arc<Shared<S>>, mut phases: Phases)
where
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
