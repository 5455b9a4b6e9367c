//! [`Archive`]: pieces of the past, shared by all watchers that need what memory no longer has for
//! them.
//!
//! Watchers that catch up need the same history at about the same time: those of a stream, and those
//! of all streams after a member was away. So a piece is read once, by one reader, and stays on a
//! shelf for a while. The watcher finds what concerns it through an index by key, so that ten
//! thousand watchers of single keys do not look through it ten thousand times.
//!
//! Watchers of single keys that are far behind get the past of their keys alone, in pieces for the
//! streams that wait at the time. Those lie on a shelf of their own, and go when it is full.

use std::{
    cell::Cell,
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

use tokio::sync::watch;

use crate::{
    types::{Key, Revision, limits::WATCH_KEYS_READ_MAX},
    watch::{
        Filter,
        index::Extent,
        key_piece::KeyPiece,
        mailbox::Mailbox,
        recorded::{Batch, Recorded},
    },
};

/// Events of a watcher in a piece that are put in order for it; where it wants more, it looks through
/// the piece as it lies.
const SORTED_MAX: usize = 256;

/// Pieces of history, and who waits for one.
#[derive(Debug)]
pub(super) struct Archive {
    shelf: Mutex<Shelf>,
    /// Rings when a stream wants history.
    bell: watch::Sender<u64>,
    /// Of the pieces on the shelf, and of those of single keys. The newest stays, whatever its size.
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The one used last is the last.
    pieces: VecDeque<Arc<Piece>>,
    bytes: usize,
    wants: VecDeque<Want>,
    /// The oldest is the first.
    key_pieces: VecDeque<(Arc<KeyPiece>, usize)>,
    key_bytes: usize,
    key_wants: VecDeque<KeyWant>,
}

/// History that a stream waits for.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) from: Revision,
    /// How much to read at once, in bytes.
    pub(super) bytes: usize,
    mailbox: Arc<Mailbox>,
}

/// The past of single keys that streams wait for.
#[derive(Clone, Debug)]
pub(super) struct KeyWant {
    /// Each from a revision on.
    pub(super) keys: Vec<(Key, Revision)>,
    /// Whether somebody asks for the pairs before.
    pub(super) prev_kv: bool,
    mailboxes: Vec<Arc<Mailbox>>,
}

/// Some revisions of the past, from and with `from`, up to and with `read_to`.
#[derive(Debug)]
pub(super) struct Piece {
    from: Revision,
    read_to: Revision,
    /// Revisions with events, in order.
    batches: Vec<Batch>,
    /// All events by key, then by their order: the batch, and the place in it.
    by_key: Vec<(u32, u32)>,
    bytes: usize,
}

