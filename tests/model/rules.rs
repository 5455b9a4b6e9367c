//! The rules of the fence, each of which can be taken out, and the bounds of a search.

/// The rules of the fence and the bounds of a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) term_max: u8,
    pub(crate) log_max: u8,
    pub(crate) losses: u8,
    pub(crate) crashes: u8,
    /// Answers between members that lose nothing may be late as well, which is plain Raft.
    pub(crate) all_delayed: bool,
    /// How many of the others must answer, of how many members.
    pub(crate) answers_needed: fn(usize) -> usize,
    /// A fenced member votes and stands for election.
    pub(crate) fenced_votes: bool,
    /// Acknowledgements and votes count whichever incarnation they are of.
    pub(crate) incarnations_ignored: bool,
    /// The commit index of a leader of an older term will do.
    pub(crate) old_leaders_believed: bool,
    /// A leader tells a commit index before it has committed in its own term.
    pub(crate) commit_of_old_terms_told: bool,
    /// The fence is left without catching up.
    pub(crate) commit_not_awaited: bool,
    /// The highest term of the answers is not taken over.
    pub(crate) own_term_kept: bool,
    /// A restart forgets the fence.
    pub(crate) fence_forgotten: bool,
}

/// The rules as they are built.
pub(crate) const BUILT: Rules = Rules {
    term_max: 2,
    log_max: 1,
    losses: 1,
    crashes: 0,
    all_delayed: false,
    answers_needed: all_others,
    fenced_votes: false,
    incarnations_ignored: false,
    old_leaders_believed: false,
    commit_of_old_terms_told: false,
    commit_not_awaited: false,
    own_term_kept: false,
    fence_forgotten: false,
};

pub(crate) fn all_others(members: usize) -> usize {
    members - 1
}

/// Enough to meet every majority that the member was part of, and so enough in other protocols.
pub(crate) fn majority_of_the_others(members: usize) -> usize {
    members - (members / 2 + 1) + 1
}
