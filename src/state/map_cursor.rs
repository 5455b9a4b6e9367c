//! [`MapCursor`]: a cursor over part of a map in memory.

use crate::{
    state::{Cursor, Direction},
    types::Fault,
};

/// The records of a map within bounds, from either end.
pub(super) type Records<'a, V> = Box<dyn DoubleEndedIterator<Item = (&'a [u8], V)> + 'a>;

/// The records `start <= key < end` of a map, where `start <= end`.
type Within<'a, V> = dyn Fn(&[u8], Option<&[u8]>) -> Records<'a, V> + 'a;

/// A cursor over part of a map in memory, whose values are of any kind.
pub struct MapCursor<'a, V> {
    within: Box<Within<'a, V>>,
    start: Vec<u8>,
    end: Option<Vec<u8>>,
    direction: Direction,
    rest: Option<Records<'a, V>>,
    current: Option<(&'a [u8], V)>,
}

impl<'a, V: Copy> MapCursor<'a, V> {
    /// Over the records `start <= key < end` of those that `within` hands out.
    pub fn new(
        start: &[u8],
        end: Option<&[u8]>,
        within: impl Fn(&[u8], Option<&[u8]>) -> Records<'a, V> + 'a,
    ) -> Self {
        Self {
            within: Box::new(within),
            start: start.to_vec(),
            end: end.map(<[u8]>::to_vec),
            direction: Direction::Forward,
            rest: None,
            current: None,
        }
    }

    /// See [`Cursor::begin`].
    pub fn begin(&mut self, direction: Direction) {
        let empty = self.end.as_ref().is_some_and(|end| *end < self.start);
        self.rest = (!empty).then(|| (self.within)(&self.start, self.end.as_deref()));
        self.direction = direction;
        self.step();
    }

    /// See [`Cursor::seek`].
    pub fn seek(&mut self, key: &[u8], direction: Direction) {
        let end = self.end.as_deref();
        let (start, end) = match direction {
            Direction::Forward => (key.max(&self.start), end),
            Direction::Backward => (&self.start[..], Some(end.map_or(key, |end| end.min(key)))),
        };
        let empty = end.is_some_and(|end| end < start);
        self.rest = (!empty).then(|| (self.within)(start, end));
        self.direction = direction;
        self.step();
    }

    /// See [`Cursor::step`].
    pub fn step(&mut self) {
        self.current = self.rest.as_mut().and_then(|rest| match self.direction {
            Direction::Forward => rest.next(),
            Direction::Backward => rest.next_back(),
        });
    }

    /// Key and value of the record it stands at.
    #[must_use]
    pub fn record(&self) -> Option<(&'a [u8], V)> {
        self.current
    }
}

impl<'a> Cursor for MapCursor<'a, &'a [u8]> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        MapCursor::begin(self, direction);
        Ok(())
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        MapCursor::seek(self, key, direction);
        Ok(())
    }

    fn step(&mut self) -> Result<(), Fault> {
        MapCursor::step(self);
        Ok(())
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.current
    }
}
