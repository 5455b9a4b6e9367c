//! Small writes of a connection leave together.
//!
//! HTTP/2 hands each frame to the socket by itself, and its streams are tasks of their own that wake
//! the connection one by one: told one by one, a hundred watchers on a connection cost a hundred
//! system calls for each event. So frames are gathered here. The connection gives way once to the
//! tasks that are ready to run, among which are the other streams, and then everything leaves in one
//! call. There is no timer: when nothing else is ready it leaves at once.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::{io::AsyncWrite, net::tcp::OwnedWriteHalf};

/// Bytes that are gathered before the socket must take some.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// A write as large as this does not wait for others, and is not copied.
const LARGE_BYTES: usize = 16 * 1024;

/// The end that is written to.
pub(super) struct Gather(Arc<Mutex<Gathered>>);

/// The end that sends what was gathered. Whoever polls the connection polls it afterwards.
pub(super) struct Sender(Arc<Mutex<Gathered>>);

struct Gathered {
    socket: OwnedWriteHalf,
    bytes: Vec<u8>,
    /// So many of them were sent.
    sent: usize,
    /// Other tasks had their turn since the first of the bytes came.
    gave_way: bool,
}

/// Both ends of a socket's sending half.
pub(super) fn gather(socket: OwnedWriteHalf) -> (Gather, Sender) {
    let gathered = Gathered { socket, bytes: Vec::new(), sent: 0, gave_way: false };
    let gathered = Arc::new(Mutex::new(gathered));
    (Gather(Arc::clone(&gathered)), Sender(gathered))
}

impl Sender {
    /// Sends what was gathered, once others had their turn. Ready when the socket has failed.
    pub(super) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut gathered = lock(&self.0);
        if gathered.bytes.is_empty() {
            return Poll::Pending;
        }
        if !gathered.gave_way {
            gathered.gave_way = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match gathered.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Gather {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = lock(&self.0);
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if len >= LARGE_BYTES || gathered.bytes.len() + len > GATHERED_BYTES_MAX {
            ready!(gathered.poll_drain(context))?;
        }
        if len >= LARGE_BYTES {
            return Pin::new(&mut gathered.socket).poll_write_vectored(context, parts);
        }
        parts.iter().for_each(|part| gathered.bytes.extend_from_slice(part));
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was gathered is sent by the other end.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = lock(&self.0);
        ready!(gathered.poll_drain(context))?;
        Pin::new(&mut gathered.socket).poll_shutdown(context)
    }
}

impl Gathered {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        // An idle connection holds no buffer.
        self.bytes = Vec::new();
        self.sent = 0;
        self.gave_way = false;
        Poll::Ready(Ok(()))
    }
}

fn lock(gathered: &Mutex<Gathered>) -> MutexGuard<'_, Gathered> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}
