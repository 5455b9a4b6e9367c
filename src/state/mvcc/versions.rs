//! Reading what was in force at a revision out of what is now and what was before.
//!
//! What is now is in force if it is old enough; else one of the records that it replaced may be.
//! Both lie in the same order, so they are read side by side, in either direction, and neither is
//! read further than the other. However many records a name has, a few steps pass them: after those
//! the reader jumps.

use std::{cmp::Ordering, ops::ControlFlow};

use crate::{
    state::{Cursor, Direction, Family, schema::damaged, schema::versioned},
    types::{Fault, Revision},
};

/// Records of one name passed step by step before the reader jumps: a jump costs about as much.
const STEPS: usize = 8;

/// A record that may be in force.
pub(super) enum Candidate<'a> {
    /// Key and value of what is now.
    Now(&'a [u8], &'a [u8]),
    /// Key and value of what was before, and in force at the revision.
    Before(&'a [u8], &'a [u8]),
    /// Nothing of a name was in force, so there is nothing to judge; but it has been passed.
    Nothing,
}

/// What is done with a candidate: `None` says that it is not in force, `Break` ends the reading.
pub(super) type Judge<'a> = dyn FnMut(Candidate<'_>) -> Result<Option<ControlFlow<()>>, Fault> + 'a;

/// The records of former times of some names, seen as of a revision.
pub(super) struct Before<'a> {
    cursor: Box<dyn Cursor + 'a>,
    family: Family,
    at: Revision,
    direction: Direction,
    /// Of the name it stands at; empty at the end.
    stem: Vec<u8>,
    /// Whether the cursor was turned forward to find a record.
    turned: bool,
}

impl<'a> Before<'a> {
    /// Stands at the first name in this direction.
    pub(super) fn begin(
        cursor: Box<dyn Cursor + 'a>,
        family: Family,
        at: Revision,
        direction: Direction,
    ) -> Result<Self, Fault> {
        let mut before = Self { cursor, family, at, direction, stem: Vec::new(), turned: false };
        before.cursor.begin(direction)?;
        before.arrive()?;
        Ok(before)
    }

    fn arrive(&mut self) -> Result<(), Fault> {
        self.turned = false;
        self.stem.clear();
        if let Some((key, _)) = self.cursor.item() {
            let (stem, _) = split(self.family, key)?;
            self.stem.extend_from_slice(stem);
        }
        Ok(())
    }

    fn stem(&self) -> Option<&[u8]> {
        Some(&self.stem[..]).filter(|stem| !stem.is_empty())
    }

    /// The times between which the record was in force at which the cursor stands, if it is one of
    /// this name.
    fn times(&self) -> Result<Option<(Revision, Revision)>, Fault> {
        let Some((key, value)) = self.cursor.item() else { return Ok(None) };
        let (stem, from) = split(self.family, key)?;
        if stem != self.stem {
            return Ok(None);
        }
        let end = versioned::end(value).map(|(end, _)| (from, end));
        end.map(Some).ok_or_else(|| damaged(self.family, key, "it does not say when it ended"))
    }

    /// The record of this name that was in force at the revision. To be asked once.
    fn in_force(&mut self) -> Result<Option<Candidate<'_>>, Fault> {
        let mut steps = 0;
        while let Some((from, end)) = self.times()? {
            let (young, over) = (from > self.at, end <= self.at);
            let hopeless = match self.direction {
                Direction::Forward => over && !young,
                Direction::Backward => young,
            };
            if hopeless || (over && self.turned) {
                break;
            }
            if !young && !over {
                return Ok(self.cursor.item().map(|(key, value)| Candidate::Before(key, value)));
            }
            if steps < STEPS {
                steps += 1;
                self.cursor.step()?;
            } else {
                // To the newest one that is not too young, where no later one can be in force.
                let mut key = self.stem.clone();
                versioned::put_revision(self.at, &mut key);
                self.cursor.seek(&key, Direction::Forward)?;
                self.turned = true;
            }
        }
        Ok(None)
    }

    /// Goes on to the next name.
    fn pass(&mut self) -> Result<(), Fault> {
        let mut steps = 0;
        while self.turned || self.times()?.is_some() {
            if steps < STEPS && !self.turned {
                steps += 1;
                self.cursor.step()?;
                continue;
            }
            match self.direction {
                Direction::Forward => {
                    versioned::pass(&mut self.stem);
                    self.cursor.seek(&self.stem, Direction::Forward)?;
                }
                Direction::Backward => self.cursor.seek(&self.stem, Direction::Backward)?,
            }
            break;
        }
        self.arrive()
    }
}

/// Offers what may be in force, in the order of names: each name once, or twice when what is now
/// turns out to be too young. `name_at` is where the names begin in keys of both.
pub(super) fn visit(
    now: &mut dyn Cursor,
    before: &mut Before<'_>,
    name_at: usize,
    judge: &mut Judge<'_>,
) -> Result<(), Fault> {
    let mut escaped = Vec::new();
    loop {
        let order = match (now.item(), before.stem()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((key, _)), Some(stem)) => {
                escaped.clear();
                versioned::escape(key.get(name_at..).unwrap_or_default(), &mut escaped);
                let order = escaped[..].cmp(stem.get(name_at..).unwrap_or_default());
                match before.direction {
                    Direction::Forward => order,
                    Direction::Backward => order.reverse(),
                }
            }
        };
        let mut judged = None;
        if order.is_le()
            && let Some((key, value)) = now.item()
        {
            judged = judge(Candidate::Now(key, value))?;
        }
        if order.is_ge()
            && judged.is_none()
            && let Some(candidate) = before.in_force()?
        {
            judged = judge(candidate)?;
        }
        if judged.is_none() {
            judged = judge(Candidate::Nothing)?;
        }
        if judged.is_some_and(|flow| flow.is_break()) {
            return Ok(());
        }
        if order.is_le() {
            now.step()?;
        }
        if order.is_ge() {
            before.pass()?;
        }
    }
}

fn split(family: Family, key: &[u8]) -> Result<(&[u8], Revision), Fault> {
    versioned::split(key).ok_or_else(|| damaged(family, key, "its key is too short"))
}
