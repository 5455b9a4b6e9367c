//! The log: events of the crate, and warnings of the libraries, as lines on standard error.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Starts the log at `level`, one of `trace`, `debug`, `info`, `warn` and `error`; any other word
/// means `info`. The first call wins: the log of a process is set once.
///
/// Libraries are heard from `warn` on, because their finer levels tell of every frame.
pub fn init(level: &str) {
    // The last directive that fits an event decides.
    let level = match level {
        "trace" | "debug" | "info" | "warn" | "error" => level,
        _ => "info",
    };
    let libraries = if level == "error" { "error" } else { "warn" };
    let filter = EnvFilter::new(format!("{libraries},quorate={level}"));

    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // When standard error is gone, saying so on standard error would panic.
        .log_internal_errors(false)
        .with_writer(Lines)
        .try_init();
    // Another start in this process came first, and its level stands.
    drop(started);
}

/// Hands every event to standard error in one piece and on one line.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        if text.contains(&b'\n') {
            io::stderr().lock().write_all(&on_one_line(text))?;
        } else {
            io::stderr().lock().write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// The text with its line breaks written as `\n`, and one at its end.
fn on_one_line(text: &[u8]) -> Vec<u8> {
    let mut line = text.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(b"\\n".as_slice());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of several lines must not look like several events.
    #[test]
    fn line_breaks_within_an_event_are_escaped() {
        assert_eq!(on_one_line(b"a\nb\n\nc"), b"a\\nb\\n\\nc\n");
    }

    /// Starting twice is allowed, as tests and embedders do.
    #[test]
    fn a_second_start_does_nothing() {
        init("error");
        init("no such level");
    }
}
