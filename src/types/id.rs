//! Identifiers. Each is a number of its own type, so that two of them cannot be swapped by mistake.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(
    /// A member of the cluster, never 0. Computed from its peer URLs as etcd does; printed in hex.
    MemberId(u64), "{:x}"
);
number!(
    /// The cluster, computed from its first members as etcd does; printed in hex.
    ClusterId(u64), "{:x}"
);
number!(
    /// A lease, chosen by the client or by the member that took the grant; never 0, may be negative.
    LeaseId(i64), "{:x}"
);
number!(
    /// A position in the raft log; the first entry a cluster appends has index 2 (1 is its origin).
    Index(u64), "{}"
);
number!(
    /// A term of the raft log: at most one leader each.
    Term(u64), "{}"
);
number!(
    /// How often this member's process was started on its data directory, from 1.
    BootNumber(u64), "{}"
);

number!(
    /// Which life of a member speaks: another one each time it lost what it had written. Later ones
    /// are larger; 0 where nobody keeps them.
    Incarnation(u64), "{:x}"
);

impl Incarnation {
    /// One that follows this one. Its lower half is `random`, so that two that were chosen without
    /// knowledge of each other differ.
    #[must_use]
    pub fn next(self, random: u32) -> Self {
        Self(((self.0 >> 32) + 1) << 32 | u64::from(random))
    }
}

impl Index {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An entry's place in the log: its index and the term it was appended in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The index.
    pub index: Index,
    /// The term.
    pub term: Term,
}

/// Names one proposal for good: no other process start of any member ever gives the same one, so a
/// replayed log entry cannot complete a request that waits now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The member that took the request.
    pub member: MemberId,
    /// The start of that member in which it took it.
    pub boot: BootNumber,
    /// Counts the requests of that start.
    pub sequence: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.member, self.boot, self.sequence)
    }
}
