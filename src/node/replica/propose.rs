//! From waiting requests to entries: proposed here by a leader, forwarded by a follower.

use bytes::{Bytes, BytesMut};

use crate::{
    node::{
        forward::{Forward, answer_frame},
        membership::config_change_of,
        replica::Replica,
        task::Proposed,
    },
    raft::Role,
    state::codec,
    types::{MemberId, Millis, Term, limits},
};

/// Entries on their way to disk, and then also to commit, beyond which a leader's requests wait: those
/// that come meanwhile share the next entry, so groups grow with the load and nobody waits for a timer.
const ENTRIES_UNDER_WAY_MAX: usize = 2;

impl Replica {
    /// Hands the requests that wait over to the log, as far as it takes them now.
    pub(super) fn propose_waiting(&mut self, now: Millis) {
        match self.core.role() {
            Role::Leader => self.propose_as_leader(),
            Role::Follower => self.forward(now),
            Role::Candidate => {}
        }
    }

    pub(super) fn receive_forward(
        &mut self,
        from: MemberId,
        ticket: u64,
        term: Term,
        group: Bytes,
    ) {
        let leads = self.core.role() == Role::Leader && self.core.term() == term;
        if !leads || group.is_empty() {
            // No answer. This member led in that term and does so no more, perhaps because it started
            // anew, so it cannot know whether it accepted an earlier copy and the answer was lost. A
            // term without its leader ends, and then the log itself tells what became of the requests.
            return;
        }
        let decoded = codec::decode_group(group.clone()).ok();
        let change = decoded.and_then(|requests| config_change_of(&requests).ok());
        let Some(change) = change.filter(|_| group.len() <= limits::PEER_MESSAGE_BYTES_MAX) else {
            // In the log it would stop every member.
            tracing::warn!(peer = %from, "forwarded requests do not decode");
            return;
        };
        let forward = Forward { from, ticket, group, change };
        if let Some(answer) = self.forwarded.receive(forward, term) {
            self.output.sends.push((from, answer_frame(ticket, answer)));
        }
    }

    /// Lets go of requests whose callers left while they waited for a leader.
    pub(super) fn forget_abandoned(&mut self) {
        if self.queue.len() > limits::PENDING_PROPOSALS_MAX {
            self.shared.pending.keep_waiting(&mut self.queue);
        }
    }

    /// Puts requests back to the head of the queue; they were certainly not proposed.
    pub(super) fn requeue(&mut self, sequences: Vec<u64>) {
        self.shared.pending.take_back(&sequences);
        for sequence in sequences.into_iter().rev() {
            self.queue.push_front(sequence);
        }
    }

    /// An entry of `term` is applied here: what was handed over to older terms, and has no outcome
    /// by now, can never take effect. It is handed over again.
    pub(super) fn retry_lost(&mut self, term: Term) {
        let lost = self.shared.pending.take_back_older(term);
        if !lost.is_empty() {
            tracing::info!(%term, "{} requests are proposed again", lost.len());
        }
        for sequence in lost.into_iter().rev() {
            self.queue.push_front(sequence);
        }
    }

    fn propose_as_leader(&mut self) {
        // A new leader's log takes entries at once; they are committed behind its first one.
        while self.has_waiting() && self.takes_entries() {
            if !self.propose_change() && !self.propose_group() {
                return;
            }
            self.drain_ready();
        }
    }

    /// Whether the next entry may follow now. While one is on its way to disk, the next one also
    /// waits for commits: so it tells them to the others, and takes more requests along. It waits no
    /// longer than that sync, for members may be far away, and the disk is not to stand idle.
    fn takes_entries(&self) -> bool {
        let unsynced = self.writing.entries_unsynced();
        let uncommitted = self.core.last_index().0.saturating_sub(self.core.committed().0);
        unsynced == 0
            || (unsynced < ENTRIES_UNDER_WAY_MAX && uncommitted < ENTRIES_UNDER_WAY_MAX as u64)
    }

    fn has_waiting(&self) -> bool {
        !self.queue.is_empty() || !self.own.waiting().is_empty() || !self.forwarded.is_empty()
    }

    /// Proposes a change of the configuration, if one is next and none is pending.
    fn propose_change(&mut self) -> bool {
        if self.core.has_pending_change() {
            return false;
        }
        if let Some((Forward { from, ticket, group, .. }, change)) = self.forwarded.take_change() {
            let proposed = Proposed::of(self.core.propose_change(change, &group));
            let answer = self.forwarded.answer(from, ticket, proposed);
            self.output.sends.push(answer);
            return proposed == Proposed::Accepted;
        }
        let term = self.core.term();
        match self.shared.pending.hand_over_change(&mut self.queue, term) {
            None => false,
            Some((sequence, group, change)) => {
                let proposed = Proposed::of(self.core.propose_change(change, &group));
                if proposed == Proposed::Refused {
                    self.requeue(vec![sequence]);
                }
                proposed == Proposed::Accepted
            }
        }
    }

    /// Proposes one entry of what waits here and what was forwarded. A group of requests is a list,
    /// and lists of this encoding are joined by joining their bytes.
    fn propose_group(&mut self) -> bool {
        let term = self.core.term();
        let mut entry = BytesMut::from(&self.own.waiting()[..]);
        let room = limits::GROUP_BYTES_MAX.saturating_sub(entry.len());
        let forwarded = if room > 0 { self.forwarded.take(room / 2) } else { Vec::new() };
        forwarded.iter().for_each(|forward| entry.extend_from_slice(&forward.group));
        let room = limits::GROUP_BYTES_MAX.saturating_sub(entry.len());
        let (sequences, chunks) = if room > 0 {
            self.shared.pending.hand_over(&mut self.queue, term, room)
        } else {
            (Vec::new(), Vec::new())
        };
        chunks.iter().for_each(|chunk| entry.extend_from_slice(chunk));
        if entry.is_empty() {
            return false; // whoever waited has left
        }

        let proposed = Proposed::of(self.core.propose(entry.freeze()));
        let others = (!forwarded.is_empty() || !sequences.is_empty()).then_some(self.awake);
        for Forward { from, ticket, .. } in forwarded {
            let answer = self.forwarded.answer(from, ticket, proposed);
            self.output.sends.push(answer);
        }
        match proposed {
            Proposed::Accepted => self.own.proposed(self.core.last_index(), others),
            Proposed::Refused => self.requeue(sequences),
        }
        proposed == Proposed::Accepted
    }

    fn forward(&mut self, now: Millis) {
        while let (Some(term), false) = (self.forwards.open_term(), self.queue.is_empty()) {
            let bytes_max = limits::GROUP_BYTES_MAX / 2;
            let (sequences, group) =
                match self.shared.pending.hand_over_change(&mut self.queue, term) {
                    Some((sequence, group, _)) => (vec![sequence], group),
                    None => {
                        let (sequences, chunks) =
                            self.shared.pending.hand_over(&mut self.queue, term, bytes_max);
                        (sequences, chunks.concat().into())
                    }
                };
            if sequences.is_empty() {
                return;
            }
            let send = self.forwards.send(sequences, group, now);
            self.output.sends.extend(send);
        }
    }
}
