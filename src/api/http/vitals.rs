//! What the health pages ask of a member.

use std::future::Future;

use serde_json::{Value, json};

use crate::{
    api::status,
    node::{self, Handle},
    state::{Alarm, Level, meta},
};

/// What the health pages ask of a member. Errors are texts for people.
pub trait Vitals: Send + Sync + 'static {
    /// The alarms that are raised, of any member.
    fn alarms(&self) -> Result<Vec<Alarm>, String>;

    /// Whether a leader is known.
    fn has_leader(&self) -> bool;

    /// What all members understand; `None` until each has told it.
    fn cluster_version(&self) -> Option<Level>;

    /// Whether this member lost something, and serves nobody until it is whole.
    fn is_fenced(&self) -> bool {
        false
    }

    /// Whether this member has no vote.
    fn is_learner(&self) -> Result<bool, String>;

    /// What raft knows, in the words of Go's raft library.
    fn raft(&self) -> Value {
        Value::Null
    }

    /// Reads something: from this member's state, or, when `linearizable`, with a quorum's consent.
    fn read(&self, linearizable: bool) -> impl Future<Output = Result<(), String>> + Send;
}

impl Vitals for Handle {
    fn alarms(&self) -> Result<Vec<Alarm>, String> {
        let view = self.view().map_err(text)?;
        meta::alarms(&*view).map_err(|fault| text(fault.into()))
    }

    fn has_leader(&self) -> bool {
        self.status().leader.is_some()
    }

    fn cluster_version(&self) -> Option<Level> {
        Self::cluster_version(self)
    }

    fn is_fenced(&self) -> bool {
        Handle::is_fenced(self)
    }

    fn is_learner(&self) -> Result<bool, String> {
        let view = self.view().map_err(text)?;
        let members = meta::members(&*view).map_err(|fault| text(fault.into()))?;
        Ok(members.iter().any(|member| member.id == self.member_id() && member.learner))
    }

    fn raft(&self) -> Value {
        let status = self.status();
        let role = match status.leader {
            Some(leader) if leader == self.member_id() => Some("StateLeader"),
            Some(_) => Some("StateFollower"),
            None => None, // it may stand for election or not
        };
        json!({
            "id": self.member_id().to_string(),
            "term": status.term.0,
            "commit": status.committed.0,
            "lead": status.leader.map_or_else(|| "0".to_owned(), |leader| leader.to_string()),
            "raftState": role,
            "applied": status.applied.0,
        })
    }

    async fn read(&self, linearizable: bool) -> Result<(), String> {
        if linearizable {
            self.read_barrier().await.map_err(text)?;
        }
        let view = self.view().map_err(text)?;
        meta::revision(&*view).map_err(|fault| text(fault.into()))?;
        Ok(())
    }
}

fn text(error: node::Error) -> String {
    status::of_node(error).message().to_owned()
}
