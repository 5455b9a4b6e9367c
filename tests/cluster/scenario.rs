//! What the store is for: services come and go, members die, and nothing acknowledged is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use etcd_client::{Client, GetOptions};
use tokio::{task::JoinSet, time::Instant};

use crate::harness::{Change, Cluster, Watching, eventually, quorate, within};

const TTL: Duration = Duration::from_secs(2);
/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A service that is killed is gone for its watchers within its time to live and a second.
#[tokio::test]
async fn a_killed_service_disappears_in_time() {
    let cluster = Cluster::start(3).await;
    let mut watching = Watching::prefix(&mut cluster.client(1).await, "/services/web/").await;
    let granted = cluster.quorate(&["lease", "grant", &TTL.as_secs().to_string()]).await.ok();
    let lease = granted.split(' ').nth(1).unwrap();
    let mut renewing = quorate();
    renewing.args(["lease", "keep-alive", lease, "--endpoints", &cluster.endpoints()]);
    let mut service = cluster.follow(renewing, "service");
    let key = "/services/web/1";
    cluster.quorate(&["put", key, "10.0.0.1:80", "--lease", lease]).await.ok();

    let come = watching.next().await;
    assert_eq!((come.what, come.key.as_str(), come.value.as_str()), ("PUT", key, "10.0.0.1:80"));
    // Renewals come every third of the time to live, so five of them take longer than it.
    eventually("the service to outlive its first term", SOON, async || {
        (service.output().matches("keepalived").count() >= 5).then_some(())
    })
    .await;

    service.child.kill().await.unwrap();
    let killed = Instant::now();
    let gone = watching.next().await;

    let took = killed.elapsed();
    assert_eq!((gone.what, gone.key.as_str()), ("DELETE", key));
    assert!(
        took <= TTL + Duration::from_secs(1),
        "the key was still there {took:?} after the kill"
    );
}

/// A writer that repeats what failed loses nothing when the leader dies, and is soon served again.
#[tokio::test]
async fn a_writer_outlives_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writer =
        tokio::spawn(write(cluster.client_of_all().await, stop.clone(), acknowledged.clone()));
    let reach = async |count: usize| {
        eventually("the writer to get on", SOON, async || {
            (acknowledged.load(Ordering::SeqCst) >= count).then_some(())
        })
        .await;
    };

    reach(50).await;
    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    let before = acknowledged.load(Ordering::SeqCst);
    reach(before + 50).await;
    stop.store(true, Ordering::SeqCst);
    let written = within("the writer to end", SOON, writer).await.unwrap();

    let survivor = (leader + 1) % 3;
    let option = GetOptions::new().with_prefix().with_keys_only();
    let kept = cluster.client(survivor).await.get("w/", Some(option)).await.unwrap();
    let kept: Vec<&str> = kept.kvs().iter().map(|kv| kv.key_str().unwrap()).collect();
    let lost: Vec<&String> =
        written.iter().filter(|key| kept.binary_search(&key.as_str()).is_err()).collect();
    assert_eq!(lost, Vec::<&String>::new(), "of {} acknowledged keys", written.len());
}

/// Puts one key after the other, each until it is acknowledged, and returns them.
async fn write(
    mut client: Client,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut written = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let key = format!("w/{:08}", written.len());
        while client.put(key.as_str(), "v", None).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        written.push(key);
        acknowledged.store(written.len(), Ordering::SeqCst);
    }
    written
}

const KEYS: usize = 10_000;
const WRITERS: usize = 64;

/// Whatever was acknowledged survives the death of all members at once, and is the same on each.
#[tokio::test]
async fn everything_survives_the_death_of_all_members() {
    let mut cluster = Cluster::start(3).await;
    let clients = [cluster.client(0).await, cluster.client(1).await, cluster.client(2).await];
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = clients[writer % clients.len()].clone();
        writers.spawn(async move {
            for number in (writer..KEYS).step_by(WRITERS) {
                client.put(format!("k/{number:05}"), format!("v{number}"), None).await.unwrap();
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let revision = 1 + i64::try_from(KEYS).unwrap();

    cluster.kill_all().await;
    for index in 0..cluster.len() {
        cluster.member(index).spawn();
    }
    cluster.leader().await;

    for index in 0..cluster.len() {
        // A member that was behind catches up after its start, so its own state is asked until it has.
        let state = eventually("a member to have everything", SOON, async || {
            let option = GetOptions::new().with_prefix().with_serializable();
            let read = cluster.client(index).await.get("k/", Some(option)).await.ok()?;
            (read.header()?.revision() >= revision).then_some(read)
        })
        .await;
        assert_eq!(state.header().unwrap().revision(), revision, "on member {index}");
        assert_eq!(state.kvs().len(), KEYS, "on member {index}");
        for (number, kv) in state.kvs().iter().enumerate() {
            assert_eq!(kv.key_str().unwrap(), format!("k/{number:05}"));
            assert_eq!(kv.value_str().unwrap(), format!("v{number}"));
        }
    }
    let states = [state(&cluster, 0).await, state(&cluster, 1).await, state(&cluster, 2).await];
    assert!(
        states[0] == states[1] && states[1] == states[2],
        "members differ in revisions or versions"
    );
}

/// All that a member knows about the keys, as text.
async fn state(cluster: &Cluster, index: usize) -> String {
    let option = GetOptions::new().with_prefix().with_serializable();
    let read = cluster.client(index).await.get("k/", Some(option)).await.unwrap();
    format!("{:?}", read.kvs())
}

/// A watch goes on over the death of the leader, without a gap and without a repetition.
#[tokio::test]
async fn a_watch_outlives_the_leader() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let mut client = cluster.client((leader + 1) % 3).await;
    let mut watching = Watching::prefix(&mut client, "k").await;
    client.put("k", "1", None).await.unwrap();

    cluster.member(leader).kill();
    cluster.member(leader).ended().await;
    cluster.leader().await;
    eventually("a put under the new leader", SOON, async || client.put("k", "2", None).await.ok())
        .await;

    let mut last = 1;
    loop {
        let Change { revision, value, .. } = watching.next().await;
        assert_eq!(revision, last + 1);
        last = revision;
        if value == "2" {
            break;
        }
    }
}

/// A member that was away while others wrote knows all of it soon after its return.
#[tokio::test]
async fn a_member_catches_up() {
    let mut cluster = Cluster::start(3).await;
    let away = cluster.follower().await;
    cluster.member(away).kill();
    cluster.member(away).ended().await;
    let mut client = cluster.client((away + 1) % 3).await;
    for number in 0..200 {
        client.put(format!("k{number}"), "v", None).await.unwrap();
    }

    cluster.member(away).restart().await;

    let option = GetOptions::new().with_prefix().with_serializable().with_count_only();
    eventually("the member to know all keys", SOON, async || {
        let read = cluster.client(away).await.get("k", Some(option.clone())).await.ok()?;
        (read.count() == 200).then_some(())
    })
    .await;
}
