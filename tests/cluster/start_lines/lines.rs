//! The start lines that etcd's guides show, each on other ports than theirs.

use std::{collections::BTreeMap, fs};

use super::{Home, Ports, Running, names, says, serves};
use crate::{discovery::Dns, harness::Port};

/// One member, with nothing said but where it is.
#[tokio::test]
async fn a_single_member_starts() {
    let (home, ports) = (Home::new(), Ports::free());
    let (clients, peers) = (ports.clients(), ports.peers());
    let initial = format!("default={peers}");

    let member = home.start(
        "default",
        &[
            "-listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "-listen-peer-urls",
            &peers,
            "--initial-advertise-peer-urls",
            &peers,
            "--initial-cluster",
            &initial,
        ],
    );
    member.ready().await;

    serves(&[clients]).await;
    assert!(home.path("default.etcd/identity").exists(), "etcd's default for data-dir is not used");
    assert!(says(&member.lines(), "Running: "), "{}", member.output());
}

/// Three members with a static list of each other, in the words of the clustering guide, with flags
/// of tuning that mean nothing here.
#[tokio::test]
async fn three_static_members_start() {
    let home = Home::new();
    let ports: Vec<Ports> = (0..3).map(|_| Ports::free()).collect();
    let entry = |(index, ports): (usize, &Ports)| format!("infra{index}={}", ports.peers());
    let initial = ports.iter().enumerate().map(entry).collect::<Vec<_>>().join(",");
    let start = |index: usize| -> Running {
        let (clients, peers) = (ports[index].clients(), ports[index].peers());
        let name = format!("infra{index}");
        let words = [
            "--name",
            &name,
            "--initial-advertise-peer-urls",
            &peers,
            "--listen-peer-urls",
            &peers,
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--initial-cluster-token",
            "etcd-cluster-1",
            "--initial-cluster",
            &initial,
            "--initial-cluster-state",
            "new",
            "--snapshot-count=5000",
            "--logger=zap",
            "--log-outputs=stderr",
            "--experimental-initial-corrupt-check=true",
            "--experimental-watch-progress-notify-interval",
            "5s",
        ];
        home.start(&name, &words)
    };
    let members: Vec<Running> = (0..3).map(start).collect();
    for member in &members {
        member.ready().await;
    }

    let clients: Vec<String> = ports.iter().map(Ports::clients).collect();
    serves(&clients).await;
    assert_eq!(names(&clients[0], 3).await, ["infra0", "infra1", "infra2"]);
    for member in &members {
        let lines = member.lines();
        for words in [
            "flag --snapshot-count is accepted and has no effect",
            "feature gate InitialCorruptCheck=true is accepted and has no effect",
            "--experimental-watch-progress-notify-interval is deprecated",
        ] {
            assert!(says(&lines, words), "{words} is not in:\n{}", member.output());
        }
    }
}

/// A file in etcd's YAML; the flags beside it and the environment do not count.
#[tokio::test]
async fn a_configuration_file_starts_a_member() {
    let (home, ports) = (Home::new(), Ports::free());
    let (clients, peers) = (ports.clients(), ports.peers());
    let file = format!(
        "# This is the configuration file for the etcd server.\n\
         name: 'filed'\n\
         data-dir: '{}'\n\
         wal-dir:\n\
         snapshot-count: 10000\n\
         heartbeat-interval: 100\n\
         election-timeout: 1000\n\
         quota-backend-bytes: 0\n\
         listen-peer-urls: {peers}\n\
         listen-client-urls: {clients}\n\
         max-snapshots: 5\n\
         max-wals: 5\n\
         initial-advertise-peer-urls: {peers}\n\
         advertise-client-urls: {clients}\n\
         discovery-fallback: 'exit'\n\
         discovery-srv:\n\
         initial-cluster: filed={peers}\n\
         initial-cluster-token: 'etcd-cluster'\n\
         initial-cluster-state: 'new'\n\
         strict-reconfig-check: false\n\
         proxy: 'off'\n\
         watch-progress-notify-interval: 600000000000\n\
         log-level: debug\n\
         logger: zap\n\
         log-outputs: [stderr]\n\
         force-new-cluster: false\n",
        home.text("data")
    );
    fs::write(home.path("etcd.conf.yml"), file).unwrap();

    let member = home.start_with(
        "filed",
        &["--name", "flagged", "--config-file", "etcd.conf.yml"],
        &[("ETCD_NAME", "named"), ("ETCD_NO_SUCH", "1")],
    );
    member.ready().await;

    serves(std::slice::from_ref(&clients)).await;
    assert_eq!(names(&clients, 1).await, ["filed"]);
    assert!(home.path("data/identity").exists());
    let lines = member.lines();
    assert!(says(&lines, "loaded server configuration, other configuration"));
    let ignored = lines.iter().any(|line| line["key"] == "proxy");
    assert!(ignored, "{}", member.output());
}

