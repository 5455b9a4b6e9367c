//! How long things took, to be told.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

/// The election timeout that members run with.
pub(crate) const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Spans of time of one kind.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<Duration>);

impl Spans {
    pub(crate) fn add(&mut self, span: Duration) {
        self.0.push(span);
        self.0.sort_unstable();
    }

    /// The span that so many of a hundred do not exceed.
    fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }
}

impl Display for Spans {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.percentile(percent).as_millis());
        write!(f, "{} times, p50 {p50} ms, p99 {p99} ms, max {max} ms", self.0.len())
    }
}

#[test]
fn percentiles_are_spans_that_were_there() {
    let mut spans = Spans::default();
    for millis in [30, 10, 20, 40] {
        spans.add(Duration::from_millis(millis));
    }
    assert_eq!(spans.to_string(), "4 times, p50 20 ms, p99 40 ms, max 40 ms");
}
