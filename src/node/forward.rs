//! Requests on their way from a follower to its leader.
//!
//! A forward names the term in which the receiver must lead. It is sent again while unanswered; the
//! leader remembers its answers for the term, so a repeated forward is never proposed twice.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    node::{ports::Frame, task::Proposed},
    raft::ConfigChange,
    types::{BootNumber, MemberId, Millis, Term},
};

/// Forwards without an answer; further requests wait and go together.
const UNANSWERED_MAX: usize = 2;
/// After this time an unanswered forward is sent again.
const RESEND: Millis = Millis(300);
/// Answers remembered for each member: more than it can still ask about.
const REMEMBERED_MAX: usize = 256;
/// How many younger forwards may overtake one without an answer.
const OVERTAKING_MAX: u64 = 128;

/// The follower's side.
#[derive(Debug)]
pub(super) struct Forwards {
    last_ticket: u64,
    unanswered: BTreeMap<u64, Sent>,
    under: Option<(Term, MemberId)>,
    held_until_tick: bool,
}

#[derive(Debug)]
struct Sent {
    sequences: Vec<u64>,
    group: Bytes,
    sent: Millis,
}

impl Forwards {
    /// Tickets of every start of a member are larger than those of the starts before it.
    pub(super) fn new(boot: BootNumber) -> Self {
        Self {
            last_ticket: boot.0 << 40,
            unanswered: BTreeMap::new(),
            under: None,
            held_until_tick: false,
        }
    }

    /// Tells the term and who else leads in it. Forwards of terms before are given up: what became
    /// of them shows when an entry of the new term is applied. A leader that is lost sight of may
    /// come back in the same term, so what was sent to it is kept until the term ends.
    pub(super) fn follow(&mut self, term: Term, leader: Option<MemberId>) {
        if self.under.is_some_and(|(known, _)| known != term) {
            self.under = None;
            self.unanswered.clear();
            self.held_until_tick = false;
        }
        if let Some(leader) = leader {
            self.under = Some((term, leader));
        }
    }

    /// The term to forward in, if a forward may leave now.
    ///
    /// One that got lost is not overtaken by more than the leader remembers, or the leader would take
    /// its repetition for a late copy.
    pub(super) fn open_term(&self) -> Option<Term> {
        let oldest =
            self.unanswered.first_key_value().map_or(self.last_ticket, |(ticket, _)| *ticket);
        let remembered = self.last_ticket.saturating_sub(oldest) < OVERTAKING_MAX;
        let free = self.unanswered.len() < UNANSWERED_MAX && !self.held_until_tick && remembered;
        self.under.filter(|_| free).map(|(term, _)| term)
    }

    /// Sends a group of requests.
    pub(super) fn send(
        &mut self,
        sequences: Vec<u64>,
        group: Bytes,
        now: Millis,
    ) -> Option<(MemberId, Frame)> {
        let (term, leader) = self.under?;
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.unanswered.insert(ticket, Sent { sequences, group: group.clone(), sent: now });
        Some((leader, Frame::Forward { ticket, term, group }))
    }

