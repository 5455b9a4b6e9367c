//! Settings of what a member does by itself, and of what it warns of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    check::Check,
    duration,
    print::quote,
    settings::{Group, Setting, setting},
};

/// What the member does by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// A unary request that took longer is logged; zero: none is.
    pub slow_request: Duration,
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct UpkeepSettings {
    warning_unary_request_duration: String,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self { warning_unary_request_duration: "300ms".to_owned() }
    }
}

impl Group for UpkeepSettings {
    const SETTINGS: &'static [Setting] = &[setting(
        "warning-unary-request-duration",
        "DURATION",
        "Log requests that took longer; 0: none [default: 300ms]",
    )];
    type Checked = Upkeep;

    fn check(self, check: &mut Check<'_>) -> Upkeep {
        let slow_request =
            check.period("warning-unary-request-duration", &self.warning_unary_request_duration);
        Upkeep { slow_request }
    }

    fn print(upkeep: &Upkeep, setting: &str) -> String {
        match setting {
            "warning-unary-request-duration" => quote(&duration::print(upkeep.slow_request)),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        }
    }
}
