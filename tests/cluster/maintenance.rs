//! Checksums, and history that the disk forgets.

use std::{fs, path::Path, time::Duration};

use quorate::proto::etcdserverpb::{
    CompactionRequest, DefragmentRequest, DeleteRangeRequest, HashKvRequest, HashKvResponse,
    HashRequest, PutRequest, kv_client::KvClient, maintenance_client::MaintenanceClient,
};
use tokio::process::Command;
use tonic::{Code, Status, transport::Channel};

use crate::harness::{Cluster, Timing, eventually, finish, program};

const SOON: Duration = Duration::from_secs(60);
const VALUE_BYTES: usize = 256 * 1024;

async fn channel(cluster: &Cluster, index: usize) -> Channel {
    Channel::from_shared(cluster.endpoint(index)).unwrap().connect().await.unwrap()
}

/// A value that does not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..VALUE_BYTES / 8).flat_map(|_| next()).collect()
}

/// Puts a key again and again, and returns the last revision.
async fn overwrite(kv: &mut KvClient<Channel>, times: u64) -> i64 {
    let mut revision = 0;
    for seed in 0..times {
        let put = PutRequest { key: "k".into(), value: noise(seed).into(), ..Default::default() };
        revision = kv.put(put).await.unwrap().into_inner().header.unwrap().revision;
    }
    revision
}

async fn compact(kv: &mut KvClient<Channel>, revision: i64) -> Result<(), Status> {
    kv.compact(CompactionRequest { revision, physical: true }).await.map(drop)
}

async fn hash_kv(
    client: &mut MaintenanceClient<Channel>,
    revision: i64,
) -> Result<HashKvResponse, Status> {
    client.hash_kv(HashKvRequest { revision }).await.map(tonic::Response::into_inner)
}

/// Bytes of the files with records that a member has.
fn records_on_disk(data_dir: &Path) -> u64 {
    let mut bytes = 0;
    for state in fs::read_dir(data_dir).unwrap().flatten() {
        if state.file_name().to_string_lossy().starts_with("state-") {
            for file in fs::read_dir(state.path()).unwrap().flatten() {
                // Files go away while they are listed.
                let len = file.metadata().map_or(0, |metadata| metadata.len());
                let records = file.path().extension().is_some_and(|end| end == "sst");
                bytes += if records { len } else { 0 };
            }
        }
    }
    bytes
}

/// A physical compaction returns when the disk has room again; the same once more is declined, but
/// not before what is to go is gone.
#[tokio::test]
async fn case_18_a_physical_compaction_waits_for_the_disk() {
    let mut cluster = Cluster::start(1).await;
    let mut kv = KvClient::new(channel(&cluster, 0).await);
    let revision = overwrite(&mut kv, 40).await;
    let dir = cluster.member(0).data_dir().to_path_buf();

    // Two at once: one compacts, the other is declined, and both wait for the same work.
    let mut other = kv.clone();
    let (one, two) = tokio::join!(compact(&mut kv, revision), compact(&mut other, revision));

    assert!(records_on_disk(&dir) < 10 * VALUE_BYTES as u64, "{}", records_on_disk(&dir));
    let declined: Vec<Status> = [one, two].into_iter().filter_map(Result::err).collect();
    assert_eq!(declined.len(), 1, "{declined:?}");
    let said = |status: &Status| (status.code(), status.message().to_owned());
    let compacted = "etcdserver: mvcc: required revision has been compacted".to_owned();
    assert_eq!(said(&declined[0]), (Code::OutOfRange, compacted.clone()));
    let again = compact(&mut kv, revision).await.unwrap_err();
    assert_eq!(said(&again), (Code::OutOfRange, compacted));
    let future = compact(&mut kv, revision + 1).await.unwrap_err();
    assert_eq!(future.code(), Code::OutOfRange);
}

