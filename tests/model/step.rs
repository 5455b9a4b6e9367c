//! What can happen to the cluster, and what comes of it.

use crate::{
    rules::Rules,
    state::{Fence, Flying, Member, NOBODY, Role, State, Term, VICTIM},
};

/// Something that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A member stands for election in the next term.
    Campaign(usize),
    /// A candidate's request reaches a voter.
    AskVote { voter: usize, candidate: usize },
    /// A leader appends an entry to its own log.
    Propose(usize),
    /// A leader's log reaches a member as far as a place, with what is committed of it.
    Append { leader: usize, to: usize, len: u8 },
    /// An answer arrives.
    Arrive(usize),
    /// A member's process ends and starts again.
    Crash(usize),
    /// The victim's process ends, and of what it had written this is left.
    Lose { len: u8, term: Term, vote: u8 },
    /// The fenced member's question reaches another one.
    Ask(usize),
    /// Enough have answered: the fenced member takes over the highest term.
    Adopt,
    /// The fenced member has caught up.
    Heal,
}

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    TwoLeaders(Term),
    Lost { place: u8 },
    Changed { place: u8 },
}

type Outcome<const N: usize> = Result<State<N>, Violation>;

/// Every step that may be possible in some state.
pub(crate) fn steps<const N: usize>(state: &State<N>) -> Vec<Step> {
    let mut steps = Vec::new();
    for a in 0..N {
        steps.push(Step::Campaign(a));
        steps.push(Step::Propose(a));
        if state.crashes_left > 0 {
            steps.push(Step::Crash(a));
        }
        for b in (0..N).filter(|b| *b != a) {
            if state.members[b].role == Role::Candidate {
                steps.push(Step::AskVote { voter: a, candidate: b });
            }
            if state.members[b].role == Role::Leader {
                let lens = 0..=state.members[b].log.len;
                steps.extend(lens.map(|len| Step::Append { leader: b, to: a, len }));
            }
        }
    }
    steps.extend((0..state.flying.len()).map(Step::Arrive));
    if state.fence != Fence::Whole {
        steps.extend((0..N).filter(|id| *id != VICTIM).map(Step::Ask));
        steps.push(Step::Adopt);
        steps.push(Step::Heal);
    }
    if state.losses_left > 0 {
        let victim = &state.members[VICTIM];
        for len in 0..=victim.log.len {
            let kept = victim.log.front(len).last_term();
            for term in kept..=victim.term {
                steps.push(Step::Lose { len, term, vote: NOBODY });
            }
            if victim.vote != NOBODY {
                steps.push(Step::Lose { len, term: victim.term, vote: victim.vote });
            }
        }
    }
    steps
}

/// The state after a step: nothing when the step is not possible.
pub(crate) fn take<const N: usize>(
    state: &State<N>,
    step: Step,
    rules: &Rules,
) -> Option<Outcome<N>> {
    let mut next = *state;
    let done = match step {
        Step::Campaign(id) => next.campaign(id, rules).map(Ok),
        Step::AskVote { voter, candidate } => next.ask_vote(voter, candidate, rules),
        Step::Propose(id) => next.propose(id, rules).map(Ok),
        Step::Append { leader, to, len } => next.append(leader, to, len, rules),
        Step::Arrive(place) => next.arrive(place, rules),
        Step::Crash(id) => next.crash(id, rules).map(Ok),
        Step::Lose { len, term, vote } => next.lose(len, term, vote).map(Ok),
        Step::Ask(id) => next.ask(id, rules),
        Step::Adopt => next.adopt(rules).map(Ok),
        Step::Heal => next.heal(rules).map(Ok),
    };
    done.map(|done| done.map(|()| next))
}

/// What comes of a step: nothing when it is not possible.
type Possible = Option<Result<(), Violation>>;

fn small(id: usize) -> u8 {
    u8::try_from(id).expect("there are few members")
}

impl<const N: usize> State<N> {
    /// Whether the member must not vote, stand for election or lead.
    fn is_fenced(&self, id: usize) -> bool {
        id == VICTIM && self.fence != Fence::Whole
    }

    fn incarnation_of(&self, id: usize) -> u8 {
        if id == VICTIM { self.incarnation } else { 0 }
    }

    /// Sends an answer. When too many are on their way it gets lost, as it always may.
    fn send(&mut self, flying: Flying, rules: &Rules) -> Possible {
        let of_victim = match flying {
            Flying::Vote { from, to, .. } | Flying::Ack { from, to, .. } => {
                [from, to].contains(&small(VICTIM))
            }
            Flying::Term { .. } => true,
        };
        if !of_victim && !rules.all_delayed {
            return self.receive(flying, rules).or(Some(Ok(())));
        }
        if !self.flying.contains(&Some(flying))
            && let Some(free) = self.flying.iter_mut().find(|place| place.is_none())
        {
            *free = Some(flying);
        }
        Some(Ok(()))
    }

