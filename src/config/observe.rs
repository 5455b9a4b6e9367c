//! Settings of what is told of a member's work: figures and traces.

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    print::quote,
    settings::{Group, Setting, setting},
};

/// What is told of the member's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe {
    /// Which figures there are.
    pub metrics: MetricsDetail,
}

/// How many figures there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsDetail {
    /// All but histograms of single calls.
    Basic,
    /// Those, too.
    Extensive,
}

impl MetricsDetail {
    /// The word that a setting uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Extensive => "extensive",
        }
    }
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ObserveSettings {
    metrics: String,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self { metrics: "basic".to_owned() }
    }
}

impl Group for ObserveSettings {
    const SETTINGS: &'static [Setting] = &[setting(
        "metrics",
        "DETAIL",
        "basic, or extensive: with histograms of calls [default: basic]",
    )];
    type Checked = Observe;

    fn check(self, check: &mut Check<'_>) -> Observe {
        let metrics = match self.metrics.as_str() {
            "basic" => MetricsDetail::Basic,
            "extensive" => MetricsDetail::Extensive,
            other => {
                check.problem("metrics", format!("{other:?} must be basic or extensive"));
                MetricsDetail::Basic
            }
        };
        Observe { metrics }
    }

    fn print(observe: &Observe, setting: &str) -> String {
        match setting {
            "metrics" => quote(observe.metrics.as_str()),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}
