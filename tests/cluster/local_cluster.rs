//! `quorate cluster`: the first thing that a newcomer runs.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use tokio::process::Command;

use crate::harness::{Cluster, Following, Port, READY, eventually, finish, quorate, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn command(base: &Port, dir: &Path, nodes: &str) -> Command {
    let mut command = quorate();
    command.args([
        "cluster",
        "--nodes",
        nodes,
        "--client-port-base",
        &base.number().to_string(),
        "--data-dir",
    ]);
    command.arg(dir);
    command
}

/// A running `quorate cluster`. Dropping it kills it, and waits until its members are gone.
struct Local {
    supervisor: Following,
    endpoints: String,
    dir: tempfile::TempDir,
    ports: Vec<Port>,
}

impl Local {
    async fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ports = Port::free_row(6);
        let mut command = command(&ports[0], &dir.path().join("data"), "3");
        command.args(more);
        let supervisor = Following::start(command, dir.path().join("cluster.out"));
        let ready = |line: &str| line.starts_with("3 members are ready");
        supervisor.line(READY, ready).await;
        let endpoints: Vec<String> = ports.iter().step_by(2).map(Port::authority).collect();
        Self { supervisor, endpoints: endpoints.join(","), dir, ports }
    }

    async fn quorate(&self, arguments: &[&str]) -> crate::harness::Finished {
        let mut command = quorate();
        command.args(arguments).env("QUORATE_ENDPOINTS", &self.endpoints);
        finish(command).await
    }

    async fn signal(&self, signal: &str) {
        let id = self.supervisor.child.id().expect("the supervisor runs").to_string();
        let status =
            Command::new("sh").args(["-c", "kill -$0 $1", signal, &id]).status().await.unwrap();
        assert!(status.success());
    }

    /// The process of a member. Its command line names the folder of this test, as no other does.
    fn process_of(&self, name: &str) -> u32 {
        let data_dir = format!("\0{}\0", self.dir.path().join("data").join(name).display());
        let runs_it = |id: &u32| {
            let command_line =
                fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            command_line.contains(&data_dir)
        };
        let entries = fs::read_dir("/proc").unwrap();
        let mut ids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        ids.find(runs_it).expect("the member runs")
    }

    fn is_gone(&self) -> bool {
        self.ports.iter().all(|port| TcpListener::bind(port.authority()).is_ok())
    }

    /// Waits until nobody listens any more, so that no member is left.
    async fn all_gone(&self) {
        eventually("all members to be gone", SOON, async || self.is_gone().then_some(())).await;
    }
}

/// The members end when their supervisor has, but their folder can go only after them.
impl Drop for Local {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.supervisor.output());
        }
        let _ = self.supervisor.child.start_kill();
        for _ in 0..1000 {
            if self.is_gone() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("the members of a local cluster did not end with it");
    }
}

/// It serves, says where, takes the first commands, and stops with all its members when told to.
#[tokio::test]
async fn a_local_cluster_runs_and_stops() {
    let mut local = Local::start(&[]).await;
    let put = local.supervisor.line(SOON, |line| line.contains(" put ")).await;
    let words: Vec<&str> = put.split_whitespace().skip(1).collect();
    assert_eq!(local.quorate(&words).await.ok(), "OK\n");
    assert_eq!(local.quorate(&["get", "hello"]).await.ok(), "hello\nworld\n");
    local.supervisor.line(SOON, |line| line.starts_with("n2 | ")).await;

    local.signal("TERM").await;
    let status =
        within("the supervisor to end", SOON, local.supervisor.child.wait()).await.unwrap();

    assert!(status.success(), "{status}\n{}", local.supervisor.output());
    local.all_gone().await;
}

/// Its members do not outlive it, however it ends.
#[tokio::test]
async fn members_end_with_a_killed_supervisor() {
    let local = Local::start(&[]).await;

    local.signal("KILL").await;

    local.all_gone().await;
}

/// What somebody else uses is refused by name.
#[tokio::test]
async fn what_is_taken_is_refused() {
    let local = Local::start(&[]).await;
    let data = local.dir.path().join("data");

    let second = finish(command(&Port::free_row(6)[0], &data, "3")).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    let reason = format!("data directory {} is in use by another quorate cluster", data.display());
    assert!(second.stderr.contains(&reason), "{second:?}");

    let elsewhere = local.dir.path().join("elsewhere");
    let third = finish(command(&local.ports[2], &elsewhere, "3")).await;
    assert_eq!(third.code, Some(1), "{third:?}");
    let reason = format!("port {}, for the clients of n1: ", local.ports[2].number());
    assert!(third.stderr.contains(&reason), "{third:?}");
}

/// A member that dies is reported, the others serve on, and with --restart it comes back.
#[tokio::test]
async fn a_dead_member_is_reported_and_started_again() {
    let local = Local::start(&["--restart"]).await;
    let id = local.process_of("n2").to_string();
    let killed = Command::new("sh").args(["-c", "kill -KILL $0", &id]).status().await.unwrap();
    assert!(killed.success());

    local
        .supervisor
        .line(SOON, |line| line.starts_with("n2 ended: ") && line.contains("it starts again in"))
        .await;
    assert_eq!(local.quorate(&["put", "k", "v"]).await.ok(), "OK\n");
    eventually("the member to serve again", SOON, async || {
        let endpoint = local.ports[2].authority();
        let read =
            local.quorate(&["get", "k", "--endpoints", &endpoint, "--command-timeout", "1s"]).await;
        (read.stdout == "k\nv\n").then_some(())
    })
    .await;
}

/// A cluster that was stopped goes on where it was.
#[tokio::test]
async fn a_local_cluster_starts_again() {
    let mut local = Local::start(&[]).await;
    assert_eq!(local.quorate(&["put", "k", "v"]).await.ok(), "OK\n");
    local.signal("INT").await;
    within("the supervisor to end", SOON, local.supervisor.child.wait()).await.unwrap();

    let again = command(&local.ports[0], &local.dir.path().join("data"), "3");
    local.supervisor = Following::start(again, local.dir.path().join("again.out"));
    local.supervisor.line(READY, |line| line.starts_with("3 members are ready")).await;

    assert_eq!(local.quorate(&["get", "k"]).await.ok(), "k\nv\n");
}

/// The folder and processes of a cluster that a test drops are gone.
#[tokio::test]
async fn a_dropped_cluster_leaves_nothing() {
    let cluster = Cluster::start(1).await;
    let (path, endpoint) = (cluster.path(""), cluster.endpoints());

    drop(cluster);

    assert!(!path.exists());
    eventually("the port to be free", SOON, async || TcpListener::bind(&endpoint).ok()).await;
}
