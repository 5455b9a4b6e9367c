//! What clients did and what they were told, in one form for all checks.
//!
//! A value is a number that is written at most once in a run, so a value seen says which operation
//! wrote it. Every operation comes down to the same four things: when it was called, when it
//! returned, what it saw, and what it wrote.

use std::{collections::BTreeMap, fmt};

use crate::types::{MemberId, Revision};

/// One of the few keys that clients fight over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub u8);

/// A value, written at most once in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueId(pub u64);

/// What a key holds; `None` when it does not live.
pub type Content = Option<ValueId>;

/// What several keys hold.
pub type Contents = BTreeMap<KeyId, Content>;

/// One call of a client. Times are microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The client, which makes one call at a time.
    pub client: u64,
    /// The member it asked.
    pub member: MemberId,
    /// What it asked for, for the reader of a report.
    pub what: &'static str,
    /// When it called.
    pub called: u64,
    /// What it saw, by key: before its own writes.
    pub saw: Contents,
    /// What it wrote, by key; deleting what does not live writes nothing.
    pub wrote: Contents,
    /// What it was told.
    pub fate: Fate,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took effect.
    Done {
        /// When the client heard of it.
        returned: u64,
        /// The revision it was answered with.
        revision: Revision,
        /// Whether it was allowed to read the past.
        serializable: bool,
    },
    /// It did not take effect and never will.
    No,
    /// It may take effect at any time after the call, or never. Then `saw` is what it must find to
    /// do so, and `wrote` is what it would write.
    Unknown,
}

impl Operation {
    /// When the client heard of its success.
    #[must_use]
    pub fn returned(&self) -> Option<u64> {
        match self.fate {
            Fate::Done { returned, .. } => Some(returned),
            Fate::No | Fate::Unknown => None,
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "k{}", self.0)
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {} at {}: {} called {}",
            self.client, self.member, self.what, self.called
        )?;
        match self.fate {
            Fate::Done { returned, revision, .. } => {
                write!(f, ", returned {returned} with revision {revision}")?;
            }
            Fate::No => f.write_str(", was refused")?,
            Fate::Unknown => f.write_str(", outcome unknown")?,
        }
        for (verb, contents) in [("saw", &self.saw), ("wrote", &self.wrote)] {
            for (key, content) in contents {
                match content {
                    Some(value) => write!(f, ", {verb} {key}={value}")?,
                    None => write!(f, ", {verb} {key} gone")?,
                }
            }
        }
        Ok(())
    }
}
