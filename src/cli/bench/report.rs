//! What came out of a run, for people and for programs.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    time::Duration,
};

use super::histogram::Histogram;

/// Distinct errors that are told apart; the rest is counted together.
const ERRORS_MAX: usize = 16;
/// Longer messages are cut.
const MESSAGE_CHARS_MAX: usize = 200;

/// What one client, or all of them, have measured.
pub(super) struct Tally {
    pub(super) latencies: Histogram,
    pub(super) errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { latencies: Histogram::new(), errors: BTreeMap::new() }
    }

    /// Counts an error under its message.
    pub(super) fn error(&mut self, message: &str) {
        self.count_errors(message.chars().take(MESSAGE_CHARS_MAX).collect(), 1);
    }

    /// Counts so many errors with one message.
    pub(super) fn count_errors(&mut self, message: String, count: u64) {
        let full = self.errors.len() >= ERRORS_MAX && !self.errors.contains_key(&message);
        let message = if full { "other errors".to_owned() } else { message };
        *self.errors.entry(message).or_default() += count;
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.latencies.merge(&other.latencies);
        for (message, count) in other.errors {
            self.count_errors(message, count);
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// A run, summed up.
pub(super) struct Report {
    /// What was done, in a word or two.
    pub(super) operation: &'static str,
    pub(super) clients: usize,
    pub(super) connections: usize,
    /// The time that was measured.
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
    /// Processor time of this process, from the start to the end of all operations.
    pub(super) cpu: Option<Duration>,
    /// Wall time in which that was used.
    pub(super) cpu_elapsed: Duration,
    /// What else this benchmark has found out, by name.
    pub(super) details: Vec<(&'static str, Detail)>,
}

/// A figure that only one benchmark has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Detail {
    Count(u64),
    Latency(Duration),
}

/// The shares of 1000 that are shown, by name.
const PERCENTILES: [(&str, u64); 4] = [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)];

impl Report {
    /// The same report with one more figure.
    pub(super) fn with(mut self, name: &'static str, detail: Detail) -> Self {
        self.details.push((name, detail));
        self
    }

    /// Successful operations a second.
    fn rate(&self) -> Thousandths {
        let nanos = self.elapsed.as_nanos().max(1);
        Thousandths(u128::from(self.tally.latencies.count()) * 1_000_000_000_000 / nanos)
    }

    /// Processors in use by this process, on average.
    fn cpu_share(&self) -> Option<Thousandths> {
        Some(Thousandths(self.cpu?.as_nanos() * 1000 / self.cpu_elapsed.as_nanos().max(1)))
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &dyn Display| {
            writeln!(text, "{name:<12} {value}").expect("writing to a string succeeds");
        };
        line("operation", &self.operation);
        line("clients", &format!("{} on {} connections", self.clients, self.connections));
        line(
            "operations",
            &format!("{} in {} s", self.tally.latencies.count(), seconds(self.elapsed)),
        );
        line("rate", &format!("{} /s", self.rate()));
        for (name, share) in PERCENTILES {
            line(name, &format!("{} ms", millis(self.tally.latencies.per_mille(share))));
        }
        line("max", &format!("{} ms", millis(self.tally.latencies.max())));
        if let Some(share) = self.cpu_share() {
            line("own cpu", &format!("{share} processors"));
        }
        for (name, detail) in &self.details {
            match detail {
                Detail::Count(count) => line(name, count),
                Detail::Latency(latency) => line(name, &format!("{} ms", millis(*latency))),
            }
        }
        line("errors", &self.tally.failed());
        for (message, count) in &self.tally.errors {
            line("", &format!("{count} x {message}"));
        }
        text
    }

    /// For programs: one object on one line.
    pub(super) fn json(&self) -> String {
        let mut fields = vec![
            format!("\"operation\":{}", quote(self.operation)),
            format!("\"clients\":{}", self.clients),
            format!("\"connections\":{}", self.connections),
            format!("\"operations\":{}", self.tally.latencies.count()),
            format!("\"seconds\":{}", seconds(self.elapsed)),
            format!("\"rate\":{}", self.rate()),
        ];
        for (name, share) in PERCENTILES {
            let latency = millis(self.tally.latencies.per_mille(share));
            fields.push(format!("\"{}_ms\":{latency}", name.replace('.', "")));
        }
        fields.push(format!("\"max_ms\":{}", millis(self.tally.latencies.max())));
        let share = self.cpu_share().map_or_else(|| "null".to_owned(), |share| share.to_string());
        fields.push(format!("\"own_cpu\":{share}"));
        for (name, detail) in &self.details {
            let name = name.replace(' ', "_");
            fields.push(match detail {
                Detail::Count(count) => format!("\"{name}\":{count}"),
                Detail::Latency(latency) => format!("\"{name}_ms\":{}", millis(*latency)),
            });
        }
        let errors =
            self.tally.errors.iter().map(|(message, count)| format!("{}:{count}", quote(message)));
        fields.push(format!("\"errors\":{{{}}}", errors.collect::<Vec<_>>().join(",")));
        format!("{{{}}}", fields.join(","))
    }
}

/// A number with three decimals, kept as an integer.
struct Thousandths(u128);

impl Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

fn millis(duration: Duration) -> Thousandths {
    Thousandths(duration.as_micros())
}

fn seconds(duration: Duration) -> Thousandths {
    Thousandths(duration.as_millis())
}

/// A JSON string.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if u32::from(control) < 0x20 => {
                write!(quoted, "\\u{:04x}", u32::from(control))
                    .expect("writing to a string succeeds");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut tally = Tally::new();
        for _ in 0..1500 {
            tally.latencies.record(Duration::from_micros(100));
        }
        tally.error("say \"no\"");
        tally.error("say \"no\"");
        Report {
            operation: "put",
            clients: 10,
            connections: 2,
            elapsed: Duration::from_secs(2),
            tally,
            cpu: Some(Duration::from_secs(1)),
            cpu_elapsed: Duration::from_secs(2),
            details: Vec::new(),
        }
        .with("keys set", Detail::Count(7))
        .with("before p99", Detail::Latency(Duration::from_millis(3)))
    }

    /// All figures, on one line, as JSON.
    #[test]
    fn programs_read_one_object() {
        assert_eq!(
            report().json(),
            "{\"operation\":\"put\",\"clients\":10,\"connections\":2,\"operations\":1500,\"seconds\":2.000,\
             \"rate\":750.000,\"p50_ms\":0.100,\"p90_ms\":0.100,\"p99_ms\":0.100,\"p999_ms\":0.100,\
             \"max_ms\":0.100,\"own_cpu\":0.500,\"keys_set\":7,\"before_p99_ms\":3.000,\
             \"errors\":{\"say \\\"no\\\"\":2}}"
        );
    }

    /// The same for people.
    #[test]
    fn people_read_lines() {
        let text = report().text();
        for line in [
            "rate         750.000 /s",
            "p99.9        0.100 ms",
            "before p99   3.000 ms",
            "errors       2",
        ] {
            assert!(text.lines().any(|other| other == line), "{line:?} is not in:\n{text}");
        }
    }

    /// Messages beyond the bound are counted together, and none is lost.
    #[test]
    fn errors_are_bounded() {
        let mut tally = Tally::new();
        for number in 0..100 {
            tally.error(&format!("error {number}"));
        }
        assert_eq!(tally.errors.len(), ERRORS_MAX + 1);
        assert_eq!(tally.failed(), 100);
    }
}