    fn campaign(&mut self, id: usize, rules: &Rules) -> Option<()> {
        let may = !self.is_fenced(id) || rules.fenced_votes;
        let member = &mut self.members[id];
        if !may || member.role == Role::Leader || member.term >= rules.term_max {
            return None;
        }
        member.follow(member.term + 1);
        member.vote = small(id);
        member.role = Role::Candidate;
        member.tally[id] = 1;
        Some(())
    }

    fn ask_vote(&mut self, voter: usize, candidate: usize, rules: &Rules) -> Possible {
        let Member { term, log, role: Role::Candidate, .. } = self.members[candidate] else {
            return None;
        };
        if self.members[voter].term > term || (self.is_fenced(voter) && !rules.fenced_votes) {
            return None;
        }
        let before = self.members[voter];
        let member = &mut self.members[voter];
        if term > member.term {
            member.follow(term);
        }
        let free = member.vote == NOBODY || member.vote == small(candidate);
        if free && member.log.allows(&log) {
            member.vote = small(candidate);
            let (from, to) = (small(voter), small(candidate));
            let incarnation = self.incarnation_of(voter);
            return self.send(Flying::Vote { from, to, incarnation, term }, rules);
        }
        (self.members[voter] != before).then_some(Ok(()))
    }

    fn propose(&mut self, id: usize, rules: &Rules) -> Option<()> {
        let leader = &mut self.members[id];
        if leader.role != Role::Leader || leader.log.len >= rules.log_max {
            return None;
        }
        leader.log.push(leader.term);
        leader.tally[id] = leader.log.len;
        Some(())
    }

    fn append(&mut self, leader: usize, to: usize, len: u8, rules: &Rules) -> Possible {
        let Member { term, log, commit, role: Role::Leader, .. } = self.members[leader] else {
            return None;
        };
        let deaf = to == VICTIM && self.fence == Fence::Asking;
        if deaf || self.members[to].term > term {
            return None;
        }
        let before = *self;
        let member = &mut self.members[to];
        if member.role != Role::Follower || member.term < term {
            member.follow(term);
        }
        member.log = member.log.taking(log.front(len));
        member.commit = member.commit.max(commit.min(len));
        let mut sent = Ok(());
        if len > 0 {
            let (from, to) = (small(to), small(leader));
            let incarnation = self.incarnation_of(usize::from(from));
            let ack = Flying::Ack { from, to, incarnation, term, place: len };
            sent = self.send(ack, rules)?;
        }
        (sent.is_err() || *self != before).then_some(sent)
    }

    fn arrive(&mut self, place: usize, rules: &Rules) -> Possible {
        let flying = self.flying[place].take()?;
        self.receive(flying, rules)
    }

    fn receive(&mut self, flying: Flying, rules: &Rules) -> Possible {
        match flying {
            Flying::Vote { from, to, incarnation, term } => {
                let (from, to) = (usize::from(from), usize::from(to));
                self.hear(from, to, incarnation, rules)?;
                let member = &mut self.members[to];
                if member.term != term || member.role != Role::Candidate {
                    return None;
                }
                member.tally[from] = 1;
                let votes = member.tally.iter().filter(|vote| **vote > 0).count();
                Some(if votes > N / 2 { self.lead(to) } else { Ok(()) })
            }
            Flying::Ack { from, to, incarnation, term, place } => {
                let (from, to) = (usize::from(from), usize::from(to));
                self.hear(from, to, incarnation, rules)?;
                let member = &mut self.members[to];
                if member.term != term || member.role != Role::Leader {
                    return None;
                }
                member.tally[from] = member.tally[from].max(place);
                Some(self.commit(to))
            }
            Flying::Term { from, incarnation, term, commit } => {
                if self.fence == Fence::Whole || incarnation != self.incarnation {
                    return None;
                }
                if self.fence == Fence::Asking {
                    self.answers[usize::from(from)] = Some(term);
                }
                let newer = self.told.is_none_or(|(known, _)| term >= known);
                self.told = commit.filter(|_| newer).map(|commit| (term, commit)).or(self.told);
                Some(Ok(()))
            }
        }
    }

    /// Learns which incarnation speaks; `None` when that one is known to be over.
    fn hear(&mut self, from: usize, to: usize, incarnation: u8, rules: &Rules) -> Option<()> {
        let member = &mut self.members[to];
        if from != VICTIM || rules.incarnations_ignored {
            return Some(());
        }
        if incarnation > member.known {
            member.learn(incarnation);
        }
        (incarnation >= member.known).then_some(())
    }

