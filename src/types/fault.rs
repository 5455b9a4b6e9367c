//! [`Fault`]: this member's disk or data is bad, and it must stop.

use std::fmt;

/// This member's disk or data is bad. Nobody outside can cause or cure it: the member stops, and
/// the message is logged once, where it stops.
///
/// It is not an answer to a client. What the replicated state declines is a `state::Refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    what: String,
}

impl Fault {
    /// A fault described by `what`: lower case, naming the values and, where known, the file.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// The same fault with the step it interrupted in front of it.
    #[must_use]
    pub fn during(self, step: &str) -> Self {
        Self { what: format!("{step}: {}", self.what) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Fault {}
