//! Requests that change who decides: what consensus is told of them.

use crate::{
    raft::{ConfigChange, Voters},
    state::{Command, ConfState, MemberChange, Request},
};

/// What a command changes of the configuration.
pub(super) fn config_change(command: &Command) -> Option<ConfigChange> {
    let Command::ChangeMembers(change) = command else { return None };
    match change {
        MemberChange::Add { id, learner: true, .. } => Some(ConfigChange::AddLearner(*id)),
        MemberChange::Add { id, learner: false, .. } | MemberChange::Promote(id) => {
            Some(ConfigChange::AddVoter(*id))
        }
        MemberChange::Remove(id) => Some(ConfigChange::Remove(*id)),
        MemberChange::Update { .. } => None,
    }
}

/// More than one request in the entry of a change.
#[derive(Debug)]
pub(super) struct NotAlone;

/// What a group of requests changes of the configuration; such a request must be alone.
pub(super) fn config_change_of(group: &[Request]) -> Result<Option<ConfigChange>, NotAlone> {
    match group {
        [request] => Ok(config_change(&request.command)),
        many => match many.iter().any(|request| config_change(&request.command).is_some()) {
            true => Err(NotAlone),
            false => Ok(None),
        },
    }
}

/// Who decides, as consensus keeps it.
pub(super) fn to_voters(conf: &ConfState) -> Voters {
    Voters {
        voters: conf.voters.clone(),
        learners: conf.learners.clone(),
        voters_outgoing: conf.voters_outgoing.clone(),
        learners_next: conf.learners_next.clone(),
        auto_leave: conf.auto_leave,
    }
}
