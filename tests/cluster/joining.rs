//! Members join, leave, come back without their data or with old ones, and are refused.

use std::{fs, path::Path, time::Duration};

use etcd_client::{Client, GetOptions, Member};

use crate::harness::{Cluster, READY, Timing, eventually};

const REMOVED: &str = "the member has been permanently removed from the cluster";

/// Repeats a change that is refused while members have not been connected for long enough.
async fn until_done<T>(what: &str, change: impl AsyncFn() -> Result<T, etcd_client::Error>) -> T {
    eventually(what, READY, async || change().await.ok()).await
}

async fn add(cluster: &Cluster, through: usize, peer_url: &str) {
    until_done("a member to be added", async || {
        cluster.client(through).await.member_add([peer_url], None).await
    })
    .await;
}

async fn remove(cluster: &Cluster, through: usize, id: u64) {
    until_done("a member to be removed", async || {
        cluster.client(through).await.member_remove(id).await
    })
    .await;
}

/// The members, once all of `count` have published themselves.
async fn published(client: &mut Client, count: usize) -> Vec<Member> {
    eventually("all members to be published", READY, async || {
        let list = client.member_list().await.ok()?;
        let members = list.members().to_vec();
        let all = members.len() == count && members.iter().all(|it| !it.name().is_empty());
        all.then_some(members)
    })
    .await
}

fn id_of(members: &[Member], name: &str) -> u64 {
    members.iter().find(|member| member.name() == name).unwrap().id()
}

