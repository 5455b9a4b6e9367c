//! One member: a process, its data, its log.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use tokio::process::{Child, ChildStdin, Command};

use super::{Port, READY, eventually, quorate, within};

/// What a failed test shows of each log.
const LOG_LINES_SHOWN: usize = 60;

/// A member that can be started and stopped again and again.
pub(crate) struct Member {
    name: String,
    client: Port,
    peer: Port,
    dir: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    /// What starts it, with arguments before the binary; nothing as a rule.
    launcher: Vec<String>,
    fail_points: String,
    environment: Vec<(String, String)>,
    process: Option<Child>,
    /// Its standard input. Held apart, because waiting for a process closes what it still has.
    lifeline: Option<ChildStdin>,
}

impl Member {
    /// A member that does not run yet, with its files below `dir`.
    pub(crate) fn new(
        dir: &Path,
        name: &str,
        client: Port,
        peer: Port,
        initial_cluster: &str,
    ) -> Self {
        let data_dir = dir.join(name);
        let arguments = vec![
            "serve".to_owned(),
            format!("--name={name}"),
            format!("--data-dir={}", data_dir.display()),
            format!("--listen-client-urls={}", client.url()),
            format!("--advertise-client-urls={}", client.url()),
            format!("--listen-peer-urls={}", peer.url()),
            format!("--initial-advertise-peer-urls={}", peer.url()),
            format!("--initial-cluster={initial_cluster}"),
        ];
        let log = dir.join(format!("{name}.log"));
        Self {
            name: name.to_owned(),
            client,
            peer,
            dir: data_dir,
            log,
            arguments,
            launcher: Vec::new(),
            fail_points: String::new(),
            environment: Vec::new(),
            process: None,
            lifeline: None,
        }
    }

    /// Adds flags; a later one wins over an earlier one.
    pub(crate) fn flags<'a>(&mut self, flags: impl IntoIterator<Item = &'a str>) {
        self.arguments.extend(flags.into_iter().map(str::to_owned));
    }

    /// Has another program start it, which becomes it.
    pub(crate) fn launched_by(&mut self, launcher: Vec<String>) {
        self.launcher = launcher;
    }

    /// Takes the initial cluster away: the member is to find it by itself.
    pub(crate) fn no_initial_cluster(&mut self) {
        self.arguments.retain(|argument| !argument.starts_with("--initial-cluster="));
    }

    /// What `FAILPOINTS` says from the next start on.
    pub(crate) fn fail_points(&mut self, text: impl Into<String>) {
        self.fail_points = text.into();
    }

    /// Adds a variable to its environment, from the next start on.
    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn authority(&self) -> String {
        self.client.authority()
    }

    pub(crate) fn client_url(&self) -> String {
        self.client.url()
    }

    pub(crate) fn peer_url(&self) -> String {
        self.peer.url()
    }

    pub(crate) fn peer_authority(&self) -> String {
        self.peer.authority()
    }

    /// Starts the process; it serves a little later.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = match self.launcher.split_first() {
            Some((program, arguments)) => super::launched(program, arguments),
            None => quorate(),
        };
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            // A test process that is killed takes its members with it.
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        if !self.fail_points.is_empty() {
            command.env("FAILPOINTS", &self.fail_points);
        }
        let mut process = command.spawn().unwrap();
        self.lifeline = process.stdin.take();
        self.process = Some(process);
    }

    /// Starts the process and waits until it serves linearizable reads.
    pub(crate) async fn restart(&mut self) {
        self.spawn();
        let url = self.client_url();
        eventually(&format!("{} to serve", self.name), READY, async || {
            let mut client = super::connect(std::slice::from_ref(&url)).await;
            client.get("restart", None).await.ok()
        })
        .await;
    }

    /// Waits until the process answers at all, which needs no quorum.
    pub(crate) async fn answers_status(&self) {
        let url = self.client_url();
        eventually(&format!("{} to answer", self.name), READY, async || {
            super::connect(std::slice::from_ref(&url)).await.status().await.ok()
        })
        .await;
    }

    pub(crate) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Sends SIGKILL, without waiting for the end.
    pub(crate) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.start_kill().unwrap();
        }
    }

    /// Waits for the end of the process, however it comes about.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("the member runs");
        within(&format!("the end of {}", self.name), READY, process.wait()).await.unwrap()
    }

    /// How the process has ended, if it has.
    #[allow(dead_code, reason = "tests of crashes use it")]
    pub(crate) fn try_ended(&mut self) -> Option<ExitStatus> {
        let ended = self.process.as_mut()?.try_wait().unwrap()?;
        self.process = None;
        Some(ended)
    }

    /// Sends SIGTERM, without waiting for the end.
    pub(crate) async fn terminate(&self) {
        self.signal("TERM").await;
    }

    /// Stops the process where it is: connections stay, and nobody answers.
    pub(crate) async fn pause(&self) {
        self.signal("STOP").await;
    }

    /// Lets a paused process go on.
    pub(crate) async fn resume(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, signal: &str) {
        // The shell's own kill: the program of that name is not on every machine.
        let (script, id) = (format!("kill -{signal} \"$0\""), self.id().to_string());
        let status = Command::new("sh").args(["-c", &script, &id]).status().await.unwrap();
        assert!(status.success(), "SIG{signal} could not be sent to {}", self.name);
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().and_then(Child::id).expect("the member runs")
    }

    /// What the process has in memory, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.expect("every process has memory").trim().parse().unwrap()
    }

    /// Ends the standard input of the process, as the death of its supervisor would.
    pub(crate) fn close_stdin(&mut self) {
        self.lifeline = None;
    }

    /// Starts the process where a refusal is expected, and returns what it says.
    pub(crate) async fn refuses_to_start(&self, more: &[&str]) -> Finished {
        let mut command = quorate();
        command.args(&self.arguments).args(more);
        if !self.fail_points.is_empty() {
            command.env("FAILPOINTS", &self.fail_points);
        }
        super::finish(command).await
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn last_log_lines(&self) -> String {
        let log = self.log_text();
        let lines: Vec<&str> = log.lines().collect();
        let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        format!("--- {} ---\n{}", self.name, shown.join("\n"))
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// Keeps the settings of whoever runs the tests away from a process.
pub(crate) fn without_settings(command: &mut Command) {
    command.env_remove("FAILPOINTS");
    #[expect(clippy::disallowed_methods, reason = "to take them away, one has to know them")]
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["QUORATE_", "ETCD_", "ETCDCTL_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}
