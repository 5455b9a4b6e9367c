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
    /// Which history is given up.
    pub auto_compaction: AutoCompaction,
    /// What took longer to apply is logged; zero: nothing is.
    pub slow_apply: Duration,
    /// A unary request that took longer is logged; zero: none is.
    pub slow_request: Duration,
}

/// Which history a leader gives up by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// What is older than this; zero: none.
    Periodic(Duration),
    /// All but the last so many revisions; zero: none.
    Revision(i64),
}

const MODE: &str = "auto-compaction-mode";
const RETENTION: &str = "auto-compaction-retention";
const SLOW_APPLY: &str = "warning-apply-duration";
const SLOW_REQUEST: &str = "warning-unary-request-duration";

impl AutoCompaction {
    /// Reads both settings as etcd does: a bare number counts hours, or revisions.
    fn of(mode: &str, retention: &str) -> Result<Self, (&'static str, String)> {
        let retention = if retention.is_empty() { "0" } else { retention };
        let number = retention.parse::<i64>().ok().filter(|number| *number >= 0);
        let wrong = |reason| (RETENTION, reason);
        match mode {
            "periodic" => match number {
                Some(hours) => u64::try_from(hours).ok().and_then(|hours| hours.checked_mul(3_600)),
                None => return duration::parse(retention).map(Self::Periodic).map_err(wrong),
            }
            .map(|seconds| Self::Periodic(Duration::from_secs(seconds)))
            .ok_or_else(|| wrong(format!("{retention} hours are too many"))),
            "revision" => match number {
                Some(number) => Ok(Self::Revision(number)),
                // As etcd takes it, which is as good as none: so many revisions as nanoseconds.
                None => {
                    let period = duration::parse(retention).map_err(wrong)?;
                    Ok(Self::Revision(i64::try_from(period.as_nanos()).unwrap_or(i64::MAX)))
                }
            },
            other => Err((MODE, format!("{other:?} must be periodic or revision"))),
        }
    }

    fn mode(self) -> &'static str {
        match self {
            Self::Periodic(_) => "periodic",
            Self::Revision(_) => "revision",
        }
    }

    fn retention(self) -> String {
        match self {
            Self::Periodic(Duration::ZERO) => "0".to_owned(),
            Self::Periodic(period) => duration::print(period),
            Self::Revision(number) => number.to_string(),
        }
    }
}

/// The settings as they are written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct UpkeepSettings {
    auto_compaction_mode: String,
    auto_compaction_retention: String,
    warning_apply_duration: String,
    warning_unary_request_duration: String,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        Self {
            auto_compaction_mode: "periodic".to_owned(),
            auto_compaction_retention: "0".to_owned(),
            warning_apply_duration: "100ms".to_owned(),
            warning_unary_request_duration: "300ms".to_owned(),
        }
    }
}

impl Group for UpkeepSettings {
    const SETTINGS: &'static [Setting] = &[
        setting(
            MODE,
            "MODE",
            "Keep history by age (periodic) or by number (revision) [default: periodic]",
        ),
        setting(
            RETENTION,
            "LENGTH",
            "History to keep: hours, 30m, or a number of revisions; 0: all [default: 0]",
        ),
        setting(
            SLOW_APPLY,
            "DURATION",
            "Log what took longer to apply; 0: nothing [default: 100ms]",
        ),
        setting(
            SLOW_REQUEST,
            "DURATION",
            "Log requests that took longer; 0: none [default: 300ms]",
        ),
    ];
    type Checked = Upkeep;

    fn check(self, check: &mut Check<'_>) -> Upkeep {
        let retention = &self.auto_compaction_retention;
        let auto_compaction = AutoCompaction::of(&self.auto_compaction_mode, retention)
            .unwrap_or_else(|(setting, reason)| {
                check.problem(setting, reason);
                AutoCompaction::Periodic(Duration::ZERO)
            });
        Upkeep {
            auto_compaction,
            slow_apply: check.period(SLOW_APPLY, &self.warning_apply_duration),
            slow_request: check.period(SLOW_REQUEST, &self.warning_unary_request_duration),
        }
    }

    fn print(upkeep: &Upkeep, setting: &str) -> String {
        quote(&match setting {
            MODE => upkeep.auto_compaction.mode().to_owned(),
            RETENTION => upkeep.auto_compaction.retention(),
            SLOW_APPLY => duration::print(upkeep.slow_apply),
            SLOW_REQUEST => duration::print(upkeep.slow_request),
            unknown => unreachable!("setting {unknown} is listed but not printed"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    /// A bare number counts hours in one mode and revisions in the other; zero is off in both.
    #[test]
    fn case_49_a_number_means_what_the_mode_says() {
        let periodic = |seconds| Ok(AutoCompaction::Periodic(Duration::from_secs(seconds)));
        for (mode, retention, means) in [
            ("periodic", "1", periodic(HOUR)),
            ("periodic", "72h", periodic(72 * HOUR)),
            ("periodic", "30m", periodic(HOUR / 2)),
            ("periodic", "0", periodic(0)),
            ("periodic", "", periodic(0)),
            ("revision", "1", Ok(AutoCompaction::Revision(1))),
            ("revision", "10000", Ok(AutoCompaction::Revision(10_000))),
            ("revision", "0", Ok(AutoCompaction::Revision(0))),
            ("revision", "1s", Ok(AutoCompaction::Revision(1_000_000_000))),
        ] {
            assert_eq!(AutoCompaction::of(mode, retention), means, "{mode} {retention}");
        }
    }

    /// Who is refused hears which setting is wrong.
    #[test]
    fn what_makes_no_sense_is_refused() {
        for (mode, retention, wrong) in [
            ("hourly", "1", MODE),
            ("", "1", MODE),
            ("periodic", "-1", RETENTION),
            ("periodic", "much", RETENTION),
            ("periodic", "9223372036854775807", RETENTION),
            ("revision", "-1", RETENTION),
            ("revision", "all", RETENTION),
        ] {
            let (setting, _) = AutoCompaction::of(mode, retention).unwrap_err();
            assert_eq!(setting, wrong, "{mode} {retention}");
        }
    }

    /// What is printed means the same when it is read.
    #[test]
    fn what_is_printed_can_be_read() {
        for (mode, retention) in [("periodic", "90m"), ("periodic", "0"), ("revision", "500")] {
            let rule = AutoCompaction::of(mode, retention).unwrap();
            assert_eq!(AutoCompaction::of(rule.mode(), &rule.retention()), Ok(rule));
        }
    }
}
