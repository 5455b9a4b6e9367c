//! [`Wish`]: what holders want of the keys of their leases, as commands of the store.
//!
//! Each lease has keys of its own, and its holder puts keys of others on it as well: a key wanders
//! from lease to lease, loses its lease, is deleted, and comes back.

use bytes::Bytes;

use crate::{
    sim::{config::Config, plan, rng::Rng},
    state::{Command, Compare, DeleteRange, Op, Operand, Put, Relation, Response, Txn},
    types::{Key, KeyRange, LeaseId},
};

/// What a holder wants of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// All keys of its lease on it, at once.
    AttachAll,
    /// This key on its lease.
    Attach(Key),
    /// This key on its lease if it is on another one, else on none.
    Move(Key, LeaseId),
    /// Another value of this key, on the lease it is on.
    KeepLease(Key),
    /// This key without a lease.
    Detach(Key),
    /// This key gone.
    Delete(Key),
}

/// What was done with a key at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was put on this lease, or on none.
    On(Key, Option<LeaseId>),
    /// It was put, and stayed where it was.
    Kept(Key),
    /// A client deleted it.
    Gone(Key),
}

impl Wish {
    /// Something that a holder may want at any time, of the keys of the newest leases.
    pub(super) fn draw(config: &Config, newest: LeaseId, rng: &mut Rng) -> Self {
        let recent = |rng: &mut Rng| {
            let back = i64::try_from(rng.below(config.holding.holders)).expect("holders are few");
            LeaseId((newest.0 - back).max(1))
        };
        let key = plan::held_key(recent(rng), rng.below(config.holding.keys));
        match rng.below(6) {
            0 | 1 => Self::Attach(key),
            2 => Self::Move(key, recent(rng)),
            3 => Self::KeepLease(key),
            4 => Self::Detach(key),
            _ => Self::Delete(key),
        }
    }

    /// What this answer says it did, for the holder of a lease.
    #[must_use]
    pub(super) fn effects(&self, lease: LeaseId, keys: u64, answer: &Response) -> Vec<Effect> {
        match (self, answer) {
            (Self::AttachAll, Response::Txn(_)) => (0..keys)
                .map(|number| Effect::On(plan::held_key(lease, number), Some(lease)))
                .collect(),
            (Self::Attach(key), _) => vec![Effect::On(key.clone(), Some(lease))],
            (Self::Move(key, _), Response::Txn(txn)) => {
                vec![Effect::On(key.clone(), txn.succeeded.then_some(lease))]
            }
            (Self::KeepLease(key), _) => vec![Effect::Kept(key.clone())],
            (Self::Detach(key), _) => vec![Effect::On(key.clone(), None)],
            (Self::Delete(key), Response::DeleteRange(done)) if done.deleted > 0 => {
                vec![Effect::Gone(key.clone())]
            }
            (Self::Delete(_) | Self::Move(..) | Self::AttachAll, _) => Vec::new(),
        }
    }

    /// The command, for the holder of a lease.
    #[must_use]
    pub(super) fn command(&self, lease: LeaseId, keys: u64) -> Command {
        match self {
            Self::AttachAll => Command::Txn(Txn {
                compares: Vec::new(),
                success: (0..keys)
                    .map(|number| Op::Put(put(&plan::held_key(lease, number), Some(lease))))
                    .collect(),
                failure: Vec::new(),
            }),
            Self::Attach(key) => Command::Put(put(key, Some(lease))),
            Self::Move(key, from) => Command::Txn(Txn {
                compares: vec![Compare {
                    range: KeyRange::One(key.clone()),
                    relation: Relation::Equal,
                    operand: Operand::Lease(from.0),
                }],
                success: vec![Op::Put(put(key, Some(lease)))],
                failure: vec![Op::Put(put(key, None))],
            }),
            Self::KeepLease(key) => Command::Put(Put { ignore_lease: true, ..put(key, None) }),
            Self::Detach(key) => Command::Put(put(key, None)),
            Self::Delete(key) => Command::DeleteRange(DeleteRange {
                range: KeyRange::One(key.clone()),
                prev_kv: false,
            }),
        }
    }

    /// Whether it can only be granted while the lease lives.
    #[must_use]
    pub(super) fn needs_lease(&self) -> bool {
        match self {
            Self::AttachAll | Self::Attach(_) => true,
            Self::Move(..) | Self::KeepLease(_) | Self::Detach(_) | Self::Delete(_) => false,
        }
    }
}

fn put(key: &Key, lease: Option<LeaseId>) -> Put {
    Put {
        key: key.clone(),
        value: Bytes::new(),
        lease,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}
