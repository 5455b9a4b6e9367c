//! Clients that know nothing of quorate: etcd's own Go client and command line, and a Python client.
//!
//! `tests/clients/build.sh` builds them. What a machine cannot build is skipped, aloud.

use std::time::Duration;

use tokio::process::Command;

use crate::harness::{Cluster, Finished, Following, eventually, finish, program};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(3);

/// A service registers with a leased key, a watcher sees it come, and go when it is killed.
async fn register_watch_kill(program_name: &str) {
    let Some(program) = program(program_name).await else { return };
    let cluster = Cluster::start(3).await;
    let endpoints = cluster.endpoints();
    let start = |arguments: &[&str], name: &str| {
        let mut command = Command::new(&program);
        command.args(arguments).args(["--endpoints", &endpoints]);
        cluster.follow(command, name)
    };
    let watcher = start(&["watch", "--prefix", "/services/web/"], "watcher");
    watcher.line(SOON, |line| line == "watching /services/web/").await;
    let ttl = TTL.as_secs().to_string();
    let key = "/services/web/1";
    let mut service =
        start(&["register", "--key", key, "--value", "10.0.0.1:80", "--ttl", &ttl], "service");
    service.line(SOON, |line| line.starts_with("registered ")).await;
    watcher.line(SOON, |line| line.starts_with(&format!("PUT {key} 10.0.0.1:80 "))).await;

    service.child.kill().await.unwrap();
    let killed = tokio::time::Instant::now();
    watcher.line(SOON, |line| line.starts_with(&format!("DELETE {key} "))).await;

    let took = killed.elapsed();
    // The lease may have been renewed just before the kill. The watcher's file is polled, which adds little.
    assert!(
        took <= TTL + Duration::from_secs(1),
        "the key was still there {took:?} after the kill"
    );
}

/// The stock Go client.
#[tokio::test]
async fn the_go_client_registers_and_watches() {
    register_watch_kill("scenario").await;
}

/// The stock Python client.
#[tokio::test]
async fn the_python_client_registers_and_watches() {
    register_watch_kill("python").await;
}

/// All checks of keys, transactions, leases and watches that a client program has, against a follower.
async fn checks(program_name: &str) {
    let Some(program) = program(program_name).await else { return };
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let mut command = Command::new(program);
    command.args(["kv", "--endpoints", cluster.endpoint(follower).trim_start_matches("http://")]);

    let finished = finish(command).await;

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.lines().any(|line| line.starts_with("ok ")), "{}", finished.stdout);
}

#[tokio::test]
async fn the_go_client_finds_nothing_amiss() {
    checks("scenario").await;
}

#[tokio::test]
async fn the_python_client_finds_nothing_amiss() {
    checks("python").await;
}

/// Programs that use the JSON gateway, against a follower: etcd3gw, tooz above it, and Patroni.
#[tokio::test]
async fn programs_of_the_gateway_find_nothing_amiss() {
    let Some(program) = program("python-gateway").await else { return };
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let mut command = Command::new(program);
    command.args(["--endpoints", cluster.endpoint(follower).trim_start_matches("http://")]);

    let finished = finish(command).await;

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    for checked in ["etcd3gw watches", "tooz groups", "patroni the_end"] {
        let line = format!("ok {checked}");
        assert!(finished.stdout.lines().any(|it| it == line), "{line}:\n{}", finished.stdout);
    }
}

/// etcd's own command line, against a member that does not lead.
struct Etcdctl {
    program: String,
    cluster: Cluster,
    endpoint: String,
}

impl Etcdctl {
    async fn against_a_follower() -> Option<Self> {
        let program = program("etcdctl").await?;
        let cluster = Cluster::start(3).await;
        let follower = cluster.follower().await;
        let endpoint = cluster.endpoint(follower).trim_start_matches("http://").to_owned();
        Some(Self { program, cluster, endpoint })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--endpoints", &self.endpoint]).args(arguments);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.command(arguments)).await
    }
}

