//! [`Program`]: what is registered, when this command runs it.
//!
//! It is a job of its own, so that a key pressed in a terminal reaches it once and through us, like
//! any other signal. The price is that it cannot read from that terminal: then its standard input is
//! empty.
//!
//! Absent on purpose: ending the program, for whatever reason. It ends when it wants to; and when this
//! process is killed, it goes on without being registered.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, IsTerminal},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus, Stdio},
};

use tokio::process::{Child, Command};

use super::{keeper::Keeper, remark, signals::Signals};
use crate::cli::{Error, error::Exit};

/// Where programs are looked for when the environment does not say.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";
/// Any of the permissions to run a file.
const EXECUTABLE: u32 = 0o111;
/// Added to the number of the signal that ended a program, as shells do.
const SIGNALLED: i32 = 128;

/// A program that can be started, as far as that can be told without doing so.
pub(super) struct Program {
    /// As it was written.
    name: OsString,
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Finds the program that is meant; none when there are no words.
    pub(super) fn find(
        words: &[OsString],
        environment: &[(String, String)],
    ) -> Result<Option<Self>, Error> {
        let Some((name, arguments)) = words.split_first() else { return Ok(None) };
        let path = find(name, environment)?;
        Ok(Some(Self { name: name.clone(), path, arguments: arguments.to_vec() }))
    }

    /// Starts it, with the output, environment and folder of this process.
    pub(super) fn start(&self) -> Result<Child, Error> {
        let mut command = std::process::Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments).process_group(0);
        if io::stdin().is_terminal() {
            command.stdin(Stdio::null());
        }
        let started = Command::from(command).spawn();
        started.map_err(|error| cannot_run(Exit::NotExecutable, &self.name, error))
    }
}

/// The file of a program.
fn find(name: &OsStr, environment: &[(String, String)]) -> Result<PathBuf, Error> {
    if name.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return match fs::metadata(&path) {
            Err(error) => Err(cannot_run(Exit::NoProgram, name, error)),
            Ok(_) if is_program(&path) => Ok(path),
            Ok(_) => Err(cannot_run(Exit::NotExecutable, name, "it is not an executable file")),
        };
    }
    let variable = environment.iter().find(|(variable, _)| variable == "PATH");
    let folders = variable.map_or(PATH_DEFAULT, |(_, folders)| folders.as_str());
    std::env::split_paths(folders)
        .map(|folder| folder.join(name))
        .find(|path| is_program(path))
        .ok_or_else(|| cannot_run(Exit::NoProgram, name, "it is in no folder of PATH"))
}

fn is_program(path: &Path) -> bool {
    let of_program =
        |file: fs::Metadata| file.is_file() && file.permissions().mode() & EXECUTABLE != 0;
    fs::metadata(path).is_ok_and(of_program)
}

fn cannot_run(exit: Exit, name: &OsStr, reason: impl std::fmt::Display) -> Error {
    Error::new(exit, format!("{} cannot be run: {reason}", name.to_string_lossy()))
}

/// Keeps the registration until the program has ended, and passes signals on to it meanwhile.
pub(super) async fn watch_over(
    child: &mut Child,
    keeper: &mut Keeper,
    signals: &mut Signals,
) -> io::Result<ExitStatus> {
    let name = keeper.name();
    let keeping = keeper.keep(|what| remark(&format!("quorate: {name} {what}")));
    tokio::pin!(keeping);
    loop {
        let signal = tokio::select! {
            status = child.wait() => return status,
            signal = signals.next() => signal,
            never = &mut keeping => match never {},
        };
        // There is an id as long as nobody has seen it end, so no other process can have it.
        if let Some(id) = child.id()
            && let Err(error) = signal.send_to(id).await
        {
            remark(&format!("quorate: {error}"));
        }
    }
}

/// How to end after a program that ended so.
pub(in crate::cli) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// How to end when a signal asked for it before there was a program.
pub(super) fn signalled(number: i32) -> ExitCode {
    ExitCode::from(u8::try_from(SIGNALLED + number).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, path: &Path) -> Result<PathBuf, String> {
        let environment = [("PATH".to_owned(), format!("/nowhere:{}", path.display()))];
        let words = [OsString::from(name), OsString::from("argument")];
        match Program::find(&words, &environment) {
            Ok(program) => Ok(program.unwrap().path),
            Err(error) => Err(error.to_string()),
        }
    }

    /// As a shell finds it: by its path, or in a folder of PATH, if it can be run.
    #[test]
    fn a_program_is_found_before_it_is_started() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, mode| {
            let path = dir.path().join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let program = make("program", 0o755);
        let text = make("text", 0o644);

        assert_eq!(found("program", dir.path()), Ok(program.clone()));
        assert_eq!(found(program.to_str().unwrap(), Path::new("/")), Ok(program));
        let missing = found("text", dir.path());
        assert_eq!(missing, Err("text cannot be run: it is in no folder of PATH".to_owned()));
        let path = text.to_str().unwrap();
        let refused = found(path, dir.path());
        assert_eq!(refused, Err(format!("{path} cannot be run: it is not an executable file")));
        assert!(found(dir.path().to_str().unwrap(), dir.path()).is_err());
        assert!(found("/nowhere/program", dir.path()).is_err());
        assert!(Program::find(&[], &[]).unwrap().is_none());
    }
}
