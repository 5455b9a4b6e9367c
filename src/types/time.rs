//! Time as plain numbers, passed in by whoever owns a clock.

use std::ops::{Add, Sub};

/// Milliseconds on a monotonic clock that starts anywhere, or a span of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// Whole seconds of a lease's time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(pub i64);

impl Millis {
    /// The span from `earlier` to `self`, or zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Millis {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Millis {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Seconds {
    /// This span in milliseconds; negative spans are zero.
    #[must_use]
    pub fn to_millis(self) -> Millis {
        Millis(u64::try_from(self.0).unwrap_or(0).saturating_mul(1_000))
    }
}