/// Keys and transactions.
#[tokio::test]
async fn etcdctl_puts_reads_and_deletes() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };
    let run = async |line: &str| etcdctl.run(&line.split(' ').collect::<Vec<_>>()).await.ok();

    assert_eq!(run("put k1 one").await, "OK\n");
    assert_eq!(run("put k2 two").await, "OK\n");
    assert_eq!(run("get k --prefix").await, "k1\none\nk2\ntwo\n");
    let script = "printf 'value(\"k1\") = \"one\"\n\nput k3 three\nget k2\n\nget k1\n\n' | \"$0\" --endpoints \"$1\" txn";
    let mut txn = Command::new("sh");
    txn.args(["-c", script, &etcdctl.program, &etcdctl.endpoint]);
    let answered = finish(txn).await.ok();
    assert_eq!(answered, "SUCCESS\n\nOK\n\nk2\ntwo\n");
    assert_eq!(run("del k --prefix").await, "3\n");
}

/// A watch of what is and of what comes.
#[tokio::test]
async fn etcdctl_watches() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };
    let watch =
        etcdctl.cluster.follow(etcdctl.command(&["watch", "k", "--prefix", "--rev", "1"]), "watch");

    etcdctl.run(&["put", "k1", "one"]).await.ok();
    etcdctl.run(&["del", "k1"]).await.ok();

    eventually("both changes", SOON, async || {
        (watch.output() == "PUT\nk1\none\nDELETE\nk1\n\n").then_some(())
    })
    .await;
}

/// Leases are listed, kept alive until somebody ends them, and told of when they are gone.
#[tokio::test]
async fn etcdctl_lists_leases_and_keeps_them_alive() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };
    let granted = etcdctl.run(&["lease", "grant", "2"]).await.ok();
    let id = granted.split(' ').nth(1).unwrap();
    let alive = etcdctl.cluster.follow(etcdctl.command(&["lease", "keep-alive", id]), "keep-alive");

    // A renewal comes with each third of the time to live, so that this is longer than it lives.
    let renewed = format!("lease {id} keepalived with TTL(2)\n");
    eventually("renewals for two lives", SOON, async || {
        (alive.output().matches(&renewed).count() >= 6).then_some(())
    })
    .await;
    let listed = etcdctl.run(&["lease", "list"]).await.ok();
    assert_eq!(listed, format!("found 1 leases\n{id}\n"));
    etcdctl.run(&["lease", "revoke", id]).await.ok();
    alive.line(SOON, |line| line == format!("lease {id} expired or revoked.")).await;
    let told = etcdctl.run(&["lease", "timetolive", id]).await.ok();
    assert_eq!(told, format!("lease {id} already expired\n"));
    let refused = etcdctl.run(&["lease", "revoke", id]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("etcdserver: requested lease not found"), "{refused:?}");
    assert_eq!(etcdctl.run(&["lease", "list"]).await.ok(), "found 0 leases\n");
}

/// A lease from its grant to its end.
#[tokio::test]
async fn etcdctl_handles_leases() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };

    let granted = etcdctl.run(&["lease", "grant", "60"]).await.ok();
    let id = granted.split(' ').nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(60s)\n"));
    etcdctl.run(&["put", "k", "v", "--lease", id]).await.ok();
    let renewed = etcdctl.run(&["lease", "keep-alive", id, "--once"]).await.ok();
    assert_eq!(renewed, format!("lease {id} keepalived with TTL(60)\n"));
    let told = etcdctl.run(&["lease", "timetolive", id, "--keys"]).await.ok();
    assert!(
        told.contains("granted with TTL(60s)") && told.contains("attached keys([k])"),
        "{told}"
    );
    assert_eq!(etcdctl.run(&["lease", "revoke", id]).await.ok(), format!("lease {id} revoked\n"));
    assert_eq!(etcdctl.run(&["get", "k"]).await.ok(), "");
}

