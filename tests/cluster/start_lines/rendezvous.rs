//! Founders that find each other in another cluster, as etcd's v3 discovery has it.

use super::{Home, Ports, Running, names, serves};
use crate::harness::connect;

fn founder(home: &Home, name: &str, ports: &Ports, endpoints: &str) -> Running {
    let (clients, peers) = (ports.clients(), ports.peers());
    home.start(
        name,
        &[
            "--name",
            name,
            "--initial-advertise-peer-urls",
            &peers,
            "--listen-peer-urls",
            &peers,
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--discovery-token",
            "6c007a14875d53d9bf0ef5a6fc0257c817f0fb83",
            "--discovery-endpoints",
            endpoints,
        ],
    )
}

/// Three founders with nothing but a token become one cluster; who comes later is told that it is
/// complete, and who comes before anybody has said how many there are is told that.
#[tokio::test]
async fn discovery_by_another_cluster_starts_three_members() {
    let home = Home::new();
    let service = Ports::free();
    let (clients, peers) = (service.clients(), service.peers());
    let flags = [
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let serving = home.start("service", &flags);
    serving.ready().await;
    let endpoints = format!("http://127.0.0.1:1,{clients}");

    let mut early = founder(&home, "early", &Ports::free(), &endpoints);
    assert_eq!(early.ended().await.code(), Some(1));
    assert!(early.output().contains("discovery: size key not found"), "{}", early.output());

    let mut client = connect(&[clients]).await;
    let token = "/_etcd/registry/6c007a14875d53d9bf0ef5a6fc0257c817f0fb83";
    client.put(format!("{token}/_config/size"), "3", None).await.unwrap();
    let ports: Vec<Ports> = (0..3).map(|_| Ports::free()).collect();
    let start = |index: usize| founder(&home, &format!("infra{index}"), &ports[index], &endpoints);
    let members: Vec<Running> = (0..3).map(start).collect();
    for member in &members {
        member.ready().await;
    }
    let urls: Vec<String> = ports.iter().map(Ports::clients).collect();
    serves(&urls).await;
    assert_eq!(names(&urls[0], 3).await, ["infra0", "infra1", "infra2"]);

    let mut late = founder(&home, "late", &Ports::free(), &endpoints);
    assert_eq!(late.ended().await.code(), Some(1));
    assert!(late.output().contains("discovery: cluster is full"), "{}", late.output());
}
