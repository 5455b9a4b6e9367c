//! A range of keys and a filter, packed into one allocation of just their size.

use std::cmp::Ordering;

use crate::{types::KeyRange, watch::Filter};

/// A range of keys, borrowed. In order of their starts, and of their ends where those are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::watch) struct Extent<'a> {
    /// The smallest key that can be in the range.
    pub(in crate::watch) start: &'a [u8],
    /// Where the range ends.
    pub(in crate::watch) end: End<'a>,
}

/// Where a range of keys ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::watch) enum End<'a> {
    /// After its first key, which is the only one.
    Single,
    /// Before this key.
    Before(&'a [u8]),
    /// Nowhere.
    Open,
}

impl<'a> Extent<'a> {
    /// The extent of a range.
    pub(in crate::watch) fn of(range: &'a KeyRange) -> Self {
        let end = match range {
            KeyRange::One(_) => End::Single,
            KeyRange::HalfOpen(_, end) => End::Before(end.as_bytes()),
            KeyRange::From(_) => End::Open,
        };
        Self { start: range.start().as_bytes(), end }
    }

    #[cfg(test)]
    /// A range with this extent; `None` when a bound has no bytes, which none of the index has.
    pub(in crate::watch) fn to_range(self) -> Option<KeyRange> {
        let copy = |bytes| crate::types::Key::new(bytes::Bytes::copy_from_slice(bytes));
        let start = copy(self.start)?;
        Some(match self.end {
            End::Single => KeyRange::One(start),
            End::Before(end) => KeyRange::HalfOpen(start, copy(end)?),
            End::Open => KeyRange::From(start),
        })
    }

    /// Where the key lies: before the range, in it (`Equal`), or after it.
    ///
    /// Over ascending keys the answers ascend, so the keys of a sorted list that are in the range
    /// lie between two partition points.
    pub(in crate::watch) fn place(self, key: &[u8]) -> Ordering {
        match (key.cmp(self.start), self.end) {
            (Ordering::Less, _) => Ordering::Less,
            (Ordering::Equal, End::Single) | (_, End::Open) => Ordering::Equal,
            (_, End::Single) => Ordering::Greater,
            (_, End::Before(end)) if key < end => Ordering::Equal,
            (_, End::Before(_)) => Ordering::Greater,
        }
    }

    /// Whether the key is in the range.
    pub(in crate::watch) fn contains(self, key: &[u8]) -> bool {
        self.place(key).is_eq()
    }
}

/// A range and a filter: a byte that says the form of the range and the filter, then the key; or,
/// between that byte and its keys, the length of the first when there are two.
///
/// A million of these may be held, so nothing is kept beside the bytes that they can say themselves.
#[derive(Debug)]
pub(super) struct Span(Box<[u8]>);

const NO_PUT: u8 = 1;
const NO_DELETE: u8 = 1 << 1;
const FILTER: u8 = NO_PUT | NO_DELETE;
const HALF_OPEN: u8 = 1 << 2;
const OPEN: u8 = 1 << 3;

const SPLIT_LEN: usize = size_of::<usize>();

impl Span {
    /// How many different filters there are; [`filter_bits`] stays below.
    pub(super) const FILTERS: usize = 1 << FILTER.count_ones();

    /// Packs a range and a filter.
    pub(super) fn new(range: &KeyRange, filter: Filter) -> Self {
        let Extent { start, end } = Extent::of(range);
        let filter = filter_bits(filter);
        Self(match end {
            End::Single => [&[filter], start].concat().into(),
            End::Before(end) => {
                [&[filter | HALF_OPEN], &start.len().to_ne_bytes()[..], start, end].concat().into()
            }
            End::Open => [&[filter | OPEN], start].concat().into(),
        })
    }

    /// The range.
    pub(super) fn extent(&self) -> Extent<'_> {
        let (tag, rest) = self.tagged();
        if tag & HALF_OPEN != 0 {
            let (split, keys) = rest
                .split_first_chunk::<SPLIT_LEN>()
                .expect("a packed range of two keys says the length of the first");
            let (start, end) = keys
                .split_at_checked(usize::from_ne_bytes(*split))
                .expect("the first of two packed keys ends before the second");
            Extent { start, end: End::Before(end) }
        } else {
            Extent { start: rest, end: if tag & OPEN != 0 { End::Open } else { End::Single } }
        }
    }

    /// The filter.
    pub(super) fn filter(&self) -> Filter {
        let bits = self.filter_bits();
        Filter { no_put: bits & NO_PUT != 0, no_delete: bits & NO_DELETE != 0 }
    }

    /// The filter as a small number.
    pub(super) fn filter_bits(&self) -> u8 {
        self.tagged().0 & FILTER
    }

    fn tagged(&self) -> (u8, &[u8]) {
        let (tag, rest) = self.0.split_first().expect("a packed range begins with its form");
        (*tag, rest)
    }
}

/// The filter as a small number, by which filters are in order.
pub(super) fn filter_bits(filter: Filter) -> u8 {
    let no_put = if filter.no_put { NO_PUT } else { 0 };
    let no_delete = if filter.no_delete { NO_DELETE } else { 0 };
    no_put | no_delete
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> crate::types::Key {
        crate::types::Key::new(text.as_bytes().to_vec()).unwrap()
    }

    fn ranges() -> [KeyRange; 4] {
        [
            KeyRange::One(key("b")),
            KeyRange::HalfOpen(key("b"), key("d")),
            KeyRange::HalfOpen(key("b\0"), key("bbbb")),
            KeyRange::From(key("b")),
        ]
    }

    /// Every form of range comes back, with every filter.
    #[test]
    fn packs_and_unpacks() {
        for range in ranges() {
            for (no_put, no_delete) in [(false, false), (true, false), (false, true), (true, true)]
            {
                let filter = Filter { no_put, no_delete };
                let span = Span::new(&range, filter);
                assert_eq!(span.extent(), Extent::of(&range));
                assert_eq!(span.extent().to_range(), Some(range.clone()));
                assert_eq!(span.filter(), filter);
                assert!(usize::from(span.filter_bits()) < Span::FILTERS);
            }
        }
    }

    /// Keys in ascending order lie first before the range, then in it, then after it.
    #[test]
    fn places_ascend_with_the_keys() {
        let keys = ["a", "b", "b\0", "b\0a", "ba", "bbbb", "bbbba", "c", "d", "e"];
        for range in ranges() {
            let extent = Extent::of(&range);
            assert!(keys.map(|text| extent.place(text.as_bytes())).is_sorted());
            for text in keys {
                assert_eq!(
                    extent.contains(text.as_bytes()),
                    range.contains(&key(text)),
                    "{text:?}"
                );
            }
        }
    }
}
