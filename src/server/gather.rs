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
pub(crate) struct Gather<W = OwnedWriteHalf>(Arc<Mutex<Gathered<W>>>);

/// The end that sends what was gathered. Whoever polls the connection polls it afterwards.
pub(crate) struct Sender<W = OwnedWriteHalf>(Arc<Mutex<Gathered<W>>>);

struct Gathered<W> {
    socket: W,
    bytes: Vec<u8>,
    /// So many of them were sent.
    sent: usize,
    /// Other tasks had their turn since the first of the bytes came.
    gave_way: bool,
    /// All bytes were taken by what encrypts them, which may hold some of them yet.
    flushing: bool,
}

/// Both ends of a socket's sending half.
pub(crate) fn gather<W>(socket: W) -> (Gather<W>, Sender<W>) {
    let gathered =
        Gathered { socket, bytes: Vec::new(), sent: 0, gave_way: false, flushing: false };
    let gathered = Arc::new(Mutex::new(gathered));
    (Gather(Arc::clone(&gathered)), Sender(gathered))
}

impl<W: AsyncWrite + Unpin> Sender<W> {
    /// Sends what was gathered, once others had their turn. Ready when the socket has failed.
    pub(crate) fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut gathered = lock(&self.0);
        if gathered.bytes.is_empty() && !gathered.flushing {
            return Poll::Pending;
        }
        if !gathered.gave_way && !gathered.bytes.is_empty() {
            gathered.gave_way = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut sent = gathered.poll_drain(context);
        if matches!(sent, Poll::Ready(Ok(()))) {
            sent = gathered.poll_flush(context);
        }
        match sent {
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends what is left of a connection that has ended.
    pub(crate) fn poll_finish(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = lock(&self.0);
        ready!(gathered.poll_drain(context))?;
        gathered.poll_flush(context)
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Gather<W> {
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
            gathered.flushing = true;
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

impl<W: AsyncWrite + Unpin> Gathered<W> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let sent = ready!(Pin::new(&mut self.socket).poll_write(context, rest))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.flushing |= self.sent > 0;
        // An idle connection holds no buffer.
        self.bytes = Vec::new();
        self.sent = 0;
        self.gave_way = false;
        Poll::Ready(Ok(()))
    }

    /// Nothing to do for a plain socket, which holds nothing.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        self.flushing = false;
        Poll::Ready(Ok(()))
    }
}

fn lock<W>(gathered: &Mutex<Gathered<W>>) -> MutexGuard<'_, Gathered<W>> {
    gathered.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Both ends of what is gathered, and the peer's socket.
    async fn connected() -> (Gather, Sender, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let (_, sending) = socket.into_split();
        let (gather, sender) = gather(sending);
        (gather, sender, peer)
    }

    fn gathered(gather: &Gather) -> usize {
        lock(&gather.0).bytes.len()
    }

    /// Small writes wait for each other until others had their turn, and then leave together.
    #[tokio::test]
    async fn small_writes_leave_together() {
        let (mut gather, sender, mut peer) = connected().await;
        for byte in 0..100 {
            gather.write_all(&[byte; 10]).await.unwrap();
            gather.flush().await.unwrap();
        }
        assert_eq!(gathered(&gather), 1_000);

        // The first poll gives way, and has itself called again.
        let mut polls = 0;
        poll_fn(|context| {
            polls += 1;
            assert!(sender.poll_send(context).is_pending());
            if gathered(&gather) == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;

        assert_eq!(polls, 2);
        let mut received = vec![0; 1_000];
        peer.read_exact(&mut received).await.unwrap();
        assert!(received.chunks(10).zip(0..).all(|(chunk, byte)| chunk == [byte; 10]));
    }

    /// A large write follows what was gathered before it, and the end follows everything.
    #[tokio::test]
    async fn large_writes_and_the_end_keep_the_order() {
        let (mut gather, _sender, mut peer) = connected().await;
        let reader = tokio::spawn(async move {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).await.map(|_| received)
        });

        let mut expected = Vec::new();
        for (byte, len) in [(1, 10), (2, LARGE_BYTES), (3, 10), (4, 3 * GATHERED_BYTES_MAX), (5, 7)]
        {
            let bytes = vec![byte; len];
            gather.write_all(&bytes).await.unwrap();
            expected.extend(bytes);
        }
        assert_eq!(gathered(&gather), 7);
        gather.shutdown().await.unwrap();

        assert!(reader.await.unwrap().unwrap() == expected);
    }

    /// A peer that does not read is heard of by the writer: what is gathered is bounded.
    #[tokio::test]
    async fn what_is_gathered_is_bounded() {
        let (mut gather, sender, _peer) = connected().await;
        let written = poll_fn(|context| {
            let mut written = 0;
            loop {
                let _ = sender.poll_send(context);
                match Pin::new(&mut gather).poll_write(context, &[7; 1_000]) {
                    Poll::Ready(len) => written += len.unwrap(),
                    Poll::Pending => return Poll::Ready(written),
                }
            }
        })
        .await;
        assert!(written >= GATHERED_BYTES_MAX - 1_000);
        assert!(gathered(&gather) <= GATHERED_BYTES_MAX);
    }

    /// What encrypts a connection: it holds what it takes until it is told to let it go, and lets it go
    /// at the second attempt.
    #[derive(Default)]
    struct Holding {
        held: Vec<u8>,
        sent: Vec<u8>,
        attempts: usize,
    }

    impl AsyncWrite for Holding {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.attempts += 1;
            if self.attempts.is_multiple_of(2) {
                let held = std::mem::take(&mut self.held);
                self.sent.extend(held);
                return Poll::Ready(Ok(()));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// What encrypts a connection is told to let go of what it was given, small or large, until it has.
    #[tokio::test]
    async fn nothing_is_held_back_by_what_encrypts() {
        let (mut gather, sender) = gather(Holding::default());
        for len in [10, LARGE_BYTES] {
            gather.write_all(&vec![7; len]).await.unwrap();
            poll_fn(|context| {
                assert!(sender.poll_send(context).is_pending());
                let gathered = lock(&gather.0);
                let is_idle = gathered.bytes.is_empty() && !gathered.flushing;
                if is_idle { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let mut gathered = lock(&gather.0);
            assert_eq!(std::mem::take(&mut gathered.socket.sent).len(), len);
        }
    }
}