/// What a member itself has under a key, once it has it.
async fn own_value(cluster: &Cluster, index: usize, key: &str) -> String {
    let mut client = cluster.client(index).await;
    eventually("a member to have the data", READY, async || {
        let read = client.get(key, Some(GetOptions::new().with_serializable())).await.ok()?;
        Some(read.kvs().first()?.value_str().unwrap().to_owned())
    })
    .await
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// One member becomes three, each of which has all data, votes, and can be started again.
#[tokio::test]
async fn joining_one_member_becomes_three() {
    let mut cluster = Cluster::start_with(1, Timing::Default).await;
    cluster.client(0).await.put("before", "1", None).await.unwrap();
    for size in 2..=3 {
        let index = cluster.enlist(Timing::Default);
        let peer_url = cluster.member(index).peer_url();
        add(&cluster, 0, &peer_url).await;
        cluster.member(index).restart().await;
        assert_eq!(own_value(&cluster, index, "before").await, "1");
        published(&mut cluster.client(index).await, size).await;
    }
    cluster.leader().await;
    // Its vote counts: without the first one the other two go on.
    cluster.member(0).kill();
    cluster.member(0).ended().await;
    cluster.leader().await;
    cluster.client(2).await.put("after", "2", None).await.unwrap();
    cluster.member(0).restart().await;
    cluster.member(2).kill();
    cluster.member(2).ended().await;
    cluster.member(2).restart().await;
    for index in 0..3 {
        assert_eq!(own_value(&cluster, index, "after").await, "2");
    }
}

/// A member that was not added, or whose settings name other members, does not join, and leaves
/// nothing behind.
#[tokio::test]
async fn joining_needs_an_addition() {
    let mut cluster = Cluster::start_with(1, Timing::Default).await;
    let index = cluster.enlist(Timing::Default);

    let refused = cluster.member(index).refuses_to_start(&[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("member count is unequal"), "{refused:?}");

    add(&cluster, 0, "http://127.0.0.1:9").await;
    let refused = cluster.member(index).refuses_to_start(&[]).await;
    assert!(refused.stderr.contains("PeerURLs: no match found for existing member"), "{refused:?}");
    assert!(!cluster.member(index).data_dir().join("identity").exists());
}

/// A member whose data are gone is refused under its old id, and joins under a new one.
#[tokio::test]
async fn rr_54_joining_after_a_wipe_needs_a_new_id() {
    let mut cluster = Cluster::start(3).await;
    cluster.client(0).await.put("key", "1", None).await.unwrap();
    let wiped = cluster.follower().await;
    let other = (wiped + 1) % 3;
    let members = published(&mut cluster.client(other).await, 3).await;
    let (name, peer_url) = (format!("n{}", wiped + 1), cluster.member(wiped).peer_url());
    let id = id_of(&members, &name);
    cluster.member(wiped).kill();
    cluster.member(wiped).ended().await;
    fs::remove_dir_all(cluster.member(wiped).data_dir()).unwrap();

    for state in ["new", "existing"] {
        let state = format!("--initial-cluster-state={state}");
        let refused = cluster.member(wiped).refuses_to_start(&[&state]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let text = format!("member {id:x} has already been bootstrapped");
        assert!(refused.stderr.contains(&text), "{refused:?}");
        assert!(refused.stderr.contains(&format!("member remove {id:x}")), "{refused:?}");
    }
    cluster.client(other).await.put("key", "2", None).await.unwrap();

    remove(&cluster, other, id).await;
    add(&cluster, other, &peer_url).await;
    cluster.member(wiped).flags(["--initial-cluster-state=existing"]);
    cluster.member(wiped).restart().await;
    assert_eq!(own_value(&cluster, wiped, "key").await, "2");
    let members = published(&mut cluster.client(wiped).await, 3).await;
    assert_ne!(id_of(&members, &name), id);
}

/// A removed member stops by itself and says why; it cannot come back, nor can a copy of what it had
/// before.
#[tokio::test]
async fn rr_57_joining_is_over_for_a_removed_member() {
    let mut cluster = Cluster::start(3).await;
    let leaving = cluster.follower().await;
    let other = (leaving + 1) % 3;
    let members = published(&mut cluster.client(other).await, 3).await;
    let id = id_of(&members, &format!("n{}", leaving + 1));
    cluster.member(leaving).kill();
    cluster.member(leaving).ended().await;
    let (dir, copy) = (cluster.member(leaving).data_dir().to_owned(), cluster.path("copy"));
    copy_dir(&dir, &copy);
    cluster.member(leaving).restart().await;

    remove(&cluster, other, id).await;
    let ended = cluster.member(leaving).ended().await;
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(cluster.member(leaving).log_text().contains(REMOVED));

    let refused = cluster.member(leaving).refuses_to_start(&[]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(REMOVED), "{refused:?}");
    assert!(refused.stderr.contains(&format!("member {id:x}, which never returns")), "{refused:?}");

    // The copy does not know yet, and is told by those who do.
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&copy, &dir).unwrap();
    let told = cluster.member(leaving).refuses_to_start(&[]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains(REMOVED), "{told:?}");
    let refused = cluster.member(leaving).refuses_to_start(&[]).await;
    assert!(refused.stderr.contains("which never returns"), "{refused:?}");

    // Neither can somebody without data who uses the old settings.
    fs::remove_dir_all(&dir).unwrap();
    let refused = cluster.member(leaving).refuses_to_start(&[]).await;
    assert!(refused.stderr.contains(REMOVED), "{refused:?}");
    cluster.client(other).await.put("key", "v", None).await.unwrap();
    assert_eq!(published(&mut cluster.client(other).await, 2).await.len(), 2);
}

/// Whoever has the data of another cluster is refused by both sides, which name both clusters, and
/// nobody is harmed.
#[tokio::test]
async fn joining_with_data_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let mut stranger = Cluster::start_with(1, Timing::Default).await;
    let ids = [
        cluster.client(0).await.status().await.unwrap(),
        stranger.client(0).await.status().await.unwrap(),
    ];
    let [ours, theirs] = ids.map(|status| status.header().unwrap().cluster_id());
    stranger.member(0).kill();
    stranger.member(0).ended().await;
    let replaced = cluster.follower().await;
    let other = (replaced + 1) % 3;
    cluster.member(replaced).kill();
    cluster.member(replaced).ended().await;

    // Settings and data do not agree.
    let data_dir = format!("--data-dir={}", stranger.member(0).data_dir().display());
    let refused = cluster.member(replaced).refuses_to_start(&[&data_dir]).await;
    let text = format!("belongs to cluster {theirs:x}, not to cluster {ours:x}");
    assert!(refused.stderr.contains(&text), "{refused:?}");

    // Where settings say nothing, the others do.
    cluster.member(replaced).flags([data_dir.as_str(), "--initial-cluster-state=existing"]);
    cluster.member(replaced).spawn();
    let refusal = format!("sender's cluster {ours:x} is not this member's cluster {theirs:x}");
    eventually("both sides to say so", READY, async || {
        let told = [replaced, other].map(|index| cluster.member(index).log_text());
        told.iter().all(|log| log.contains(&refusal)).then_some(())
    })
    .await;
    cluster.client(other).await.put("key", "v", None).await.unwrap();
    assert!(cluster.member(replaced).try_ended().is_none());
}

/// When two of three are lost for good, the third goes on alone with all data, and three can be made
/// of it again; those that were lost cannot come back as they were.
#[tokio::test]
async fn joining_again_after_a_new_cluster_was_forced() {
    let mut cluster = Cluster::start(3).await;
    for number in 0..50 {
        let key = format!("key-{number:02}");
        cluster.client_of_all().await.put(key, "v", None).await.unwrap();
    }
    let before = published(&mut cluster.client(0).await, 3).await;
    let status = cluster.client(0).await.status().await.unwrap();
    let cluster_id = status.header().unwrap().cluster_id();
    cluster.kill_all().await;

    cluster.member(0).flags(["--force-new-cluster"]);
    cluster.member(0).restart().await;
    let mut client = cluster.client(0).await;
    let all = client.get("key-", Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_eq!(all.count(), 50);
    assert_eq!(all.header().unwrap().cluster_id(), cluster_id);
    let alone = published(&mut client, 1).await;
    assert_eq!(alone[0].id(), id_of(&before, "n1"));

    // Once is enough.
    cluster.member(0).terminate().await;
    cluster.member(0).ended().await;
    cluster.member(0).flags(["--force-new-cluster=false"]);
    cluster.member(0).restart().await;

    let told = cluster.member(1).refuses_to_start(&[]).await;
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains(REMOVED), "{told:?}");

    let mut named = vec![format!("n1={}", cluster.member(0).peer_url())];
    for index in [1, 2] {
        fs::remove_dir_all(cluster.member(index).data_dir()).unwrap();
        let peer_url = cluster.member(index).peer_url();
        named.push(format!("n{}={peer_url}", index + 1));
        add(&cluster, 0, &peer_url).await;
        let initial = format!("--initial-cluster={}", named.join(","));
        cluster.member(index).flags([initial.as_str(), "--initial-cluster-state=existing"]);
        cluster.member(index).restart().await;
        assert_eq!(own_value(&cluster, index, "key-49").await, "v");
    }
    published(&mut cluster.client(2).await, 3).await;
    cluster.member(0).kill();
    cluster.member(0).ended().await;
    eventually("the other two to go on", Duration::from_secs(30), async || {
        cluster.client(2).await.put("after", "v", None).await.ok()
    })
    .await;
}

/// A new cluster is not forced out of nothing.
#[tokio::test]
async fn joining_nobody_cannot_be_forced() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 1, Timing::Alone);
    let refused = cluster.member(0).refuses_to_start(&["--force-new-cluster"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("force-new-cluster is set, but data directory"), "{refused:?}");
}
