//! The exposition format that every scraper reads: Prometheus text, version 0.0.4.
//!
//! The library writes its successor, OpenMetrics, which differs in a few things: there the name in a
//! counter's description lacks the `_total` that its samples have, every counter has that ending, a
//! whole number as a bound is written with a fraction, and the text ends with a mark.

use std::{borrow::Cow, collections::BTreeSet};

const END_MARK: &str = "# EOF";

/// Counters to which etcd gave no ending.
const BARE: [&str; 8] = [
    "etcd_network_snapshot_receive_failures",
    "etcd_network_snapshot_receive_success",
    "etcd_network_snapshot_send_failures",
    "etcd_network_snapshot_send_success",
    "etcd_server_health_failures",
    "etcd_server_health_success",
    "etcd_server_learner_promote_failures",
    "etcd_server_learner_promote_successes",
];

/// Rewrites OpenMetrics text as Prometheus text.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut counters: BTreeSet<&str> = text.lines().filter_map(counter_name).collect();
    counters.retain(|name| !BARE.contains(name));
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != END_MARK) {
        match without_ending(line) {
            Some((name, rest)) => out.extend([name, rest]),
            None => out.push_str(&with_whole_bound(&described(line, &counters))),
        }
        out.push('\n');
    }
    out
}

/// A sample of a counter that has no ending: its name, and the rest of the line.
fn without_ending(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_at_checked(line.find("_total")?)?;
    BARE.contains(&name).then_some((name, rest.strip_prefix("_total")?))
}

/// The line with a bound that is a whole number written as one: others write it so, and Prometheus
/// puts buckets together by the text of their bounds.
fn with_whole_bound(line: &str) -> Cow<'_, str> {
    let whole = line.split_once("le=\"").and_then(|(before, rest)| {
        let (bound, after) = rest.split_once('"')?;
        Some(format!("{before}le=\"{}\"{after}", whole_number(bound.strip_suffix(".0")?)))
    });
    whole.map_or(Cow::Borrowed(line), Cow::Owned)
}

/// Whole numbers from a million on have an exponent.
fn whole_number(digits: &str) -> Cow<'_, str> {
    match digits.split_at_checked(1) {
        Some((first, rest)) if rest.len() >= 6 => {
            let point = if rest.trim_end_matches('0').is_empty() { "" } else { "." };
            let exponent = rest.len();
            Cow::Owned(format!("{first}{point}{}e+{exponent:02}", rest.trim_end_matches('0')))
        }
        Some(_) | None => Cow::Borrowed(digits),
    }
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

    /// Some counters of etcd have no ending, and whole bounds have no fraction.
    #[test]
    fn names_and_bounds_are_as_others_write_them() {
        let open = "# TYPE etcd_server_health_success counter\n\
                    etcd_server_health_success_total 3\n\
                    h_bucket{le=\"1.0\"} 1\nh_bucket{le=\"0.1\",a=\"b\"} 1\n";

        assert_eq!(
            from_open_metrics(open),
            "# TYPE etcd_server_health_success counter\netcd_server_health_success 3\n\
             h_bucket{le=\"1\"} 1\nh_bucket{le=\"0.1\",a=\"b\"} 1\n"
        );
        let numbers = ["16", "524288", "1048576", "1000000"].map(whole_number);
        assert_eq!(numbers, ["16", "524288", "1.048576e+06", "1e+06"]);
    }
}
