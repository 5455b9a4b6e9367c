//! Members that fall behind: entries while the log has them, else a checkpoint, whatever becomes of
//! the connection it comes by.

use std::time::Duration;

use etcd_client::{Client, GetOptions};
use quorate::proto::etcdserverpb::{HashKvRequest, maintenance_client::MaintenanceClient};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Cluster, Link, Proxy, Timing, eventually};

const SOON: Duration = Duration::from_secs(90);
const MIB: usize = 1024 * 1024;

/// Sizes that make a member flush and cut its log every megabyte.
const SMALL: &str = "log-prefill-bytes=return(0);log-file-bytes=return(1048576);\
                     unflushed-bytes=return(1048576);log-kept-bytes=return(1048576);\
                     log-purge-bytes=return(4194304)";
/// The same every ten entries of [`TENTH`] bytes.
const TINY: &str = "log-prefill-bytes=return(0);log-file-bytes=return(1048576);\
                    unflushed-bytes=return(65536);log-kept-bytes=return(0);\
                    log-purge-bytes=return(4194304)";
const TENTH: usize = 7_000;

/// A value that does not compress.
fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).collect()
}

/// Three members behind proxies, with sizes of their logs.
async fn proxied(sizes: &str, flags: &[&str]) -> (Cluster, Vec<Proxy>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut cluster, proxies) = Cluster::prepare_proxied(dir, 3, Timing::Default).await;
    for index in 0..cluster.len() {
        cluster.member(index).flags(flags.iter().copied());
        cluster.member(index).fail_points(sizes);
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    (cluster, proxies)
}

/// Puts so many keys anew, each of so many bytes; returns the last revision.
async fn write(client: &mut Client, seed: usize, keys: usize, len: usize) -> i64 {
    let mut revision = 0;
    for key in 0..keys {
        let value = noise(seed + key, len);
        let put = eventually("a put", SOON, async || {
            client.put(format!("k{key:04}"), value.clone(), None).await.ok()
        });
        revision = put.await.header().unwrap().revision();
    }
    revision
}

async fn knows(cluster: &Cluster, index: usize, revision: i64) -> Option<()> {
    let option = GetOptions::new().with_serializable().with_count_only();
    let read = cluster.client(index).await.get("k", Some(option)).await.ok()?;
    (read.header()?.revision() >= revision).then_some(())
}

/// Waits until a member has everything.
async fn caught_up(cluster: &Cluster, index: usize, revision: i64) {
    eventually("the member to catch up", SOON, async || knows(cluster, index, revision).await)
        .await;
}

/// All members have the same history of the same pairs.
async fn agree(cluster: &Cluster, revision: i64) {
    let mut hashes = Vec::new();
    for index in 0..cluster.len() {
        caught_up(cluster, index, revision).await;
        let mut client = MaintenanceClient::connect(cluster.endpoint(index)).await.unwrap();
        let answer = client.hash_kv(HashKvRequest { revision }).await.unwrap().into_inner();
        hashes.push((answer.hash, answer.hash_revision));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "members differ: {hashes:?}");
}

/// The sum of a figure over all members it is kept for; 0 while the member shows none.
async fn figure(cluster: &Cluster, index: usize, name: &str) -> u64 {
    let authority = cluster.endpoint(index).trim_start_matches("http://").to_owned();
    let Ok(mut stream) = TcpStream::connect(&authority).await else { return 0 };
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let of = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    page.lines().filter(|line| line.starts_with(&format!("{name}{{"))).filter_map(of).sum()
}

/// The sum over all members.
async fn figure_of_all(cluster: &Cluster, name: &str) -> u64 {
    let mut sum = 0;
    for index in 0..cluster.len() {
        sum += figure(cluster, index, name).await;
    }
    sum
}

const RECEIVED: &str = "quorate_network_snapshot_received_bytes_total";
const ARRIVED: &str = "etcd_network_snapshot_receive_success";

/// A checkpoint whose stream is cut twice goes on where it was: what had arrived is not sent again.
#[tokio::test]
async fn a_cut_checkpoint_goes_on_where_it_was() {
    const KEYS: usize = 50;
    let (mut cluster, proxies) = proxied(SMALL, &["--snapshot-send-rate=12582912"]).await;
    let leader = cluster.leader().await;
    let away = cluster.follower().await;
    cluster.member(away).kill();
    cluster.member(away).ended().await;
    let revision = write(&mut cluster.client(leader).await, 0, KEYS, MIB).await;

    cluster.member(away).spawn();
    for part in 1..=2 {
        let some = part * 12 * MIB as u64;
        eventually("some of the checkpoint", SOON, async || {
            (figure(&cluster, away, RECEIVED).await >= some).then_some(())
        })
        .await;
        let broken = "snapshot broke off, it will go on";
        let before = cluster.member(leader).log_text().matches(broken).count();
        proxies[away].set(Link::Closed);
        eventually("the stream to break", SOON, async || {
            (cluster.member(leader).log_text().matches(broken).count() > before).then_some(())
        })
        .await;
        proxies[away].set(Link::Open);
    }
    caught_up(&cluster, away, revision).await;

    agree(&cluster, revision).await;
    assert!(figure_of_all(&cluster, "quorate_network_snapshot_resumed_total").await >= 2);
    assert_eq!(figure(&cluster, away, ARRIVED).await, 1);
    let received = figure(&cluster, away, RECEIVED).await;
    // Each attempt from the start would have added the twelve of its predecessor.
    let most = (KEYS * MIB + 8 * MIB) as u64;
    assert!((KEYS * MIB) as u64 <= received && received < most, "{received} bytes were received");
}

/// rr_52: with a log that is cut every ten entries a member takes one checkpoint after the other,
/// and each leaves it with what the others have.
#[tokio::test]
async fn rr_52_checkpoints_in_a_row() {
    const CHECKPOINTS: u64 = 5;
    const ROUNDS_MAX: usize = 40;
    let (cluster, proxies) = proxied(TINY, &[]).await;
    let leader = cluster.leader().await;
    let away = cluster.follower().await;
    let mut client = cluster.client(leader).await;
    let mut round = 0;
    // The log is cut once a flush is done: whoever comes back sooner is sent entries.
    while figure(&cluster, away, ARRIVED).await < CHECKPOINTS {
        assert!(round < ROUNDS_MAX, "there were too few checkpoints");
        proxies[away].set(Link::Closed);
        let revision = write(&mut client, round * 1_000, 100, TENTH).await;
        proxies[away].set(Link::Open);
        caught_up(&cluster, away, revision).await;
        agree(&cluster, revision).await;
        round += 1;
    }
}

/// A member that lags by less than the log keeps is sent entries, and no checkpoint.
#[tokio::test]
async fn a_member_within_the_kept_log_is_sent_entries() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let away = cluster.follower().await;
    cluster.member(away).kill();
    cluster.member(away).ended().await;
    let revision = write(&mut cluster.client(leader).await, 0, 200, 20_000).await;

    cluster.member(away).spawn();
    caught_up(&cluster, away, revision).await;

    agree(&cluster, revision).await;
    assert_eq!(figure_of_all(&cluster, "quorate_network_snapshot_sent_bytes_total").await, 0);
    assert_eq!(figure_of_all(&cluster, RECEIVED).await, 0);
}
