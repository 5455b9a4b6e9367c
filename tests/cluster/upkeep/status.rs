//! What a member says of itself, as etcd's command line shows it.

use quorate::proto::etcdserverpb::{AlarmRequest, StatusRequest, alarm_request::AlarmAction};
use serde_json::Value;
use tokio::process::Command;

use super::{SOON, maintenance};
use crate::harness::{Cluster, Finished, eventually, finish, program};

async fn run(etcdctl: &str, cluster: &Cluster, line: &str) -> Finished {
    let mut command = Command::new(etcdctl);
    command.args(["--endpoints", &cluster.endpoints()]).args(line.split(' '));
    finish(command).await
}

/// The table has a row for each member with a size, a leader and no error; JSON and fields hold the
/// same numbers as the call does.
#[tokio::test]
async fn case_34_etcdctl_shows_the_status_of_all_members() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let status = maintenance(&cluster, leader).status(StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert!(status.db_size > 0 && status.db_size_in_use > 0 && status.db_size_quota > 0);
    assert_eq!(status.leader, header.member_id);
    assert_eq!((status.version.as_str(), status.storage_version.as_str()), ("3.7.1", "3.7.0"));
    assert!(!status.is_learner && status.downgrade_info.is_some());

    let table = run(&etcdctl, &cluster, "endpoint status -w table").await.ok();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.contains("3.7.1"))
        .map(|line| line.split(['|', '│']).map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 3, "{table}");
    let leaders = rows.iter().filter(|row| row.contains(&"true")).count();
    assert_eq!(leaders, 1, "{table}");
    assert!(!table.contains("NaN") && table.contains("kB"), "{table}");

    let json = run(&etcdctl, &cluster, "endpoint status -w json").await.ok();
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    let terms: Vec<_> = all.iter().map(|one| one["Status"]["raftTerm"].as_u64()).collect();
    assert_eq!(terms, [Some(status.raft_term); 3], "{json}");
    let leaders: Vec<_> = all.iter().map(|one| one["Status"]["leader"].as_u64()).collect();
    assert_eq!(leaders, [Some(status.leader); 3], "{json}");
    let fields = run(&etcdctl, &cluster, "endpoint status -w fields").await.ok();
    assert_eq!(fields.matches(&format!("\"Leader\" : {}", status.leader)).count(), 3, "{fields}");

    // Two of three gone: no leader, and the one that is left still answers, and says so.
    let others: Vec<usize> = (0..3).filter(|index| *index != leader).collect();
    for index in others {
        cluster.member(index).kill();
        cluster.member(index).ended().await;
    }
    let mut client = maintenance(&cluster, leader);
    eventually("the member to notice", SOON, async || {
        let status = client.status(StatusRequest {}).await.unwrap().into_inner();
        let none = status.leader == 0;
        none.then(|| assert_eq!(status.errors, ["etcdserver: no leader"]))
    })
    .await;
}

/// Alarms stand among the errors of every member, in protobuf's text form.
#[tokio::test]
async fn alarms_stand_among_the_errors() {
    let cluster = Cluster::start(1).await;
    let mut client = maintenance(&cluster, 0);
    for alarm in [1, 2] {
        let action = AlarmAction::Activate.into();
        client.alarm(AlarmRequest { action, member_id: 10, alarm }).await.unwrap();
    }
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["memberID:10 alarm:NOSPACE ", "memberID:10 alarm:CORRUPT "]);
}
