//! [`Bell`]: who was it that woke a stream?

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Wakes a stream, and remembers that it did: what lies behind a bell that was not rung need not be
/// looked at. A new one is rung.
#[derive(Debug)]
pub(super) struct Bell {
    rung: AtomicBool,
    stream: AtomicWaker,
}

impl Bell {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { rung: AtomicBool::new(true), stream: AtomicWaker::new() })
    }

    /// Whether it was rung since this was last asked. From now on it wakes `stream`.
    pub(super) fn hear(&self, stream: &Waker) -> bool {
        // In this order: a ring in between is heard at once, and a later one wakes.
        self.stream.register(stream);
        self.rung.swap(false, Ordering::SeqCst)
    }

    /// Lets it be heard once more. The stream is awake, and is not woken.
    pub(super) fn repeat(&self) {
        self.rung.store(true, Ordering::SeqCst);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.stream.wake();
    }
}
