//! Which keys a command means: one key, a range, a prefix, or all from a key on.

use std::{ffi::OsString, os::unix::ffi::OsStringExt};

use bytes::Bytes;
use clap::Args;

use super::error::Error;

/// The arguments that name keys.
#[derive(Args, Clone, Debug)]
pub(super) struct RangeArgs {
    /// The key, or the first of a range
    key: OsString,
    /// The end of the range, which is not part of it
    range_end: Option<OsString>,
    /// All keys that start with KEY
    #[arg(long, conflicts_with_all = ["range_end", "from_key"])]
    prefix: bool,
    /// All keys from KEY on, in byte order
    #[arg(long, conflicts_with = "range_end")]
    from_key: bool,
}

/// Key and end of a range, as requests carry them.
pub(super) struct KeyRange {
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
}

/// Stands for the first key of all as a key, and for no end as an end.
const ZERO: &[u8] = b"\0";

impl RangeArgs {
    /// Whether an end is given.
    pub(super) fn has_end(&self) -> bool {
        self.range_end.is_some()
    }

    /// The range meant. As for etcdctl, an empty key goes only with a prefix or from-key, meaning all.
    pub(super) fn key_range(self) -> Result<KeyRange, Error> {
        let key = Bytes::from(self.key.into_vec());
        let all = KeyRange { key: Bytes::from_static(ZERO), range_end: Bytes::from_static(ZERO) };
        match (self.prefix, self.from_key, self.range_end) {
            (true, _, _) | (_, true, _) if key.is_empty() => Ok(all),
            (true, _, _) => Ok(KeyRange { range_end: end_of_prefix(&key), key }),
            (_, true, _) => Ok(KeyRange { key, range_end: Bytes::from_static(ZERO) }),
            (false, false, _) if key.is_empty() => Err(Error::input("the key must not be empty")),
            (false, false, end) => {
                let range_end = end.map(|end| Bytes::from(end.into_vec())).unwrap_or_default();
                Ok(KeyRange { key, range_end })
            }
        }
    }
}

/// The first key after all that start with the prefix.
pub(super) fn end_of_prefix(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end.into();
        }
    }
    // All bytes are 0xff: every key from the prefix on starts with it or comes after.
    Bytes::from_static(ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(
        key: &str,
        range_end: Option<&str>,
        prefix: bool,
        from_key: bool,
    ) -> Option<(Bytes, Bytes)> {
        let args = RangeArgs {
            key: key.into(),
            range_end: range_end.map(OsString::from),
            prefix,
            from_key,
        };
        args.key_range().ok().map(|range| (range.key, range.range_end))
    }

    /// The four ways to name keys, as they go on the wire.
    #[test]
    fn keys_become_the_ranges_of_the_api() {
        let bytes =
            |key: &'static str, end: &'static str| Some((Bytes::from(key), Bytes::from(end)));

        assert_eq!(range("a", None, false, false), bytes("a", ""));
        assert_eq!(range("a", Some("c"), false, false), bytes("a", "c"));
        assert_eq!(range("ab", None, true, false), bytes("ab", "ac"));
        assert_eq!(range("ab", None, false, true), bytes("ab", "\0"));
        assert_eq!(range("", None, true, false), bytes("\0", "\0"));
        assert_eq!(range("", None, false, true), bytes("\0", "\0"));
        assert_eq!(range("", None, false, false), None);
    }

    /// A prefix that ends in 0xff carries over into the byte before.
    #[test]
    fn the_end_of_a_prefix_carries_over() {
        assert_eq!(end_of_prefix(b"a\xff"), Bytes::from("b"));
        assert_eq!(end_of_prefix(b"\xff\xff"), Bytes::from("\0"));
    }
}
