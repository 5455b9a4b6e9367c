//! The frames that wait for one member: a bounded queue with many writers and, at any time, one
//! stream that reads.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::Stream;

use crate::proto::internal::PeerFrame;

/// Frames that wait for one member.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<(PeerFrame, usize)>,
    bytes: usize,
    /// Counts the readers so far; only the newest one gets frames.
    reader: u64,
    /// To be woken when frames have come, while the reader waits for one. Kept under the same lock as
    /// the frames: a reader that is over must not take the place of the new one.
    waker: Option<Waker>,
    /// Whether frames were dropped since the queue last had room.
    overflowing: bool,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits.
    Queued,
    /// It was dropped because the queue is full, and it is the first one.
    Overflow,
    /// It was dropped like the one before it.
    StillFull,
}

impl Queue {
    pub(super) fn new(frames_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), frames_max, bytes_max })
    }

    /// Takes a frame of `len` bytes, or drops it. The reader hears of it when it is woken, so that
    /// frames which come together leave together.
    pub(super) fn push(&self, frame: PeerFrame, len: usize) -> Pushed {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(len);
        if waiting.frames.len() >= self.frames_max || bytes > self.bytes_max {
            let first = !std::mem::replace(&mut waiting.overflowing, true);
            return if first { Pushed::Overflow } else { Pushed::StillFull };
        }
        waiting.overflowing = false;
        waiting.bytes = bytes;
        waiting.frames.push_back((frame, len));
        Pushed::Queued
    }

    /// Wakes the reader if it waits for frames and there are any.
    pub(super) fn wake(&self) {
        let mut waiting = self.lock();
        let waker = if waiting.frames.is_empty() { None } else { waiting.waker.take() };
        drop(waiting);
        wake(waker);
    }

    /// Drops what waits: it was meant for a connection that is gone.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        waiting.frames.clear();
        waiting.bytes = 0;
    }

    /// A stream of `first` and then of the frames of the queue. The stream before it ends.
    pub(super) fn read(self: &Arc<Self>, first: PeerFrame) -> Frames {
        let mut waiting = self.lock();
        waiting.reader = waiting.reader.wrapping_add(1);
        let reader = waiting.reader;
        let waker = waiting.waker.take();
        drop(waiting);
        // The reader before, if it still waits, must see that it is over.
        wake(waker);
        Frames { queue: Arc::clone(self), first: Some(first), reader }
    }

    fn poll_take(&self, reader: u64, context: &Context<'_>) -> Poll<Option<PeerFrame>> {
        let mut waiting = self.lock();
        if waiting.reader != reader {
            return Poll::Ready(None);
        }
        match waiting.frames.pop_front() {
            Some((frame, len)) => {
                waiting.bytes = waiting.bytes.saturating_sub(len);
                Poll::Ready(Some(frame))
            }
            None => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Outside the lock, because a waker may run anything.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The frames of a queue as they come, as long as no other stream reads it.
#[derive(Debug)]
pub(super) struct Frames {
    queue: Arc<Queue>,
    first: Option<PeerFrame>,
    reader: u64,
}

impl Stream for Frames {
    type Item = PeerFrame;

    /// Whoever encodes this stream takes frames until none is ready, and flushes then: frames that
    /// wait together leave together.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PeerFrame>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.queue.poll_take(self.reader, context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use bytes::Bytes;
    use futures_util::{FutureExt, StreamExt};

    use super::*;
    use crate::proto::internal::peer_frame::Frame as Kind;

    fn frame(text: &'static str) -> PeerFrame {
        PeerFrame { frame: Some(Kind::Raft(Bytes::from_static(text.as_bytes()))) }
    }

    /// Beyond either bound frames are dropped, and the first drop is told apart.
    #[test]
    fn a_full_queue_drops() {
        let queue = Queue::new(2, 10);

        assert_eq!(queue.push(frame("a"), 10), Pushed::Queued);
        assert_eq!(queue.push(frame("b"), 1), Pushed::Overflow);
        assert_eq!(queue.push(frame("c"), 0), Pushed::Queued);
        assert_eq!(queue.push(frame("d"), 0), Pushed::Overflow);
        assert_eq!(queue.push(frame("e"), 0), Pushed::StillFull);

        let mut frames = queue.read(frame("hello"));
        let mut read = Vec::new();
        while let Some(next) = frames.next().now_or_never() {
            read.push(next.unwrap());
        }
        assert_eq!(read, [frame("hello"), frame("a"), frame("c")]);
        assert_eq!(queue.push(frame("f"), 10), Pushed::Queued);
    }

    /// The reader is woken when all frames that come together are there, and once.
    #[test]
    fn the_reader_is_woken_once() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let queue = Queue::new(8, 100);
        let mut frames = queue.read(frame("hello"));
        assert_eq!(frames.poll_next_unpin(&mut context), Poll::Ready(Some(frame("hello"))));
        assert_eq!(frames.poll_next_unpin(&mut context), Poll::Pending);

        queue.wake();
        queue.push(frame("a"), 1);
        queue.push(frame("b"), 1);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        queue.wake();
        queue.wake();

        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(frames.poll_next_unpin(&mut context), Poll::Ready(Some(frame("a"))));
        assert_eq!(frames.poll_next_unpin(&mut context), Poll::Ready(Some(frame("b"))));
    }

    /// A new reader takes over; what waited for the old connection can be cleared before.
    #[tokio::test]
    async fn a_new_reader_ends_the_old_one() {
        let queue = Queue::new(8, 100);
        let mut old = queue.read(frame("one"));
        assert_eq!(old.next().await, Some(frame("one")));
        let waits = tokio::spawn(async move { old.next().await });
        tokio::task::yield_now().await;

        let mut new = queue.read(frame("two"));
        assert_eq!(queue.push(frame("a"), 1), Pushed::Queued);

        assert_eq!(waits.await.unwrap(), None);
        assert_eq!(new.next().await, Some(frame("two")));
        assert_eq!(new.next().await, Some(frame("a")));
        queue.push(frame("b"), 1);
        queue.clear();
        assert_eq!(new.next().now_or_never(), None);
    }
}
