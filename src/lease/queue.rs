//! Deadlines in order.

use std::collections::BTreeSet;

use crate::types::{LeaseId, Millis};

/// When which lease is due, earliest first; of two due at once the smaller id comes first.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    ordered: BTreeSet<(Millis, LeaseId)>,
}

impl Deadlines {
    /// Adds a lease.
    pub(super) fn insert(&mut self, due: Millis, lease: LeaseId) {
        self.ordered.insert((due, lease));
    }

    /// Moves a lease from one time to another.
    pub(super) fn reschedule(&mut self, from: Millis, to: Millis, lease: LeaseId) {
        self.remove(from, lease);
        self.insert(to, lease);
    }

    /// Takes a lease out.
    pub(super) fn remove(&mut self, due: Millis, lease: LeaseId) {
        let found = self.ordered.remove(&(due, lease));
        assert!(found, "lease {lease} is not queued for {}", due.0);
    }

    /// Takes out the earliest lease, if it is due.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<LeaseId> {
        let (due, lease) = *self.ordered.first()?;
        (due <= now).then(|| {
            self.ordered.pop_first();
            lease
        })
    }

    /// When the earliest lease is due.
    pub(super) fn first_due(&self) -> Option<Millis> {
        self.ordered.first().map(|(due, _)| *due)
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.ordered.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases come out by deadline, and none before it is due.
    #[test]
    fn pops_in_order_and_not_early() {
        let mut deadlines = Deadlines::default();
        deadlines.insert(Millis(30), LeaseId(1));
        deadlines.insert(Millis(10), LeaseId(3));
        deadlines.insert(Millis(10), LeaseId(2));
        deadlines.reschedule(Millis(30), Millis(20), LeaseId(1));

        assert_eq!(deadlines.pop_due(Millis(9)), None);
        assert_eq!(deadlines.pop_due(Millis(10)), Some(LeaseId(2)));
        assert_eq!(deadlines.pop_due(Millis(10)), Some(LeaseId(3)));
        assert_eq!(deadlines.pop_due(Millis(10)), None);
        assert_eq!(deadlines.first_due(), Some(Millis(20)));
        assert_eq!(deadlines.pop_due(Millis(25)), Some(LeaseId(1)));
        assert_eq!(deadlines.first_due(), None);
    }
}
