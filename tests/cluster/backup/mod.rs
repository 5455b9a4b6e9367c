//! Snapshots of the whole store: saved from members that run, restored to members of new clusters.

mod long;
mod refused;
mod restored;
mod sent;
mod tools;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use quorate::{
    backup::{HashCheck, Head, Reader},
    proto::etcdserverpb::{HashKvRequest, HashKvResponse, maintenance_client::MaintenanceClient},
    state::Family,
};
use tonic::transport::Channel;

use crate::harness::{Cluster, Finished, finish, quorate};

const SOON: Duration = Duration::from_secs(60);

async fn channel(cluster: &Cluster, index: usize) -> Channel {
    Channel::from_shared(cluster.endpoint(index)).unwrap().connect().await.unwrap()
}

/// Runs `quorate` with these words.
async fn run(words: &[&str]) -> Finished {
    let mut command = quorate();
    command.args(words);
    finish(command).await
}

/// Saves the state of a member, and returns the file.
async fn save(cluster: &Cluster, index: usize, name: &str) -> PathBuf {
    let path = cluster.path(name);
    let text = path.to_str().unwrap();
    let said = run(&["snapshot", "save", text, "--endpoints", &cluster.endpoint(index)]).await.ok();
    assert_eq!(said, format!("Snapshot saved at {text}\nServer version 3.7.0\n"));
    path
}

/// Restores a file as a member of a cluster; its data directory must not be there.
async fn restore(cluster: &mut Cluster, index: usize, file: &Path, more: &[&str]) -> Finished {
    let names: Vec<String> = (1..=cluster.len()).map(|number| format!("n{number}")).collect();
    let mut initial = Vec::new();
    for (at, name) in names.iter().enumerate() {
        initial.push(format!("{name}={}", cluster.member(at).peer_url()));
    }
    let (peer, dir) =
        (cluster.member(index).peer_url(), cluster.member(index).data_dir().to_owned());
    let mut words = vec!["snapshot", "restore", file.to_str().unwrap()];
    words.extend(["--name", &names[index], "--data-dir", dir.to_str().unwrap()]);
    let initial = initial.join(",");
    words.extend(["--initial-cluster", &initial, "--initial-advertise-peer-urls", &peer]);
    words.extend(more);
    run(&words).await
}

/// Takes the data of a member that does not run away.
fn wipe(cluster: &mut Cluster, index: usize) {
    fs::remove_dir_all(cluster.member(index).data_dir()).unwrap();
}

async fn hash_kv(cluster: &Cluster, index: usize, revision: i64) -> HashKvResponse {
    let mut client = MaintenanceClient::new(channel(cluster, index).await);
    client.hash_kv(HashKvRequest { revision }).await.unwrap().into_inner()
}

/// What the records of a file say, read to the end.
struct Held {
    head: Head,
    /// The revisions at which something happened.
    happened: BTreeSet<i64>,
}

fn held(file: &Path) -> Held {
    let mut reader = Reader::open(file, HashCheck::Required).unwrap();
    let mut happened = BTreeSet::new();
    while let Some(record) = reader.next_record().unwrap() {
        if record.family == Family::Events {
            happened.insert(i64::from_be_bytes(*record.key.first_chunk().unwrap()));
        }
    }
    Held { head: reader.head().clone(), happened }
}
