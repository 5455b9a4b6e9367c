//! [`Elections`]: who has the oldest key below a name leads, and shows its value.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::select;

use crate::{
    node::{self, Changes, Handle},
    recipes::{
        Error,
        line::{Joined, Line, propose},
        session::{OwnLease, Session, delete_if, see_through},
    },
    state::{Answer, Command, Compare, Op, Operand, Put, Relation, Response, Txn},
    types::{EventKind, Identity, Key, KeyRange, KeyValue, LeaseId, Revision},
};

/// The elections of a cluster, as one of its members holds them.
#[derive(Clone, Debug)]
pub struct Elections {
    node: Handle,
    own: OwnLease,
}

/// What proves that somebody leads, for as long as the key is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The key.
    pub key: Key,
    /// The revision that created it: the fencing token.
    pub created: Revision,
    /// The lease that it hangs on.
    pub lease: LeaseId,
}

/// A campaign that was won.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elected {
    /// The proof.
    pub leadership: Leadership,
    /// The store's revision when the caller stood up for election.
    pub revision: Revision,
}

/// Who leads, and with which value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The leader's key and value.
    pub leader: KeyValue,
    /// The revision as of which it was seen.
    pub revision: Revision,
}

impl Elections {
    /// The elections that this member holds; calls without a lease get one as `own` says.
    #[must_use]
    pub fn new(node: Handle, own: OwnLease) -> Self {
        Self { node, own }
    }

    /// Waits until the caller leads, with a value to show. Lease 0 stands for one that is granted.
    /// Whoever stands for election with this lease already keeps its place and shows the new value.
    ///
    /// When this is dropped, the caller does not stand any more, and nothing of it is left.
    ///
    /// # Errors
    ///
    /// What was declined, what keeps the member from going on, or [`Error::NotLeader`] when the key
    /// was lost before its turn came.
    pub async fn campaign(
        &self,
        identity: Identity,
        name: Bytes,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Elected, Error> {
        let line = Line::new(&self.node, &identity, &name);
        let joined = line.join(lease, self.own, value.clone()).await?;
        let Joined { mut session, key, created, revision, is_first, found } = joined;
        let leadership = Leadership { key, created, lease: session.lease() };
        let is_other = found.is_some_and(|found| found.value != value);
        if !is_first {
            session.note_place(&leadership.key, created);
        }
        let turn = session.hold(async {
            if is_other {
                overwrite(&self.node, &identity, &leadership, leadership.lease, value).await?;
            }
            if !is_first {
                line.wait_for_turn(created).await?;
                session.renew_once().await;
                let still = line.still_there(leadership.key.clone(), created).await?;
                still.ok_or(Error::NotLeader)?;
            }
            Ok(())
        });
        match turn.await {
            Ok(()) => {
                session.keep();
                Ok(Elected { leadership, revision })
            }
            Err(error) => {
                session.note_place(&leadership.key, created);
                session.leave().await;
                Err(if error == Error::SessionExpired { Error::NotLeader } else { error })
            }
        }
    }

    /// Shows another value without a new election. Returns the store's revision after it.
    ///
    /// # Errors
    ///
    /// [`Error::NotLeader`] when the key is not that of the leadership any more; otherwise as for
    /// [`Elections::campaign`].
    pub async fn proclaim(
        &self,
        identity: Identity,
        leadership: Leadership,
        value: Bytes,
    ) -> Result<Revision, Error> {
        let (node, own) = (self.node.clone(), self.own);
        // A session is not to be dropped while it opens.
        see_through(async move {
            let session = Session::open(&node, identity.clone(), leadership.lease, own).await?;
            let lease = session.lease();
            let revision = overwrite(&node, &identity, &leadership, lease, value).await?;
            session.keep();
            Ok(revision)
        })
        .await
    }

    /// Steps down. A leadership that is over already is no mistake. Returns the store's revision
    /// after it.
    ///
    /// # Errors
    ///
    /// What was declined, or what keeps the member from doing it.
    pub async fn resign(
        &self,
        identity: Identity,
        leadership: Leadership,
    ) -> Result<Revision, Error> {
        let txn = delete_if(leadership.key, leadership.created);
        Ok(self.node.propose(identity, Command::Txn(txn)).await?.revision)
    }

    /// Who leads now.
    ///
    /// # Errors
    ///
    /// [`Error::NoLeader`], or what keeps the member from reading.
    pub async fn leader(&self, identity: Identity, name: Bytes) -> Result<Shown, Error> {
        let (revision, leader) = Line::new(&self.node, &identity, &name).first().await?;
        let leader = leader.ok_or(Error::NoLeader)?;
        Ok(Shown { leader, revision })
    }

    /// Follows who leads.
    #[must_use]
    pub fn observe(&self, identity: Identity, name: Bytes) -> Observer {
        let line = Line::new(&self.node, &identity, &name);
        Observer { node: self.node.clone(), line, follows: None, ready: VecDeque::new() }
    }
}

/// Follows who leads: each leader and the values it shows, until it goes; then the next one.
/// Values and leaders that came and went while nobody asked may be left out.
#[derive(Debug)]
pub struct Observer {
    node: Handle,
    line: Line,
    /// The leader's key.
    follows: Option<Changes>,
    /// Values it showed that were not asked for yet: those of one delivery at most.
    ready: VecDeque<Shown>,
}

impl Observer {
    /// Waits for the next leader or value.
    ///
    /// # Errors
    ///
    /// What keeps the member from reading.
    pub async fn next(&mut self) -> Result<Shown, Error> {
        let node = self.node.clone();
        select! {
            shown = self.follow() => shown,
            () = node.retiring() => Err(node::Error::Stopped.into()),
        }
    }

