//! [`Merge`]: a cursor over records and the writes that lie on top of them.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::{
    state::{Cursor, Direction, MapCursor},
    types::Fault,
};

/// Shows what a reader sees once the writes are stored.
pub(super) struct Merge<'a> {
    base: Box<dyn Cursor + 'a>,
    written: MapCursor<'a, &'a Option<Bytes>>,
    direction: Direction,
    first: Option<First>,
}

/// Which of the two has the record that comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Base,
    Written,
    /// The same key is in both.
    Both,
}

impl<'a> Merge<'a> {
    pub(super) fn new(
        base: Box<dyn Cursor + 'a>,
        written: MapCursor<'a, &'a Option<Bytes>>,
    ) -> Self {
        Self { base, written, direction: Direction::Forward, first: None }
    }

    fn compare(&self) -> Option<First> {
        let (base, written) = match (self.base.item(), self.written.record()) {
            (None, None) => return None,
            (Some(_), None) => return Some(First::Base),
            (None, Some(_)) => return Some(First::Written),
            (Some((base, _)), Some((written, _))) => (base, written),
        };
        let order = match self.direction {
            Direction::Forward => base.cmp(written),
            Direction::Backward => written.cmp(base),
        };
        Some(match order {
            Ordering::Less => First::Base,
            Ordering::Greater => First::Written,
            Ordering::Equal => First::Both,
        })
    }

    /// Leaves the record it stands at.
    fn leave(&mut self, first: First) -> Result<(), Fault> {
        if first != First::Written {
            self.base.step()?;
        }
        if first != First::Base {
            self.written.step();
        }
        Ok(())
    }

    fn deleted(&self) -> bool {
        self.written.record().is_some_and(|(_, value)| value.is_none())
    }

    /// Goes on over what is deleted.
    fn settle(&mut self) -> Result<(), Fault> {
        loop {
            self.first = self.compare();
            match self.first {
                Some(first @ (First::Written | First::Both)) if self.deleted() => {
                    self.leave(first)?;
                }
                Some(_) | None => return Ok(()),
            }
        }
    }
}

impl Cursor for Merge<'_> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        self.direction = direction;
        self.base.begin(direction)?;
        self.written.begin(direction);
        self.settle()
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        self.direction = direction;
        self.base.seek(key, direction)?;
        self.written.seek(key, direction);
        self.settle()
    }

    fn step(&mut self) -> Result<(), Fault> {
        if let Some(first) = self.first {
            self.leave(first)?;
        }
        self.settle()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        match self.first? {
            First::Base => self.base.item(),
            First::Written | First::Both => {
                let (key, value) = self.written.record()?;
                Some((key, value.as_deref()?))
            }
        }
    }
}
