//! Hands every event to all outputs, in one piece and on one line.

use std::{
    io::{self, Write, stderr, stdout},
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

use super::{LogOptions, LogOutput, rotation::LogFile};

/// Where lines go to.
pub(super) struct Outputs(Arc<[Output]>);

enum Output {
    Stderr,
    Stdout,
    File(Mutex<LogFile>),
}

impl Outputs {
    pub(super) fn open(options: &LogOptions) -> io::Result<Self> {
        let open = |output: &LogOutput| match output {
            LogOutput::Stderr => Ok(Output::Stderr),
            LogOutput::Stdout => Ok(Output::Stdout),
            LogOutput::File(path) => {
                let file = LogFile::open(path, options.rotation.clone()).map_err(|error| {
                    io::Error::new(error.kind(), format!("log file {}: {error}", path.display()))
                })?;
                Ok(Output::File(Mutex::new(file)))
            }
        };
        options.outputs.iter().map(open).collect::<io::Result<Arc<[Output]>>>().map(Self)
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Lines<'a> {
        Lines(&self.0)
    }
}

/// All outputs, for the length of an event.
pub(super) struct Lines<'a>(&'a [Output]);

impl Write for Lines<'_> {
    /// One event, which the others are told of also when one of them fails.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = event.strip_suffix(b"\n").unwrap_or(event);
        let escaped = text.contains(&b'\n').then(|| on_one_line(text));
        let line = escaped.as_deref().unwrap_or(event);
        let mut result = Ok(event.len());
        for output in self.0 {
            let written = match output {
                Output::Stderr => stderr().lock().write_all(line),
                Output::Stdout => {
                    let mut stdout = stdout().lock();
                    stdout.write_all(line).and_then(|()| stdout.flush())
                }
                Output::File(file) => {
                    file.lock().unwrap_or_else(PoisonError::into_inner).line(line)
                }
            };
            result = written.and(result);
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
    use std::fs;

    use super::{super::LogFormat, *};

    /// A message of several lines must not look like several events.
    #[test]
    fn line_breaks_within_an_event_are_escaped() {
        assert_eq!(on_one_line(b"a\nb\n\nc"), b"a\\nb\\n\\nc\n");
    }

    /// Each line goes to all outputs, behind what was there.
    #[test]
    fn lines_go_to_all_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| dir.path().join(name));
        fs::write(&paths[0], "before\n").unwrap();
        let options = LogOptions {
            level: "info".to_owned(),
            format: LogFormat::Text,
            outputs: paths.iter().cloned().map(LogOutput::File).collect(),
            rotation: None,
        };
        let outputs = Outputs::open(&options).unwrap();

        outputs.make_writer().write_all(b"one\ntwo\n").unwrap();

        assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "before\none\\ntwo\n");
        assert_eq!(fs::read_to_string(&paths[1]).unwrap(), "one\\ntwo\n");
    }
}
