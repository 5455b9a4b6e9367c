//! Discovery for Prometheus: the page by itself, and Debian's Prometheus pointed at it.

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    SOON, authority, get,
    http::{Answer, ask},
    put,
};
use crate::harness::{Cluster, Following, Port, eventually_or, program};

/// Puts an instance with everything that it says of itself.
async fn put_whole(cluster: &Cluster, namespace: &str, id: &str, value: &Value) {
    let key = format!("/services/{namespace}/user/{id}");
    cluster.client(0).await.put(key, value.to_string(), None).await.unwrap();
}

/// The targets of a list, sorted.
fn targets(answer: &Answer) -> Vec<String> {
    let groups = answer.ok();
    let groups = groups.as_array().unwrap();
    let mut targets: Vec<_> =
        groups.iter().map(|group| group["targets"][0].as_str().unwrap().to_owned()).collect();
    targets.sort();
    targets
}

/// Once a member has followed, its list has what was registered, each with its labels.
#[tokio::test]
async fn targets_are_listed_with_labels() {
    let cluster = Cluster::start(1).await;
    let page = "/v1/sd/prometheus";
    assert_eq!(get(&cluster, 0, page).await.ok(), json!([]));
    let tags = |tags: &[&str]| json!({ "address": "10.0.0.1", "port": 80, "tags": tags });
    put_whole(&cluster, "prod", "a", &tags(&["canary", "blue"])).await;
    put_whole(&cluster, "prod", "b", &tags(&["canary"])).await;
    let away = json!({ "Addr": "10.0.0.2:80", "prometheus_scrape": "false" });
    put_whole(&cluster, "prod", "c", &away).await;
    let off = json!({ "Addr": "10.0.0.3:80", "enabled": false, "metrics_path": "/m", "a-b": "x" });
    put_whole(&cluster, "test", "d", &off).await;
    put_whole(&cluster, "test", "e", &json!({ "no": "address" })).await;
    put(&cluster, "order", "f", "[::1]:80").await;

    let all = ["10.0.0.1:80", "10.0.0.1:80", "10.0.0.3:80", "[::1]:80"];
    eventually_or(
        || "all targets".to_owned(),
        SOON,
        async || (targets(&get(&cluster, 0, page).await) == all).then_some(()),
    )
    .await;
    for (query, expected) in [
        ("?namespace=prod", &["10.0.0.1:80", "10.0.0.1:80"][..]),
        ("?namespace=prod&service=user&tag=canary&tag=blue", &["10.0.0.1:80"]),
        ("?service=order", &["[::1]:80"]),
        ("?service=user", &[]),
        ("?namespace=nobody", &[]),
        ("?namespace=no%2Fname", &[]),
        ("?tag=unknown", &[]),
        ("?tag=%ff", &[]),
    ] {
        let answer = get(&cluster, 0, &format!("{page}{query}")).await;
        assert_eq!(targets(&answer), expected, "{query}");
    }
    let labelled = get(&cluster, 0, &format!("{page}?namespace=test")).await.ok();
    let expected = json!({
        "__meta_quorate_namespace": "test",
        "__meta_quorate_service": "user",
        "__meta_quorate_id": "d",
        "__meta_quorate_version": "",
        "__meta_quorate_zone": "",
        "__meta_quorate_metadata_metrics_path": "/m",
        "__meta_quorate_metadata_a_b": "x",
        "__metrics_path__": "/m",
    });
    assert_eq!(labelled[0]["labels"], expected);
    assert_eq!(ask(&authority(&cluster, 0), "POST", page, &[], "").await.status, 405);
}

/// Starts a Prometheus that asks a member for its targets each second.
async fn start(program: &str, cluster: &Cluster, own: &Port) -> Following {
    let settings = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs:\n\
         - job_name: quorate\n  \
           http_sd_configs:\n  \
           - url: http://{}/v1/sd/prometheus?service=member\n    \
             refresh_interval: 1s\n  \
           relabel_configs:\n  \
           - source_labels: [__meta_quorate_id]\n    \
             target_label: member\n",
        authority(cluster, 0)
    );
    let file = cluster.path("prometheus.yml");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", cluster.path("tsdb").display()))
        .arg(format!("--web.listen-address={}", own.authority()));
    cluster.follow(command, "prometheus")
}

/// Debian's Prometheus finds the members, which are registered as instances, and scrapes them.
#[tokio::test]
async fn prometheus_scrapes_what_is_registered() {
    let Some(program) = program("prometheus").await else { return };
    let cluster = Cluster::start(3).await;
    for index in 0..3 {
        put(&cluster, "member", &format!("n{index}"), &authority(&cluster, index)).await;
    }
    let own = Port::free();

    let prometheus = start(&program, &cluster, &own).await;
    prometheus.line(SOON, |line| line.contains("Server is ready to receive web requests")).await;

    let path = "/api/v1/targets?state=active";
    let what = || format!("three targets that are up; Prometheus says:\n{}", prometheus.output());
    let found = eventually_or(what, SOON, async || {
        let answer = ask(&own.authority(), "GET", path, &[], "").await.json();
        let active = answer["data"]["activeTargets"].as_array()?.clone();
        let up = active.iter().filter(|target| target["health"] == "up").count();
        (up == 3).then_some(active)
    })
    .await;
    let mut members: Vec<_> =
        found.iter().map(|target| target["labels"]["member"].as_str().unwrap()).collect();
    members.sort_unstable();
    assert_eq!(members, ["n0", "n1", "n2"]);
}
