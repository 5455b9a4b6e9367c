//! A cluster that has lost its majority for good starts over from the data of one member.
//!
//! Only an operator can know that the others never come back, so nothing does this by itself. The
//! changes that leave this member alone are written into its log as committed; the member then starts
//! on that log like on any other. The others' ids are removed for good: whoever of them is alive after
//! all is refused, and comes back as a new member with empty data.

use bytes::Bytes;

use crate::{
    node::{
        Opened,
        membership::config_change,
        ports::{LogStore, StateStore},
    },
    raft::{self, ConfigChange, HardState, LogEntry, LogWrite, Payload, Position},
    state::{Command, MemberChange, Request, codec, meta},
    types::{BootNumber, Fault, Identity, Index, MemberId, RequestId},
};

/// Bytes of entries that are looked at together.
const READ_BYTES: u64 = 4 * 1024 * 1024;

/// Makes `member` the only one of its cluster, in one synced write. Doing it again changes nothing more.
///
/// All that stands in the log counts as committed. How far it really was this member learns from its
/// leader and need not have written down, and what was acknowledged must not be lost where it is known.
///
/// # Errors
///
/// A fault, when there is no state, when this member was removed, or when the log cannot be read or
/// written.
pub fn force_new_cluster(
    log: &dyn LogStore,
    store: &dyn StateStore,
    member: MemberId,
    opened: Opened,
) -> Result<Opened, Fault> {
    if opened.applied.index == Index(0) {
        return Err(Fault::new("there is no state that a new cluster could be made of"));
    }
    let hard_state = opened.log.hard_state;
    let mut wanted = Vec::new();
    let others = others(log, store, member, &opened)?;
    if others.own_vote_missing {
        wanted.push(MemberChange::Promote(member));
    }
    wanted.extend(others.ids.iter().map(|id| MemberChange::Remove(*id)));
    let mut entries: Vec<LogEntry> = Vec::with_capacity(wanted.len());
    for (sequence, change) in (1..).zip(wanted) {
        let index = Index(opened.log.last.index.0 + sequence);
        let at = Position { index, term: hard_state.term };
        entries.push(entry(at, member, sequence, Command::ChangeMembers(change))?);
    }
    let Some(last) = entries.last() else { return Ok(opened) };
    let commit = Index(last.index);
    tracing::warn!(
        removed = ?others.ids,
        unsure = opened.log.last.index.0.saturating_sub(hard_state.commit.0),
        "forcing a new cluster of this member alone"
    );
    log.write(LogWrite { entries, hard_state: Some(HardState { commit, ..hard_state }) })?;
    Ok(Opened { log: log.load()?, ..opened })
}

/// Who is to be removed.
struct Others {
    ids: Vec<MemberId>,
    /// Whether this member has no vote by the state.
    own_vote_missing: bool,
}

/// All that are members by the state, or that entries of the log add to them. Removing one that is
/// none by then is refused when it is applied, and changes nothing.
fn others(
    log: &dyn LogStore,
    store: &dyn StateStore,
    member: MemberId,
    opened: &Opened,
) -> Result<Others, Fault> {
    let mut ids: Vec<MemberId> =
        meta::members(&*store.view()?)?.into_iter().map(|member| member.id).collect();
    let end = opened.log.last.index.next();
    let mut next = opened.applied.index.next();
    while next < end {
        let entries = log.entries(next, end, READ_BYTES)?;
        for entry in &entries {
            match raft::payload(entry)? {
                Payload::Change(ConfigChange::Remove(id), _) if id == member => {
                    return Err(Fault::new(format!("member {member} was removed: add a new one")));
                }
                Payload::Change(ConfigChange::AddVoter(id) | ConfigChange::AddLearner(id), _) => {
                    ids.push(id);
                }
                Payload::Change(ConfigChange::Remove(_), _) | Payload::Requests(_) => {}
            }
            next = Index(entry.index).next();
        }
    }
    ids.retain(|id| *id != member);
    ids.sort_unstable();
    ids.dedup();
    Ok(Others { ids, own_vote_missing: !opened.voters.voters.contains(&member) })
}

/// The entry of a change. Nobody waits for its outcome: no start of a member has the number 0.
pub(super) fn entry(
    at: Position,
    member: MemberId,
    sequence: u64,
    command: Command,
) -> Result<LogEntry, Fault> {
    let change = config_change(&command)
        .ok_or_else(|| Fault::new(format!("{command:?} does not change who decides")))?;
    let id = RequestId { member, boot: BootNumber(0), sequence };
    let request = Request { id, identity: Identity::anonymous(), command };
    let group: Bytes = codec::encode_group(&[request]);
    Ok(raft::change_entry(at, change, &group))
}
