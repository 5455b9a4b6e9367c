//! Leaders whose disk hangs, or says that it failed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::harness::{Cluster, Timing, eventually, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(1);
/// The key that one client counts up.
const COUNTER: &str = "counter";

/// Clients that put on all members, one that counts, and some that read what was counted.
struct Load {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Up to where the counting was acknowledged.
    counted: AtomicU64,
    /// Linearizable reads that were answered, by member.
    reads: [AtomicU64; 3],
    acknowledged: Mutex<Vec<Instant>>,
}

impl Load {
    async fn start(cluster: &Cluster, counter_at: usize) -> Self {
        let (shared, mut tasks) = (Arc::<Shared>::default(), JoinSet::new());
        for index in 0..cluster.len() {
            for writer in 0..4 {
                let (mut client, shared) = (cluster.client(index).await, Arc::clone(&shared));
                tasks.spawn(async move {
                    while !shared.stop.load(Ordering::SeqCst) {
                        match client.put(format!("w/{index}/{writer}"), "v", None).await {
                            Ok(_) => shared.acknowledged.lock().unwrap().push(Instant::now()),
                            Err(_) => sleep(Duration::from_millis(20)).await,
                        }
                    }
                });
            }
            let (mut client, shared) = (cluster.client(index).await, Arc::clone(&shared));
            tasks.spawn(async move {
                while !shared.stop.load(Ordering::SeqCst) {
                    let before = shared.counted.load(Ordering::SeqCst);
                    let Ok(answer) = client.get(COUNTER, None).await else {
                        sleep(Duration::from_millis(20)).await;
                        continue;
                    };
                    let found = answer.kvs().first().map_or("0", |pair| pair.value_str().unwrap());
                    let found: u64 = found.parse().unwrap();
                    assert!(found >= before, "member {index} told {found} after {before}");
                    shared.reads[index].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let (mut client, counting) = (cluster.client(counter_at).await, Arc::clone(&shared));
        tasks.spawn(async move {
            for number in 1_u64.. {
                // An outcome that nobody knows is tried again: it is the same value.
                while client.put(COUNTER, number.to_string(), None).await.is_err() {
                    if counting.stop.load(Ordering::SeqCst) {
                        return;
                    }
                }
                counting.counted.store(number, Ordering::SeqCst);
                if counting.stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        Self { shared, tasks }
    }

    /// Waits for an acknowledgement that comes from now on.
    async fn advance(&self) {
        let acknowledged = || self.shared.acknowledged.lock().unwrap().len();
        let before = acknowledged();
        eventually("a put", SOON, async || (acknowledged() > before).then_some(())).await;
    }

    /// The longest time in which nothing was acknowledged.
    fn longest_gap(&self) -> Duration {
        let mut times = self.shared.acknowledged.lock().unwrap().clone();
        times.push(Instant::now());
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    }

    async fn stop(mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        within("the end of all clients", SOON, async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.unwrap();
            }
        })
        .await;
    }
}

/// Makes this member the leader.
async fn elect(cluster: &Cluster, index: usize) {
    eventually("the leader to be that member", SOON, async || {
        let leader = cluster.leader().await;
        if leader == index {
            return Some(());
        }
        let id = cluster.client(index).await.status().await.ok()?.header()?.member_id();
        let _ = cluster.client(leader).await.move_leader(id).await;
        None
    })
    .await;
}

/// Starts three members of which the first has fail points, and has it lead.
async fn led_by_the_first(fail_points: String) -> Cluster {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    cluster.member(0).fail_points(fail_points);
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    elect(&cluster, 0).await;
    cluster
}

/// The sync of a leader's log hangs for many election timeouts. Another member leads, and writes are
/// acknowledged again, within two; no member tells anything old meanwhile, and afterwards it follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_66_a_leader_whose_disk_hangs_is_replaced() {
    const HANGS: Duration = Duration::from_secs(8);
    let sleeps = format!("log-before-sync=400*off->1*sleep({})->off", HANGS.as_millis());
    let mut cluster = led_by_the_first(sleeps).await;
    let load = Load::start(&cluster, 1).await;
    let begun = Instant::now();
    let told = |cluster: &mut Cluster, words: &str| cluster.member(0).log_text().contains(words);
    eventually("the disk to hang", SOON, async || {
        told(&mut cluster, "the disk has not answered").then_some(())
    })
    .await;
    let next = eventually("another leader", SOON, async || {
        let status = cluster.client(1).await.status().await.ok()?;
        let own = cluster.client(0).await.status().await.ok()?.header()?.member_id();
        (status.leader() != 0 && status.leader() != own).then_some(status.leader())
    })
    .await;
    load.advance().await;
    let gap = load.longest_gap();
    eprintln!("{:?} until it was over, {gap:?} without an acknowledgement", begun.elapsed());
    assert!(gap >= ELECTION_TIMEOUT, "nothing hung: {gap:?}");
    assert!(gap <= 2 * ELECTION_TIMEOUT + SLACK, "{gap:?}");
    assert!(!told(&mut cluster, "the disk answers again"), "it hung no longer than that");

    eventually("the disk to answer", SOON, async || {
        told(&mut cluster, "the disk answers again").then_some(())
    })
    .await;
    let reads = load.shared.reads[0].load(Ordering::SeqCst);
    eventually("reads at the member that hung", SOON, async || {
        (load.shared.reads[0].load(Ordering::SeqCst) > reads + 10).then_some(())
    })
    .await;
    load.stop().await;
    let status = cluster.client(0).await.status().await.unwrap();
    assert_eq!(status.leader(), next, "the leader is the one that took over");
    let mut states = Vec::new();
    for index in 0..3 {
        let mut client = cluster.client(index).await;
        client.get("w", None).await.unwrap(); // so that it has applied all of it
        states.push(client.hash_kv(0).await.unwrap().hash());
    }
    assert!(states.windows(2).all(|pair| pair[0] == pair[1]), "{states:?}");
}

/// The state of a leader cannot be flushed any more: the member says so and ends, another one leads,
/// and nothing that was acknowledged is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_65_a_leader_whose_state_fails_ends_and_is_replaced() {
    let small = "unflushed-bytes=return(262144);write-buffer-bytes=return(65536)";
    let mut cluster =
        led_by_the_first(format!("{small};flush-begins=1*off->1*return(error)->off")).await;
    let mut client = cluster.client(1).await;
    let mut acknowledged = Vec::new();
    let value = vec![b'v'; 4_096];
    for number in 0.. {
        let key = format!("k/{number:06}");
        if client.put(key.clone(), value.clone(), None).await.is_ok() {
            acknowledged.push(key);
        }
        if cluster.member(0).try_ended().is_some_and(|ended| {
            assert_eq!(ended.code(), Some(1), "{ended}");
            true
        }) {
            break;
        }
        assert!(number < 20_000, "the flush never failed");
    }
    let said = cluster.member(0).log_text();
    assert!(said.lines().last().unwrap_or_default().contains("Input/output error"), "{said}");
    let leader = cluster.leader().await;
    assert_ne!(leader, 0);
    let option = etcd_client::GetOptions::new().with_prefix().with_keys_only();
    let answer = cluster.client(leader).await.get("k/", Some(option)).await.unwrap();
    let found: Vec<_> =
        answer.kvs().iter().map(|pair| pair.key_str().unwrap().to_owned()).collect();
    for key in &acknowledged {
        assert!(found.binary_search(key).is_ok(), "{key} is missing");
    }

    cluster.member(0).fail_points("");
    cluster.member(0).restart().await;
    client.put("after", "v", None).await.unwrap();
}

/// The log of a leader cannot be synced: the member ends at once, and what its clients were told is
/// there under the next leader.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rr_62_a_leader_whose_log_fails_ends_and_is_replaced() {
    let mut cluster =
        led_by_the_first("log-before-sync=150*off->1*return(error)->off".to_owned()).await;
    let mut client = cluster.client(0).await;
    let mut acknowledged = 0_u64;
    while client.put(COUNTER, (acknowledged + 1).to_string(), None).await.is_ok() {
        acknowledged += 1;
    }
    let ended = cluster.member(0).ended().await;
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(cluster.member(0).log_text().contains("sync: Input/output error"));
    let leader = cluster.leader().await;
    let answer = cluster.client(leader).await.get(COUNTER, None).await.unwrap();
    let found: u64 = answer.kvs()[0].value_str().unwrap().parse().unwrap();
    // The last one may have been agreed on, and nobody was told.
    assert!([acknowledged, acknowledged + 1].contains(&found), "{found} of {acknowledged}");
}
