//! The stock Go client's view: the same random requests, sent by it and written down with their
//! answers as JSON, once from Quorate and once from etcd, are equal byte for byte.

use std::{fs, path::Path};

use tokio::process::Command;

use crate::{
    compare::shortened,
    harness::{Cluster, Timing, finish, program},
    level::Level,
    servers::{Etcd, Peer},
};

/// How many requests there are.
const REQUESTS: usize = 1_000;
/// What is shown of a line that differs.
const LINE_CHARS_SHOWN: usize = 2_000;

async fn dump(program: &str, url: &str, out: &Path) -> String {
    let mut command = Command::new(program);
    command
        .args(["dump", "--endpoints", url.trim_start_matches("http://")])
        .args(["--seed", "1", "--requests", &REQUESTS.to_string()])
        .arg("--out")
        .arg(out);
    assert_eq!(finish(command).await.ok(), format!("dumped {REQUESTS}\n"));
    fs::read_to_string(out).unwrap()
}

#[tokio::test]
async fn dumps_of_the_go_client_are_equal() {
    let Some(peer) = Peer::find().await else { return };
    let Some(program) = program("scenario").await else { return };
    if peer.level != Level::Etcd37 {
        eprintln!("SKIPPED: dumps can only be equal to those of etcd 3.7");
        return;
    }
    let (cluster, etcd) = tokio::join!(Cluster::start_with(1, Timing::Alone), Etcd::start(&peer));

    let ours = dump(&program, &cluster.endpoint(0), &cluster.path("quorate.json")).await;
    let theirs = dump(&program, etcd.url(), &cluster.path("etcd.json")).await;

    assert_eq!(theirs.lines().count(), REQUESTS);
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        let shown = |line| shortened(line, LINE_CHARS_SHOWN);
        let told = || format!("quorate {}\netcd    {}", shown(ours), shown(theirs));
        assert!(ours == theirs, "request {number} was answered differently\n{}", told());
    }
    assert!(ours == theirs, "the dumps differ in their line ends");
    let answered = ours.lines().filter(|line| line.contains("\"response\":")).count();
    assert!(answered * 2 > REQUESTS, "only {answered} of {REQUESTS} requests were answered");
}
