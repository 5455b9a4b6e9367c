//! Fetching: history is read for those whom memory cannot serve, and laid where their streams find it.

use std::{sync::Arc, task::Waker};

use crate::{
    types::{
        Event, Revision,
        limits::{
            WATCH_CATCH_UP_BYTES_MAX, WATCH_HISTORY_BYTES_MAX, WATCH_KEY_VERSIONS_MAX,
            WATCH_PIECE_BYTES_MAX, WATCH_PIECE_REVISIONS_MAX,
        },
    },
    watch::{
        History, Hub, Limits, Read, ReadKeys,
        archive::{KeyWant, Piece, Want},
        key_piece::KeyPiece,
        recorded::{Batch, Recorded, payload_bytes},
    },
};

impl Hub {
    /// Reads the past of the keys that are wanted most, and a piece of the history that is, and wakes
    /// the streams that want them. True when more is wanted. After an error nothing is lost: it can
    /// be tried again.
    pub fn fetch<H: History>(&self, history: &H) -> Result<bool, H::Error> {
        let mut wakers = Vec::new();
        let read_keys = match self.archive().next_keys() {
            Some(want) => self.read_keys(want, history, &mut wakers),
            None => Ok(()),
        };
        let read = match self.archive().next(&mut wakers) {
            Some((want, others)) => self.read(want, others, history, &mut wakers),
            None => Ok(()),
        };
        wakers.into_iter().for_each(Waker::wake);
        read_keys.and(read).map(|()| self.archive().is_wanted())
    }

    fn read<H: History>(
        &self,
        want: Want,
        others: usize,
        history: &H,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), H::Error> {
        // Where many wait for different pieces, smaller ones: the shelf has room for all of them.
        let share = WATCH_HISTORY_BYTES_MAX / (8 * (others + 1));
        let bytes = want.bytes.min(share.max(WATCH_CATCH_UP_BYTES_MAX));
        let limits = Limits { revisions: WATCH_PIECE_REVISIONS_MAX, bytes };
        let board = self.board();
        let matched = board.matched();
        let recent = board.since(want.from);
        let recent = recent.map(|(first, batches)| (first, within(limits, batches)));
        drop(board);
        if let Some((first, batches)) = recent {
            let len = i64::try_from(batches.len()).expect("pieces are bounded");
            let piece = Piece::new(want.from, Revision(first.0 - 1 + len), batches);
            self.archive().answer(&want, Some(piece), wakers);
            return Ok(());
        }
        // Compaction may drop history from under a reader. So what was read, or that it failed,
        // counts only if no compaction was told of since before the store was asked.
        let compacted = self.compacted_revision();
        let read = (compacted <= want.from && want.from <= matched)
            .then(|| history.read(want.from, matched, limits));
        let now = self.compacted_revision();
        match read {
            None => self.archive().answer(&want, None, wakers),
            Some(_) if want.from < now => self.archive().answer(&want, None, wakers),
            Some(_) if compacted != now => self.archive().put_back(want),
            Some(Err(error)) => {
                self.archive().put_back(want);
                return Err(error);
            }
            Some(Ok(Read::Compacted(revision))) => {
                self.compacted(revision);
                self.archive().answer(&want, None, wakers);
            }
            Some(Ok(Read::Piece { events, read_to })) => {
                let piece = Piece::new(want.from, read_to, by_revision(events));
                self.archive().answer(&want, Some(piece), wakers);
            }
        }
        Ok(())
    }

    fn read_keys<H: History>(
        &self,
        mut want: KeyWant,
        history: &H,
        wakers: &mut Vec<Waker>,
    ) -> Result<(), H::Error> {
        let matched = self.board().matched();
        let limits = Limits { revisions: WATCH_KEY_VERSIONS_MAX, bytes: WATCH_PIECE_BYTES_MAX };
        // As in `read`. Whose past is gone is left out, and finds out.
        let compacted = self.compacted_revision();
        want.keys.retain(|(_, from)| compacted <= *from && *from <= matched);
        let read = history.read_keys(&want.keys, matched, want.prev_kv, limits);
        if self.compacted_revision() != compacted {
            self.archive().put_back_keys(want);
            return Ok(());
        }
        match read {
            Ok(ReadKeys::Keys { keys, read_to }) => {
                let wanted = std::mem::take(&mut want.keys);
                let piece = KeyPiece::new(wanted, keys, read_to, want.prev_kv);
                self.archive().answer_keys(&want, piece, wakers);
                Ok(())
            }
            Ok(ReadKeys::Compacted(revision)) => {
                self.compacted(revision);
                self.archive().put_back_keys(want);
                Ok(())
            }
            Err(error) => {
                self.archive().put_back_keys(want);
                Err(error)
            }
        }
    }
}

/// The first of these revisions within the limits, at least one.
fn within<'a>(limits: Limits, batches: impl Iterator<Item = &'a Batch>) -> Vec<Batch> {
    let mut bytes = 0;
    let fits = batches.take(limits.revisions).enumerate().take_while(|(at, batch)| {
        bytes += batch.iter().map(|recorded| payload_bytes(recorded.event())).sum::<usize>();
        *at == 0 || bytes <= limits.bytes
    });
    fits.map(|(_, batch)| Arc::clone(batch)).collect()
}

/// Events of several revisions, in order, by revision.
fn by_revision(events: Vec<Event>) -> Vec<Batch> {
    let mut batches: Vec<Vec<Recorded>> = Vec::new();
    for event in events {
        let recorded = Recorded::new(event);
        match batches.last_mut() {
            Some(last) if last.first().is_some_and(|e| e.revision() == recorded.revision()) => {
                last.push(recorded);
            }
            Some(_) | None => batches.push(vec![recorded]),
        }
    }
    batches.into_iter().map(Batch::from).collect()
}
