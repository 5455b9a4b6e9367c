//! The rules of `deploy/alerts.yaml`: what they say, when they fire, and that members have what they
//! look at.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokio::process::Command;

use super::{
    SOON, authority,
    page::{Page, get},
    use_all,
};
use crate::harness::{
    Cluster, Following, Port, Timing, eventually, eventually_or, finish, program,
};

const QUOTA: f64 = 1_000_000_000.0;

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/alerts.yaml")
}

async fn started() -> Cluster {
    let flags = ["--metrics=extensive", "--quota-backend-bytes=1000000000"];
    Cluster::start_flagged(3, Timing::Default, &flags).await
}

/// Prometheus takes the rules, and each fires when, and not before, its time is over.
#[tokio::test]
async fn rules_fire_in_their_time() {
    let Some(promtool) = program("promtool").await else { return };
    let mut check = Command::new(&promtool);
    check.args(["check", "rules"]).arg(rules());
    finish(check).await.ok();

    let dir = tempfile::tempdir().unwrap();
    let tests =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/metrics/alerts.test.yaml");
    fs::copy(rules(), dir.path().join("alerts.yaml")).unwrap();
    fs::copy(tests, dir.path().join("alerts.test.yaml")).unwrap();
    let mut test = Command::new(&promtool);
    test.args(["test", "rules", "alerts.test.yaml"]).current_dir(dir.path());
    finish(test).await.ok();
}

/// The series that the rules' expressions name.
fn named() -> BTreeSet<String> {
    let text = fs::read_to_string(rules()).unwrap();
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| !line.contains("description:")) {
        for (at, _) in line.match_indices('{') {
            let before = &line[..at];
            let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next();
            names.extend(name.filter(|it| !it.is_empty()).map(str::to_owned));
        }
    }
    names.remove("up"); // Prometheus' own
    names
}

/// Every series that a rule looks at is there after a short use, on each member, and tells of what
/// happens: none stands still.
#[tokio::test]
async fn what_rules_look_at_is_there_and_moves() {
    let mut cluster = started().await;
    let mut waits_to_move = named();
    assert_eq!(waits_to_move.len(), 12, "{waits_to_move:?}");
    let at = async |cluster: &Cluster, index: usize| {
        Page::of(&authority(&cluster.endpoint(index))).await
    };
    let first = [at(&cluster, 0).await, at(&cluster, 1).await, at(&cluster, 2).await];
    for index in 0..3 {
        let ours = authority(&cluster.endpoint(index));
        use_all(&mut cluster.client(index).await, &ours).await;
    }
    for (index, first) in first.iter().enumerate() {
        eventually("every series", SOON, async || {
            let page = at(&cluster, index).await;
            waits_to_move.iter().all(|name| page.sum(name).is_some()).then_some(())
        })
        .await;
        eventually("those that requests and time move", SOON, async || {
            let page = at(&cluster, index).await;
            let moved = |name: &str| page.sum(name) != first.sum(name);
            let names = waits_to_move.iter().filter(|name| moved_by_use(name));
            names.clone().all(|name| moved(name)).then_some(())
        })
        .await;
        let quota = at(&cluster, index).await.sum("etcd_server_quota_backend_bytes");
        assert_eq!(quota, Some(QUOTA));
    }
    waits_to_move.retain(|name| !moved_by_use(name));
    waits_to_move.remove("etcd_server_quota_backend_bytes"); // a setting

    let leader = cluster.leader().await;
    let left: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    let before = at(&cluster, left[0]).await;
    cluster.member(leader).kill();
    eventually("the loss of a member to show", SOON, async || {
        let page = at(&cluster, left[0]).await;
        let moved = |name| page.sum(name) > before.sum(name);
        (moved("etcd_server_leader_changes_seen_total")
            && moved("etcd_network_peer_sent_failures_total"))
        .then_some(())
    })
    .await;
    waits_to_move.remove("etcd_server_leader_changes_seen_total");
    waits_to_move.remove("etcd_network_peer_sent_failures_total");

    cluster.member(left[1]).kill();
    eventually("the loss of the leader to show", SOON, async || {
        let page = at(&cluster, left[0]).await;
        (page.sum("etcd_server_has_leader") == Some(0.0)).then_some(())
    })
    .await;
    waits_to_move.remove("etcd_server_has_leader");
    cluster.client(left[0]).await.put("a", "b", None).await.unwrap_err();
    eventually("the failed proposal to show", SOON, async || {
        let page = at(&cluster, left[0]).await;
        (page.sum("etcd_server_proposals_failed_total") > Some(0.0)).then_some(())
    })
    .await;
    waits_to_move.remove("etcd_server_proposals_failed_total");
    assert_eq!(waits_to_move, BTreeSet::new());
}

/// Whether requests, or the time that passes, move it.
fn moved_by_use(name: &str) -> bool {
    let begins = ["grpc_server_", "etcd_disk_", "etcd_mvcc_", "etcd_network_peer_round_trip_"];
    begins.iter().any(|begin| name.starts_with(begin))
}

/// Starts a Prometheus that scrapes the members each second and goes by the rules.
async fn watched(program: &str, cluster: &Cluster, own: &Port) -> Following {
    let targets: Vec<String> = (0..3).map(|index| authority(&cluster.endpoint(index))).collect();
    let settings = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [{:?}]\n\
         scrape_configs:\n\
         - job_name: quorate\n  \
           static_configs:\n  \
           - targets: {targets:?}\n",
        rules().display().to_string(),
    );
    let file = cluster.path("prometheus.yml");
    fs::write(&file, settings).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", cluster.path("tsdb").display()))
        .arg(format!("--web.listen-address={}", own.authority()));
    let prometheus = cluster.follow(command, "prometheus");
    prometheus.line(SOON, |line| line.contains("Server is ready to receive web requests")).await;
    prometheus
}

/// Members that are gone make the rules about them pending in a real Prometheus, and nothing else does.
#[tokio::test]
async fn a_member_that_is_gone_is_noticed() {
    let Some(program) = program("prometheus").await else { return };
    let mut cluster = started().await;
    let own = Port::free();
    let prometheus = watched(&program, &cluster, &own).await;
    let up = "/api/v1/query?query=sum(up%20%3D%3D%20bool%201)";
    let what = || format!("three members that are up; Prometheus says:\n{}", prometheus.output());
    eventually_or(what, SOON, async || {
        let answer: Value = get(&own.authority(), up).await.1.parse().unwrap();
        (answer["data"]["result"][0]["value"][1] == "3").then_some(())
    })
    .await;
    assert!(!pending(&own).await.contains("etcdMembersDown"));

    for (gone, alert) in [(0, "etcdMembersDown"), (1, "etcdInsufficientMembers")] {
        assert!(!pending(&own).await.contains(alert), "{alert} too early");
        cluster.member(gone).kill();
        eventually(alert, SOON, async || pending(&own).await.contains(alert).then_some(())).await;
    }
}

/// The alerts whose condition holds.
async fn pending(own: &Port) -> BTreeSet<String> {
    let answer: Value = get(&own.authority(), "/api/v1/alerts").await.1.parse().unwrap();
    let alerts = answer["data"]["alerts"].as_array().unwrap();
    alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
}
