//! The signals that reach this process, and how they are passed on to another.

use std::{future::poll_fn, process::Stdio, task::Poll};

use tokio::{
    process::Command,
    signal::unix::{Signal as Stream, SignalKind, signal},
};

use crate::cli::Error;

/// A signal that a program may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    HangUp,
    Interrupt,
    Quit,
    User1,
    User2,
    Terminate,
}

impl Signal {
    const ALL: [Self; 6] =
        [Self::HangUp, Self::Interrupt, Self::Quit, Self::User1, Self::User2, Self::Terminate];

    /// As `kill -s` names it.
    fn name(self) -> &'static str {
        match self {
            Self::HangUp => "HUP",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::User1 => "USR1",
            Self::User2 => "USR2",
            Self::Terminate => "TERM",
        }
    }

    fn kind(self) -> SignalKind {
        match self {
            Self::HangUp => SignalKind::hangup(),
            Self::Interrupt => SignalKind::interrupt(),
            Self::Quit => SignalKind::quit(),
            Self::User1 => SignalKind::user_defined1(),
            Self::User2 => SignalKind::user_defined2(),
            Self::Terminate => SignalKind::terminate(),
        }
    }

    /// Its number, as it shows in exit codes.
    pub(super) fn number(self) -> i32 {
        self.kind().as_raw_value()
    }

    /// Whether it asks whoever has no use of its own for it to end in order.
    pub(super) fn asks_to_end(self) -> bool {
        match self {
            Self::HangUp | Self::Interrupt | Self::Quit | Self::Terminate => true,
            Self::User1 | Self::User2 => false,
        }
    }

    /// Whether a terminal sends it, which does so to all processes of a job.
    fn is_for_the_job(self) -> bool {
        match self {
            Self::HangUp | Self::Interrupt | Self::Quit => true,
            Self::User1 | Self::User2 | Self::Terminate => false,
        }
    }

    /// Sends it to a process that leads a job of its own: to it alone, or to the whole job when that
    /// is how the signal would have come without us.
    pub(super) async fn send_to(self, process: u32) -> Result<(), Error> {
        let target =
            if self.is_for_the_job() { format!("-{process}") } else { process.to_string() };
        // The shell's, which is on every machine; there need not be a program of that name.
        let script = r#"kill -s "$0" -- "$1""#;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, self.name(), &target]).stdin(Stdio::null());
        let output = shell.output().await?;
        if output.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(Error::failed(format!("signal {} was not passed on: {}", self.name(), reason.trim())))
    }
}

/// The signals of this process, from the moment on that this is made.
pub(super) struct Signals {
    all: Vec<(Signal, Stream)>,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Error> {
        let open = |kind: Signal| Ok((kind, signal(kind.kind())?));
        Ok(Self { all: Signal::ALL.into_iter().map(open).collect::<Result<_, Error>>()? })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|context| {
            let mut streams = self.all.iter_mut();
            let come = streams.find_map(|(kind, stream)| match stream.poll_recv(context) {
                Poll::Ready(Some(())) => Some(*kind),
                // The runtime is going down and delivers no more signals.
                Poll::Ready(None) | Poll::Pending => None,
            });
            come.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// The next one that asks to end.
    pub(super) async fn next_end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if signal.asks_to_end() {
                return signal;
            }
        }
    }
}
