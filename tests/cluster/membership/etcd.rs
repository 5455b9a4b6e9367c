//! Clusters of etcd, to tell the same stories to.

use std::{fs::File, process::Stdio};

use tokio::process::{Child, ChildStdin, Command};

use super::{Asked, SOON, Servers};
use crate::harness::{Port, eventually, program, without_settings};

/// The processes of a cluster. Dropping them kills them and removes their data.
pub(super) struct Etcds {
    members: Vec<Etcd>,
    // Behind the processes, so that it goes after them.
    _dir: tempfile::TempDir,
}

struct Etcd {
    process: Child,
    /// While it is open the process stays, so that it goes with this one, however that ends.
    _lifeline: Option<ChildStdin>,
    client: Port,
    _peer: Port,
}

impl Etcds {
    /// Starts a cluster and waits until all members serve; or says that there is no etcd here.
    pub(super) async fn start(size: usize) -> Option<Self> {
        let program = program("etcd-peer").await?;
        let dir = tempfile::tempdir().unwrap();
        let ports: Vec<(Port, Port)> = (0..size).map(|_| (Port::free(), Port::free())).collect();
        let name = |index: usize| format!("n{}", index + 1);
        let entry =
            |(index, (_, peer)): (usize, &(Port, Port))| format!("{}={}", name(index), peer.url());
        let initial = ports.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
        let mut members = Vec::new();
        for (index, (client, peer)) in ports.into_iter().enumerate() {
            let output = File::create(dir.path().join(format!("{}.log", name(index)))).unwrap();
            let mut command = Command::new(&program);
            without_settings(&mut command);
            let mut process = command
                .args(["--name", &name(index), "--initial-cluster", &initial])
                .arg(format!("--data-dir={}", dir.path().join(name(index)).display()))
                .args(["--client-url", &client.url(), "--peer-url", &peer.url()])
                .arg("--exit-with-parent")
                .stdin(Stdio::piped())
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let lifeline = process.stdin.take();
            members.push(Etcd { process, _lifeline: lifeline, client, _peer: peer });
        }
        let etcds = Self { members, _dir: dir };
        for index in 0..size {
            let asked = Asked::at(&etcds, index);
            eventually("etcd to serve", SOON, async || asked.list(true).await.ok()).await;
        }
        Some(etcds)
    }
}

impl Servers for Etcds {
    const NAME: &'static str = "etcd";

    fn endpoint(&self, index: usize) -> String {
        self.members[index].client.url()
    }

    fn len(&self) -> usize {
        self.members.len()
    }

    async fn kill(&mut self, index: usize) {
        self.members[index].process.kill().await.unwrap();
    }
}
