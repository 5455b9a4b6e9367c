//! The members' logs on one output, each line with the name of its member in front.
//!
//! One task writes, so that lines stay whole. Members write into a bounded channel: a terminal that
//! does not keep up slows the reading of a pipe down, and nothing grows.

use std::{io::IsTerminal, time::Duration};

use tokio::{
    io::{self, AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// Longer lines are broken, so that a member cannot make us hold its output in memory.
const LINE_BYTES_MAX: usize = 8 * 1024;
const LINES_MAX: usize = 256;
/// How long the last lines may take. A reader that is stuck must not keep us from ending.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Colours that are readable on light and on dark, a member each.
const COLOURS: [u8; 5] = [36, 33, 35, 32, 34];

/// Who said it.
#[derive(Clone, Copy, Debug)]
enum Speaker {
    Supervisor,
    Member(usize),
}

struct Line {
    speaker: Speaker,
    text: Vec<u8>,
}

/// The task that writes, and the way to it.
pub(super) struct Printer {
    lines: mpsc::Sender<Line>,
    task: JoinHandle<()>,
}

/// The way to the printer for one member.
#[derive(Clone)]
pub(super) struct LogWriter {
    lines: mpsc::Sender<Line>,
    speaker: Speaker,
}

impl Printer {
    /// Starts it for members with these names.
    pub(super) fn start(names: Vec<String>) -> Self {
        let (lines, mut receiver) = mpsc::channel::<Line>(LINES_MAX);
        let task = tokio::spawn(async move {
            let coloured = std::io::stdout().is_terminal();
            let mut stdout = io::stdout();
            while let Some(line) = receiver.recv().await {
                // Nobody may be reading any more; the members go on all the same.
                let _ = stdout.write_all(&render(&names, &line, coloured)).await;
                let _ = stdout.flush().await;
            }
        });
        Self { lines, task }
    }

    /// Says something in the supervisor's own name.
    pub(super) async fn say(&self, text: &str) {
        let line = Line { speaker: Speaker::Supervisor, text: text.as_bytes().to_vec() };
        // The task ends only after this side has.
        let _ = self.lines.send(line).await;
    }

    /// The way in for the member at this index.
    pub(super) fn writer(&self, index: usize) -> LogWriter {
        LogWriter { lines: self.lines.clone(), speaker: Speaker::Member(index) }
    }

    /// Writes what is left. All members must be gone.
    pub(super) async fn finish(self) {
        drop(self.lines);
        let _ = timeout(DRAIN_TIMEOUT, self.task).await;
    }
}

impl LogWriter {
    /// Forwards a stream until it ends.
    pub(super) fn forward(
        &self,
        stream: impl AsyncRead + Send + Unpin + 'static,
    ) -> JoinHandle<()> {
        let writer = self.clone();
        tokio::spawn(async move {
            let mut reader = BufReader::with_capacity(LINE_BYTES_MAX, stream);
            while let Some(text) = next_line(&mut reader).await {
                let line = Line { speaker: writer.speaker, text };
                if writer.lines.send(line).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// The next line without its end, or a piece of one that is too long; nothing once the stream ends.
async fn next_line(reader: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        // A pipe that cannot be read has ended as far as we are concerned.
        let buffered = reader.fill_buf().await.unwrap_or_default();
        if buffered.is_empty() {
            return (!line.is_empty()).then_some(line);
        }
        let room = LINE_BYTES_MAX - line.len();
        let mut taken = 0;
        let mut ended = false;
        for byte in buffered.iter().take(room) {
            taken += 1;
            if *byte == b'\n' {
                ended = true;
                break;
            }
            line.push(*byte);
        }
        reader.consume(taken);
        if ended || line.len() == LINE_BYTES_MAX {
            return Some(line);
        }
    }
}

/// The line as it is written. The supervisor's own stand out by having no name in front.
fn render(names: &[String], line: &Line, coloured: bool) -> Vec<u8> {
    let mut text = match line.speaker {
        Speaker::Supervisor => Vec::new(),
        Speaker::Member(index) => {
            let name = names.get(index).map_or("?", String::as_str);
            let colour = COLOURS.iter().cycle().nth(index).copied().unwrap_or(0);
            if coloured {
                format!("\x1b[{colour}m{name} |\x1b[0m ").into_bytes()
            } else {
                format!("{name} | ").into_bytes()
            }
        }
    };
    text.extend_from_slice(&line.text);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(mut input: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = BufReader::new(&mut input);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut reader).await {
            lines.push(line);
        }
        lines
    }

    /// Lines come one by one, the last also without its end.
    #[tokio::test]
    async fn a_stream_is_cut_into_lines() {
        assert_eq!(lines(b"a\n\nbc").await, [b"a".to_vec(), b"".to_vec(), b"bc".to_vec()]);
    }

    /// A line without an end is shown in pieces.
    #[tokio::test]
    async fn a_long_line_is_broken() {
        let long = vec![b'x'; LINE_BYTES_MAX + 10];

        let lines = lines(&long).await;

        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, 10]);
    }

    /// The name stands in front, in colour only for a terminal.
    #[test]
    fn the_name_stands_in_front() {
        let names = ["n1".to_owned()];
        let line = Line { speaker: Speaker::Member(0), text: b"hello".to_vec() };

        assert_eq!(render(&names, &line, false), b"n1 | hello\n");
        assert_eq!(render(&names, &line, true), b"\x1b[36mn1 |\x1b[0m hello\n");
    }
}
