//! The fence at work: how this member becomes whole again, and what it does about others that lost
//! something. The rules are those of [`crate::node::fence`].

use crate::{
    node::{
        fence::{Fencing, Greeting, Incarnations, Return, Told},
        ports::Frame,
        replica::Replica,
        task::{Chore, Output},
    },
    types::{Fault, Incarnation, Index, MemberId, Term},
};

/// Ticks between two rounds of questions.
const ASK_EVERY_TICKS: u64 = 2;
/// Ticks between two lines in the log about what is still waited for.
const TELL_EVERY_TICKS: u64 = 100;

/// What a replica knows of lives, its own and others'.
#[derive(Debug, Default)]
pub(super) struct Fence {
    incarnation: Incarnation,
    start: u64,
    /// Set while this member is fenced.
    back: Option<Return>,
    others: Incarnations,
    /// Why this member must end, once it is written down that it is fenced.
    ending: Option<Fault>,
}

impl Replica {
    /// The same replica, in the life that its start found.
    #[must_use]
    pub fn with_fencing(mut self, fencing: &Fencing) -> Self {
        self.shared.set_fence_store(fencing.store());
        self.shared.set_fenced(fencing.fenced);
        self.core.set_fenced(fencing.fenced);
        self.fence = Fence {
            incarnation: fencing.incarnation,
            start: fencing.start,
            back: fencing.fenced.then(Return::default),
            ..Fence::default()
        };
        if fencing.fenced {
            tracing::warn!(
                incarnation = %fencing.incarnation,
                "this member is fenced: it lost part of what it had written; it votes and serves \
                 again when all other voters have answered and it has caught up"
            );
        }
        self.greet();
        self
    }

    /// Whether nothing is to be done any more but to end.
    pub(super) fn is_ending(&self) -> bool {
        self.fence.ending.is_some()
    }

    /// Whether consensus is not to be heard: before the highest term is taken over, an
    /// acknowledgement might rest on a term that this member had left.
    pub(super) fn is_deaf(&self) -> bool {
        self.fence.back.as_ref().is_some_and(|back| !back.adopted) || self.is_ending()
    }

    pub(super) fn is_fenced(&self) -> bool {
        self.fence.back.is_some()
    }

    /// What a round comes to when the member is about to end: it is written down, and nothing else.
    pub(super) fn last_round(&mut self) -> Output {
        let output = std::mem::take(&mut self.output);
        Output { chores: output.chores, fault: output.fault, ..Output::default() }
    }

    /// Lets others hear, on the streams that are opened from now on, where this log ends.
    pub(super) fn greet(&self) {
        self.shared.set_greeting(Greeting {
            incarnation: self.fence.incarnation,
            boot: self.shared.settings.boot,
            start: self.fence.start,
            term: self.core.term(),
            last: self.core.last_index(),
        });
    }

    /// A member has opened a stream; its frames follow.
    pub(super) fn greeted(&mut self, from: MemberId, greeting: &Greeting) {
        let told = self.fence.others.greeted(from, greeting);
        match told {
            Told::Same => return,
            Told::Newer => return self.core.forget_acknowledged(from),
            Told::Over { newest, start } => {
                tracing::warn!(peer = %from, "the member speaks as a life of it that is over");
                self.core.forget_acknowledged(from);
                self.output.sends.push((from, Frame::Over { newest, start }));
                return;
            }
            Told::Restarted => {}
        }
        // A member in this leader's term or an older one has cut nothing that it acknowledged here.
        let acknowledged = self.core.acknowledged(from).unwrap_or_default();
        if greeting.term <= self.core.term() && greeting.last < acknowledged {
            tracing::warn!(
                peer = %from,
                "the member's log ends at {}, but it had acknowledged entry {acknowledged}: its \
                 data were put back from a copy",
                greeting.last
            );
            self.core.forget_acknowledged(from);
            let newest = self.fence.others.end(from);
            // No start of its own has more.
            self.output.sends.push((from, Frame::Over { newest, start: 0 }));
        }
    }

    /// Whether what this incarnation of a member says counts.
    pub(super) fn hears(&mut self, from: MemberId, incarnation: Incarnation) -> bool {
        let (heard, newer) = self.fence.others.hears(from, incarnation);
        if newer {
            self.core.forget_acknowledged(from);
        }
        heard && !self.is_ending()
    }

