//! A real etcd of three members, to compare figures with.

use std::{fs::File, process::Stdio};

use tokio::process::{Child, ChildStdin, Command};

use super::SOON;
use crate::harness::{Port, connect, eventually, program, without_settings};

/// The processes. Dropping them kills them and removes their data.
pub(super) struct Etcds {
    urls: Vec<String>,
    _members: Vec<(Child, Option<ChildStdin>)>,
    _ports: Vec<[Port; 2]>,
    // Behind the processes, so that it goes after them.
    _dir: tempfile::TempDir,
}

impl Etcds {
    /// Starts three members with all figures; or says that there is no etcd here.
    pub(super) async fn start() -> Option<Self> {
        let program = program("etcd-peer").await?;
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<[Port; 2]> = (0..3).map(|_| [Port::free(), Port::free()]).collect();
        let initial =
            ports.iter().enumerate().map(|(at, [_, peer])| format!("n{at}={}", peer.url()));
        let initial = initial.collect::<Vec<_>>().join(",");
        let start = |(at, [client, peer]): (usize, &[Port; 2])| {
            let name = format!("n{at}");
            let output = File::create(dir.path().join(format!("{name}.log"))).unwrap();
            let mut command = Command::new(&program);
            without_settings(&mut command);
            let mut process = command
                .args(["--name", &name, "--initial-cluster", &initial, "--metrics=extensive"])
                .arg(format!("--data-dir={}", dir.path().join(&name).display()))
                .args(["--client-url", &client.url(), "--peer-url", &peer.url()])
                .arg("--exit-with-parent")
                .stdin(Stdio::piped())
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let lifeline = process.stdin.take();
            (process, lifeline)
        };
        let members = ports.iter().enumerate().map(start).collect();
        let urls: Vec<String> = ports.iter().map(|[client, _]| client.url()).collect();
        for url in &urls {
            eventually("etcd to serve", SOON, async || {
                let mut client = connect(std::slice::from_ref(url)).await;
                client.get("nothing", None).await.ok()
            })
            .await;
        }
        Some(Self { urls, _members: members, _ports: ports, _dir: dir })
    }

    pub(super) fn url(&self, index: usize) -> &str {
        &self.urls[index]
    }
}
