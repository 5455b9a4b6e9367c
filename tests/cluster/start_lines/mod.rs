//! Start lines, environments and files that were made for etcd, given to the binary under its name.

mod lines;
mod log;
mod notify;
mod refused;
mod rendezvous;
mod stop;
mod tls;

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, ChildStdin, Command};

use crate::harness::{
    Finished, Port, QUORATE, READY, connect, eventually, eventually_or, finish, within,
    without_settings,
};

/// A folder in which the binary is called `etcd`. It goes with all that is in it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        symlink(QUORATE, dir.path().join("etcd")).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A path as a flag takes it.
    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `etcd` with these words, in this folder, without any setting of whoever runs the tests.
    fn etcd(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("etcd"));
        without_settings(&mut command);
        command.args(words).current_dir(self.0.path());
        command
    }

    /// Runs `etcd` to its end.
    async fn finish(&self, words: &[&str]) -> Finished {
        finish(self.etcd(words)).await
    }

    fn start(&self, name: &str, words: &[&str]) -> Running {
        self.start_with(name, words, &[])
    }

    /// Starts a member that ends with the test, its output in a file.
    fn start_with(&self, name: &str, words: &[&str], variables: &[(&str, &str)]) -> Running {
        let path = self.path(&format!("{name}.out"));
        let output = File::create(&path).unwrap();
        let mut command = self.etcd(words);
        command
            .envs(variables.iter().copied())
            .env("QUORATE_EXIT_WITH_PARENT", "true")
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let lifeline = child.stdin.take();
        Running { child, path, _lifeline: lifeline }
    }
}

/// A member that was started. Dropping it kills it.
struct Running {
    child: Child,
    path: PathBuf,
    /// Held, because the member ends with it.
    _lifeline: Option<ChildStdin>,
}

impl Running {
    fn output(&self) -> String {
        fs::read_to_string(&self.path).unwrap_or_default()
    }

    /// The lines of its log, each of which must be JSON.
    fn lines(&self) -> Vec<Value> {
        lines(&self.path)
    }

    /// Waits until its log says that it serves.
    async fn ready(&self) {
        let what = || format!("the ready line in:\n{}", self.output());
        let ready = "ready to serve client requests";
        eventually_or(what, READY, async || self.output().contains(ready).then_some(())).await;
    }

    async fn terminate(&self) {
        let id = self.child.id().expect("the member runs").to_string();
        let status = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().await;
        assert!(status.unwrap().success(), "SIGTERM could not be sent");
    }

    async fn ended(&mut self) -> ExitStatus {
        within("the end of the member", READY, self.child.wait()).await.unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.path.display(), self.output());
        }
    }
}

/// The lines of a log as JSON, but for one that is being written.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let parse = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"))
    };
    whole.map(parse).collect()
}

/// Whether a line of the log says this.
fn says(lines: &[Value], words: &str) -> bool {
    lines.iter().any(|line| line["msg"].as_str().is_some_and(|msg| msg.contains(words)))
}

/// Writes through one member and reads through all of them.
async fn serves(urls: &[String]) {
    let mut client = connect(&urls[..1]).await;
    eventually("a write", READY, async || client.put("k", "v", None).await.ok()).await;
    for url in urls {
        let mut client = connect(std::slice::from_ref(url)).await;
        let read = eventually("a read", READY, async || client.get("k", None).await.ok()).await;
        assert_eq!(read.kvs()[0].value(), b"v", "{url}");
    }
}

/// The members' names as the cluster has them, once there are so many.
async fn names(url: &str, count: usize) -> Vec<String> {
    let mut client = connect(&[url.to_owned()]).await;
    eventually("all members' names", READY, async || {
        let list = client.member_list().await.ok()?;
        let mut names: Vec<String> = list.members().iter().map(|it| it.name().to_owned()).collect();
        names.sort();
        (names.len() == count && names.iter().all(|name| !name.is_empty())).then_some(names)
    })
    .await
}

/// The client port and the peer port of a member.
struct Ports {
    client: Port,
    peer: Port,
}

impl Ports {
    fn free() -> Self {
        Self { client: Port::free(), peer: Port::free() }
    }

    fn clients(&self) -> String {
        self.client.url()
    }

    fn peers(&self) -> String {
        self.peer.url()
    }
}