/// A lock is held while a command runs, which can guard what it writes by the key of the lock.
#[tokio::test]
async fn etcdctl_locks() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };
    let guarded = r#"
        token=$("$0" --endpoints "$1" get "$ETCD_LOCK_KEY" -w fields | sed -n 's/^"CreateRevision" : //p')
        for token in "$token" 1; do
            printf 'create("%s") = "%s"\n\nput data written\n\n\n' "$ETCD_LOCK_KEY" "$token" |
                "$0" --endpoints "$1" txn
        done"#;
    let (program, endpoint) = (etcdctl.program.as_str(), etcdctl.endpoint.as_str());

    let locked = etcdctl.run(&["lock", "job", "--", "sh", "-c", guarded, program, endpoint]).await;

    assert_eq!(locked.ok(), "SUCCESS\n\nOK\nFAILURE\n");
    assert_eq!(etcdctl.run(&["get", "job", "--prefix"]).await.ok(), "", "it was given back");
}

/// Who is elected is shown to those who listen.
#[tokio::test]
async fn etcdctl_elects() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };
    let start = |words: &[&str], name| etcdctl.cluster.follow(etcdctl.command(words), name);
    let shows = |value: &str| format!("\n{value}\n");

    let listener = start(&["elect", "--listen", "job"], "listener");
    let one = start(&["elect", "job", "one"], "one");
    let elected = async |what: &str, value| {
        eventually(what, SOON, async || listener.output().contains(&shows(value)).then_some(()))
            .await;
    };
    let knows = async |candidate: &Following, value| {
        eventually("it to know", SOON, async || {
            candidate.output().contains(&shows(value)).then_some(())
        })
        .await;
    };
    elected("the first", "one").await;
    // Interrupted before that, it would go without a word and leave its lease behind.
    knows(&one, "one").await;
    let two = start(&["elect", "job", "two"], "two");
    // It steps down when it is interrupted; its lease would be there for a minute.
    let id = one.child.id().unwrap().to_string();
    let mut interrupt = Command::new("sh");
    interrupt.args(["-c", "kill -INT \"$0\"", &id]);
    finish(interrupt).await.ok();

    elected("the second", "two").await;
    knows(&two, "two").await;
}

/// Members and endpoints.
#[tokio::test]
async fn etcdctl_lists_members_and_endpoints() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };

    eventually("all members to be started", SOON, async || {
        let members = etcdctl.run(&["member", "list"]).await.ok();
        (members.matches(", started, n").count() == 3).then_some(())
    })
    .await;
    let status = etcdctl.run(&["endpoint", "status", "--cluster", "-w", "table"]).await.ok();
    assert_eq!(status.matches("3.7.1").count(), 3, "{status}");
    assert_eq!(status.lines().filter(|line| line.contains("http://")).count(), 3, "{status}");
    let health = etcdctl.run(&["endpoint", "health"]).await;
    let text = format!("{}{}", health.stdout, health.stderr);
    assert!(text.contains("is healthy: successfully committed proposal"), "{text}");
    assert_eq!(health.code, Some(0), "{text}");
}

/// Our command line says the same as etcd's, byte for byte, wherever both have the command.
#[tokio::test]
async fn our_command_line_answers_as_etcdctl_does() {
    let Some(etcdctl) = Etcdctl::against_a_follower().await else { return };
    etcdctl.run(&["put", "k1", "one"]).await.ok();
    etcdctl.run(&["put", "k2", "two"]).await.ok();
    etcdctl.run(&["lease", "grant", "60"]).await.ok();
    eventually("all members to be started", SOON, async || {
        let members = etcdctl.run(&["member", "list"]).await.ok();
        (!members.contains("unstarted")).then_some(())
    })
    .await;

    for line in [
        "put k1 uno --prev-kv",
        "get k1",
        "get k --prefix",
        "get k --prefix --keys-only",
        "get k --prefix --limit=1 --print-value-only",
        "get k1 --rev=2",
        "get k2 z",
        "member list",
        "lease list",
        "lease timetolive 99",
        "del missing",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let theirs = etcdctl.run(&words).await.ok();
        if line.starts_with("put") {
            etcdctl.run(&["put", "k1", "one"]).await.ok();
        }
        let ours = etcdctl.cluster.quorate(&words).await.ok();
        assert_eq!(ours, theirs, "{line}");
    }
}
