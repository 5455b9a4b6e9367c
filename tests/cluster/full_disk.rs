//! Somebody else fills the disk, to its last byte, and frees it, again and again: reads go on, writes
//! are refused at once with the reason, deletes are not, and all is well again without anybody doing
//! anything. Nothing that was acknowledged is lost.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, GetOptions};
use quorate::proto::etcdserverpb::{
    DeleteRangeRequest, HashKvRequest, PutRequest, kv_client::KvClient,
    maintenance_client::MaintenanceClient,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep},
};
use tonic::{Code, Status, transport::Channel};

use crate::{
    harness::{Cluster, Timing, eventually, streams::channel, within},
    quota::SmallDisk,
};

const SOON: Duration = Duration::from_secs(60);
const ROUNDS: usize = 20;
/// Keys that are written on and on.
const KEYS: u64 = 50;
/// Three members with their logs and some room.
const DISK_BYTES: u64 = 640 << 20;
/// What a write may take to be refused once the disk is full.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// What writes may take to work again once the disk has room.
const RECOVERED_WITHIN: Duration = Duration::from_secs(10);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(2);
const EXCEEDED: &str = "etcdserver: mvcc: database space exceeded";

/// Takes all that a file system has left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let block = vec![0; 1 << 20];
    let mut len = block.len();
    loop {
        match io::Write::write_all(&mut file, &block[..len]) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull && len > 1 => len /= 2,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn put(kv: &mut KvClient<Channel>, key: &str, value: Vec<u8>) -> Result<(), Status> {
    let put = PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() };
    within("a put", SOON, kv.put(put)).await.map(drop)
}

fn is_refusal(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && status.message() == EXCEEDED
}

/// A client that reads on, and one that writes on, until they are told to end.
struct Load {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    reader: JoinHandle<Duration>,
    /// Gives back what was acknowledged: the number in each key.
    writer: JoinHandle<BTreeMap<String, u64>>,
}

impl Load {
    fn start(reading: Client, writing: Channel) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let reader = tokio::spawn(read_on(reading, Arc::clone(&stop), Arc::clone(&reads)));
        let writer = tokio::spawn(write_on(KvClient::new(writing), Arc::clone(&stop)));
        Self { stop, reads, reader, writer }
    }
}

/// Linearizable reads, each of which must be answered. Returns the longest that one took.
async fn read_on(mut client: Client, stop: Arc<AtomicBool>, reads: Arc<AtomicU64>) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let found = client.get("read", None).await.expect("reads go on");
        assert_eq!(found.kvs()[0].value(), b"always");
        longest = longest.max(asked.elapsed());
        reads.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(10)).await;
    }
    longest
}

/// Writes values of some size to some keys; what is refused for lack of space is tried later.
async fn write_on(mut kv: KvClient<Channel>, stop: Arc<AtomicBool>) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let key = format!("written/{}", number % KEYS);
        let mut value = vec![b'.'; 16_000];
        value.extend(number.to_string().bytes());
        match put(&mut kv, &key, value).await {
            Ok(()) => drop(acknowledged.insert(key, number)),
            Err(status) if is_refusal(&status) => sleep(Duration::from_millis(5)).await,
            // It may have taken effect or not, and so may what is read of it.
            Err(status) => panic!("a write came to nothing for another reason: {status}"),
        }
    }
    acknowledged
}

/// One filling and freeing. Returns how long it took until a write was refused, and until one worked.
async fn round(kv: &mut KvClient<Channel>, ballast: PathBuf, n: usize) -> (Duration, Duration) {
    let path = ballast.clone();
    spawn_blocking(move || fill(&path)).await.unwrap();
    let full = Instant::now();
    eventually("a write to be refused", SOON, async || {
        put(kv, "probe", vec![b'p'; 100]).await.err().filter(is_refusal)
    })
    .await;
    let refused = full.elapsed();
    let delete = DeleteRangeRequest { key: format!("gone/{n}").into(), ..Default::default() };
    let deleted = within("a delete", SOON, kv.delete_range(delete)).await.unwrap().into_inner();
    assert_eq!(deleted.deleted, 1, "deletes are allowed");
    // For a while it stays full.
    let _ = tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await;

    fs::remove_file(&ballast).unwrap();
    let freed = Instant::now();
    eventually("a write to work", SOON, async || put(kv, "probe", vec![b'p'; 100]).await.ok())
        .await;
    (refused, freed.elapsed())
}

