//! [`Plan`]: what a client wants, as a command of the store, and the store's answer in the terms of
//! a [history](crate::sim::history).

use bytes::Bytes;

use crate::{
    sim::history::{Content, Contents, KeyId, ValueId},
    state::{
        Command, Compare, DeleteRange, Op, OpResponse, Operand, Put, Range, RangeResponse,
        Relation, Response, RevisionFilter, Sort, Txn,
    },
    types::{Key, KeyRange, KeyValue, LeaseId},
};

/// What all keys of the workload begin with.
const PREFIX: &[u8] = b"key/";
/// What the keys of holders begin with.
const HELD_PREFIX: &[u8] = b"held/";
/// What the keys begin with that only make work.
const LOAD_PREFIX: &[u8] = b"load/";

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// To store a value, and see what it replaces.
    Put(KeyId, ValueId),
    /// To store a value without looking.
    BlindPut(KeyId, ValueId),
    /// To store one value under two keys at once.
    PutBoth(KeyId, KeyId, ValueId),
    /// To store a value if the key holds what it is thought to, and else see what it holds.
    Swap(KeyId, Content, ValueId),
    /// To delete a key, and see what it held.
    Delete(KeyId),
    /// To see what a key holds; any time ago will do with `true`.
    Get(KeyId, bool),
    /// To see what all keys hold.
    List,
}

/// What a plan asks of the store.
#[derive(Debug)]
pub enum Ask {
    /// To have a command agreed on.
    Propose(Command),
    /// To read here, after a barrier unless it may be `serializable`.
    Read {
        /// What.
        range: Range,
        /// Whether an old answer will do.
        serializable: bool,
    },
}

impl Plan {
    /// A name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Put(..) => "put",
            Self::BlindPut(..) => "blind put",
            Self::PutBoth(..) => "put both",
            Self::Swap(..) => "swap",
            Self::Delete(_) => "delete",
            Self::Get(_, false) => "get",
            Self::Get(_, true) => "serializable get",
            Self::List => "list",
        }
    }

    /// What it asks of the store. Values are padded to `value_bytes`.
    #[must_use]
    pub fn ask(self, value_bytes: usize) -> Ask {
        let put = |key, value, prev_kv| Put {
            key: to_key(key),
            value: to_value(value, value_bytes),
            lease: None,
            prev_kv,
            ignore_value: false,
            ignore_lease: false,
        };
        match self {
            Self::Put(key, value) => Ask::Propose(Command::Put(put(key, value, true))),
            Self::BlindPut(key, value) => Ask::Propose(Command::Put(put(key, value, false))),
            Self::PutBoth(one, other, value) => Ask::Propose(Command::Txn(Txn {
                compares: Vec::new(),
                success: [one, other].map(|key| Op::Put(put(key, value, true))).into(),
                failure: Vec::new(),
            })),
            Self::Swap(key, expected, value) => Ask::Propose(Command::Txn(Txn {
                compares: vec![compare(key, expected, value_bytes)],
                success: vec![Op::Put(put(key, value, true))],
                failure: vec![Op::Range(range(KeyRange::One(to_key(key))))],
            })),
            Self::Delete(key) => Ask::Propose(Command::DeleteRange(DeleteRange {
                range: KeyRange::One(to_key(key)),
                prev_kv: true,
            })),
            Self::Get(key, serializable) => {
                Ask::Read { range: range(KeyRange::One(to_key(key))), serializable }
            }
            Self::List => Ask::Read { range: range(all_keys()), serializable: false },
        }
    }

    /// What it would see and write if it took effect without an answer.
    #[must_use]
    pub fn unanswered(self) -> (Contents, Contents) {
        let mut saw = Contents::new();
        let mut wrote = Contents::new();
        match self {
            Self::Put(key, value) | Self::BlindPut(key, value) => {
                wrote.insert(key, Some(value));
            }
            Self::PutBoth(one, other, value) => {
                wrote.extend([one, other].map(|k| (k, Some(value))))
            }
            Self::Swap(key, expected, value) => {
                saw.insert(key, expected);
                wrote.insert(key, Some(value));
            }
            Self::Delete(key) => {
                wrote.insert(key, None);
            }
            Self::Get(..) | Self::List => {}
        }
        (saw, wrote)
    }

    /// What it saw and wrote by this answer; `None` when the answer is to another question.
    #[must_use]
    pub fn answered(self, response: &Response) -> Option<(Contents, Contents)> {
        let (mut saw, mut wrote) = self.unanswered();
        match (self, response) {
            (Self::Put(key, _), Response::Put(put)) => {
                saw.insert(key, content(put.prev.as_ref())?);
            }
            (Self::BlindPut(..), Response::Put(put)) if put.prev.is_none() => {}
            (Self::PutBoth(one, other, _), Response::Txn(txn)) if txn.succeeded => {
                for (key, result) in [one, other].into_iter().zip(&txn.results) {
                    let OpResponse::Put(_, put) = result else { return None };
                    saw.insert(key, content(put.prev.as_ref())?);
                }
            }
            (Self::Swap(key, expected, _), Response::Txn(txn)) => match txn.results.as_slice() {
                [OpResponse::Put(_, put)] if txn.succeeded => {
                    saw.insert(key, content(put.prev.as_ref())?);
                }
                [OpResponse::Range(_, range)] if !txn.succeeded => {
                    let seen = content(range.kvs.first())?;
                    // The comparison itself is part of what was seen.
                    if seen == expected {
                        return None;
                    }
                    saw.insert(key, seen);
                    wrote.clear();
                }
                _ => return None,
            },
            (Self::Delete(key), Response::DeleteRange(deleted)) => {
                let seen = content(deleted.prevs.first())?;
                if deleted.deleted != i64::from(seen.is_some()) {
                    return None;
                }
                saw.insert(key, seen);
                if seen.is_none() {
                    wrote.clear();
                }
            }
            _ => return None,
        }
        Some((saw, wrote))
    }

    /// What a read saw by this answer, of `keys` keys in all.
    #[must_use]
    pub fn read(self, response: &RangeResponse, keys: u8) -> Option<Contents> {
        let mut saw: Contents = match self {
            Self::Get(key, _) => [(key, None)].into(),
            Self::List => (0..keys).map(|key| (KeyId(key), None)).collect(),
            Self::Put(..)
            | Self::BlindPut(..)
            | Self::PutBoth(..)
            | Self::Swap(..)
            | Self::Delete(_) => return None,
        };
        for kv in &response.kvs {
            *saw.get_mut(&key_id(&kv.key)?)? = Some(value_id(&kv.value)?);
        }
        Some(saw)
    }
}

