//! Changes of the configuration: who decides.

use bytes::Bytes;
use protobuf::Message as _;
use raft_rs::{
    INVALID_ID, StateRole,
    eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, EntryType},
};

use crate::{
    raft::{
        ConfigChange, LogEntry, Position, ProposeError, Role, Voters, core::RaftCore, log, message,
    },
    types::{Fault, Index, MemberId},
};

/// How far a member has come, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The member.
    pub member: MemberId,
    /// Up to here it is known to hold the leader's log.
    pub matched: Index,
    /// Whether it was heard of in the last election timeout.
    pub recent_active: bool,
    /// Whether it has no vote.
    pub learner: bool,
}

impl RaftCore {
    /// Whether a change stands in the log that is not applied, or may stand there. The next one waits
    /// for it: any two configurations in force at a time must have a majority in common.
    pub fn has_pending_change(&self) -> bool {
        self.node().raft.has_pending_conf()
    }

    /// Appends an entry that changes the configuration when it is applied. Only a leader can, and
    /// only when no other change is pending.
    pub fn propose_change(
        &mut self,
        change: ConfigChange,
        request: &Bytes,
    ) -> Result<(), ProposeError> {
        if self.role() != Role::Leader || self.is_handing_over() {
            return Err(ProposeError::NotLeader);
        }
        if self.has_pending_change() {
            return Err(ProposeError::Full);
        }
        let proposed = self.node_mut().propose_conf_change(request.to_vec(), encode(change));
        proposed.map_err(|_| ProposeError::Full)
    }

    /// Puts a change into force that the state has applied, and returns who decides from now on. To
    /// be called before [`RaftCore::applied`] tells of its entry.
    ///
    /// A leader that is removed names its successor and steps down: the library would abort at the
    /// next answer of a member.
    pub fn apply_change(&mut self, change: ConfigChange) -> Result<Voters, Fault> {
        let successor = self.best_successor();
        let conf = self
            .node_mut()
            .apply_conf_change(&encode(change))
            .map_err(|error| Fault::new(format!("the configuration cannot be changed: {error}")))?;
        self.log().set_conf(conf.clone());
        let me = self.id();
        let raft = &mut self.node_mut().raft;
        if raft.state == StateRole::Leader && raft.prs().get(me.0).is_none() {
            let term = raft.term;
            raft.become_follower(term, INVALID_ID);
            self.set_successor(successor);
            self.urge_successor();
        }
        Ok(log::conf_from_raft(&conf))
    }

    /// Asks the successor that this member has named to stand for election. Until that one has applied
    /// the change itself it cannot, and says nothing; so it is to be asked again.
    pub fn urge_successor(&mut self) {
        if let Some(successor) = self.successor() {
            self.node_mut().raft.send_timeout_now(successor.0);
        }
    }

    /// How far everybody has come, this member included; nothing unless it leads.
    pub fn progress(&self) -> Vec<Progress> {
        if self.role() != Role::Leader {
            return Vec::new();
        }
        let (me, prs) = (self.id(), self.node().raft.prs());
        let mut all: Vec<_> = prs
            .iter()
            .map(|(id, progress)| Progress {
                member: MemberId(*id),
                matched: if *id == me.0 { self.last_index() } else { Index(progress.matched) },
                recent_active: *id == me.0 || progress.recent_active,
                learner: prs.conf().learners().contains(id),
            })
            .collect();
        all.sort_unstable_by_key(|progress| progress.member);
        all
    }
}

/// The change as the library writes it into the log.
fn encode(change: ConfigChange) -> ConfChangeV2 {
    let (kind, id) = match change {
        ConfigChange::AddVoter(id) => (ConfChangeType::AddNode, id),
        ConfigChange::AddLearner(id) => (ConfChangeType::AddLearnerNode, id),
        ConfigChange::Remove(id) => (ConfChangeType::RemoveNode, id),
    };
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id.0;
    let mut whole = ConfChangeV2::default();
    whole.set_changes(vec![single].into());
    whole
}

/// The entry of a change, as a leader would append it.
#[must_use]
pub fn change_entry(at: Position, change: ConfigChange, request: &Bytes) -> LogEntry {
    let mut entry = LogEntry::default();
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    (entry.index, entry.term) = (at.index.0, at.term.0);
    let encoded = encode(change).write_to_bytes().expect("a change is encoded in memory");
    (entry.data, entry.context) = (encoded.into(), request.clone());
    entry
}

/// The change that the library wrote; `None` when it is not one of ours.
pub(super) fn decode(data: &Bytes) -> Option<ConfigChange> {
    if !message::is_plain_conf_change(data) {
        return None;
    }
    let whole = ConfChangeV2::parse_from_carllerche_bytes(data).ok()?;
    let [single] = whole.get_changes() else { return None };
    let id = MemberId(single.node_id);
    let change = match single.get_change_type() {
        ConfChangeType::AddNode => ConfigChange::AddVoter(id),
        ConfChangeType::AddLearnerNode => ConfigChange::AddLearner(id),
        ConfChangeType::RemoveNode => ConfigChange::Remove(id),
    };
    (encode(change) == whole).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change comes back as it was written; anything else is none.
    #[test]
    fn changes_round_trip() {
        let id = MemberId(u64::MAX);
        for change in
            [ConfigChange::AddVoter(id), ConfigChange::AddLearner(id), ConfigChange::Remove(id)]
        {
            let data = Bytes::from(encode(change).write_to_bytes().unwrap());
            assert_eq!(decode(&data), Some(change));
        }
        let mut joint = encode(ConfigChange::AddVoter(id));
        joint.mut_changes().push(ConfChangeSingle::default());
        let joint = Bytes::from(joint.write_to_bytes().unwrap());
        // A group, which the parser would follow without a bound.
        for bad in [joint, Bytes::new(), Bytes::from_static(b"\x0b"), Bytes::from_static(b"\xff")] {
            assert_eq!(decode(&bad), None);
        }
    }
}