    async fn follow(&mut self) -> Result<Shown, Error> {
        loop {
            if let Some(shown) = self.ready.pop_front() {
                return Ok(shown);
            }
            match &mut self.follows {
                Some(changes) => match changes.next().await {
                    Some(happened) => self.take_in(happened),
                    None => self.follows = None,
                },
                None => {
                    if let Some(shown) = self.look().await? {
                        let after = shown.revision.next();
                        let key = KeyRange::One(shown.leader.key.clone());
                        self.follows = Some(self.node.changes(key, after));
                        return Ok(shown);
                    }
                }
            }
        }
    }

    /// Takes in what the leader has shown. When it has gone, somebody else is to be followed.
    fn take_in(&mut self, happened: node::Happened) {
        let revision = happened.revision;
        for event in happened.events {
            match event.kind {
                EventKind::Put(leader) => self.ready.push_back(Shown { leader, revision }),
                EventKind::Delete(..) => {
                    self.follows = None;
                    return;
                }
            }
        }
    }

    /// The leader of now; without one, the first who comes. None when history does not tell any more.
    async fn look(&self) -> Result<Option<Shown>, Error> {
        let (revision, leader) = self.line.first().await?;
        if let Some(leader) = leader {
            return Ok(Some(Shown { leader, revision }));
        }
        let mut changes = self.node.changes(self.line.range(), revision.next());
        while let Some(happened) = changes.next().await {
            for event in happened.events {
                if let EventKind::Put(leader) = event.kind {
                    let revision = leader.mod_revision;
                    return Ok(Some(Shown { leader, revision }));
                }
            }
        }
        Ok(None)
    }
}

/// Puts a value under a leader's key, if it is still the leader's.
async fn overwrite(
    node: &Handle,
    identity: &Identity,
    leadership: &Leadership,
    lease: LeaseId,
    value: Bytes,
) -> Result<Revision, Error> {
    let key = leadership.key.clone();
    let compare = Compare {
        range: KeyRange::One(key.clone()),
        relation: Relation::Equal,
        operand: Operand::Create(leadership.created.0),
    };
    let put = Put {
        key,
        value,
        lease: Some(lease),
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    };
    let txn = Txn { compares: vec![compare], success: vec![Op::Put(put)], failure: Vec::new() };
    let Answer { revision, response } = propose(node, identity, txn).await?;
    let Response::Txn(txn) = response else {
        unreachable!("a transaction got the answer of another command");
    };
    if txn.succeeded { Ok(revision) } else { Err(Error::NotLeader) }
}
