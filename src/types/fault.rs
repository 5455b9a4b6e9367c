//! [`Fault`]: this member's disk or data is bad, and it must stop.

use std::fmt;

/// This member's disk or data is bad. Nobody outside can cause or cure it: the member stops, and
/// the message is logged once, where it stops.
///
/// It is not an answer to a client. What the replicated state declines is a `state::Refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    what: String,
    is_damage: bool,
}

impl Fault {
    /// A fault described by `what`: lower case, naming the values and, where known, the file.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_damage: false }
    }

    /// A fault in what lies on the disk: bytes that cannot be as they were written. Trying again
    /// does not help, but what they held may be had from somewhere else.
    pub fn damage(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_damage: true }
    }

    /// Whether it lies in what is on the disk, and not in a disk that does not answer.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.is_damage
    }

    /// The same fault with the step it interrupted in front of it.
    #[must_use]
    pub fn during(self, step: &str) -> Self {
        Self { what: format!("{step}: {}", self.what), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}