/// A unit that says all by its environment, as those of the distributions do.
#[tokio::test]
async fn an_environment_starts_a_member() {
    let (home, ports) = (Home::new(), Ports::free());
    let (clients, peers) = (ports.clients(), ports.peers());
    let (data, initial) = (home.text("data"), format!("env={peers}"));

    let member = home.start_with(
        "env",
        &[],
        &[
            ("ETCD_NAME", "env"),
            ("ETCD_DATA_DIR", &data),
            ("ETCD_LISTEN_CLIENT_URLS", &clients),
            ("ETCD_ADVERTISE_CLIENT_URLS", &clients),
            ("ETCD_LISTEN_PEER_URLS", &peers),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", &peers),
            ("ETCD_INITIAL_CLUSTER", &initial),
            ("ETCD_INITIAL_CLUSTER_STATE", "new"),
            ("ETCD_BACKEND_BATCH_LIMIT", "5000"),
            ("ETCD_UNKNOWN", "x"),
        ],
    );
    member.ready().await;

    serves(std::slice::from_ref(&clients)).await;
    assert_eq!(names(&clients, 1).await, ["env"]);
    let lines = member.lines();
    let variable = |key: &str, name: &str| lines.iter().any(|line| line[key] == name);
    assert!(variable("variable-name", "ETCD_DATA_DIR"), "{}", member.output());
    assert!(variable("environment-variable", "ETCD_UNKNOWN"), "{}", member.output());
    assert!(says(&lines, "flag --backend-batch-limit is accepted and has no effect"));
}

/// Members that are told a domain, and find each other in its SRV records.
#[tokio::test]
async fn discovery_by_srv_starts_three_members() {
    let home = Home::new();
    let ports: Vec<Ports> = (0..3).map(|_| Ports::free()).collect();
    let numbers: Vec<u16> = ports.iter().map(|ports| ports.peer.number()).collect();
    let records = BTreeMap::from([("_etcd-server._tcp.example.test".to_owned(), numbers)]);
    let dns = Dns::serve(records).await;
    let resolver = format!("--discovery-srv-resolver={}", dns.address);
    let start = |index: usize| -> Running {
        let local = |port: &Port| format!("http://localhost:{}", port.number());
        let (clients, peers) = (local(&ports[index].client), local(&ports[index].peer));
        let name = format!("infra{index}");
        home.start(
            &name,
            &[
                "--name",
                &name,
                "--discovery-srv",
                "example.test",
                &resolver,
                "--initial-advertise-peer-urls",
                &peers,
                "--initial-cluster-token",
                "etcd-cluster-1",
                "--initial-cluster-state",
                "new",
                "--advertise-client-urls",
                &clients,
                "--listen-client-urls",
                &clients,
                "--listen-peer-urls",
                &peers,
            ],
        )
    };
    let members: Vec<Running> = (0..3).map(start).collect();
    for member in &members {
        member.ready().await;
    }

    let clients: Vec<String> = ports.iter().map(Ports::clients).collect();
    serves(&clients).await;
    assert_eq!(names(&clients[0], 3).await, ["infra0", "infra1", "infra2"]);
}
