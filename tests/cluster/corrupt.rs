//! Members that hold different data: found, named, and kept from serving; and nobody is suspected
//! without a reason.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quorate::{
    node::ports::StateStore,
    proto::etcdserverpb::{
        AlarmMember, AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, HashKvRequest,
        LeaseGrantRequest, MemberListRequest, MoveLeaderRequest, PutRequest, RangeRequest,
        StatusRequest, alarm_request::AlarmAction, cluster_client::ClusterClient,
        kv_client::KvClient, lease_client::LeaseClient, maintenance_client::MaintenanceClient,
    },
    state::{Family, Writes, schema::cur},
    storage::{DataDir, Store, StoreOptions},
};
use tonic::{Code, Status, transport::Channel};

use crate::{
    harness::{Cluster, Member, Timing, eventually, eventually_or, streams},
    quota::page,
};

const SOON: Duration = Duration::from_secs(60);
/// So often that a round follows the other.
const OFTEN: &str = "--corrupt-check-time=100ms";
/// Seldom enough for a test to do something in between.
const SELDOM: &str = "--corrupt-check-time=3s";

fn kv(cluster: &Cluster, index: usize) -> KvClient<Channel> {
    KvClient::new(streams::channel(&cluster.endpoint(index)))
}

fn maintenance(cluster: &Cluster, index: usize) -> MaintenanceClient<Channel> {
    MaintenanceClient::new(streams::channel(&cluster.endpoint(index)))
}

async fn put(kv: &mut KvClient<Channel>, key: &str, value: String) -> Result<i64, Status> {
    let (key, value) = (key.to_owned().into(), value.into());
    let put = kv.put(PutRequest { key, value, ..Default::default() }).await?;
    Ok(put.into_inner().header.unwrap().revision)
}

async fn read(kv: &mut KvClient<Channel>, key: &str, serializable: bool) -> Result<(), Status> {
    let range = RangeRequest { key: key.to_owned().into(), serializable, ..Default::default() };
    kv.range(range).await.map(drop)
}

async fn id_of(cluster: &Cluster, index: usize) -> u64 {
    let status = maintenance(cluster, index).status(StatusRequest {}).await.unwrap();
    status.into_inner().header.unwrap().member_id
}

async fn alarms(cluster: &Cluster, index: usize) -> Vec<AlarmMember> {
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
    maintenance(cluster, index).alarm(request).await.unwrap().into_inner().alarms
}

async fn disarm(cluster: &Cluster, index: usize, member_id: u64) {
    let (action, alarm) = (AlarmAction::Deactivate.into(), AlarmType::Corrupt.into());
    let request = AlarmRequest { action, member_id, alarm };
    assert_eq!(
        maintenance(cluster, index).alarm(request).await.unwrap().into_inner().alarms.len(),
        1
    );
}

/// Waits for an alarm, and returns all there are.
async fn alarmed(cluster: &Cluster, index: usize) -> Vec<AlarmMember> {
    eventually("an alarm", SOON, async || {
        Some(alarms(cluster, index).await).filter(|alarms| !alarms.is_empty())
    })
    .await
}

fn corrupt(member_id: u64) -> Vec<AlarmMember> {
    vec![AlarmMember { member_id, alarm: AlarmType::Corrupt.into() }]
}

#[track_caller]
fn is_corrupt(answer: Result<impl Sized, Status>) {
    let status = answer.err().expect("it is refused");
    let said = (status.code(), status.message());
    assert_eq!(said, (Code::DataLoss, "etcdserver: corrupt cluster"));
}

/// Changes one value in the store of a member that does not run.
fn tamper(member: &Member, key: &'static str) {
    let dir = Arc::new(DataDir::open(member.data_dir()).unwrap());
    let store = Store::open(&dir, StoreOptions::default()).unwrap();
    let place = (Family::Current, Bytes::from_static(key.as_bytes()));
    let record = store.view().unwrap().get(place.0, &place.1).unwrap().expect("the key lives");
    let mut pair = cur::decode(&record).unwrap();
    pair.value = Bytes::from_static(b"altered");
    let records = [(place, Some(cur::encode(&pair)))].into();
    store.commit(Writes { records, ..Writes::default() }).unwrap();
    store.flush().unwrap();
}

