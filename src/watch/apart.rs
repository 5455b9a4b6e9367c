//! [`Apart`]: the watchers of a stream that need the past of a single key, and no more of history.
//!
//! A stream asks for some of them at a time, and for no further ones before these have used what was
//! read: it lies in memory for a while only.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use bytes::Bytes;

use crate::{
    types::{Key, limits::WATCH_KEYS_WANTED_MAX},
    watch::{WatchId, Watchers, board::Board, key_piece::KeyPiece, watchers::State},
};

/// Who waits for the past of its key.
#[derive(Debug, Default)]
pub(super) struct Apart {
    waiting: BTreeSet<WatchId>,
    /// Those for whom it was asked last, without those who are done with it.
    asked: Vec<WatchId>,
    /// It is being read.
    is_wanted: bool,
    /// What was read last.
    piece: Weak<KeyPiece>,
}

impl Apart {
    pub(super) fn insert(&mut self, id: WatchId) {
        self.waiting.insert(id);
    }

    pub(super) fn forget(&mut self, id: WatchId) {
        self.waiting.remove(&id);
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What was read last, if it still is in memory.
    pub(super) fn piece(&self) -> Option<Arc<KeyPiece>> {
        self.piece.upgrade()
    }
}

impl Watchers {
    /// Wakes those for whom the past of their keys was asked. Some may not find it.
    pub(super) fn wake_apart(&mut self, piece: Weak<KeyPiece>) {
        self.apart.is_wanted = false;
        self.apart.piece = piece;
        for id in &self.apart.asked {
            if self.apart.waiting.remove(id)
                && let Some(watcher) = self.watchers.get_mut(*id)
            {
                watcher.state = State::Awake;
                self.awake.push_back(*id);
            }
        }
    }

    /// Asks for the past of the keys of some who wait for it, unless it was asked before.
    pub(super) fn want_key_piece(&mut self, board: &Board) {
        if self.apart.is_wanted || self.uses_key_piece() {
            return;
        }
        if self.apart.is_empty() {
            // An idle stream holds nothing.
            self.apart = Apart::default();
            return;
        }
        self.apart.asked = self.apart.waiting.iter().take(WATCH_KEYS_WANTED_MAX).copied().collect();
        let mut prev_kv = false;
        let key = |id: &WatchId| {
            let watcher = self.watchers.get(*id)?;
            prev_kv |= watcher.prev_kv;
            let (extent, _) = board.wants(watcher.seat.group)?;
            Some((Key::new(Bytes::copy_from_slice(extent.start))?, watcher.next))
        };
        let keys = self.apart.asked.iter().filter_map(key).collect();
        self.hub.archive().want_keys(keys, prev_kv, &self.mailbox);
        self.apart.is_wanted = true;
    }

    /// Whether somebody has yet to be served from what was read last.
    fn uses_key_piece(&mut self) -> bool {
        let Some(piece) = self.apart.piece() else { return false };
        while let Some(id) = self.apart.asked.last() {
            let watcher = self.watchers.get(*id).filter(|watcher| watcher.state == State::Awake);
            if watcher.is_some_and(|watcher| watcher.next <= piece.read_to()) {
                return true;
            }
            self.apart.asked.pop();
        }
        false
    }
}
