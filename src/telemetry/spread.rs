//! [`Spread`]: distributions as histograms of a scrape.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::types::Distribution;

/// The labels of a series.
pub type SeriesLabels = Vec<(&'static str, &'static str)>;

/// Distributions of one name with their labels.
#[derive(Debug)]
pub struct Spread {
    name: &'static str,
    help: &'static str,
    /// So many of what was counted are one of what is shown: microseconds of a second.
    per_unit: u32,
    /// Whether series of which nothing was counted yet are shown.
    with_empty: bool,
    series: Vec<(SeriesLabels, Arc<Distribution>)>,
}

/// What was counted in microseconds and is shown in seconds.
pub const MICROS_PER_SECOND: u32 = 1_000_000;

impl Spread {
    /// Shows these series. Those of which nothing was counted yet are shown `with_empty` only.
    #[must_use]
    pub fn new(
        name: &'static str,
        help: &'static str,
        per_unit: u32,
        with_empty: bool,
        series: Vec<(SeriesLabels, Arc<Distribution>)>,
    ) -> Self {
        Self { name, help, per_unit, with_empty, series }
    }
}

impl Collector for Spread {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let read = self.series.iter().map(|(labels, series)| (labels, series.read()));
        let mut shown = read.filter(|(_, read)| self.with_empty || read.count() > 0).peekable();
        if shown.peek().is_none() {
            return Ok(());
        }
        let kind = MetricType::Histogram;
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (labels, read) in shown {
            let bound =
                |bound: Option<u64>| bound.map_or(f64::MAX, |it| divided(it, self.per_unit));
            let counts = read.counts.iter().map(|(upper, count)| (bound(*upper), *count));
            let (counts, sum) = (counts.collect::<Vec<_>>(), divided(read.sum, self.per_unit));
            let count = read.count();
            if labels.is_empty() {
                family.encode_histogram::<NoLabelSet>(sum, count, &counts, None)?;
            } else {
                let mut series = family.encode_family(labels)?;
                series.encode_histogram::<NoLabelSet>(sum, count, &counts, None)?;
            }
        }
        Ok(())
    }
}

#[expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "figures for people")]
fn divided(value: u64, per_unit: u32) -> f64 {
    value as f64 / f64::from(per_unit)
}