    /// Takes an answer in; returns the requests that were refused.
    pub(super) fn answered(&mut self, ticket: u64, accepted: bool) -> Vec<u64> {
        match self.unanswered.remove(&ticket) {
            Some(sent) if !accepted => {
                self.held_until_tick = true;
                sent.sequences
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// Lets a tick pass: what has waited long for an answer is sent again.
    pub(super) fn tick(&mut self, now: Millis) -> Vec<(MemberId, Frame)> {
        self.held_until_tick = false;
        let Some((term, leader)) = self.under else { return Vec::new() };
        let mut again = Vec::new();
        for (ticket, sent) in &mut self.unanswered {
            if now.since(sent.sent) >= RESEND {
                sent.sent = now;
                let group = sent.group.clone();
                again.push((leader, Frame::Forward { ticket: *ticket, term, group }));
            }
        }
        again
    }
}

/// The leader's side: forwards that wait to be proposed, and what was answered in this term.
#[derive(Debug, Default)]
pub(super) struct Forwarded {
    term: Term,
    waiting: VecDeque<Forward>,
    remembered: BTreeMap<MemberId, Remembered>,
}

/// A group of another member's requests.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    /// Whose.
    pub(super) from: MemberId,
    /// Named in the answer.
    pub(super) ticket: u64,
    /// The encoded group.
    pub(super) group: Bytes,
    /// What its only request changes of the configuration, if it does.
    pub(super) change: Option<ConfigChange>,
}

/// What is remembered of one member's forwards in this term.
#[derive(Debug, Default)]
struct Remembered {
    answers: BTreeMap<u64, Option<Proposed>>,
    /// Tickets up to this one are forgotten: whatever still comes under them is a late copy.
    forgotten_to: u64,
}

impl Forwarded {
    /// Takes a forward in; returns the answer when there is one already.
    pub(super) fn receive(&mut self, forward: Forward, term: Term) -> Option<Proposed> {
        self.keep_term(term);
        let Forward { from, ticket, .. } = forward;
        let remembered = self.remembered.entry(from).or_default();
        if let Some(answer) = remembered.answers.get(&ticket) {
            return *answer;
        }
        if ticket <= remembered.forgotten_to {
            return None;
        }
        remembered.answers.insert(ticket, None);
        while remembered.answers.len() > REMEMBERED_MAX {
            if let Some((forgotten, _)) = remembered.answers.pop_first() {
                remembered.forgotten_to = forgotten;
            }
        }
        self.waiting.push_back(forward);
        None
    }

    /// Drops what waits from another term: it may be proposed in its own term only.
    pub(super) fn keep_term(&mut self, term: Term) {
        if self.term != term {
            *self = Self { term, ..Self::default() };
        }
    }

    /// The forwards that wait, oldest first, up to `bytes_max` (but at least one), and up to one that
    /// changes the configuration.
    pub(super) fn take(&mut self, bytes_max: usize) -> Vec<Forward> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front().filter(|next| next.change.is_none()) {
            if !taken.is_empty() && bytes + next.group.len() > bytes_max {
                break;
            }
            bytes += next.group.len();
            taken.extend(self.waiting.pop_front());
        }
        taken
    }

    /// The oldest forward, if it changes the configuration.
    pub(super) fn take_change(&mut self) -> Option<(Forward, ConfigChange)> {
        let change = self.waiting.front()?.change?;
        Some((self.waiting.pop_front()?, change))
    }

    /// Remembers what became of a forward and makes the answer to it.
    pub(super) fn answer(
        &mut self,
        from: MemberId,
        ticket: u64,
        proposed: Proposed,
    ) -> (MemberId, Frame) {
        let remembered = self.remembered.get_mut(&from);
        if let Some(answer) = remembered.and_then(|all| all.answers.get_mut(&ticket)) {
            *answer = Some(proposed);
        }
        (from, answer_frame(ticket, proposed))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// The frame that tells what became of a forward.
pub(super) fn answer_frame(ticket: u64, proposed: Proposed) -> Frame {
    Frame::ForwardAnswer { ticket, accepted: proposed == Proposed::Accepted }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEADER: MemberId = MemberId(1);
    const FOLLOWER: MemberId = MemberId(2);

    /// A forward that is sent again gets the first answer again, and is not proposed twice.
    #[test]
    fn a_repeated_forward_is_proposed_once() {
        let mut forwarded = Forwarded::default();
        let group = Bytes::from_static(b"group");
        let forward = Forward { from: FOLLOWER, ticket: 7, group, change: None };
        assert_eq!(forwarded.receive(forward.clone(), Term(2)), None);
        assert_eq!(forwarded.receive(forward.clone(), Term(2)), None);
        assert_eq!(forwarded.take(1024).len(), 1);
        forwarded.answer(FOLLOWER, 7, Proposed::Accepted);
        assert_eq!(forwarded.receive(forward, Term(2)), Some(Proposed::Accepted));
        assert!(forwarded.is_empty());
    }

    /// Refused requests come back, and wait for a tick before they are tried again.
    #[test]
    fn refused_requests_come_back() {
        let mut forwards = Forwards::new(BootNumber(1));
        forwards.follow(Term(2), Some(LEADER));
        let frame = forwards.send(vec![1, 2], Bytes::from_static(b"group"), Millis(0)).unwrap().1;
        let Frame::Forward { ticket, .. } = frame else { panic!("{frame:?}") };
        assert_eq!(forwards.answered(ticket, false), [1, 2]);
        assert_eq!(forwards.open_term(), None);
        forwards.tick(Millis(100));
        assert_eq!(forwards.open_term(), Some(Term(2)));
    }

    /// An unanswered forward is sent again under the same ticket, until the leader changes.
    #[test]
    fn an_unanswered_forward_is_sent_again() {
        let mut forwards = Forwards::new(BootNumber(1));
        forwards.follow(Term(2), Some(LEADER));
        let first = forwards.send(vec![1], Bytes::from_static(b"group"), Millis(0)).unwrap();
        assert_eq!(forwards.tick(RESEND), std::slice::from_ref(&first));
        forwards.follow(Term(2), None);
        assert_eq!(forwards.tick(RESEND + RESEND), [first]);
        forwards.follow(Term(3), Some(LEADER));
        assert_eq!(forwards.tick(RESEND + RESEND + RESEND), []);
    }
}
