//! What a member sends, while others write, and what it leaves behind.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quorate::proto::etcdserverpb::{
    PutRequest, SnapshotRequest, SnapshotResponse, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{SOON, channel, hash_kv, held, run, save};
use crate::{
    harness::{Cluster, Timing, eventually},
    quota::page,
};

/// Copies of the state that a member has on disk.
fn copies(data_dir: &Path) -> usize {
    fs::read_dir(data_dir.join("checkpoints")).unwrap().count()
}

async fn fill(channel: Channel, megabytes: usize) {
    let mut kv = KvClient::new(channel);
    for number in 0..megabytes * 4 {
        let value = vec![u8::try_from(number % 251).unwrap(); 256 * 1024];
        let key = format!("large{number}").into();
        kv.put(PutRequest { key, value: value.into(), ..Default::default() }).await.unwrap();
    }
}

async fn ask(channel: Channel) -> Result<Streaming<SnapshotResponse>, Status> {
    let answer = MaintenanceClient::new(channel).snapshot(SnapshotRequest {}).await?;
    Ok(answer.into_inner())
}

/// The bytes count down to nothing, each message says the version, the hash comes last, and no
/// message is larger than etcd's.
#[tokio::test]
async fn case_37_the_stream_is_etcds() {
    let cluster = Cluster::start(1).await;
    fill(channel(&cluster, 0).await, 1).await;
    let mut pieces = ask(channel(&cluster, 0).await).await.unwrap();
    let mut messages = Vec::new();
    while let Some(message) = pieces.message().await.unwrap() {
        assert_eq!(message.version, "3.7.0");
        assert!(message.header.is_none());
        assert!(message.blob.len() <= 32 * 1024);
        messages.push((message.remaining_bytes, message.blob.len() as u64));
    }
    let (hash, data) = messages.split_last().unwrap();
    assert_eq!(*hash, (0, 32));
    let mut remaining: u64 = data.iter().map(|(_, len)| len).sum();
    assert!(remaining > 1024 * 1024 && remaining.is_multiple_of(512), "{remaining}");
    for (told, len) in data {
        remaining -= len;
        assert_eq!(*told, remaining);
    }
}

/// What is written during a save is either before its revision, and in it, or after, and not in it.
/// So it is while history is compacted.
#[tokio::test]
async fn a_save_is_of_one_revision() {
    let mut cluster = Cluster::start(1).await;
    fill(channel(&cluster, 0).await, 4).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut client = cluster.client(0).await;
    let stopping = Arc::clone(&stop);
    let writer = tokio::spawn(async move {
        let mut revision = 0;
        for number in 0_u64.. {
            let put = client.put(format!("w{}", number % 50), number.to_string(), None).await;
            revision = put.unwrap().header().unwrap().revision();
            if number % 100 == 99 {
                client.compact(revision - 30, None).await.unwrap();
            }
            if stopping.load(Ordering::Acquire) {
                break;
            }
        }
        revision
    });
    let mut files = Vec::new();
    for round in 0..4 {
        let names = [format!("{round}.a"), format!("{round}.b")];
        let (one, two) = tokio::join!(save(&cluster, 0, &names[0]), save(&cluster, 0, &names[1]));
        files.extend([one, two]);
    }
    stop.store(true, Ordering::Release);
    let last = writer.await.unwrap();

    let mut revisions = Vec::new();
    for file in &files {
        let found = held(file);
        let (first, revision) = (found.head.compacted.0.max(2), found.head.revision.0);
        let expected = (first..=revision).collect();
        assert_eq!(found.happened, expected, "every revision from {first} to {revision}");
        revisions.push(revision);
    }
    assert!(revisions.last() > revisions.first() && revisions.iter().all(|it| *it <= last));
    // The newest can be compared with the member itself, if it was not compacted further since.
    let newest = files.last().unwrap().to_str().unwrap();
    let status = run(&["etcdutl", "hashkv", newest, "-w", "json"]).await.ok();
    let own = hash_kv(&cluster, 0, *revisions.last().unwrap()).await;
    if own.compact_revision == held(Path::new(newest)).head.compacted.0 {
        assert!(status.contains(&format!("\"hash\":{},", own.hash)), "{status} {own:?}");
    }
    let dir = cluster.member(0).data_dir().to_owned();
    eventually("the copies to be gone", SOON, async || (copies(&dir) == 0).then_some(())).await;
}

/// A client that goes away in the middle frees everything; so does a member that is killed, once it
/// is started again.
#[tokio::test]
async fn nothing_is_left_of_a_save_that_broke_off() {
    let mut cluster = Cluster::start(1).await;
    fill(channel(&cluster, 0).await, 12).await;
    let dir = cluster.member(0).data_dir().to_owned();
    let connection = channel(&cluster, 0).await;
    let mut pieces = ask(connection.clone()).await.unwrap();
    pieces.message().await.unwrap().unwrap();
    assert_eq!(copies(&dir), 1, "it is sent from a copy");

    drop((pieces, connection));

    eventually("the copy to be gone", SOON, async || (copies(&dir) == 0).then_some(())).await;
    eventually("it to be counted", SOON, async || {
        let metrics = page(&cluster, 0, "/metrics").await.1;
        let line = "etcd_disk_backend_snapshot_duration_seconds_count 1";
        metrics.lines().any(|it| it == line).then_some(())
    })
    .await;

    let mut pieces = ask(channel(&cluster, 0).await).await.unwrap();
    pieces.message().await.unwrap().unwrap();
    cluster.kill_all().await;
    assert_eq!(copies(&dir), 1);
    cluster.member(0).restart().await;
    assert_eq!(copies(&dir), 0);
    save(&cluster, 0, "s.db").await;
}

/// So many are sent at once; a further one waits for its turn, and not for ever.
#[tokio::test]
async fn so_many_are_sent_at_once() {
    let cluster = Cluster::start(1).await;
    fill(channel(&cluster, 0).await, 12).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut pieces = ask(channel(&cluster, 0).await).await.unwrap();
        pieces.message().await.unwrap().unwrap();
        held.push(pieces);
    }

    let refused = ask(channel(&cluster, 0).await).await.map(drop).unwrap_err();
    let said = (refused.code(), refused.message());
    assert_eq!(said, (Code::Unknown, "etcdserver: too many requests"));

    held.pop();
    save(&cluster, 0, "s.db").await;
}

/// A member that is stopped does not wait for those who read from it.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_save() {
    let mut cluster = Cluster::start_with(1, Timing::Alone).await;
    fill(channel(&cluster, 0).await, 12).await;
    let mut pieces = ask(channel(&cluster, 0).await).await.unwrap();
    pieces.message().await.unwrap().unwrap();

    cluster.member(0).terminate().await;

    let ended = cluster.member(0).ended().await;
    assert_eq!(ended.code(), Some(0), "{ended}");
}
