//! [`Leash`]: a view that ends a read when nobody waits for it any more.
//!
//! A read that was handed to a thread of its own does not notice that its caller left. It may look at
//! millions of records before it has one to hand out, so every step is asked, not every record
//! found.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    node::ports::OwnedView,
    state::{Cursor, Direction, Family, View},
    types::Fault,
};

/// A view for a read whose caller may leave.
pub(super) struct Leash {
    view: OwnedView,
    /// The caller holds the other end as long as it waits.
    caller: oneshot::Sender<Infallible>,
}

impl Leash {
    pub(super) fn new(view: OwnedView, caller: oneshot::Sender<Infallible>) -> Self {
        Self { view, caller }
    }

    /// A fault that nobody will hear of, once the caller is gone.
    fn check(&self) -> Result<(), Fault> {
        if self.caller.is_closed() {
            return Err(Fault::new("nobody waits for this read any more"));
        }
        Ok(())
    }
}

impl View for Leash {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        self.check()?;
        self.view.get(family, key)
    }

    fn cursor<'a>(
        &'a self,
        family: Family,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<Box<dyn Cursor + 'a>, Fault> {
        self.check()?;
        Ok(Box::new(Leashed { cursor: self.view.cursor(family, start, end)?, leash: self }))
    }
}

struct Leashed<'a> {
    cursor: Box<dyn Cursor + 'a>,
    leash: &'a Leash,
}

impl Cursor for Leashed<'_> {
    fn begin(&mut self, direction: Direction) -> Result<(), Fault> {
        self.leash.check()?;
        self.cursor.begin(direction)
    }

    fn seek(&mut self, key: &[u8], direction: Direction) -> Result<(), Fault> {
        self.leash.check()?;
        self.cursor.seek(key, direction)
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.leash.check()?;
        self.cursor.step()
    }

    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.item()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::state::testing::{Machine, put};

    /// The walk ends at its next step when the caller leaves, whatever has been found so far.
    #[test]
    fn a_walk_ends_when_its_caller_leaves() {
        let machine = Machine::after(["a", "b", "c"].map(put));
        let (sender, caller) = oneshot::channel();
        let leash = Leash::new(Box::new(machine.view().clone()), sender);
        let (mut caller, mut seen) = (Some(caller), 0);

        let walked = leash.scan(Family::Current, b"a", None, Direction::Forward, &mut |_, _| {
            seen += 1;
            caller = None;
            Ok(ControlFlow::Continue(()))
        });

        assert!(walked.is_err());
        assert_eq!(seen, 1);
        assert!(leash.get(Family::Current, b"a").is_err());
    }
}
