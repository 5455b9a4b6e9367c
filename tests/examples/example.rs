//! An example in one language: its programs, built.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::process::Command;

use crate::harness::{Cluster, Finished, Following, finish};

/// The first build fetches libraries and compiles them.
const BUILD: Duration = Duration::from_secs(1_200);

/// The two ways that a program of each language has to the registry.
pub(crate) const WAYS: &[&str] = &["stock", "typed"];

/// The programs of a language.
pub(crate) struct Example {
    folder: String,
}

impl Example {
    /// Builds the programs, or says that they are skipped.
    pub(crate) async fn of(language: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/build.sh");
        let mut command = Command::new(script);
        command.arg(language).stdin(Stdio::null()).kill_on_drop(true);
        let output =
            tokio::time::timeout(BUILD, command.output()).await.expect("the build ends").unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{language} cannot be built:\n{stderr}");
        let folder = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        if folder.is_empty() {
            eprintln!("SKIPPED: {language}: {}", stderr.trim());
            return None;
        }
        Some(Self { folder })
    }

    fn command(&self, cluster: &Cluster, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(format!("{}/{program}", self.folder));
        command.args(arguments).args(["--service", "user", "--endpoints", &cluster.endpoints()]);
        command
    }

    /// Starts a program on the service `user`, and follows what it prints.
    pub(crate) fn start(&self, cluster: &Cluster, program: &str, arguments: &[&str]) -> Program {
        let name = format!("{program}-{}", arguments.join("-").replace("--", ""));
        Program { following: cluster.follow(self.command(cluster, program, arguments), &name) }
    }

    /// Runs a program on the service `user` to its end.
    pub(crate) async fn run(
        &self,
        cluster: &Cluster,
        program: &str,
        arguments: &[&str],
    ) -> Finished {
        finish(self.command(cluster, program, arguments)).await
    }
}

/// A program that runs.
pub(crate) struct Program {
    pub(crate) following: Following,
}

impl Program {
    /// All whole lines so far, complaints about members that are away among them.
    pub(crate) fn lines(&self) -> Vec<String> {
        let output = self.following.output();
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }

    /// Sends SIGTERM, without waiting for the end.
    pub(crate) async fn terminate(&self) {
        let id = self.following.child.id().expect("the program runs").to_string();
        let status = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().await;
        assert!(status.unwrap().success(), "SIGTERM could not be sent");
    }

    /// Sends SIGKILL, without waiting for the end.
    pub(crate) fn kill(&mut self) {
        self.following.child.start_kill().unwrap();
    }
}
