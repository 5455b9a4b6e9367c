//! The connection of a client that spends as little as it can: what all calls on it send at about the
//! same time leaves in one system call. One that was lost is made again by whoever needs it next.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use hyper::{
    Method, Request, Uri, Version,
    header::{self, HeaderValue},
    http::uri::{Parts, PathAndQuery, Scheme},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp::OwnedReadHalf},
    sync::Mutex,
    time::timeout,
};

use crate::{
    cli::client::CONNECT_TIMEOUT,
    server::gather::{Gather, Sender, gather},
};

/// So much may be on its way to us, of one answer and of all answers on a connection.
const STREAM_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// A connection to one endpoint, whichever it is at the time.
pub(super) struct Line {
    endpoint: Uri,
    current: Mutex<Option<SendRequest<Bytes>>>,
}

impl Line {
    pub(super) fn to(endpoint: &Uri) -> Self {
        Self { endpoint: endpoint.clone(), current: Mutex::new(None) }
    }

    /// The head of a call of this method.
    pub(super) fn head(&self, method: &'static str) -> Request<()> {
        let mut uri = Parts::default();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = self.endpoint.authority().cloned();
        uri.path_and_query = Some(PathAndQuery::from_static(method));
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.version_mut() = Version::HTTP_2;
        *head.uri_mut() = Uri::from_parts(uri).expect("an endpoint has a host");
        head.headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        head.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        head
    }

    /// The connection that stands; another, if it was lost.
    pub(super) async fn requests(&self) -> io::Result<SendRequest<Bytes>> {
        let mut current = self.current.lock().await;
        if let Some(requests) = current.take()
            && let Ok(requests) = requests.ready().await
        {
            return Ok(current.insert(requests).clone());
        }
        let requests = timeout(CONNECT_TIMEOUT, self.open()).await??;
        Ok(current.insert(requests).clone())
    }

    async fn open(&self) -> io::Result<SendRequest<Bytes>> {
        let host = self.endpoint.host().unwrap_or_default();
        let port = self.endpoint.port_u16().unwrap_or(80);
        let stream = TcpStream::connect(format!("{host}:{port}")).await?;
        stream.set_nodelay(true)?;
        let (receiving, sending) = stream.into_split();
        let (gather, sender) = gather(sending);
        let (requests, connection) = Builder::new()
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .handshake(Socket { receiving, gather })
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(drive(connection, sender));
        Ok(requests)
    }
}

/// Receives and sends until the connection is lost, or nobody needs it any more.
async fn drive(mut connection: Connection<Socket, Bytes>, sender: Sender) {
    poll_fn(|context| {
        if Pin::new(&mut connection).poll(context).is_ready() {
            return Poll::Ready(());
        }
        sender.poll_send(context).map(drop)
    })
    .await;
}

/// A socket whose small writes leave together.
struct Socket {
    receiving: OwnedReadHalf,
    gather: Gather,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.receiving).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.gather).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.gather).poll_write_vectored(context, parts)
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
