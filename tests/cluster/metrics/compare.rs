//! The figures of a member beside those of a real etcd 3.7: names, types and labels.

use std::collections::{BTreeMap, BTreeSet};

use super::{SOON, authority, etcd::Etcds, page::Page, use_all};
use crate::harness::{Cluster, Timing, connect, eventually, quorate};

/// What etcd has and we do not, by the beginning of its name, and why. The rest is served, with true
/// values.
const ABSENT: &[(&str, &str)] = &[
    ("go_", "there is no Go runtime"),
    ("etcd_server_go_version", "there is no Go runtime"),
    ("etcd_debugging_store_", "there is no v2 store"),
    ("etcd_debugging_disk_backend_commit_", "a commit has no such phases: they are bbolt's"),
    ("etcd_debugging_mvcc_index_compaction_", "there is no index in memory"),
    ("etcd_debugging_mvcc_db_compaction_pause_", "a compaction does not pause others"),
    ("etcd_debugging_mvcc_db_compaction_keys_", "the engine drops records while it merges files"),
    (
        "etcd_debugging_server_watch_send_loop_",
        "connections take events when they have room: no loop",
    ),
    ("etcd_debugging_snap_save_", "a snapshot of raft is no file of its own"),
    ("etcd_snap_", "a snapshot of raft is no file of its own; see etcd_network_snapshot_*"),
    ("etcd_debugging_auth_revision", "there are no users"),
    ("etcd_server_feature_enabled", "features have no gates"),
];

/// What etcd shows once there is something to show, and we do, too: with its type.
const LATE: &[(&str, &str)] = &[
    ("etcd_debugging_server_alarms", "gauge"),
    ("etcd_network_disconnected_peers_total", "counter"),
    ("etcd_network_peer_sent_failures_total", "counter"),
    ("etcd_network_peer_round_trip_time_seconds", "histogram"),
    ("etcd_network_snapshot_receive_failures", "counter"),
    ("etcd_network_snapshot_receive_inflights_total", "gauge"),
    ("etcd_network_snapshot_receive_success", "counter"),
    ("etcd_network_snapshot_receive_total_duration_seconds", "histogram"),
    ("etcd_network_snapshot_send_failures", "counter"),
    ("etcd_network_snapshot_send_inflights_total", "gauge"),
    ("etcd_network_snapshot_send_success", "counter"),
    ("etcd_network_snapshot_send_total_duration_seconds", "histogram"),
    ("etcd_server_learner_promote_failures", "counter"),
];

/// Every name that etcd shows after everything was used is shown here, with its type, its labels and its
/// bounds, or stands in a list with the reason; and no name is made up that looks like etcd's.
#[tokio::test]
async fn figures_are_those_of_etcd() {
    let Some(etcd) = Etcds::start().await else { return };
    let cluster = Cluster::start_flagged(3, Timing::Default, &["--metrics=extensive"]).await;
    let ours = authority(&cluster.endpoint(0));
    use_all(&mut cluster.client(0).await, &ours).await;
    let theirs = authority(etcd.url(0));
    use_all(&mut connect(&[etcd.url(0).to_owned()]).await, &theirs).await;

    let theirs = Page::of(&theirs).await;
    let missing = || async {
        let ours = Page::of(&ours).await;
        differences(&theirs, &ours)
    };
    // Round trips are asked for now and then.
    eventually("every figure", SOON, async || {
        let differences = missing().await;
        if !differences.is_empty() {
            eprintln!("{differences:#?}");
        }
        differences.is_empty().then_some(())
    })
    .await;

    let page = Page::of(&ours).await;
    for (absent, why) in ABSENT {
        let shown = page.types.keys().find(|name| name.starts_with(absent));
        assert_eq!(shown, None, "is said to be absent: {why}");
        assert!(theirs.types.keys().any(|name| name.starts_with(absent)), "{absent} is no name");
    }
    let known: BTreeMap<&str, &str> =
        theirs.types.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    for (name, kind) in page.types.iter().filter(|(name, _)| !name.starts_with("quorate_")) {
        let late = LATE.iter().find(|(late, _)| late == name).map(|(_, kind)| *kind);
        let expected = known.get(name.as_str()).copied().or(late);
        assert_eq!(expected, Some(kind.as_str()), "{name} is no figure of etcd");
    }
}

/// What of etcd's figures is missing here, or is something else.
fn differences(theirs: &Page, ours: &Page) -> Vec<String> {
    let (labels, our_labels) = (theirs.labels(), ours.labels());
    let none = BTreeSet::new();
    let mut differences = Vec::new();
    for (name, kind) in &theirs.types {
        if ABSENT.iter().any(|(absent, _)| name.starts_with(absent)) {
            continue;
        }
        let found = ours.types.get(name).map(String::as_str);
        if found != Some(kind) {
            differences.push(format!("{name} is a {kind}, here: {found:?}"));
        }
        let (want, found) = (labels.get(name), our_labels.get(name));
        let (bounds, our_bounds) = (theirs.bounds(name), ours.bounds(name));
        if !bounds.is_subset(&our_bounds) {
            differences.push(format!("{name} has the bounds {bounds:?}, here: {our_bounds:?}"));
        }
        if want.is_some() && want.unwrap_or(&none) != found.unwrap_or(&none) {
            differences.push(format!("{name} has the labels {want:?}, here: {found:?}"));
        }
    }
    differences
}

/// All methods and codes of etcd's services have series from the start, and a watch that its client
/// ends counts as cancelled. Messages are counted in both directions.
#[tokio::test]
async fn calls_count_as_in_etcd() {
    let cluster = Cluster::start(1).await;
    let ours = authority(&cluster.endpoint(0));
    let page = Page::of(&ours).await;
    assert_eq!(page.sum("grpc_server_handling_seconds_count"), None, "it is not asked for");
    let codes = page.samples.iter().filter(|it| it.name == "grpc_server_handled_total");
    let codes = codes.filter(|it| it.labels["grpc_service"] == "etcdserverpb.Watch");
    assert_eq!(codes.map(|it| it.value).collect::<Vec<_>>(), [0.0; 17]);

    let of_watch = async |name: &str| {
        let page = Page::of(&ours).await;
        page.sum_where(name, |it| it.labels["grpc_service"] == "etcdserverpb.Watch").unwrap()
    };
    let mut command = quorate();
    command.args(["watch", "a", "--endpoints", &cluster.endpoints()]);
    let mut watch = cluster.follow(command, "watch");
    eventually("the watch to be created", SOON, async || {
        (of_watch("grpc_server_msg_sent_total").await >= 1.0).then_some(())
    })
    .await;
    let mut client = cluster.client(0).await;
    for value in ["first", "second"] {
        client.put("a", value, None).await.unwrap();
        watch.line(SOON, |line| line.contains(value)).await;
    }
    assert_eq!(of_watch("grpc_server_msg_received_total").await, 1.0);
    assert_eq!(of_watch("grpc_server_msg_sent_total").await, 3.0);
    assert_eq!(of_watch("grpc_server_started_total").await, 1.0);
    assert_eq!(of_watch("grpc_server_handled_total").await, 0.0);
    watch.child.kill().await.unwrap();

    eventually("the watch to end", SOON, async || {
        let page = Page::of(&ours).await;
        let cancelled = page.sum_where("grpc_server_handled_total", |it| {
            it.labels["grpc_service"] == "etcdserverpb.Watch"
                && it.labels["grpc_code"] == "Canceled"
        });
        (cancelled == Some(1.0)).then_some(())
    })
    .await;
}