/// Stops a member, changes a value behind its back, and starts it again.
async fn diverge(cluster: &mut Cluster, index: usize, key: &'static str) {
    let member = cluster.member(index);
    member.terminate().await;
    assert_eq!(member.ended().await.code(), Some(0));
    tamper(member, key);
    member.spawn();
    member.answers_status().await;
}

async fn figure(cluster: &Cluster, index: usize, name: &str) -> u64 {
    let text = page(cluster, index, "/metrics").await.1;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    line[name.len() + 1..].parse().unwrap()
}

/// A follower whose data differ in one value is named, and serves nothing that is made of them: not on
/// streams that are open either. The others read on, and nobody writes. The alarm comes back when it is
/// cleared while the data still differ.
#[tokio::test]
async fn rr_11_a_follower_whose_data_differ_is_named() {
    let mut cluster = Cluster::start_flagged(3, Timing::Default, &[OFTEN]).await;
    let odd = cluster.follower().await;
    for number in 0..100 {
        put(&mut kv(&cluster, 0), "k", number.to_string()).await.unwrap();
        put(&mut kv(&cluster, 0), &format!("k{number}"), number.to_string()).await.unwrap();
    }
    diverge(&mut cluster, odd, "k7").await;

    let id = id_of(&cluster, odd).await;
    let even = cluster.leader().await;
    assert_ne!(even, odd);
    assert_eq!(alarmed(&cluster, even).await, corrupt(id));
    eventually("the member to know", SOON, async || {
        read(&mut kv(&cluster, odd), "k", true).await.err()
    })
    .await;

    for serializable in [true, false] {
        is_corrupt(read(&mut kv(&cluster, odd), "k", serializable).await);
        read(&mut kv(&cluster, even), "k", serializable).await.unwrap();
    }
    for index in 0..3 {
        is_corrupt(put(&mut kv(&cluster, index), "k", String::new()).await);
        assert!(page(&cluster, index, "/health").await.1.contains("ALARM CORRUPT"));
    }
    let channel = streams::channel(&cluster.endpoint(odd));
    let grant = LeaseGrantRequest { id: 7, ttl: 60 };
    is_corrupt(LeaseClient::new(channel.clone()).lease_grant(grant).await);
    let list = MemberListRequest { linearizable: true };
    assert_eq!(
        ClusterClient::new(channel).member_list(list).await.unwrap().into_inner().members.len(),
        3
    );
    let hash = async |index| {
        let answer = maintenance(&cluster, index).hash_kv(HashKvRequest { revision: 0 }).await;
        answer.unwrap().into_inner().hash
    };
    assert_ne!(hash(odd).await, hash(even).await);
    assert_eq!(alarms(&cluster, odd).await, corrupt(id));

    disarm(&cluster, even, id).await;
    assert_eq!(alarmed(&cluster, even).await, corrupt(id));
}

/// A leader whose data differ names itself, and another one leads.
#[tokio::test]
async fn a_leader_whose_data_differ_gives_up() {
    let mut cluster = Cluster::start_flagged(3, Timing::Default, &[SELDOM]).await;
    put(&mut kv(&cluster, 0), "k", "v".to_owned()).await.unwrap();
    let odd = cluster.follower().await;
    diverge(&mut cluster, odd, "k").await;
    let id = id_of(&cluster, odd).await;
    let leader = cluster.leader().await;
    // It may have been found already, and then it hands leadership back: that is what is looked for.
    let _ = maintenance(&cluster, leader).move_leader(MoveLeaderRequest { target_id: id }).await;

    assert_eq!(alarmed(&cluster, odd).await, corrupt(id));
    eventually("another leader", SOON, async || {
        let leader = cluster.leader().await;
        (leader != odd).then_some(())
    })
    .await;
    let rest = (odd + 1) % 3;
    read(&mut kv(&cluster, rest), "k", false).await.unwrap();
}

/// Of two members nobody can say who is right: the alarm names nobody, and both go on to serve reads.
#[tokio::test]
async fn two_members_name_nobody() {
    let mut cluster = Cluster::start_flagged(2, Timing::Default, &[OFTEN]).await;
    put(&mut kv(&cluster, 0), "k", "v".to_owned()).await.unwrap();
    let odd = cluster.follower().await;
    diverge(&mut cluster, odd, "k").await;

    assert_eq!(alarmed(&cluster, 0).await, corrupt(0));
    for index in 0..2 {
        is_corrupt(put(&mut kv(&cluster, index), "k", String::new()).await);
        read(&mut kv(&cluster, index), "k", false).await.unwrap();
    }
}