/// Three members on one small file system that somebody else fills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_63_a_disk_is_filled_and_freed_without_a_restart() {
    let Some(disk) = SmallDisk::mount(DISK_BYTES).await else {
        eprintln!("SKIPPED case_63: this process may not mount a file system");
        return;
    };
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    for index in 0..3 {
        let flag = format!("--data-dir={}", disk.path().join(format!("n{index}")).display());
        cluster.member(index).flags([flag.as_str()]);
        // The log of each member takes its usual share of a usual disk.
        cluster.member(index).fail_points("log-prefill-bytes=return(16777216)");
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    let mut kv = KvClient::new(channel(&cluster.endpoint(0)));
    put(&mut kv, "read", b"always".to_vec()).await.unwrap();
    for n in 0..ROUNDS {
        put(&mut kv, &format!("gone/{n}"), vec![b'g'; 100]).await.unwrap();
    }
    let load = Load::start(cluster.client(1).await, channel(&cluster.endpoint(2)));

    let (mut refusals, mut recoveries) = (Vec::new(), Vec::new());
    for n in 0..ROUNDS {
        let before = load.reads.load(Ordering::Relaxed);
        let (refused, recovered) = round(&mut kv, disk.path().join("ballast"), n).await;
        assert!(load.reads.load(Ordering::Relaxed) > before, "reads go on in round {n}");
        for index in 0..3 {
            let ended = cluster.member(index).try_ended();
            assert_eq!(ended, None, "member {index} in round {n}");
        }
        assert!(refused <= REFUSED_WITHIN + SLACK, "round {n}: refused after {refused:?}");
        assert!(recovered <= RECOVERED_WITHIN + SLACK, "round {n}: back after {recovered:?}");
        refusals.push(refused);
        recoveries.push(recovered);
    }

    load.stop.store(true, Ordering::Relaxed);
    let longest = load.reader.await.unwrap();
    let acknowledged = load.writer.await.unwrap();
    let reads = load.reads.load(Ordering::Relaxed);
    eprintln!(
        "refused after {:?} at most, back after {:?} at most, {reads} reads of {longest:?} at most, {} keys",
        refusals.iter().max().unwrap(),
        recoveries.iter().max().unwrap(),
        acknowledged.len()
    );
    nothing_is_lost(&mut cluster, &acknowledged).await;
    cluster.kill_all().await;
}

/// All members hold what was acknowledged, and the same.
async fn nothing_is_lost(cluster: &mut Cluster, acknowledged: &BTreeMap<String, u64>) {
    assert_eq!(acknowledged.len() as u64, KEYS);
    let mut client = cluster.client(0).await;
    let all = client.get("written/", Some(GetOptions::new().with_prefix())).await.unwrap();
    let revision = all.header().unwrap().revision();
    for kv in all.kvs() {
        let value = String::from_utf8(kv.value().to_vec()).unwrap();
        let number: u64 = value.trim_start_matches('.').parse().unwrap();
        assert_eq!(number, acknowledged[kv.key_str().unwrap()], "{}", kv.key_str().unwrap());
    }
    assert_eq!(all.kvs().len(), acknowledged.len());
    let mut hashes = Vec::new();
    for index in 0..3 {
        let mut maintenance = MaintenanceClient::new(channel(&cluster.endpoint(index)));
        let hash = eventually("a checksum", SOON, async || {
            maintenance.hash_kv(HashKvRequest { revision }).await.ok()
        });
        hashes.push(hash.await.into_inner().hash);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}
