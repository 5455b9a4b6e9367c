//! A Quorate and an etcd, freshly started, which are given the same operations.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, ChildStdin, Command};

use crate::{
    answer::{Answer, Server},
    compare::{Difference, masked},
    harness::{Cluster, Port, READY, Timing, eventually_or, program, without_settings},
    level::Level,
    op::Op,
    tally::Tally,
};

/// That of [`Timing::Alone`]: both must have the same, because the shortest lease follows from it.
const TIMING: [&str; 2] = ["--heartbeat-interval=20", "--election-timeout=200"];

/// The etcd that we are compared with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    program: String,
    pub(crate) level: Level,
}

impl Peer {
    /// etcd 3.7 where Go can build it, else an etcd 3.4 on the path, else none: aloud, unless it is 3.7.
    pub(crate) async fn find() -> Option<Self> {
        if let Some(program) = program("etcd-peer").await {
            return Some(Self { program, level: Level::Etcd37 });
        }
        let output = Command::new("etcd").arg("--version").output().await;
        let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let version = version.unwrap_or_default();
        let version = version.lines().next().unwrap_or("no etcd on the path");
        if version.starts_with("etcd Version: 3.4.") {
            eprintln!("there is no etcd 3.7.1: compared with {version}, its differences masked");
            return Some(Self { program: "etcd".to_owned(), level: Level::Etcd34 });
        }
        eprintln!("SKIPPED: neither etcd 3.7.1 nor 3.4 to compare with: {version}");
        None
    }

    fn command(&self, data_dir: &Path, client: &str, peer: &str) -> Command {
        let mut command = Command::new(&self.program);
        without_settings(&mut command);
        command
            .arg(format!("--data-dir={}", data_dir.display()))
            .args(["--name=etcd", &format!("--initial-cluster=etcd={peer}")])
            .args(TIMING);
        match self.level {
            Level::Etcd37 => {
                command.args(["--client-url", client, "--peer-url", peer]).arg("--exit-with-parent")
            }
            Level::Etcd34 => command
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]),
        };
        command
    }
}

/// The process of an etcd. Dropping it kills it and removes its data.
pub(crate) struct Etcd {
    process: Child,
    /// While it is open the process stays, so that it goes with this one, however that ends.
    _lifeline: Option<ChildStdin>,
    url: String,
    log: PathBuf,
    _ports: [Port; 2],
    // Behind the process, so that it goes after it.
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts one and waits until it serves.
    pub(crate) async fn start(peer: &Peer) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = [Port::free(), Port::free()];
        let url = ports[0].url();
        let log = dir.path().join("etcd.log");
        let output = File::create(&log).unwrap();
        let mut process = peer
            .command(&dir.path().join("data"), &url, &ports[1].url())
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lifeline = process.stdin.take();
        let mut etcd = Self { process, _lifeline: lifeline, url, log, _ports: ports, _dir: dir };
        etcd.serves().await;
        etcd
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn serves(&mut self) {
        let log = self.log.clone();
        let failed = || format!("etcd to serve:\n{}", fs::read_to_string(&log).unwrap_or_default());
        let mut server = Server::at("etcd", &self.url);
        eventually_or(failed, READY, async || {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "etcd ended: {}", failed());
            match server.answer(&Op::whole_state(0), 0).await {
                Answer::Range(_) => Some(()),
                _ => None,
            }
        })
        .await;
    }
}

/// Changes an answer of Quorate, to see that it is noticed.
pub(crate) type Plant = fn(&Op, &mut Answer);

/// Both servers, with equal contents until the first difference.
pub(crate) struct Pair {
    quorate: Server,
    etcd: Server,
    level: Level,
    plant: Option<Plant>,
    /// The newest revision, of both.
    newest: i64,
    _processes: (Cluster, Etcd),
}

impl Pair {
    /// Starts both, empty.
    pub(crate) async fn start(peer: &Peer, plant: Option<Plant>) -> Self {
        let (cluster, etcd) =
            tokio::join!(Cluster::start_with(1, Timing::Alone), Etcd::start(peer));
        Self {
            quorate: Server::at("quorate", &cluster.endpoint(0)),
            etcd: Server::at("etcd", etcd.url()),
            level: peer.level,
            plant,
            newest: 1,
            _processes: (cluster, etcd),
        }
    }

    /// Sends operations one by one to both, until answers differ. The difference is boxed, as large
    /// as it is.
    pub(crate) async fn run(
        &mut self,
        ops: &[Op],
        tally: &mut Tally,
    ) -> Result<(), Box<Difference>> {
        let mut sent_at = Vec::with_capacity(ops.len());
        for op in ops {
            sent_at.push(self.newest);
            let op = op.resolved(self.newest);
            let (mut quorate, mut etcd) = tokio::join!(
                self.quorate.answer(&op, self.newest),
                self.etcd.answer(&op, self.newest)
            );
            if lost_previous_pairs(&op, &etcd) {
                etcd = self.etcd.answer(&op, self.newest).await;
            }
            if let Some(plant) = self.plant {
                plant(&op, &mut quorate);
            }
            self.newest = etcd.revision().map_or(self.newest, |told| told.max(self.newest));
            let quorate = masked(&op, quorate, self.level);
            let etcd = masked(&op, etcd, self.level);
            if quorate != etcd {
                return Err(Box::new(Difference { sent_at, quorate, etcd }));
            }
            tally.count(&op, &etcd);
        }
        Ok(())
    }
}

/// etcd 3.7.1 registers a watcher before it notes that previous pairs are wanted: seldom the first
/// events slip through in between, and come without. Asked again, it tells them.
fn lost_previous_pairs(op: &Op, answer: &Answer) -> bool {
    match (op, answer) {
        (Op::Watch(request), Answer::Watch(history)) => {
            request.prev_kv && history.events.iter().all(|event| event.prev_kv.is_none())
        }
        _ => false,
    }
}
