//! The exposition format that every scraper reads: Prometheus text, version 0.0.4.
//!
//! The library writes its successor, OpenMetrics, which differs in two things: there the name in a
//! counter's description lacks the `_total` that its samples have, and the text ends with a mark.

use std::{borrow::Cow, collections::BTreeSet};

const END_MARK: &str = "# EOF";

/// Rewrites OpenMetrics text as Prometheus text.
pub(super) fn from_open_metrics(text: &str) -> String {
    let counters: BTreeSet<&str> = text.lines().filter_map(counter_name).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != END_MARK) {
        out.push_str(&described(line, &counters));
        out.push('\n');
    }
    out
}

/// The counter that a `# TYPE` line describes.
fn counter_name(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" counter")
}

/// A line with the name of its counter completed, if it describes one.
fn described<'a>(line: &'a str, counters: &BTreeSet<&str>) -> Cow<'a, str> {
    for keyword in ["# HELP ", "# TYPE "] {
        if let Some((name, rest)) = line.strip_prefix(keyword).and_then(|rest| rest.split_once(' '))
            && counters.contains(name)
        {
            return Cow::Owned(format!("{keyword}{name}_total {rest}"));
        }
    }
    Cow::Borrowed(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Descriptions of counters get the name that the samples have; the end mark goes.
    #[test]
    fn counters_are_described_under_the_name_of_their_samples() {
        let open = "# HELP a How often.\n# TYPE a counter\na_total{b=\"c\"} 1\n\
                    # HELP g Now.\n# TYPE g gauge\ng 2\n# EOF\n";

        let classic = from_open_metrics(open);

        assert_eq!(
            classic,
            "# HELP a_total How often.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n\
             # HELP g Now.\n# TYPE g gauge\ng 2\n"
        );
    }
}
