//! Keys and ranges of keys.

use std::fmt;

use bytes::Bytes;

/// A key: one byte or more, compared bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// The smallest key there is, a single zero byte.
    pub const MIN: Self = Self(Bytes::from_static(b"\0"));

    /// `bytes` as a key, or `None` when there are none.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (!bytes.is_empty()).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes, shared.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its bytes, taken.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A set of keys, in one of the forms that requests can give.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyRange {
    /// Exactly one key.
    One(Key),
    /// All keys `k` with `start <= k < end`; empty when `end <= start`.
    HalfOpen(Key, Key),
    /// All keys from this one on.
    From(Key),
}

impl KeyRange {
    /// The range a request means by `key` and `range_end`: an empty end is one key, the end `\0`
    /// is "from this key on", any other end is exclusive.
    #[must_use]
    pub fn from_wire(key: Key, range_end: Bytes) -> Self {
        match Key::new(range_end) {
            None => Self::One(key),
            Some(end) if end == Key::MIN => Self::From(key),
            Some(end) => Self::HalfOpen(key, end),
        }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: Key) -> Self {
        let mut end = prefix.as_bytes().to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            None => Self::From(prefix),
            Some(last) => {
                *last += 1;
                Self::HalfOpen(prefix, Key(end.into()))
            }
        }
    }

    /// The `(key, range_end)` pair that [`KeyRange::from_wire`] reads as this range.
    #[must_use]
    pub fn to_wire(&self) -> (Bytes, Bytes) {
        match self {
            Self::One(key) => (key.0.clone(), Bytes::new()),
            Self::HalfOpen(start, end) => (start.0.clone(), end.0.clone()),
            Self::From(start) => (start.0.clone(), Key::MIN.0),
        }
    }

    /// The smallest key that can be in the range.
    #[must_use]
    pub fn start(&self) -> &Key {
        match self {
            Self::One(key) | Self::HalfOpen(key, _) | Self::From(key) => key,
        }
    }

    /// The first key after the range, or `None` when it is open-ended.
    #[must_use]
    pub fn end(&self) -> Option<Key> {
        match self {
            Self::One(key) => {
                let mut end = Vec::with_capacity(key.0.len() + 1);
                end.extend_from_slice(&key.0);
                end.push(0);
                Some(Key(end.into()))
            }
            Self::HalfOpen(_, end) => Some(end.clone()),
            Self::From(_) => None,
        }
    }

    /// Whether `key` is in the range.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::HalfOpen(start, end) => start <= key && key < end,
            Self::From(start) => start <= key,
        }
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::One(_) | Self::From(_) => false,
            Self::HalfOpen(start, end) => end <= start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    /// The wire form of a range says which of the three it is, and comes back unchanged.
    #[test]
    fn wire_forms_round_trip() {
        for (start, end) in [("a", ""), ("a", "c"), ("c", "a"), ("a", "\0"), ("\0", "\0")] {
            let range = KeyRange::from_wire(key(start), Bytes::copy_from_slice(end.as_bytes()));
            assert_eq!(range.to_wire(), (Bytes::from(start), Bytes::from(end)));
        }
    }

    /// A reversed range is empty, and contains nothing.
    #[test]
    fn a_reversed_range_is_empty() {
        let range = KeyRange::HalfOpen(key("c"), key("a"));
        assert!(range.is_empty());
        assert!(!range.contains(&key("b")));
    }

    /// A prefix of 0xff bytes only has no end.
    #[test]
    fn prefix_of_the_highest_bytes_is_open_ended() {
        let high = Key::new(vec![0xff, 0xff]).unwrap();
        assert_eq!(KeyRange::prefix(high.clone()), KeyRange::From(high));
        let mixed = Key::new(vec![b'a', 0xff]).unwrap();
        assert_eq!(KeyRange::prefix(mixed.clone()), KeyRange::HalfOpen(mixed, key("b")));
    }
}
