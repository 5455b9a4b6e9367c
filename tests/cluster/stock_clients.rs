//! Clients of npm and PyPI as they are published, each with its main operations, against three members.
//!
//! `tests/clients/build.sh` installs them. What a machine cannot install is skipped, aloud.

use tokio::process::Command;

use crate::harness::{Cluster, finish, program};

/// What every client does.
const CHECKS: &[&str] =
    &["keys", "ranges", "transactions", "leases", "watches", "locks", "operators"];

/// Runs a client's checks to their end; all of `checks` must be among them.
async fn run(name: &str, checks: &[&str]) {
    let Some(program) = program(name).await else { return };
    let cluster = Cluster::start(3).await;
    let mut command = Command::new(program);
    command.arg(cluster.endpoints());

    let finished = finish(command).await;

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    for check in checks {
        let line = format!("ok {check}");
        assert!(
            finished.stdout.lines().any(|told| told == line),
            "{line} in:\n{}",
            finished.stdout
        );
    }
}

/// `etcd3` of npm.
#[tokio::test]
async fn the_client_of_npm_finds_nothing_amiss() {
    run("stock-node", &[CHECKS, &["elections"]].concat()).await;
}

/// `aetcd` of PyPI.
#[tokio::test]
async fn aetcd_finds_nothing_amiss() {
    run("stock-aetcd", CHECKS).await;
}

/// `etcd3` of PyPI.
#[tokio::test]
async fn the_old_python_client_finds_nothing_amiss() {
    run("stock-etcd3", CHECKS).await;
}