/// The range of all keys of the workload.
#[must_use]
pub fn all_keys() -> KeyRange {
    KeyRange::prefix(Key::new(PREFIX).expect("the prefix is not empty"))
}

/// Which key of the workload this is.
#[must_use]
pub fn key_id(key: &Key) -> Option<KeyId> {
    let number = std::str::from_utf8(key.as_bytes().strip_prefix(PREFIX)?).ok()?;
    number.parse().ok().map(KeyId)
}

/// Which value of the workload this is.
#[must_use]
pub fn value_id(value: &[u8]) -> Option<ValueId> {
    let number = value.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(number).ok()?.parse().ok().map(ValueId)
}

/// A key that the holder of a lease puts on it first; later others may have it.
#[must_use]
pub fn held_key(lease: LeaseId, number: u64) -> Key {
    let bytes = [HELD_PREFIX, format!("{lease}/{number}").as_bytes()].concat();
    Key::new(bytes).expect("the prefix is not empty")
}

/// A key that only makes work.
#[must_use]
pub fn load_key(number: u64) -> Key {
    let bytes = [LOAD_PREFIX, number.to_string().as_bytes()].concat();
    Key::new(bytes).expect("the prefix is not empty")
}

/// Whether the workload does not know this key.
#[must_use]
pub fn is_foreign(key: &Key) -> bool {
    [HELD_PREFIX, LOAD_PREFIX].iter().any(|prefix| key.as_bytes().starts_with(prefix))
}

/// What an optional pair says of its key; `None` when its value is none of the workload's.
fn content(kv: Option<&KeyValue>) -> Option<Content> {
    kv.map(|kv| value_id(&kv.value)).map_or(Some(None), |value| value.map(Some))
}

fn to_key(key: KeyId) -> Key {
    let bytes = [PREFIX, key.0.to_string().as_bytes()].concat();
    Key::new(bytes).expect("the prefix is not empty")
}

fn to_value(value: ValueId, bytes: usize) -> Bytes {
    format!("{:<bytes$}", value.0).into()
}

fn range(range: KeyRange) -> Range {
    Range {
        range,
        revision: 0,
        limit: 0,
        sort: Sort::default(),
        keys_only: false,
        count_only: false,
        filter: RevisionFilter::default(),
    }
}

fn compare(key: KeyId, expected: Content, value_bytes: usize) -> Compare {
    let operand = match expected {
        Some(value) => Operand::Value(to_value(value, value_bytes)),
        None => Operand::Create(0),
    };
    Compare { range: KeyRange::One(to_key(key)), relation: Relation::Equal, operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values are recognised, padded or not.
    #[test]
    fn keys_and_values_round_trip() {
        assert_eq!(key_id(&to_key(KeyId(7))), Some(KeyId(7)));
        assert_eq!(value_id(&to_value(ValueId(42), 0)), Some(ValueId(42)));
        assert_eq!(value_id(&to_value(ValueId(42), 100)), Some(ValueId(42)));
        assert!(all_keys().contains(&to_key(KeyId(9))));
    }
}
