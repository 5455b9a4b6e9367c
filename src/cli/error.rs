//! How a command fails: a text for people, an exit code for scripts.

use std::{error, error::Error as _, fmt::Display, io, process::ExitCode};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Error {
    exit: Exit,
    message: String,
}

/// The exit codes of etcdctl, as far as we have a use for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// The cluster refused, or the command failed otherwise.
    Failed,
    /// No endpoint could be reached.
    Connection,
    /// An argument has no meaning.
    Input,
    /// What was asked for is not there, or a flag has a value that there is no support for.
    Feature,
    /// What was to go on, or to come to its end, was cut off.
    Interrupted,
    /// Reading or writing a local stream failed.
    Io,
    /// A program that is to be run is there, but cannot be run.
    NotExecutable,
    /// A program that is to be run is not there.
    NoProgram,
    /// The command line could not be read.
    Usage,
}

impl Exit {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Connection => 2,
            Self::Input => 3,
            Self::Feature => 4,
            Self::Interrupted => 5,
            Self::Io => 6,
            // These two are those of shells.
            Self::NotExecutable => 126,
            Self::NoProgram => 127,
            Self::Usage => 128,
        }
    }
}

impl Error {
    pub(super) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    pub(super) fn failed(message: impl Display) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(super) fn input(message: impl Display) -> Self {
        Self::new(Exit::Input, message)
    }

    /// The same with what was tried around it, as etcdctl says it.
    pub(super) fn within(self, what: &str) -> Self {
        Self { exit: self.exit, message: format!("{what} ({})", self.message) }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit.code())
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Io, error)
    }
}

/// What the cluster said, in its own words: scripts match on them.
impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let message = match status.message() {
            "" => format!("rpc failed with code {:?}", status.code()),
            message => message.to_owned(),
        };
        // One that was made here, for a connection that was lost, says nothing of how by itself.
        match status.source() {
            Some(source) => Self::failed(format!("{message}: {}", root_cause(source))),
            None => Self::failed(message),
        }
    }
}

/// The innermost error, which names what happened; those around it say only that something did.
pub(super) fn root_cause(error: &dyn error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
