//! How a member begins: a new cluster's first state, or the state and the log of its last run.

use crate::{
    node::{
        fail_points,
        fence::Fencing,
        membership::to_voters,
        ports::{LogStore, StateStore},
        version,
    },
    raft::{HardState, LogState, LogWrite, Position, Voters},
    state::{self, FORMAT_VERSION, Member, View, meta},
    types::{ClusterId, Fault, Index, Term},
};

/// Where every log begins: entry 1 of term 1, which is the first state and was never appended. So
/// no member's log is ever quite empty, and all members of a new cluster begin alike.
const ORIGIN: Position = Position { index: Index(1), term: Term(1) };

/// What the log of a member that joins remembers from its first start on. So a log that is missing
/// is told apart from one that nothing was written to, and no other member is in an earlier term.
const JOINED: HardState = HardState { term: Term(1), vote: None, commit: Index(0) };

/// What a member without a state begins with.
#[derive(Clone, Debug)]
pub enum Initial {
    /// The first state of a cluster, as its first members agree on it before it exists.
    Founding {
        /// The cluster.
        cluster: ClusterId,
        /// Its first members.
        members: Vec<Member>,
    },
    /// Nothing, until another member sends a checkpoint.
    Joining {
        /// Whether it was started before.
        again: bool,
    },
}

/// A member's log and state, fitted to each other.
#[derive(Debug)]
pub struct Opened {
    /// What the log holds.
    pub log: LogState,
    /// Who decides, as of the applied index.
    pub voters: Voters,
    /// How far the state has applied the log.
    pub applied: Position,
    /// In which life the member goes on, and whether it is whole.
    pub fencing: Fencing,
}

/// Reads what the last run left and fits the log to the state; a member without a state begins with
/// `initial`. Can be repeated after a crash at any point.
///
/// A log that is damaged, missing, or shorter than it was begins anew behind the state, and the
/// member is fenced (see [`Fencing`]): durably, before anything is thrown away.
///
/// # Errors
///
/// A fault, when log and state cannot be from the same life of one member, or when the member
/// lost something and there is nobody to get it from.
pub fn open(
    log: &dyn LogStore,
    store: &dyn StateStore,
    initial: &Initial,
    mut fencing: Fencing,
) -> Result<Opened, Fault> {
    let found = match log.load() {
        Err(fault) if fault.is_damage() => Err(fault),
        found => Ok(found?),
    };
    if meta::cluster(&*store.view()?)?.is_none() {
        let found = found.clone()?;
        if found.last.index > ORIGIN.index {
            return Err(Fault::new(format!(
                "the log holds entries up to {}, but the state is empty",
                found.last.index
            )));
        }
        match initial {
            Initial::Joining { again } => return open_empty(log, found, *again, fencing),
            Initial::Founding { cluster, members } => {
                store.commit(state::bootstrap(*cluster, members))?;
                fail_points::pass("first-state-committed")?;
                store.flush()?;
                // A flush puts off what a full disk has no room for; but this is not in the log.
                if store.flushed()?.index < ORIGIN.index {
                    return Err(Fault::new("the disk is full: the first state is not stored"));
                }
            }
        }
    }
    let view = store.view()?;
    check_format(&*view)?;
    version::check(&meta::store(&*view)?)?;
    let (index, term) = meta::applied(&*view)?;
    let applied = Position { index, term };
    let voters = to_voters(&meta::conf_state(&*view)?);
    drop(view);
    let loss = match &found {
        Err(damage) => Some(damage.clone()),
        Ok(found) => loss(found, applied, fencing.may_have_installed),
    };
    let log = match (loss, found) {
        (Some(loss), found) => {
            raise(&mut fencing, &loss, &voters)?;
            let hard_state = found.map_or_else(|_| HardState::default(), |found| found.hard_state);
            start_anew(log, hard_state, applied)?
        }
        (None, found) => fit(log, found?, applied)?,
    };
    if fencing.fenced {
        check_others(&Fault::new("this member is fenced"), &fencing, &voters)?;
    }
    Ok(Opened { log, voters, applied, fencing })
}

/// Who votes, as of the applied index.
pub fn voters_of(store: &dyn StateStore) -> Result<Voters, Fault> {
    let view = store.view()?;
    Ok(to_voters(&meta::conf_state(&*view)?))
}

/// Puts the fence up because of a loss, unless there is nobody to become whole from.
pub fn raise(fencing: &mut Fencing, loss: &Fault, voters: &Voters) -> Result<(), Fault> {
    check_others(loss, fencing, voters)?;
    fencing.raise(loss)
}

