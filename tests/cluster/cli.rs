//! The client commands, typed as a newcomer would.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::sleep};

use crate::harness::{Cluster, Port, eventually, quorate, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Put, get and del, with the flags of etcdctl and its output.
#[tokio::test]
async fn keys_are_put_read_and_deleted() {
    let cluster = Cluster::start(1).await;
    let run = async |line: &str| cluster.quorate(&line.split(' ').collect::<Vec<_>>()).await.ok();

    assert_eq!(run("put a 1").await, "OK\n");
    assert_eq!(run("put a 2 --prev-kv").await, "OK\na\n1\n");
    assert_eq!(run("put ab 3").await, "OK\n");
    assert_eq!(run("get a").await, "a\n2\n");
    assert_eq!(run("get missing").await, "");
    assert_eq!(run("get a --prefix").await, "a\n2\nab\n3\n");
    assert_eq!(run("get a --prefix --limit 1 --print-value-only").await, "2\n");
    assert_eq!(run("get --from-key ab --keys-only").await, "ab\n\n");
    assert_eq!(run("get a b --count-only").await, "2\n");
    assert_eq!(run("get a --rev 2 --consistency s").await, "a\n1\n");
    assert_eq!(run("del a --prefix --prev-kv").await, "2\na\n2\nab\n3\n");
    assert_eq!(run("del a").await, "0\n");
}

/// A value can come through a pipe, whatever bytes it has.
#[tokio::test]
async fn a_value_is_read_from_standard_input() {
    let cluster = Cluster::start(1).await;
    let mut command = quorate();
    command
        .args(["put", "k", "--endpoints", &cluster.endpoints()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();

    child.stdin.take().unwrap().write_all(b"\xff\0\n").await.unwrap();
    let status = within("the put", SOON, child.wait()).await.unwrap();

    assert!(status.success());
    let read = cluster.client(0).await.get("k", None).await.unwrap();
    assert_eq!(read.kvs()[0].value(), b"\xff\0\n");
}

/// A watch shows type, key and value, and goes on when the member it was at dies.
#[tokio::test]
async fn a_watch_is_followed_over_the_death_of_a_member() {
    let mut cluster = Cluster::start(3).await;
    let mut command = quorate();
    command.args(["watch", "k", "--prefix", "--rev", "1", "--endpoints", &cluster.endpoints()]);
    let watch = cluster.follow(command, "watch");
    cluster.quorate(&["put", "k1", "one"]).await.ok();
    watch.line(SOON, |line| line == "one").await;

    // The first endpoint is the one that it is connected to.
    cluster.member(0).kill();
    cluster.member(0).ended().await;
    cluster.leader().await;
    cluster.quorate(&["put", "k2", "two"]).await.ok();
    watch.line(SOON, |line| line == "two").await;
    cluster.quorate(&["del", "k1"]).await.ok();
    watch.line(SOON, |line| line == "DELETE").await;

    assert_eq!(watch.output(), "PUT\nk1\none\nPUT\nk2\ntwo\nDELETE\nk1\n\n");
}

/// A lease from its grant to its end.
#[tokio::test]
async fn a_lease_is_granted_renewed_shown_and_revoked() {
    let cluster = Cluster::start(1).await;
    let run = async |line: &str| cluster.quorate(&line.split(' ').collect::<Vec<_>>()).await.ok();

    let granted = run("lease grant 60").await;
    let id = granted.split(' ').nth(1).unwrap();
    assert_eq!(granted, format!("lease {id} granted with TTL(60s)\n"));
    assert_eq!(run(&format!("put k v --lease {id}")).await, "OK\n");
    assert_eq!(run("lease list").await, format!("found 1 leases\n{id}\n"));
    let renewed = run(&format!("lease keep-alive {id} --once")).await;
    assert_eq!(renewed, format!("lease {id} keepalived with TTL(60)\n"));
    let told = run(&format!("lease timetolive {id} --keys")).await;
    assert!(told.starts_with(&format!("lease {id} granted with TTL(60s), remaining(")), "{told}");
    assert!(told.ends_with("s), attached keys([k])\n"), "{told}");
    assert_eq!(run(&format!("lease revoke {id}")).await, format!("lease {id} revoked\n"));
    assert_eq!(run("get k").await, "");
    assert_eq!(
        run(&format!("lease timetolive {id}")).await,
        format!("lease {id} already expired\n")
    );
    let ended = run(&format!("lease keep-alive {id}")).await;
    assert_eq!(ended, format!("lease {id} expired or revoked.\n"));
}

/// A program runs while the lock is held, knows its key, and decides the code; then the lock is free.
#[tokio::test]
async fn a_lock_is_held_while_a_program_runs() {
    let cluster = Cluster::start(3).await;

    let script = "echo key $ETCD_LOCK_KEY at $ETCD_LOCK_REV; exit 7";
    let run = cluster.quorate(&["lock", "l", "--", "sh", "-c", script]).await;

    assert_eq!(run.code, Some(7), "{run:?}");
    assert!(run.stdout.starts_with("key l/"), "{run:?}");
    let left = cluster.quorate(&["get", "l/", "--prefix", "--keys-only"]).await;
    assert_eq!(left.ok(), "");
}

/// A lock outlives the restart of the only member it can reach; it goes when its holder is told to stop.
#[tokio::test]
async fn a_lock_is_kept_over_the_restart_of_a_member() {
    let mut cluster = Cluster::start(1).await;
    let mut command = quorate();
    command.args(["lock", "l", "--ttl", "6", "--endpoints", &cluster.endpoints()]);
    let lock = cluster.follow(command, "lock");
    lock.line(SOON, |line| line.starts_with("l/")).await;
    cluster.member(0).kill();
    cluster.member(0).ended().await;
    // Renewals are due every two seconds.
    sleep(Duration::from_secs(3)).await;
    cluster.member(0).restart().await;
    let listed = async || cluster.quorate(&["get", "l/", "--prefix", "--keys-only"]).await.ok();
    // Longer than it lives without one.
    sleep(Duration::from_secs(8)).await;
    assert!(listed().await.starts_with("l/"), "{}", lock.output());

    let pid = lock.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());

    eventually("the lock to be free", SOON, async || listed().await.is_empty().then_some(())).await;
}

/// Members and endpoints, a line each.
#[tokio::test]
async fn members_and_endpoints_are_listed() {
    let mut cluster = Cluster::start(3).await;

    // A member publishes its name a moment after it has begun to serve.
    let members = eventually("all members to be started", SOON, async || {
        let members = cluster.quorate(&["member", "list"]).await.ok();
        (!members.contains("unstarted")).then_some(members)
    })
    .await;
    for index in 0..3 {
        let urls = format!("{}, {}", cluster.member(index).peer_url(), cluster.endpoint(index));
        let tail = format!(", started, n{}, {urls}, false", index + 1);
        assert!(members.lines().any(|line| line.ends_with(&tail)), "{tail} is not in:\n{members}");
    }

    let status = cluster.quorate(&["endpoint", "status"]).await.ok();
    let columns: Vec<Vec<&str>> = status.lines().map(|line| line.split(", ").collect()).collect();
    assert_eq!(columns.len(), 3, "{status}");
    assert!(columns.iter().all(|columns| columns[2] == "3.7.1"), "{status}");
    assert_eq!(columns.iter().filter(|columns| columns[8] == "true").count(), 1, "{status}");

    let health = cluster.quorate(&["endpoint", "health", "--cluster"]).await.ok();
    assert_eq!(
        health.matches(" is healthy: successfully committed proposal: took = ").count(),
        3,
        "{health}"
    );

    cluster.member(2).kill();
    cluster.member(2).ended().await;
    let health = cluster.quorate(&["endpoint", "health"]).await;
    assert_eq!(health.code, Some(1), "{health:?}");
    assert!(
        health.stderr.contains("is unhealthy")
            && health.stderr.ends_with("Error: unhealthy cluster\n")
    );
}

/// Refusals are told in the server's words, with the exit codes of etcdctl.
#[tokio::test]
async fn failures_have_a_text_and_a_code() {
    let cluster = Cluster::start(1).await;

    let refused = cluster.quorate(&["put", "k", "v", "--lease", "77"]).await;
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.stderr, "Error: etcdserver: requested lease not found\n");

    let free = Port::free();
    let unreachable = cluster.quorate(&["get", "k", "--endpoints", &free.authority()]).await;
    assert_eq!(unreachable.code, Some(2));
    let start = format!("Error: cannot connect to {}: ", free.authority());
    assert!(unreachable.stderr.starts_with(&start), "{unreachable:?}");

    // The next endpoint is asked when one cannot be reached, also for a write.
    let both = format!("{},{}", free.authority(), cluster.endpoints());
    assert_eq!(cluster.quorate(&["put", "k", "v", "--endpoints", &both]).await.ok(), "OK\n");

    assert_eq!(cluster.quorate(&["get"]).await.code, Some(128));
}

/// The load generator does what it is told to, and reports it as JSON.
#[tokio::test]
async fn the_load_generator_reports() {
    let cluster = Cluster::start(1).await;
    let bench = async |line: &str| {
        let line = format!("bench {line} --json --clients 8");
        cluster.quorate(&line.split(' ').collect::<Vec<_>>()).await.ok()
    };
    let operations = |report: &str, count: u32| {
        assert!(report.contains(&format!("\"operations\":{count},")), "{report}");
        assert!(report.ends_with("\"errors\":{}}\n"), "{report}");
    };

    operations(&bench("put --total 200 --keys 50").await, 200);
    let count = cluster.quorate(&["get", "bench/", "--prefix", "--count-only"]).await.ok();
    assert!((40..=50).contains(&count.trim().parse::<u32>().unwrap()), "{count}");
    operations(&bench("get --total 100 --keys 50").await, 100);
    operations(&bench("mixed --total 100 --keys 50 --rate 2000").await, 100);
    operations(&bench("lease grant --total 20").await, 20);
    operations(&bench("lease renew --total 50 --leases 10").await, 50);
    operations(&bench("watch --total 20 --watchers 10 --streams 3").await, 200);
}

/// The benchmarks of a filled store check what they read: a list or a page that lacks a key, or a
/// write that changes nothing, would be an error in the report.
#[tokio::test]
async fn benchmarks_of_a_filled_store_check_what_they_read() {
    let cluster = Cluster::start(1).await;
    let bench = async |line: &str| {
        let line = format!("bench {line} --json");
        cluster.quorate(&line.split(' ').collect::<Vec<_>>()).await.ok()
    };
    let clean = |report: &str, figures: &[&str]| {
        for figure in figures.iter().chain(&["\"errors\":{}}\n"]) {
            assert!(report.contains(figure), "no {figure} in {report}");
        }
    };

    clean(&bench("ready").await, &["\"operations\":1,", "\"attempts\":"]);
    let load = bench("load --keys 1000 --txn-size 100 --rounds 2 --shuffled").await;
    clean(&load, &["\"operations\":20,", "\"puts\":2000,"]);
    clean(&bench("list --total 3 --keys 1000").await, &["\"operations\":3,", "\"keys\":3000,"]);
    clean(&bench("list --total 2 --keys 1000 --stream").await, &["\"keys\":2000,"]);
    let page = bench("page --keys 1000 --page-size 30 --writes 200 --writers 4").await;
    clean(&page, &["\"operations\":34,", "\"keys\":1000,", "\"written\":200,"]);
    let compact = bench("compact --keys 1000 --rate 500 --total 200 --clients 4").await;
    clean(&compact, &["\"before_p99_ms\":", "\"compaction_ms\":", "\"compacted_at\":"]);

    let args = ["bench", "list", "--total", "1", "--keys", "7", "--json"];
    let short = cluster.quorate(&args).await;
    assert_eq!(short.code, Some(1));
}

/// What is in force can be seen without starting anything.
#[tokio::test]
async fn settings_are_printed_with_their_sources() {
    let mut command: Command = quorate();
    command.args(["serve", "--print-config", "--name", "n1"]).env("ETCD_HEARTBEAT_INTERVAL", "50");

    let printed = crate::harness::finish(command).await.ok();

    assert!(printed.starts_with("name = \"n1\" # flag --name\n"), "{printed}");
    let line = "heartbeat-interval = 50 # environment variable ETCD_HEARTBEAT_INTERVAL\n";
    assert!(printed.contains(line), "{printed}");
}
