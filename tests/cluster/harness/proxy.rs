//! A proxy in front of a member's peer port, so that what others send it can be held up or cut.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use super::Port;

/// What becomes of the bytes that arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// They go on.
    Open,
    /// They wait, and nobody is told, as when a cable is pulled.
    Silent,
    /// Connections are closed, and new ones are not taken.
    Closed,
}

/// A proxy in front of one address. It ends when it is dropped, and its connections with it.
pub(crate) struct Proxy {
    port: Port,
    link: watch::Sender<Link>,
    task: AbortHandle,
}

impl Proxy {
    /// A proxy that carries everything to `upstream`.
    pub(crate) async fn before(upstream: String) -> Self {
        let port = Port::free();
        let listener = TcpListener::bind(port.authority()).await.unwrap();
        let (link, state) = watch::channel(Link::Open);
        let task = tokio::spawn(accept(listener, upstream, state)).abort_handle();
        Self { port, link, task }
    }

    /// Where to connect to.
    pub(crate) fn url(&self) -> String {
        self.port.url()
    }

    /// Says what becomes of the bytes from now on.
    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, upstream: String, link: watch::Receiver<Link>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((inbound, _)) = listener.accept().await else { continue };
        if *link.borrow() != Link::Closed {
            connections.spawn(carry(inbound, upstream.clone(), link.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Carries one connection until either side ends it.
async fn carry(inbound: TcpStream, upstream: String, link: watch::Receiver<Link>) {
    let Ok(outbound) = TcpStream::connect(upstream).await else { return };
    // Small frames are not to wait for each other here.
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let (from_client, to_client) = inbound.into_split();
    let (from_member, to_member) = outbound.into_split();
    tokio::select! {
        () = pump(from_client, to_member, link.clone()) => {}
        () = pump(from_member, to_client, link) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            changed = link.changed() => {
                if changed.is_err() || *link.borrow() == Link::Closed {
                    return;
                }
                continue;
            }
        };
        if read == 0 {
            return;
        }
        match link.wait_for(|link| *link != Link::Silent).await.map(|link| *link) {
            Ok(Link::Open) => {}
            Ok(Link::Silent | Link::Closed) | Err(_) => return,
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
