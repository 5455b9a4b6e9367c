//! New clusters that begin with a file.

use etcd_client::{Client, GetOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions};

use super::{SOON, hash_kv, restore, save, wipe};
use crate::harness::{Cluster, Timing, Watching, eventually};

async fn value(client: &mut Client, key: &str, revision: i64) -> Option<String> {
    let options = GetOptions::new().with_revision(revision);
    let found = client.get(key, Some(options)).await.unwrap();
    found.kvs().first().map(|pair| pair.value_str().unwrap().to_owned())
}

async fn revision(client: &mut Client) -> i64 {
    client.get("x", None).await.unwrap().header().unwrap().revision()
}

/// Three members restore one file, each under its own name, and start without being told of each
/// other again: a new cluster that has all keys, their history and their leases, and nothing that
/// came after the save. All members agree on it.
#[tokio::test]
async fn three_members_restore_one_file() {
    let mut cluster = Cluster::start(3).await;
    let mut client = cluster.client_of_all().await;
    let before = client.member_list().await.unwrap();
    let lease = client.lease_grant(3_600, None).await.unwrap().id();
    for (key, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1"), ("a", "3")] {
        client.put(key, value, None).await.unwrap();
    }
    client.put("leased", "v", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    client.delete("b", None).await.unwrap();
    client.compact(3, None).await.unwrap();
    let saved = revision(&mut client).await;
    let follower = cluster.follower().await;
    eventually("the follower to have everything", SOON, async || {
        (hash_kv(&cluster, follower, 0).await.hash_revision == saved).then_some(())
    })
    .await;
    let hash = hash_kv(&cluster, follower, saved).await.hash;
    let file = save(&cluster, follower, "s.db").await;
    client.put("late", "v", None).await.unwrap();
    drop(client);

    cluster.kill_all().await;
    for index in 0..3 {
        wipe(&mut cluster, index);
        let said =
            restore(&mut cluster, index, &file, &["--initial-cluster-token=again"]).await.ok();
        assert!(said.contains(&format!("3 keys at revision {saved}")), "{said}");
        cluster.member(index).no_initial_cluster();
    }
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    cluster.leader().await;

    let mut client = cluster.client_of_all().await;
    assert_eq!(revision(&mut client).await, saved);
    assert_eq!(value(&mut client, "late", 0).await, None);
    assert_eq!(value(&mut client, "a", 0).await.as_deref(), Some("3"));
    assert_eq!(value(&mut client, "a", 4).await.as_deref(), Some("2"), "history is there");
    assert_eq!(value(&mut client, "b", 4).await.as_deref(), Some("1"));
    let with_keys = LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(lease, Some(with_keys)).await.unwrap();
    assert_eq!((left.granted_ttl(), left.keys()), (3_600, &[b"leased".to_vec()][..]));
    let after = client.member_list().await.unwrap();
    assert_ne!(
        after.header().unwrap().cluster_id(),
        before.header().unwrap().cluster_id(),
        "another token makes another cluster"
    );
    for member in after.members() {
        assert!(before.members().iter().all(|old| old.id() != member.id()), "{after:?}");
    }
    for index in 0..3 {
        let found = hash_kv(&cluster, index, saved).await;
        assert_eq!((found.hash, found.compact_revision), (hash, 3), "member {index}");
    }
    let put = client.put("next", "v", None).await.unwrap();
    assert_eq!(put.header().unwrap().revision(), saved + 1);
    client.lease_revoke(lease).await.unwrap();
    assert_eq!(value(&mut client, "leased", 0).await, None);
    cluster.kill_all().await;
    for index in 0..3 {
        cluster.member(index).spawn();
    }
    cluster.leader().await;
    assert_eq!(revision(&mut cluster.client_of_all().await).await, saved + 2);
}

/// After a bump clients never see the revision go back: what they knew is compacted, their watches
/// are told so, and the next change has a revision above all that they may have seen.
#[tokio::test]
async fn case_39_a_bump_sends_old_watchers_away() {
    let mut cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for number in 0..5 {
        client.put("a", number.to_string(), None).await.unwrap();
    }
    let saved = revision(&mut client).await;
    let file = save(&cluster, 0, "s.db").await;
    client.put("late", "v", None).await.unwrap();
    drop(client);
    cluster.kill_all().await;
    wipe(&mut cluster, 0);

    let bump = ["--bump-revision", "1000", "--mark-compacted"];
    restore(&mut cluster, 0, &file, &bump).await.ok();
    cluster.member(0).restart().await;

    let mut client = cluster.client(0).await;
    let bumped = saved + 1_000;
    assert_eq!(revision(&mut client).await, bumped);
    assert_eq!(value(&mut client, "a", 0).await.as_deref(), Some("4"));
    assert_eq!(value(&mut client, "a", bumped).await.as_deref(), Some("4"));
    for old in [2, saved, saved + 1, bumped - 1] {
        let options = GetOptions::new().with_revision(old);
        let refused = client.get("a", Some(options)).await.unwrap_err().to_string();
        assert!(refused.contains("required revision has been compacted"), "{old}: {refused}");
        let options = WatchOptions::new().with_start_revision(old);
        let mut watch = Watching::open(&mut client, "a", options).await;
        let told = watch.response().await;
        assert!(told.canceled(), "{old}: {told:?}");
        assert_eq!(told.compact_revision(), bumped, "{old}");
    }
    let options = WatchOptions::new().with_start_revision(bumped + 1);
    let mut watch = Watching::open(&mut client, "a", options).await;
    let put = client.put("a", "new", None).await.unwrap();
    assert_eq!(put.header().unwrap().revision(), bumped + 1);
    assert_eq!(watch.next().await.revision, bumped + 1);
    client.compact(bumped + 1, None).await.unwrap();
    client.put("a", "newer", None).await.unwrap();
    // It stays so after a restart, too.
    cluster.member(0).kill();
    cluster.member(0).ended().await;
    cluster.member(0).restart().await;
    assert_eq!(revision(&mut cluster.client(0).await).await, bumped + 2);
}

/// Several members with a bump agree on everything.
#[tokio::test]
async fn bumped_members_agree() {
    let cluster = Cluster::start(1).await;
    let mut client = cluster.client(0).await;
    for number in 0..20 {
        client.put(format!("k{}", number % 7), number.to_string(), None).await.unwrap();
    }
    client.delete("k3", None).await.unwrap();
    let file = save(&cluster, 0, "s.db").await;
    let mut three = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    for index in 0..3 {
        let bump = ["--bump-revision=77", "--mark-compacted=true"];
        restore(&mut three, index, &file, &bump).await.ok();
        three.member(index).spawn();
    }
    three.leader().await;
    let saved = revision(&mut client).await;
    let mut hashes = Vec::new();
    for index in 0..3 {
        let found = hash_kv(&three, index, 0).await;
        hashes.push((found.hash, found.hash_revision, found.compact_revision));
    }
    assert_eq!((hashes[0].1, hashes[0].2), (saved + 77, saved + 77));
    assert!(hashes.iter().all(|found| *found == hashes[0]), "{hashes:?}");
}
