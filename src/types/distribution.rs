//! [`Distribution`]: how often values fell between which bounds, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// How often values fell between which bounds. Counting takes two atomic additions and waits for
/// nobody, so it may stand where every request comes by.
#[derive(Debug)]
pub struct Distribution {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A distribution as it was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distributed {
    /// How many values were at most this bound and above the one before; the last has no bound.
    pub counts: Vec<(Option<u64>, u64)>,
    /// All values together.
    pub sum: u64,
}

impl Distributed {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

impl Distribution {
    /// Nothing yet, between these bounds, which ascend.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.is_sorted(), "bounds ascend");
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted so far. A value that is being counted meanwhile may be missing in the sum.
    #[must_use]
    pub fn read(&self) -> Distributed {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Distributed { counts: bounds.zip(counts).collect(), sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// Bounds that double: `first`, twice that, and so on.
#[must_use]
pub const fn doubling<const N: usize>(first: u64) -> [u64; N] {
    let mut bounds = [first; N];
    let mut rest = bounds.as_mut_slice();
    let mut bound = first;
    while let Some((next, others)) = rest.split_first_mut() {
        *next = bound;
        bound *= 2;
        rest = others;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: [u64; 3] = doubling(100);

    /// A value counts under the first bound that it does not exceed.
    #[test]
    fn a_value_counts_under_its_bound() {
        let distribution = Distribution::new(&BOUNDS);
        for value in [0, 100, 101, 400, 401, 1_000] {
            distribution.observe(value);
        }
        let expected = [(Some(100), 2), (Some(200), 1), (Some(400), 1), (None, 2)];
        let read = distribution.read();
        assert_eq!(read.counts, expected);
        assert_eq!((read.count(), read.sum), (6, 2_002));
    }
}
