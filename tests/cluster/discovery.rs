//! Members that find each other by the DNS, of which the tests have a server of their own.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tokio::{net::UdpSocket, task::JoinHandle};

use crate::harness::{Cluster, READY, Timing, eventually};

/// A server that knows some SRV records, each a port of this machine.
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Dns {
    pub(crate) async fn serve(records: BTreeMap<String, Vec<u16>>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let records = Arc::new(records);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                let answer = answer(&buffer[..len], &records);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self { address, task }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The name of the question, and where the question ends.
fn asked(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).into_owned());
        at = end;
    }
    (labels.join("."), at + 5)
}

fn answer(query: &[u8], records: &BTreeMap<String, Vec<u16>>) -> Vec<u8> {
    let (name, end) = asked(query);
    let ports = records.get(&name).map(Vec::as_slice).unwrap_or_default();
    let code = if ports.is_empty() { 3 } else { 0 };
    let count = u8::try_from(ports.len()).unwrap();
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    bytes.extend(&query[12..end]);
    for port in ports {
        // The name asked for, SRV, IN, a minute; then priority, weight, port and target.
        bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 17, 0, 0, 0, 0]);
        bytes.extend(port.to_be_bytes());
        bytes.extend(b"\x09localhost\0");
    }
    bytes
}

/// Three members that know no more than a domain become one cluster. Who is started again does not
/// ask.
#[tokio::test]
async fn discovery_makes_a_cluster_of_srv_records() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    let ports: Vec<u16> = (0..3)
        .map(|index| cluster.member(index).peer_authority().parse::<SocketAddr>().unwrap().port())
        .collect();
    let name = "_etcd-server-prod._tcp.cluster.test".to_owned();
    let dns = Dns::serve(BTreeMap::from([(name, ports.clone())])).await;
    for index in 0..3 {
        cluster.member(index).no_initial_cluster();
        cluster.member(index).flags([
            "--discovery-srv=cluster.test",
            "--discovery-srv-name=prod",
            &format!("--discovery-srv-resolver={}", dns.address),
        ]);
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    let mut client = cluster.client(0).await;
    client.put("key", "v", None).await.unwrap();
    let urls = eventually("all three members", READY, async || {
        let list = client.member_list().await.ok()?;
        let all = list.members().iter().all(|member| !member.name().is_empty());
        let urls = list.members().iter().flat_map(|it| it.peer_urls().to_vec());
        let mut urls: Vec<String> = urls.collect();
        urls.sort();
        all.then_some(urls)
    })
    .await;
    let mut expected: Vec<String> =
        ports.iter().map(|port| format!("http://localhost:{port}")).collect();
    expected.sort();
    assert_eq!(urls, expected);

    drop(dns);
    cluster.member(1).kill();
    cluster.member(1).ended().await;
    cluster.member(1).restart().await;
}

/// What the DNS cannot say is told with the name that was asked for.
#[tokio::test]
async fn discovery_that_finds_nothing_is_refused() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    cluster.member(0).no_initial_cluster();
    let stranger = crate::harness::Port::free();
    let records = BTreeMap::from([
        ("_etcd-server._tcp.others.test".to_owned(), vec![stranger.number()]),
        ("_etcd-server-ssl._tcp.tls.test".to_owned(), vec![stranger.number()]),
    ]);
    let dns = Dns::serve(records).await;
    let resolver = format!("--discovery-srv-resolver={}", dns.address);
    for (domain, reason) in [
        ("nobody.test", "there are no DNS SRV records for _etcd-server._tcp.nobody.test"),
        ("others.test", "cannot find local etcd member \"n1\" in SRV records"),
        ("tls.test", "none of https://localhost:"),
    ] {
        let domain = format!("--discovery-srv={domain}");
        let refused = cluster.member(0).refuses_to_start(&[&domain, &resolver]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(reason), "{refused:?}");
    }
    let both = ["--discovery-srv=others.test", "--initial-cluster=n1=http://127.0.0.1:1"];
    let refused = cluster.member(0).refuses_to_start(&both).await;
    let reason = "multiple discovery or bootstrap flags are set";
    assert!(refused.stderr.contains(reason), "{refused:?}");
    assert!(!cluster.member(0).data_dir().join("identity").exists());
}
