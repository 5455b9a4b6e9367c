//! Streams without a connection: what they say, in which frames, and when they are woken.

mod bench;
mod reference;
mod session;

use super::*;

/// Tickers lie within a tenth above the interval, apart from each other, and not too close.
#[test]
fn tickers_are_spread() {
    let periods: Vec<_> = (0..100).map(|n| ticker_period(Millis(600_000), n).0).collect();
    assert!(periods.iter().all(|period| (600_000..660_000).contains(period)));
    let mut apart = periods.clone();
    apart.sort_unstable();
    apart.dedup();
    assert_eq!(apart.len(), 100);
    assert!((100..110).contains(&ticker_period(Millis(0), 7).0));
}
