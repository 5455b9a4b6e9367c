//! The load generator's leases: what they report adds up, and no lease ends before its time.

use crate::harness::{Cluster, finish, quorate};

/// Runs a benchmark of leases, and says that its report has these figures and no errors.
async fn reports(cluster: &Cluster, line: &str, figures: &[&str]) {
    let mut command = quorate();
    command.args(["bench", "lease"]).args(line.split(' '));
    command.args(["--json", "--endpoints", &cluster.endpoints(), "--command-timeout", "30s"]);
    let report = finish(command).await.ok();
    for figure in figures.iter().chain(&["\"errors\":{}}\n"]) {
        assert!(report.contains(figure), "no {figure} in {report}");
    }
}

/// Renewals go through whom they are to go through, many at a time and one by one, and each has an
/// answer; so do grants.
#[tokio::test]
async fn renewals_add_up() {
    let cluster = Cluster::start(3).await;

    reports(&cluster, "grant --total 50", &["\"operations\":50,"]).await;
    for through in ["any", "leader", "follower"] {
        let line = format!("renew --clients 3 --leases 10 --total 500 --through {through}");
        reports(&cluster, &line, &["\"operations\":500,", "\"answers\":500,"]).await;
    }
    let one_by_one = "renew --clients 3 --leases 10 --total 50 --window 1 --apart --server-pids 1";
    reports(&cluster, one_by_one, &["\"operations\":50,", "\"server_cpu_ms\":"]).await;
}

/// Leases that are renewed in time are all there in the end, and what members use is told by part.
#[tokio::test]
async fn leases_are_held() {
    let cluster = Cluster::start(3).await;
    let pid = std::process::id();

    let line = format!(
        "hold --leases 200 --ttl 3 --every 500ms --duration 4s --streams 7 --server-pids {pid},{pid},{pid}"
    );
    let wanted = ["\"leases\":200,", "\"listed\":200,", "\"leader_changes\":0,"];
    reports(&cluster, &line, &wanted).await;
    let parts = ["\"leader_held_bytes\":", "\"follower_held_bytes\":", "\"follower_cpu_ms\":"];
    let line = line.replace("--duration 4s", "--duration 1ms").replace("200", "20");
    reports(&cluster, &line, &parts).await;
}

/// The keys of a crowd of leases are all seen to go, and so are those of leases that end one by one.
#[tokio::test]
async fn every_key_is_seen_to_go() {
    let cluster = Cluster::start(1).await;

    let crowd = "expire --leases 300 --ttl 3 --before 1s --rate 100";
    reports(&cluster, crowd, &["\"operations\":300,", "\"before_puts\":100,"]).await;
    let single = "lag --leases 50 --ttl 2 --over 1s";
    reports(&cluster, single, &["\"operations\":50,", "\"early\":0,"]).await;

    let longer = ["bench", "lease", "expire", "--ttl", "3", "--before", "3s"];
    assert_eq!(cluster.quorate(&longer).await.code, Some(3));
}