/// A member that is stopped while it compacts ends as soon as any other.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_compaction() {
    let mut cluster = Cluster::start(1).await;
    let mut kv = KvClient::new(channel(&cluster, 0).await);
    let revision = overwrite(&mut kv, 100).await;
    let waiting = tokio::spawn(async move { compact(&mut kv, revision).await });
    let mut maintenance = MaintenanceClient::new(channel(&cluster, 0).await);
    eventually("the compaction to be begun", SOON, async || {
        let found = hash_kv(&mut maintenance, 0).await.unwrap();
        (found.compact_revision == revision).then_some(())
    })
    .await;

    cluster.member(0).terminate().await;
    let status = cluster.member(0).ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    // Done or sent away, but not left waiting.
    drop(waiting.await.unwrap());

    cluster.member(0).restart().await;
    let mut maintenance = MaintenanceClient::new(channel(&cluster, 0).await);
    assert_eq!(hash_kv(&mut maintenance, 0).await.unwrap().compact_revision, revision);
}

/// Garbage in files that no write touches any more goes without being asked for, once it is much.
#[tokio::test]
async fn much_garbage_goes_by_itself() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    cluster.member(0).fail_points("garbage-bytes=return(4000000)");
    cluster.member(0).spawn();
    cluster.leader().await;
    let mut kv = KvClient::new(channel(&cluster, 0).await);
    let first = overwrite(&mut kv, 4).await;
    let figure = async |name: &str| {
        let page = crate::quota::page(&cluster, 0, "/metrics").await.1;
        let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line[name.len() + 1..].parse::<u64>().unwrap()
    };
    kv.compact(CompactionRequest { revision: first, physical: false }).await.unwrap();
    eventually("the garbage to be counted", SOON, async || {
        (figure("quorate_storage_garbage_bytes").await > 3 * VALUE_BYTES as u64).then_some(())
    })
    .await;
    let runs = "quorate_compaction_duration_seconds_count";
    assert_eq!(figure(runs).await, 0, "there is too little of it");

    let second = overwrite(&mut kv, 40).await;
    kv.compact(CompactionRequest { revision: second, physical: false }).await.unwrap();

    eventually("the garbage to be gone", SOON, async || {
        let gone = figure("quorate_storage_garbage_bytes").await == 0;
        (gone && figure(runs).await == 1).then_some(())
    })
    .await;
    let dir = cluster.member(0).data_dir().to_path_buf();
    eventually("replaced files to be deleted", SOON, async || {
        (records_on_disk(&dir) < 4 * VALUE_BYTES as u64).then_some(())
    })
    .await;
}

/// Defragment answers at once, without a header, and then the disk has room again.
#[tokio::test]
async fn defragment_rids_the_disk_of_deleted_pairs() {
    let mut cluster = Cluster::start(1).await;
    let mut kv = KvClient::new(channel(&cluster, 0).await);
    for seed in 0..40 {
        let key = format!("k{seed}");
        let put = PutRequest { key: key.into(), value: noise(seed).into(), ..Default::default() };
        kv.put(put).await.unwrap();
    }
    let all = DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let deleted = kv.delete_range(all).await.unwrap().into_inner().header.unwrap().revision;
    kv.compact(CompactionRequest { revision: deleted, physical: false }).await.unwrap();

    let mut maintenance = MaintenanceClient::new(channel(&cluster, 0).await);
    let answer = maintenance.defragment(DefragmentRequest {}).await.unwrap().into_inner();

    assert_eq!(answer.header, None);
    let dir = cluster.member(0).data_dir().to_path_buf();
    // What was never flushed is not on disk before either: the end counts.
    eventually("a flushed and empty disk", SOON, async || {
        let page = crate::quota::page(&cluster, 0, "/metrics").await.1;
        let done = page.lines().any(|line| line == "quorate_compaction_duration_seconds_count 1");
        (done && records_on_disk(&dir) < 4 * VALUE_BYTES as u64).then_some(())
    })
    .await;
}

