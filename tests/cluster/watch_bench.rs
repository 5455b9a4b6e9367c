//! The load generator's watches: what they report adds up, whoever serves them.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
};

use crate::harness::{Cluster, Port, finish, quorate, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// Runs a benchmark, and says that its report has these figures and no errors.
async fn reports(endpoints: &str, line: &str, figures: &[&str]) {
    let mut command = quorate();
    command.arg("bench").args(line.split(' ')).args(["--json", "--endpoints", endpoints]);
    let report = finish(command).await.ok();
    for figure in figures.iter().chain(&["\"errors\":{}}\n"]) {
        assert!(report.contains(figure), "no {figure} in {report}");
    }
}

/// Every watcher on every stream hears of every put: in an open loop, in a closed one, and in one
/// that waits for the watchers.
#[tokio::test]
async fn deliveries_add_up() {
    let cluster = Cluster::start(1).await;
    let fan_out = async |line: &str, figures: &[&str]| {
        let line = format!("watch --watchers 10 --streams 3 {line}");
        reports(&cluster.endpoints(), &line, figures).await;
    };

    fan_out("--total 50 --rate 500", &["\"operations\":500,", "\"puts\":50,"]).await;
    fan_out("--total 50 --clients 4", &["\"operations\":500,", "\"deliveries\":500,"]).await;
    let waiting = "--total 50 --clients 4 --outstanding 2 --value-size 20000 --server-pids 1";
    fan_out(waiting, &["\"operations\":500,", "\"server_cpu_ms\":"]).await;
}

/// Watchers of a filled store get each change of their key since the first.
#[tokio::test]
async fn all_of_the_past_arrives() {
    let cluster = Cluster::start(1).await;
    let bench = async |line: &str, figures: &[&str]| {
        reports(&cluster.endpoints(), line, figures).await;
    };
    bench("load --keys 50 --txn-size 1 --rounds 4 --shuffled", &["\"puts\":200,"]).await;

    let wanted = ["\"operations\":200,", "\"clients\":50,", "\"streams\":7,", "\"from\":2,"];
    bench("catch-up --streams 7 --connections 2", &wanted).await;

    let empty = ["bench", "catch-up", "--key-prefix", "none/", "--json"];
    assert_eq!(cluster.quorate(&empty).await.code, Some(1));
}

/// Held watchers come step by step, and those that never read hold nobody up.
#[tokio::test]
async fn watchers_are_held() {
    let cluster = Cluster::start(1).await;
    let shape = "--connections 2 --streams-per-connection 3 --watchers-per-stream 4";
    for on in ["own-keys", "prefixes", "watched-key --stalled"] {
        let mut held = Held::start(&cluster, &format!("{shape} --on {on}"));
        held.step("connections", 2).await;
        held.step("streams", 6).await;
        held.step("watchers", 24).await;
        let line = "watch --total 200 --watchers 4 --streams 2 --value-size 2000";
        reports(&cluster.endpoints(), line, &["\"operations\":800,"]).await;
        held.step("ended", 0).await;
        held.end().await;
    }
}

/// A process that holds watchers; it is killed when dropped.
struct Held {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    started: bool,
}

impl Held {
    fn start(cluster: &Cluster, line: &str) -> Self {
        let mut command = quorate();
        command.args(["bench", "hold", "--endpoints", &cluster.endpoints()]).args(line.split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines(), started: false }
    }

    /// Lets the next step happen, and says which it is.
    async fn step(&mut self, step: &str, count: usize) {
        if self.started {
            self.input.write_all(b"\n").await.unwrap();
        }
        self.started = true;
        let line = within("the next step", SOON, self.output.next_line()).await.unwrap();
        assert_eq!(line, Some(format!("{{\"step\":\"{step}\",\"count\":{count}}}")));
    }

    /// Ends with its input.
    async fn end(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        assert!(within("the end", SOON, child.wait()).await.unwrap().success());
    }
}

/// The bare broadcast takes the same load, and delivers all of it.
#[tokio::test]
async fn a_bare_broadcast_serves_the_same_load() {
    let port = Port::free();
    let mut command = quorate();
    command.args(["bench", "broadcast", "--listen", &port.authority()]).kill_on_drop(true);
    let _server = command.stdin(Stdio::null()).spawn().unwrap();

    reports(&port.authority(), "ready", &["\"operations\":1,"]).await;
    let line = "watch --total 50 --clients 4 --outstanding 2 --watchers 10 --streams 3";
    reports(&port.authority(), line, &["\"operations\":500,", "\"deliveries\":500,"]).await;
}