impl Archive {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { shelf: Mutex::default(), bell: watch::Sender::new(0), bytes_max: bytes_max / 2 }
    }

    /// Rings when a stream wants history.
    pub(super) fn wants(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// The piece that begins at or before a revision and goes on to it or further.
    pub(super) fn piece(&self, next: Revision) -> Option<Arc<Piece>> {
        let mut shelf = self.shelf();
        let at = shelf.pieces.iter().rposition(|piece| piece.covers(next))?;
        let piece = shelf.pieces.remove(at)?;
        shelf.pieces.push_back(Arc::clone(&piece));
        Some(piece)
    }

    /// A stream needs history from a revision on. Its mailbox hears when it was read.
    pub(super) fn want(&self, from: Revision, bytes: usize, mailbox: &Arc<Mailbox>) {
        self.shelf().wants.push_back(Want { from, bytes, mailbox: Arc::clone(mailbox) });
        self.ring();
    }

    /// A stream needs the past of single keys. Its mailbox hears when some of it was read.
    pub(super) fn want_keys(
        &self,
        keys: Vec<(Key, Revision)>,
        prev_kv: bool,
        mailbox: &Arc<Mailbox>,
    ) {
        self.put_back_keys(KeyWant { keys, prev_kv, mailboxes: vec![Arc::clone(mailbox)] });
        self.ring();
    }

    /// What is to be read next, and how many others wait. Who wants what is on the shelf is told so,
    /// and who has gone is forgotten.
    pub(super) fn next(&self, wakers: &mut Vec<Waker>) -> Option<(Want, usize)> {
        let mut shelf = self.shelf();
        while let Some(want) = shelf.wants.pop_front() {
            if Arc::strong_count(&want.mailbox) == 1 {
                continue;
            }
            if !shelf.pieces.iter().any(|piece| piece.covers(want.from)) {
                return Some((want, shelf.wants.len()));
            }
            wakers.extend(want.mailbox.post_history());
        }
        None
    }

    /// Which keys are to be read next: in order, each once, those of several streams together.
    pub(super) fn next_keys(&self) -> Option<KeyWant> {
        let mut shelf = self.shelf();
        let mut all = KeyWant { keys: Vec::new(), prev_kv: false, mailboxes: Vec::new() };
        while let Some(want) = shelf.key_wants.pop_front() {
            if want.mailboxes.iter().all(|mailbox| Arc::strong_count(mailbox) == 1) {
                continue;
            }
            if !all.keys.is_empty() && all.keys.len() + want.keys.len() > WATCH_KEYS_READ_MAX {
                shelf.key_wants.push_front(want);
                break;
            }
            all.keys.extend(want.keys);
            all.prev_kv |= want.prev_kv;
            all.mailboxes.extend(want.mailboxes);
        }
        // The earliest revision is the first of a key.
        all.keys.sort();
        all.keys.dedup_by(|(later, _), (key, _)| later == key);
        // Also without a key, when the past of all is gone: who waits is to be told.
        (!all.mailboxes.is_empty()).then_some(all)
    }

    /// Whether somebody waits for history.
    pub(super) fn is_wanted(&self) -> bool {
        let shelf = self.shelf();
        !shelf.wants.is_empty() || !shelf.key_wants.is_empty()
    }

    /// What was wanted is here, or will never be: then its stream finds out why.
    pub(super) fn answer(&self, want: &Want, piece: Option<Piece>, wakers: &mut Vec<Waker>) {
        let mut shelf = self.shelf();
        if let Some(piece) = piece {
            shelf.bytes += piece.bytes;
            shelf.pieces.push_back(Arc::new(piece));
            while shelf.bytes > self.bytes_max && shelf.pieces.len() > 1 {
                let Some(oldest) = shelf.pieces.pop_front() else { break };
                shelf.bytes -= oldest.bytes;
            }
        }
        wakers.extend(want.mailbox.post_history());
    }

    /// What was wanted of single keys is here, as far as it could be read.
    pub(super) fn answer_keys(&self, want: &KeyWant, piece: KeyPiece, wakers: &mut Vec<Waker>) {
        let bytes = piece.bytes();
        let piece = Arc::new(piece);
        let answer = Arc::downgrade(&piece);
        let mut shelf = self.shelf();
        shelf.key_bytes += bytes;
        shelf.key_pieces.push_back((piece, bytes));
        while shelf.key_bytes > self.bytes_max && shelf.key_pieces.len() > 1 {
            let Some((_, oldest)) = shelf.key_pieces.pop_front() else { break };
            shelf.key_bytes -= oldest;
        }
        let posted = want.mailboxes.iter().filter_map(|to| to.post_key_piece(answer.clone()));
        wakers.extend(posted);
    }

    /// What was wanted of single keys could not be read now.
    pub(super) fn put_back_keys(&self, want: KeyWant) {
        self.shelf().key_wants.push_back(want);
    }

    /// What was wanted could not be read now.
    pub(super) fn put_back(&self, want: Want) {
        self.shelf().wants.push_back(want);
    }

    fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    /// A piece of these batches, each a revision with its events, in order.
    pub(super) fn new(from: Revision, read_to: Revision, batches: Vec<Batch>) -> Self {
        let bytes = batches.iter().flat_map(|batch| batch.iter()).map(Recorded::bytes).sum();
        let places = batches
            .iter()
            .zip(0_u32..)
            .flat_map(|(batch, number)| (0_u32..).take(batch.len()).map(move |at| (number, at)));
        let mut by_key: Vec<_> = places.collect();
        let mut piece = Self { from, read_to, batches, by_key: Vec::new(), bytes };
        by_key.sort_by(|a, b| piece.key(*a).cmp(piece.key(*b)));
        piece.by_key = by_key;
        piece
    }

    pub(super) fn covers(&self, next: Revision) -> bool {
        self.from <= next && next <= self.read_to
    }

    /// The last revision that was read to its end.
    pub(super) fn read_to(&self) -> Revision {
        self.read_to
    }

    /// What of it is in a range and passes a filter, from a revision on, in order. The events that
    /// are looked at are added to `looked`.
    pub(super) fn select<'a>(
        &'a self,
        extent: Extent<'a>,
        filter: Filter,
        from: Revision,
        looked: &'a Cell<usize>,
    ) -> impl Iterator<Item = &'a Recorded> {
        let start = self.by_key.partition_point(|at| extent.place(self.key(*at)).is_lt());
        let end = self.by_key.partition_point(|at| extent.place(self.key(*at)).is_le());
        let found = self.by_key.get(start..end).unwrap_or_default();
        let (few, all) = if found.len() <= SORTED_MAX {
            let mut few = found.to_vec();
            few.sort_unstable();
            (few, &[][..])
        } else {
            let first = self.batches.partition_point(|batch| {
                batch.first().is_none_or(|recorded| recorded.revision() < from)
            });
            (Vec::new(), self.batches.get(first..).unwrap_or_default())
        };
        let few = few.into_iter().filter_map(|at| self.event(at));
        let all = all.iter().flat_map(|batch| batch.iter());
        few.chain(all).inspect(|_| looked.set(looked.get() + 1)).filter(move |recorded| {
            from <= recorded.revision()
                && filter.passes(recorded.event())
                && extent.contains(recorded.event().key().as_bytes())
        })
    }

    fn event(&self, (batch, at): (u32, u32)) -> Option<&Recorded> {
        let batch = self.batches.get(usize::try_from(batch).ok()?)?;
        batch.get(usize::try_from(at).ok()?)
    }

    fn key(&self, at: (u32, u32)) -> &[u8] {
        self.event(at).map_or(&[], |recorded| recorded.event().key().as_bytes())
    }
}