fn check_others(loss: &Fault, fencing: &Fencing, voters: &Voters) -> Result<(), Fault> {
    if fencing.forced || voters.voters.iter().any(|voter| *voter != fencing.member) {
        return Ok(());
    }
    Err(Fault::new(format!(
        "{loss}; this member is the only one that votes, so nobody else has what is missing: \
         restore it from a backup, or accept the loss with --force-new-cluster"
    )))
}

/// A member that has joined and waits for its state. It has no configuration, so it neither votes by
/// itself nor counts anything as committed; but it may be asked for its vote.
fn open_empty(
    log: &dyn LogStore,
    found: LogState,
    again: bool,
    fencing: Fencing,
) -> Result<Opened, Fault> {
    let log = if found.hard_state == HardState::default() {
        if again {
            return Err(Fault::new("the log of a member that joined is missing: votes are lost"));
        }
        log.write(LogWrite { hard_state: Some(JOINED), entries: Vec::new() })?;
        LogState { hard_state: JOINED, ..found }
    } else {
        found
    };
    Ok(Opened { log, voters: Voters::default(), applied: Position::default(), fencing })
}

/// Records of another version would be misread.
pub(super) fn check_format(view: &dyn View) -> Result<(), Fault> {
    match meta::format_version(view)? {
        Some(FORMAT_VERSION) => Ok(()),
        found => Err(Fault::new(format!(
            "the state has format {}, this version reads format {FORMAT_VERSION}",
            found.map_or_else(|| "none".to_owned(), |found| found.to_string())
        ))),
    }
}

/// What shows that the log is not all that was written, if anything does.
fn loss(found: &LogState, applied: Position, may_have_installed: bool) -> Option<Fault> {
    let hard_state = found.hard_state;
    if hard_state.commit > found.last.index {
        return Some(Fault::new(format!(
            "the log ends at entry {}, but entry {} was committed: synced entries are lost",
            found.last.index, hard_state.commit
        )));
    }
    if hard_state.term < found.last.term {
        return Some(Fault::new(format!(
            "the log holds entries of term {}, but remembers votes up to term {} only: its hard \
             state is lost",
            found.last.term, hard_state.term
        )));
    }
    let blank = found.last == Position::default() && hard_state == HardState::default();
    if blank && applied != ORIGIN {
        return Some(Fault::new(format!(
            "the log is missing beside a state that ends at entry {}: votes and acknowledged \
             entries are lost",
            applied.index
        )));
    }
    if found.truncated.index > applied.index {
        return Some(Fault::new(format!(
            "the log begins after entry {}, but the state ends at entry {}",
            found.truncated.index, applied.index
        )));
    }
    if !blank && found.last.index < applied.index && !may_have_installed {
        return Some(Fault::new(format!(
            "the log ends at entry {}, but entry {} is applied: synced entries are lost",
            found.last.index, applied.index
        )));
    }
    None
}

/// A state that is ahead of the log (an installed checkpoint, a first state) starts the log anew.
fn fit(log: &dyn LogStore, found: LogState, applied: Position) -> Result<LogState, Fault> {
    let hard_state = found.hard_state;
    if found.last.index < applied.index {
        return start_anew(log, hard_state, applied);
    }
    let term = term_at(&found, applied.index);
    if term != Some(applied.term) && hard_state.commit < applied.index {
        // A checkpoint was installed over entries that differ and so were never committed; the
        // process ended before the log followed.
        return start_anew(log, hard_state, applied);
    }
    if term != Some(applied.term) {
        return Err(Fault::new(format!(
            "entry {} is of term {} in the state, and of another in the log",
            applied.index, applied.term
        )));
    }
    Ok(LogState { hard_state: hard_state.committed_to(applied.index), ..found })
}

/// Starts the log after the state, keeping the term and the vote.
fn start_anew(
    log: &dyn LogStore,
    hard_state: HardState,
    applied: Position,
) -> Result<LogState, Fault> {
    let later = applied.term > hard_state.term;
    let fitted = HardState {
        term: hard_state.term.max(applied.term),
        vote: if later { None } else { hard_state.vote },
        commit: applied.index,
    };
    log.reset(applied, fitted)?;
    log.load()
}

fn term_at(log: &LogState, index: Index) -> Option<Term> {
    if index == log.truncated.index {
        return Some(log.truncated.term);
    }
    let after = log.term_runs.partition_point(|run| run.index <= index);
    after.checked_sub(1).and_then(|at| log.term_runs.get(at)).map(|run| run.term)
}
