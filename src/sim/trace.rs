//! [`Trace`]: what happened in a world, as a hash always and as lines when asked for.

use std::{collections::VecDeque, fmt};

/// Lines kept: what led to a failure stands at the end.
const LINES_MAX: usize = 4_000;

/// What happened in a world, in order.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// An empty trace, which keeps lines only if told to: they cost more than the events.
    #[must_use]
    pub fn new(with_lines: bool) -> Self {
        // The offset basis of FNV-1a.
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: with_lines.then(VecDeque::new) }
    }

    /// Notes an event: `numbers` say all that matters of it, `line` says it to a reader.
    pub fn note(&mut self, time: u64, numbers: &[u64], line: fmt::Arguments<'_>) {
        self.events += 1;
        for number in std::iter::once(&time).chain(numbers) {
            // FNV-1a over words instead of bytes, with a rotation so that high bits reach low ones.
            self.hash = (self.hash ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        }
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{:>10} ms  {line}", Thousandths(time)));
        }
    }

    /// Differs when anything differed that was noted.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events were noted.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, oldest first; none if none were asked for.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into_iter().flatten().collect()
    }
}

/// Microseconds, shown as milliseconds.
struct Thousandths(u64);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:03}", self.0 / 1_000, self.0 % 1_000))
    }
}
