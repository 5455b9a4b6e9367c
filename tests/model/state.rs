//! The state of a cut-down cluster: what members have on disk, what they know, what is on its way.

/// A term, and in logs the term of an entry.
pub(crate) type Term = u8;

/// The member that may lose what it wrote. Members are alike, so it might as well be the first.
pub(crate) const VICTIM: usize = 0;
/// Entries that fit in a log here.
pub(crate) const LOG_MAX: usize = 3;
/// Terms there may be, and term 0.
pub(crate) const TERMS: usize = 4;
/// Answers that may be on their way at once.
pub(crate) const FLYING_MAX: usize = 2;
/// A vote for nobody, a leader that there never was.
pub(crate) const NOBODY: u8 = u8::MAX;

/// A log as the terms of its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Log {
    pub(crate) len: u8,
    terms: [Term; LOG_MAX],
}

impl Log {
    pub(crate) fn terms(&self) -> &[Term] {
        &self.terms[..usize::from(self.len)]
    }

    pub(crate) fn last_term(&self) -> Term {
        self.terms().last().copied().unwrap_or(0)
    }

    /// The term of the entry at a place that counts from 1.
    pub(crate) fn term_at(&self, place: u8) -> Option<Term> {
        self.terms().get(usize::from(place).checked_sub(1)?).copied()
    }

    pub(crate) fn push(&mut self, term: Term) {
        self.terms[usize::from(self.len)] = term;
        self.len += 1;
    }

    pub(crate) fn front(&self, len: u8) -> Self {
        let mut front = Self::default();
        self.terms().iter().take(usize::from(len)).for_each(|term| front.push(*term));
        front
    }

    /// What becomes of this log when a leader sends it the front of its own.
    pub(crate) fn taking(&self, front: Self) -> Self {
        if self.terms().starts_with(front.terms()) { *self } else { front }
    }

    /// Whether a voter with this log may vote for a candidate with the other.
    pub(crate) fn allows(&self, candidate: &Self) -> bool {
        (candidate.last_term(), candidate.len) >= (self.last_term(), self.len)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    #[default]
    Follower,
    Candidate,
    Leader,
}

/// A member. Term, vote and log are on disk; the rest is gone when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Member<const N: usize> {
    pub(crate) term: Term,
    pub(crate) vote: u8,
    pub(crate) log: Log,
    pub(crate) commit: u8,
    pub(crate) role: Role,
    /// Of a candidate: who voted for it. Of a leader: up to where each acknowledged.
    pub(crate) tally: [u8; N],
    /// The newest incarnation of the victim that this member knows.
    pub(crate) known: u8,
}

impl<const N: usize> Member<N> {
    /// What is left when the process ends.
    pub(crate) fn restarted(self) -> Self {
        Self { commit: 0, role: Role::Follower, tally: [0; N], known: 0, ..self }
    }

    /// Follows a term it hears of, which makes its vote free again.
    pub(crate) fn follow(&mut self, term: Term) {
        if term > self.term {
            self.term = term;
            self.vote = NOBODY;
        }
        self.role = Role::Follower;
        self.tally = [0; N];
    }
}

/// How far the victim is on its way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fence {
    #[default]
    Whole,
    /// It asks the others for their terms, and does nothing else.
    Asking,
    /// It has taken over the highest term, and takes entries.
    Catching,
}

/// An answer on its way. Requests are taken as delivered at once: a late one would find a term that
/// is over, or the same member in the same part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Flying {
    Vote {
        from: u8,
        to: u8,
        incarnation: u8,
        term: Term,
    },
    Ack {
        from: u8,
        to: u8,
        incarnation: u8,
        term: Term,
        place: u8,
    },
    /// To the victim, with the commit index when it comes from a leader that knows it.
    Term {
        from: u8,
        incarnation: u8,
        term: Term,
        commit: Option<u8>,
    },
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct State<const N: usize> {
    pub(crate) members: [Member<N>; N],
    pub(crate) flying: [Option<Flying>; FLYING_MAX],
    pub(crate) incarnation: u8,
    pub(crate) fence: Fence,
    /// The terms that others have answered.
    pub(crate) answers: [Option<Term>; N],
    /// The newest commit index that a leader has told, with its term.
    pub(crate) told: Option<(Term, u8)>,
    pub(crate) losses_left: u8,
    pub(crate) crashes_left: u8,
    /// What was ever committed, and the term whose leader did it: for the checks alone.
    pub(crate) committed: Log,
    pub(crate) committed_in: [Term; LOG_MAX],
    /// Who led each term: for the checks alone.
    pub(crate) leaders: [u8; TERMS],
}

impl<const N: usize> State<N> {
    pub(crate) fn new(losses: u8, crashes: u8) -> Self {
        let member = Member {
            term: 0,
            vote: NOBODY,
            log: Log::default(),
            commit: 0,
            role: Role::Follower,
            tally: [0; N],
            known: 0,
        };
        Self {
            members: [member; N],
            flying: [None; FLYING_MAX],
            incarnation: 1,
            fence: Fence::Whole,
            answers: [None; N],
            told: None,
            losses_left: losses,
            crashes_left: crashes,
            committed: Log::default(),
            committed_in: [0; LOG_MAX],
            leaders: [NOBODY; TERMS],
        }
    }

    /// The same state with everything that can have no effect any more left out, and of those that
    /// differ only in which of two members is which, the smaller one.
    pub(crate) fn canonical(mut self) -> Self {
        for place in 0..FLYING_MAX {
            if self.flying[place].is_some_and(|flying| self.is_void(flying)) {
                self.flying[place] = None;
            }
        }
        self.flying.sort_unstable();
        if N == 3 { self.min(self.swapped()) } else { self }
    }

    fn is_void(&self, flying: Flying) -> bool {
        match flying {
            Flying::Vote { to, term, .. } => {
                let to = &self.members[usize::from(to)];
                to.term != term || to.role != Role::Candidate
            }
            Flying::Ack { from, to, incarnation, term, place } => {
                let to = &self.members[usize::from(to)];
                let nothing_new = to.tally[usize::from(from)] >= place
                    && (usize::from(from) != VICTIM || to.known >= incarnation);
                to.term != term || to.role != Role::Leader || nothing_new
            }
            Flying::Term { incarnation, .. } => {
                self.fence == Fence::Whole || incarnation != self.incarnation
            }
        }
    }

    /// Members 1 and 2 have changed places.
    fn swapped(&self) -> Self {
        let other = |id: u8| match id {
            1 => 2,
            2 => 1,
            same => same,
        };
        let mut state = *self;
        state.members.swap(1, 2);
        state.answers.swap(1, 2);
        for member in &mut state.members {
            member.vote = other(member.vote);
            member.tally.swap(1, 2);
        }
        for leader in &mut state.leaders {
            *leader = other(*leader);
        }
        for flying in state.flying.iter_mut().flatten() {
            match flying {
                Flying::Vote { from, to, .. } | Flying::Ack { from, to, .. } => {
                    (*from, *to) = (other(*from), other(*to));
                }
                Flying::Term { from, .. } => *from = other(*from),
            }
        }
        state.flying.sort_unstable();
        state
    }
}