/// All members have the same checksum of a revision, also while only one of them has dropped what
/// was compacted; revisions that cannot be read have none.
#[tokio::test]
async fn case_36_checksums_are_equal_on_all_members() {
    let cluster = Cluster::start(3).await;
    let mut kv = KvClient::new(channel(&cluster, 0).await);
    let revision = overwrite(&mut kv, 10).await;
    let delete = DeleteRangeRequest { key: "k".into(), ..Default::default() };
    let deleted = kv.delete_range(delete).await.unwrap().into_inner().header.unwrap().revision;
    assert_eq!(overwrite(&mut kv, 1).await, deleted + 1);

    let mut hashes = Vec::new();
    for round in 0..2 {
        for index in 0..3 {
            let mut maintenance = MaintenanceClient::new(channel(&cluster, index).await);
            let compacted = if round == 0 { -1 } else { revision };
            let look = async || {
                let found = hash_kv(&mut maintenance, deleted).await.ok()?;
                (found.compact_revision == compacted).then_some(found)
            };
            let found = eventually("the member to have applied it", SOON, look).await;
            assert_eq!(found.hash_revision, deleted);
            hashes.push(found.hash);
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        if round == 0 {
            hashes.clear();
            compact(&mut kv, revision).await.unwrap();
        }
    }

    let mut maintenance = MaintenanceClient::new(channel(&cluster, 0).await);
    let newest = hash_kv(&mut maintenance, 0).await.unwrap();
    assert_eq!((newest.hash_revision, newest.header.unwrap().revision), (deleted + 1, deleted + 1));
    assert_ne!(newest.hash, hashes[0]);
    for (asked, text) in [
        (revision - 1, "etcdserver: mvcc: required revision has been compacted"),
        (deleted + 2, "etcdserver: mvcc: required revision is a future revision"),
    ] {
        let refused = hash_kv(&mut maintenance, asked).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::OutOfRange, text));
    }
}

/// The checksum of everything stored is the same on members that have applied the same log.
#[tokio::test]
async fn members_agree_on_everything_stored() {
    let cluster = Cluster::start_with(3, Timing::Default).await;
    let mut kv = KvClient::new(channel(&cluster, 0).await);
    let revision = overwrite(&mut kv, 5).await;
    compact(&mut kv, revision).await.unwrap();

    eventually("equal checksums", SOON, async || {
        let mut hashes = Vec::new();
        for index in 0..3 {
            let mut maintenance = MaintenanceClient::new(channel(&cluster, index).await);
            hashes.push(maintenance.hash(HashRequest {}).await.unwrap().into_inner().hash);
        }
        hashes.iter().all(|hash| *hash == hashes[0]).then_some(())
    })
    .await;
}

/// etcd's own command line: checksums of all members, physical compaction, defragmentation.
#[tokio::test]
async fn etcdctl_hashes_compacts_and_defragments() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let cluster = Cluster::start(3).await;
    let run = async |line: &str| {
        let mut command = Command::new(&etcdctl);
        command.args(["--endpoints", &cluster.endpoint(0)]).args(line.split(' '));
        finish(command).await.ok()
    };
    for n in 0..5 {
        run(&format!("put k {n}")).await;
    }

    assert_eq!(run("compaction 5 --physical").await, "compacted revision 5\n");
    let hashes = async || {
        let lines = run("endpoint hashkv --cluster --rev 6").await;
        let hashes: Vec<&str> =
            lines.lines().map(|line| line.rsplit(", ").next().unwrap()).collect();
        let equal = hashes.iter().all(|hash| *hash == hashes[0]);
        (hashes.len() == 3 && equal).then_some(())
    };
    eventually("three equal checksums", SOON, hashes).await;
    let answer = run("defrag --cluster").await;
    assert_eq!(answer.matches("Finished defragmenting etcd member").count(), 3, "{answer}");
}
