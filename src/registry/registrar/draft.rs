//! [`Draft`]: a transaction that is carried out only if nothing has changed that it is based on.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    node::RequestError,
    recipes::propose,
    registry::Registrar,
    state::{Answer, Compare, DeleteRange, Op, Operand, Put, Relation, Response, Txn, TxnResponse},
    types::{Identity, Key, KeyRange, KeyValue, LeaseId, Revision},
};

/// What is to be written, and what it is based on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    /// The revision of the last change of each key; 0 for one that is not there.
    based_on: BTreeMap<Key, Revision>,
    writes: BTreeMap<Key, Write>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Write {
    Put(Bytes, Option<LeaseId>),
    Delete,
}

impl Draft {
    /// The draft counts only if this still stands under the key.
    pub(super) fn based_on(&mut self, key: Key, pair: Option<&KeyValue>) {
        self.based_on.insert(key, pair.map_or(Revision(0), |pair| pair.mod_revision));
    }

    pub(super) fn put(&mut self, key: Key, value: Bytes, lease: Option<LeaseId>) {
        self.writes.insert(key, Write::Put(value, lease));
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.writes.insert(key, Write::Delete);
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Whether it writes a key.
    pub(super) fn writes(&self, key: &Key) -> bool {
        self.writes.contains_key(key)
    }

    /// What of it makes room.
    pub(super) fn without_puts(mut self) -> Self {
        self.writes.retain(|_, write| *write == Write::Delete);
        self
    }

    fn into_txn(self) -> Txn {
        let unchanged = |(key, modified): (Key, Revision)| Compare {
            range: KeyRange::One(key),
            relation: Relation::Equal,
            operand: Operand::Mod(modified.0),
        };
        let write = |(key, write): (Key, Write)| match write {
            Write::Put(value, lease) => Op::Put(Put {
                key,
                value,
                lease,
                prev_kv: false,
                ignore_value: false,
                ignore_lease: false,
            }),
            Write::Delete => {
                Op::DeleteRange(DeleteRange { range: KeyRange::One(key), prev_kv: false })
            }
        };
        Txn {
            compares: self.based_on.into_iter().map(unchanged).collect(),
            success: self.writes.into_iter().map(write).collect(),
            failure: Vec::new(),
        }
    }
}

impl Registrar {
    /// Carries a draft out, and returns the revision of that. `None`: something that it is based on
    /// has changed, and nothing is written.
    pub(super) async fn commit(
        &self,
        by: &Identity,
        draft: Draft,
    ) -> Result<Option<Revision>, RequestError> {
        let answer = propose(&self.node, by, draft.into_txn()).await?;
        let Answer { revision, response: Response::Txn(TxnResponse { succeeded, .. }) } = answer
        else {
            unreachable!("a transaction got the answer of another command");
        };
        Ok(succeeded.then_some(revision))
    }
}