    /// A fenced member asks for the term. That it asks made its incarnation known here.
    pub(super) fn receive_question(&mut self, from: MemberId, start: u64) {
        // Whoever is fenced knows too little itself.
        if self.is_fenced() {
            return;
        }
        let term = self.core.term();
        let committed = self.core.commit_as_leader();
        self.output.sends.push((from, Frame::Answer { start, term, committed }));
    }

    pub(super) fn receive_answer(
        &mut self,
        from: MemberId,
        start: u64,
        term: Term,
        committed: Option<Index>,
    ) {
        if let Some(back) = &mut self.fence.back
            && start == self.fence.start
        {
            back.answered(from, term, committed);
        }
    }

    /// Another member knows that this life is over.
    pub(super) fn receive_over(&mut self, from: MemberId, newest: Incarnation, start: u64) {
        // If this start is the newest one, what was heard was a connection of an earlier one.
        if self.fence.incarnation < newest && self.fence.start != start {
            let loss = Fault::new(format!(
                "member {from:x} knows that this member had written more than it has now: its data \
                 directory was put back from an older copy",
                from = from.0
            ));
            self.lost(newest, &loss);
        }
    }

    /// This member has lost what it had written, and finds out while it runs. That is written down,
    /// and then it ends: a start is the one place where a fenced life begins.
    pub(super) fn lost(&mut self, above: Incarnation, loss: &Fault) {
        if self.is_ending() {
            return;
        }
        self.fence.ending = Some(Fault::new(format!(
            "{loss}; start the member again: it will be fenced, catch up from the others and then \
             serve"
        )));
        self.core.set_fenced(true);
        self.shared.set_fenced(true);
        self.output.chores.push(Chore::RaiseFence(above));
    }

    /// A heartbeat of the leader rests on entries that are not here. A fenced member is told what it
    /// had before; anybody else has just learnt that it lost something.
    pub(super) fn contradicted(&mut self, fault: Fault) {
        if !self.is_fenced() {
            self.lost(self.fence.incarnation, &fault);
        }
    }

    /// It is written down that this member is fenced.
    pub(super) fn fence_raised(&mut self) {
        self.output.fault = self.fence.ending.clone();
    }

    /// It is written down that this member is whole.
    pub(super) fn fence_lifted(&mut self) {
        self.fence.back = None;
        self.core.set_fenced(false);
        self.shared.set_fenced(false);
        tracing::info!(index = %self.applied.index, "the fence is lifted: this member is whole again");
    }

    fn other_voters(&self) -> Vec<MemberId> {
        let mut voters = self.core.voters();
        voters.retain(|id| *id != self.core.id());
        voters
    }

    /// Lets a tick pass for a fenced member: it asks, and it says what it waits for.
    pub(super) fn tick_fence(&mut self) {
        let others = self.other_voters();
        let (start, applied) = (self.fence.start, self.applied.index);
        let Some(back) = &mut self.fence.back else { return };
        back.ticks += 1;
        if back.ticks % ASK_EVERY_TICKS == 1 {
            let ask = |id: &MemberId| (*id, Frame::Question { start });
            self.output.sends.extend(others.iter().map(ask));
        }
        if back.ticks % TELL_EVERY_TICKS == 0 {
            let missing = back.missing(&others);
            if missing.is_empty() {
                tracing::warn!(index = %applied, "still fenced: catching up");
            } else {
                let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
                tracing::warn!("still fenced: no answer yet of {}", names.join(", "));
            }
        }
    }

    /// Goes on with the way back as far as it goes now.
    pub(super) fn follow_fence(&mut self) {
        let others = self.other_voters();
        let (term, applied) = (self.core.term(), self.applied.index);
        let Some(back) = &mut self.fence.back else { return };
        let Some(highest) = back.highest(&others) else { return };
        if !back.adopted || highest > term {
            back.adopted = true;
            self.core.adopt(highest);
            tracing::info!(%highest, "all other voters have answered: catching up");
            return;
        }
        if let Some(target) = back.target(term)
            && applied >= target
            && !back.lifting
        {
            back.lifting = true;
            self.output.chores.push(Chore::LiftFence);
        }
    }
}
