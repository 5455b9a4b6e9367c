//! [`Mailbox`]: how a stream hears that something is ready for its watchers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
};

use crate::{
    types::Revision,
    watch::{WatchId, key_piece::KeyPiece},
};

/// What a stream has to look at. Others put it in; the stream takes it out when it is polled.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Mail>);

/// A watcher, and the revision before which there was nothing for it while it was parked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) watcher: WatchId,
    pub(super) next: Revision,
}

/// What a stream has to look at.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// Watchers that were parked and may have something to come, from a revision on.
    pub(super) ready: Vec<Note>,
    /// History that the stream wants was read.
    pub(super) history: bool,
    /// The past of single keys that the stream wants was read, and lies here as long as there is
    /// room; what has gone again can be wanted again.
    pub(super) key_piece: Option<Weak<KeyPiece>>,
    /// The hub has come to the revision that the stream waits for.
    reached: bool,
    /// Whom to wake; nobody while the stream is awake.
    waker: Option<Waker>,
}

impl Mailbox {
    /// Says that a parked watcher may have something to come. The waker is to be woken when locks are
    /// free.
    pub(super) fn post(&self, note: Note) -> Option<Waker> {
        let mut mail = self.mail();
        mail.ready.push(note);
        mail.waker.take()
    }

    /// Says that history was read.
    pub(super) fn post_history(&self) -> Option<Waker> {
        let mut mail = self.mail();
        mail.history = true;
        mail.waker.take()
    }

    /// Says that the past of single keys was read.
    pub(super) fn post_key_piece(&self, piece: Weak<KeyPiece>) -> Option<Waker> {
        let mut mail = self.mail();
        mail.key_piece = Some(piece);
        mail.waker.take()
    }

    /// Says that the hub has come to the revision that the stream waits for.
    pub(super) fn post_reached(&self) -> Option<Waker> {
        let mut mail = self.mail();
        mail.reached = true;
        mail.waker.take()
    }

    /// Takes everything out, but not who is to be woken.
    pub(super) fn collect(&self) -> Mail {
        let mut mail = self.mail();
        let waker = mail.waker.take();
        std::mem::replace(&mut mail, Mail { waker, ..Mail::default() })
    }

    /// Asks to be woken by the next mail. Not when there is some already: then it is false.
    pub(super) fn rest(&self, waker: &Waker) -> bool {
        let mut mail = self.mail();
        let empty =
            mail.ready.is_empty() && !mail.history && mail.key_piece.is_none() && !mail.reached;
        if empty && !mail.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            mail.waker = Some(waker.clone());
        }
        empty
    }

    fn mail(&self) -> MutexGuard<'_, Mail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
