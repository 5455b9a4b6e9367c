//! Latencies, counted in buckets whose width grows with the value.
//!
//! Each power of two is split into the same number of buckets, so the relative error of a
//! percentile is bounded by one in that number, over the whole range and in constant memory.

use std::time::Duration;

/// Buckets of each power of two, as a power of two itself: an error below 0.8 %.
const PRECISION_BITS: u32 = 7;
const BUCKETS_PER_POWER: usize = 1 << PRECISION_BITS;
/// The values below the first split power, and then every power that a `u64` has left.
const BUCKETS: usize = (u64::BITS - PRECISION_BITS + 1) as usize * BUCKETS_PER_POWER;

/// A distribution of durations.
#[derive(Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, max: 0 }
    }

    pub(super) fn record(&mut self, value: Duration) {
        self.record_many(value, 1);
    }

    /// Counts a value so many times.
    pub(super) fn record_many(&mut self, value: Duration, times: u64) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.counts.get_mut(bucket_of(nanos)).expect("every value has a bucket");
        *bucket += times;
        self.count += times;
        self.max = self.max.max(nanos);
    }

    /// Takes in all that another one has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The value that so many of 1000 do not exceed, or a little more; zero if there are none.
    pub(super) fn per_mille(&self, share: u64) -> Duration {
        // The rank is rounded up, so that the 999th of 1000 is asked for as such.
        let rank = (u128::from(self.count) * u128::from(share)).div_ceil(1000).max(1);
        let mut seen = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return Duration::from_nanos(largest_of(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a value.
fn bucket_of(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(PRECISION_BITS + 1);
    // After the shift the value lies in one of two powers; the lower one only while shift is 0.
    let within = usize::try_from(value >> shift).expect("a shifted value has few bits");
    shift as usize * BUCKETS_PER_POWER + within
}

/// The largest value of a bucket.
fn largest_of(bucket: usize) -> u64 {
    let shift = (bucket / BUCKETS_PER_POWER).saturating_sub(1);
    let within = (bucket - shift * BUCKETS_PER_POWER) as u64;
    // In 128 bits, because the last bucket ends where 64 bits do.
    let end = (u128::from(within) + 1) << shift;
    u64::try_from(end - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Small values are exact, and no step between buckets is left out.
    #[test]
    fn buckets_follow_each_other() {
        assert_eq!((0..256).map(bucket_of).collect::<Vec<_>>(), (0..256).collect::<Vec<_>>());
        assert_eq!(bucket_of(256), 256);
        assert_eq!(bucket_of(257), 256);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(largest_of(bucket)), bucket);
            assert_eq!(bucket_of(largest_of(bucket) + 1), bucket + 1);
        }
    }

    /// Percentiles of a known series.
    #[test]
    fn percentiles_are_those_of_the_series() {
        let mut histogram = Histogram::new();
        for nanos in 1..=100 {
            histogram.record(Duration::from_nanos(nanos));
        }

        let percentile = |share| histogram.per_mille(share).as_nanos();
        assert_eq!((percentile(500), percentile(990), percentile(1000)), (50, 99, 100));
        assert_eq!((histogram.count(), histogram.max().as_nanos()), (100, 100));
        assert_eq!(Histogram::new().per_mille(500), Duration::ZERO);
    }

    /// Counting apart and merging is the same as counting together.
    #[test]
    fn merging_adds_up() {
        let (mut one, mut other, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for nanos in [1, 1000, 123_456_789] {
            one.record(Duration::from_nanos(nanos));
            other.record(Duration::from_nanos(nanos * 7));
            both.record(Duration::from_nanos(nanos));
            both.record(Duration::from_nanos(nanos * 7));
        }

        one.merge(&other);

        assert_eq!(one.counts, both.counts);
        assert_eq!((one.count, one.max), (both.count, both.max));
    }

    proptest! {
        /// A value is shown as itself or as less than 0.8 % more.
        #[test]
        fn the_error_is_bounded(value: u64) {
            let shown = largest_of(bucket_of(value));
            prop_assert!(shown >= value);
            prop_assert!(u128::from(shown - value) * 128 <= u128::from(value));
        }
    }
}
