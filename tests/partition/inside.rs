//! Tests that run themselves once more, in a network of their own.
//!
//! The test that the runner started makes a network namespace and starts this same binary in it, for
//! this one test. So nothing that a test does to its network is seen by anybody else, every test may
//! use the same addresses, and all of it is gone when its last process is: interfaces, routes and
//! rules live in namespaces, and namespaces in processes. The inner process ends with the outer one,
//! and members with the inner one, however each of them ends.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::network::Means;

/// Says to the inner process that it is one. `proxies` has the outer one make no namespaces.
const VARIABLE: &str = "QUORATE_TEST_NETWORK";
/// What makes a namespace: as root, or as somebody who becomes root of what is his own.
const WAYS: [&[&str]; 2] =
    [&["unshare", "--net"], &["unshare", "--user", "--map-root-user", "--net"]];
/// What a namespace is good for, tried once.
const PROBE: &str = "ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward \
    && ip link add probe0 type veth peer name probe1 \
    && unshare --net true && nsenter --net=/proc/self/ns/net true \
    && nft add table ip probe && nft add chain ip probe forward '{ type filter hook forward priority 0; }' \
    && nft add rule ip probe forward numgen random mod 100 '<' 30 counter drop";
/// Tools of administrators are not in everybody's path.
const PATH: &str = "PATH=$PATH:/usr/sbin:/sbin";

/// Tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a test in a network in which members can be cut off from each other.
pub(crate) fn in_a_network<F: Future<Output = ()>>(test: &str, scene: impl FnOnce(Means) -> F) {
    #[expect(
        clippy::disallowed_methods,
        reason = "it is said to the inner process by the outer one"
    )]
    let told = std::env::var(VARIABLE).unwrap_or_default();
    if told == "inside" {
        end_with_parent();
        return run(scene(Means::Namespaces));
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if told != "proxies" {
        match WAYS.iter().find(|way| makes_namespaces(way)) {
            Some(way) => return enter(way, test),
            None => eprintln!("network namespaces cannot be made here"),
        }
    }
    eprintln!("{test}: proxies stand between members");
    run(scene(Means::Proxies));
}

fn run(scene: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(scene);
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{PATH}; {script}")]);
    command
}

fn makes_namespaces(way: &[&str]) -> bool {
    let script = format!("exec {} sh -c '{}'", way.join(" "), PROBE.replace('\'', r"'\''"));
    let output = shell(&script).stdin(Stdio::null()).output().unwrap();
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        eprintln!("{}: {}", way.join(" "), reason.trim().replace('\n', "; "));
    }
    output.status.success()
}

/// Runs this test in a namespace of its own, and says what it says.
fn enter(way: &[&str], test: &str) {
    eprintln!("{test}: members run in network namespaces");
    let mut command = shell("exec \"$0\" \"$@\" 2>&1");
    command.args(way).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads", "1"]);
    command.env(VARIABLE, "inside").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut inner = command.spawn().unwrap();
    let mut passed = false;
    for line in BufReader::new(inner.stdout.take().expect("it is piped")).lines() {
        let line = line.unwrap();
        passed |= line.contains("test result: ok. 1 passed");
        eprintln!("  {line}");
    }
    let status = inner.wait().unwrap();
    assert!(status.success() && passed, "{test} failed in its network: {status}");
}

/// Ends this process when whoever started it is gone, and with it the end of its standard input.
fn end_with_parent() {
    let wait = || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(1);
    };
    let _ = std::thread::Builder::new().name("lifeline".to_owned()).spawn(wait).unwrap();
}