/// What clients do all the time, through one member each; what is refused while a member is away is
/// tried again.
async fn load(cluster: &[String], index: usize, stop: Arc<AtomicBool>) -> u64 {
    let url = &cluster[index % cluster.len()];
    let mut kv = KvClient::new(streams::channel(url));
    let mut leases = LeaseClient::new(streams::channel(url));
    let mut done = 0;
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("{}", number % 50);
        let worked = match number % 10 {
            0 => {
                let key = key.into();
                kv.delete_range(DeleteRangeRequest { key, ..Default::default() }).await.map(drop)
            }
            1 => {
                let id = i64::try_from(number).unwrap() * 16 + i64::try_from(index).unwrap() + 1;
                leases.lease_grant(LeaseGrantRequest { id, ttl: 5 }).await.map(drop)
            }
            2 => match put(&mut kv, &key, "x".repeat(2_000)).await {
                Ok(revision) => {
                    let compact = CompactionRequest { revision: revision - 20, physical: false };
                    kv.compact(compact).await.map(drop)
                }
                Err(status) => Err(status),
            },
            _ => put(&mut kv, &key, number.to_string()).await.map(drop),
        };
        match worked {
            Ok(()) => done += 1,
            Err(status) if matches!(status.code(), Code::OutOfRange | Code::FailedPrecondition) => {
            }
            Err(status) => {
                assert_ne!(status.code(), Code::DataLoss, "{status}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    done
}

/// Under load, with compactions all the time, members that are killed, and one that was away for so
/// long that it gets a checkpoint, nobody is suspected, although members are compared all the time.
#[tokio::test]
async fn rr_11_nobody_is_suspected_without_a_reason() {
    let mut cluster = Cluster::prepare(tempfile::tempdir().unwrap(), 3, Timing::Default);
    for index in 0..3 {
        let member = cluster.member(index);
        member.flags([OFTEN]);
        member.fail_points("unflushed-bytes=return(262144);log-kept-bytes=return(65536)");
        member.spawn();
    }
    cluster.leader().await;
    let urls: Vec<String> = (0..3).map(|index| cluster.endpoint(index)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..6)
        .map(|index| {
            let (urls, stop) = (urls.clone(), Arc::clone(&stop));
            tokio::spawn(async move { load(&urls, index, stop).await })
        })
        .collect();

    for index in [0, 1, 2] {
        cluster.member(index).kill();
        cluster.member(index).ended().await;
        let other = (index + 1) % 3;
        let revision = async || {
            let status = maintenance(&cluster, other).status(StatusRequest {}).await.ok()?;
            Some(status.into_inner().header?.revision)
        };
        let before = eventually("a revision", SOON, revision).await;
        eventually("much to be written", SOON, async || {
            revision().await.filter(|revision| *revision > before + 500)
        })
        .await;
        cluster.member(index).restart().await;
        let compared = async || {
            let mut compared = 0;
            for index in 0..3 {
                compared += figure(&cluster, index, "quorate_states_compared_total").await;
            }
            compared
        };
        let before = compared().await;
        eventually("members to be compared", SOON, async || {
            (compared().await > before + 30).then_some(())
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }

    assert_eq!(alarms(&cluster, 0).await, []);
    for index in 0..3 {
        assert_eq!(figure(&cluster, index, "quorate_states_differed_total").await, 0);
    }
    let installed =
        (0..3).any(|index| cluster.member(index).log_text().contains("snapshot received"));
    assert!(installed, "no member got a checkpoint");
    let same = || "the same on all members".to_owned();
    eventually_or(same, SOON, async || {
        let mut hashes = Vec::new();
        for index in 0..3 {
            let answer = maintenance(&cluster, index).hash_kv(HashKvRequest { revision: 0 }).await;
            let answer = answer.unwrap().into_inner();
            hashes.push((answer.hash, answer.compact_revision, answer.hash_revision));
        }
        hashes.iter().all(|hash| *hash == hashes[0]).then_some(())
    })
    .await;
}
