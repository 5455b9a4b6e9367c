//! Client programs that contend for locks until they are killed.

use std::fmt::{self, Display, Formatter};

use tokio::process::Command;

use super::judge::{Lock, Said};
use crate::harness::{Cluster, Following};

/// A program that can contend, and how it is told what to acquire the lock with.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) program: String,
    /// Its flags of spans are seconds, without a unit.
    pub(super) is_python: bool,
    pub(super) through: &'static str,
    pub(super) lock: Lock,
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.through, if self.is_python { "Python" } else { "Go" })
    }
}

/// One client, which is another one after each kill.
pub(super) struct Contender {
    pub(super) kind: Kind,
    name: String,
    lives: usize,
    process: Following,
    /// What it said in former lives.
    said: Vec<Said>,
}

impl Contender {
    pub(super) fn start(cluster: &Cluster, name: &str, kind: &Kind, more: &[&str]) -> Self {
        let (kind, name) = (kind.clone(), name.to_owned());
        let process = spawn(cluster, &kind, &format!("{name}.0"), more);
        Self { kind, name, lives: 0, process, said: Vec::new() }
    }

    /// What it has said in this life.
    pub(super) fn says(&self) -> Vec<Said> {
        self.process.output().lines().filter_map(Said::parse).collect()
    }

    /// Its output as it is, to be shown.
    pub(super) fn output(&self) -> String {
        self.process.output()
    }

    /// Whether it believes to hold the lock.
    pub(super) fn holds(&self) -> bool {
        matches!(self.says().last(), Some(Said::Held { .. } | Said::Wrote { .. }))
    }

    /// Ends it where it is, without a chance to clean up.
    pub(super) async fn kill(&mut self) {
        self.process.child.kill().await.unwrap();
        let said = self.says();
        self.said.extend(said);
    }

    /// Starts it again, as somebody who knows nothing.
    pub(super) fn spawn(&mut self, cluster: &Cluster) {
        self.lives += 1;
        self.process = spawn(cluster, &self.kind, &format!("{}.{}", self.name, self.lives), &[]);
    }

    /// Stops it where it is, or lets it go on.
    pub(super) async fn signal(&self, signal: &str) {
        let id = self.process.child.id().expect("it runs").to_string();
        let script = format!("kill -{signal} \"$0\"");
        let status = Command::new("sh").args(["-c", &script, &id]).status().await.unwrap();
        assert!(status.success(), "SIG{signal} could not be sent to {}", self.name);
    }

    /// Kills it, and returns all that it ever said.
    pub(super) async fn finish(mut self) -> Vec<Said> {
        self.kill().await;
        self.said
    }
}

fn spawn(cluster: &Cluster, kind: &Kind, name: &str, more: &[&str]) -> Following {
    let endpoints = cluster.endpoints();
    let mut command = Command::new(&kind.program);
    command
        .args(["contend", "--endpoints", &endpoints, "--through", kind.through])
        .args(["--lock", kind.lock.name, "--register", kind.lock.register, "--worker", name])
        .args(more);
    cluster.follow(command, name)
}