    fn lead(&mut self, id: usize) -> Result<(), Violation> {
        let leader = &mut self.members[id];
        leader.role = Role::Leader;
        leader.tally = [0; N];
        leader.tally[id] = leader.log.len;
        let (term, log) = (leader.term, leader.log);
        let known = &mut self.leaders[usize::from(term)];
        if *known != NOBODY && *known != small(id) {
            return Err(Violation::TwoLeaders(term));
        }
        *known = small(id);
        for (place, (entry, under)) in
            (1..).zip(self.committed.terms().iter().zip(self.committed_in))
        {
            if under < term && log.term_at(place) != Some(*entry) {
                return Err(Violation::Lost { place });
            }
        }
        Ok(())
    }

    /// Commits what a majority has acknowledged, once that reaches the leader's own term.
    fn commit(&mut self, id: usize) -> Result<(), Violation> {
        let leader = &mut self.members[id];
        let Member { term, log, tally, .. } = *leader;
        let by_majority = |place: &u8| tally.iter().filter(|at| **at >= *place).count() > N / 2;
        let reached = (1..=log.len)
            .rev()
            .find(|place| log.term_at(*place) == Some(term) && by_majority(place));
        let Some(reached) = reached.filter(|reached| *reached > leader.commit) else {
            return Ok(());
        };
        leader.commit = reached;
        for place in 1..=reached {
            let entry = log.term_at(place).expect("what is committed is in the log");
            match self.committed.term_at(place) {
                Some(known) if known != entry => return Err(Violation::Changed { place }),
                Some(_) => {}
                None => {
                    self.committed.push(entry);
                    self.committed_in[usize::from(place) - 1] = term;
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self, id: usize, rules: &Rules) -> Option<()> {
        self.crashes_left = self.crashes_left.checked_sub(1)?;
        let commit = self.members[id].commit;
        self.members[id] = self.members[id].restarted();
        if id == VICTIM {
            // What it has applied is in its state.
            self.members[id].commit = commit;
        }
        if id == VICTIM && self.fence != Fence::Whole {
            self.fence = if rules.fence_forgotten { Fence::Whole } else { Fence::Asking };
            self.answers = [None; N];
            self.told = None;
        }
        Some(())
    }

    fn lose(&mut self, len: u8, term: Term, vote: u8) -> Option<()> {
        self.losses_left = self.losses_left.checked_sub(1)?;
        let commit = self.members[VICTIM].commit.min(len);
        let victim = self.members[VICTIM].restarted();
        self.members[VICTIM] = Member { term, vote, log: victim.log.front(len), commit, ..victim };
        self.incarnation += 1;
        self.fence = Fence::Asking;
        self.answers = [None; N];
        self.told = None;
        Some(())
    }

    fn ask(&mut self, id: usize, rules: &Rules) -> Possible {
        let incarnation = self.incarnation;
        let member = &mut self.members[id];
        if incarnation > member.known && !rules.incarnations_ignored {
            member.learn(incarnation);
        }
        let Member { term, log, commit, role, .. } = *member;
        let knows = log.term_at(commit) == Some(term) || rules.commit_of_old_terms_told;
        let commit = (role == Role::Leader && knows).then_some(commit);
        let before = *self;
        let sent = self.send(Flying::Term { from: small(id), incarnation, term, commit }, rules);
        if *self == before { None } else { sent }
    }

    fn adopt(&mut self, rules: &Rules) -> Option<()> {
        let answered = self.answers.iter().flatten().count();
        if self.fence != Fence::Asking || answered < (rules.answers_needed)(N) {
            return None;
        }
        let highest = self.answers.iter().flatten().copied().max().unwrap_or(0);
        let victim = &mut self.members[VICTIM];
        if !rules.own_term_kept {
            victim.follow(highest);
        }
        self.answers = [None; N];
        self.fence = Fence::Catching;
        Some(())
    }

    fn heal(&mut self, rules: &Rules) -> Option<()> {
        let victim = &self.members[VICTIM];
        let reached = rules.commit_not_awaited
            || self.told.is_some_and(|(term, commit)| {
                (term >= victim.term || rules.old_leaders_believed) && victim.commit >= commit
            });
        if self.fence != Fence::Catching || !reached {
            return None;
        }
        self.fence = Fence::Whole;
        self.told = None;
        Some(())
    }
}

impl<const N: usize> Member<N> {
    /// A newer incarnation of the victim speaks: what older ones acknowledged does not count.
    fn learn(&mut self, incarnation: u8) {
        self.known = incarnation;
        if self.role == Role::Leader {
            self.tally[VICTIM] = 0;
        }
    }
}
