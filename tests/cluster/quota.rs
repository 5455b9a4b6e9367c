//! Space runs out: who is refused, how it shows, and how a cluster gets out of it.

use std::{path::Path, time::Duration};

use quorate::proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, StatusRequest, StatusResponse,
    TxnRequest, alarm_request::AlarmAction, kv_client::KvClient, lease_client::LeaseClient,
    maintenance_client::MaintenanceClient, request_op::Request,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};
use tonic::{Code, Status, transport::Channel};

use crate::harness::{Cluster, Timing, eventually, finish, program, within};

const SOON: Duration = Duration::from_secs(30);
const SPACE_EXCEEDED: &str = "etcdserver: mvcc: database space exceeded";
/// Room for three values beside the size of an empty store, and not for four.
const QUOTA: &str = "--quota-backend-bytes=100000";
const VALUE_BYTES: usize = 20_000;

/// The services of one member.
struct Wire {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
}

impl Wire {
    async fn to(cluster: &Cluster, index: usize) -> Self {
        let channel =
            Channel::from_shared(cluster.endpoint(index)).unwrap().connect().await.unwrap();
        Self {
            kv: KvClient::new(channel.clone()),
            lease: LeaseClient::new(channel.clone()),
            maintenance: MaintenanceClient::new(channel),
        }
    }

    async fn put(&mut self, key: &str, len: usize) -> Result<i64, Status> {
        let put = PutRequest {
            key: key.to_owned().into(),
            value: vec![b'v'; len].into(),
            ..Default::default()
        };
        self.kv.put(put).await.map(|response| response.into_inner().header.unwrap().revision)
    }

    async fn delete_all(&mut self) -> i64 {
        let all =
            DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
        self.kv.delete_range(all).await.unwrap().into_inner().header.unwrap().revision
    }

    async fn compact(&mut self, revision: i64) {
        self.kv.compact(CompactionRequest { revision, physical: false }).await.unwrap();
    }

    async fn txn(&mut self, success: Vec<Request>, failure: Vec<Request>) -> Result<(), Status> {
        let ops = |requests: Vec<Request>| {
            requests.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
        };
        let txn = TxnRequest { success: ops(success), failure: ops(failure), ..Default::default() };
        self.kv.txn(txn).await.map(drop)
    }

    async fn alarm(&mut self, action: AlarmAction, member_id: u64) -> Vec<AlarmMember> {
        let alarm = AlarmType::Nospace.into();
        let request = AlarmRequest { action: action.into(), member_id, alarm };
        self.maintenance.alarm(request).await.unwrap().into_inner().alarms
    }

    async fn status(&mut self) -> StatusResponse {
        self.maintenance.status(StatusRequest {}).await.unwrap().into_inner()
    }

    async fn member_id(&mut self) -> u64 {
        self.status().await.header.unwrap().member_id
    }

    /// Puts until there is no room, and returns the revision then.
    async fn fill(&mut self) -> i64 {
        let mut revision = 1;
        for key in 0..10 {
            match self.put(&format!("key{key}"), VALUE_BYTES).await {
                Ok(put) => revision = put,
                Err(refused) => {
                    assert_eq!(said(&refused), (Code::ResourceExhausted, SPACE_EXCEEDED));
                    return revision;
                }
            }
        }
        panic!("there is room without end");
    }
}

fn said(status: &Status) -> (Code, &str) {
    (status.code(), status.message())
}

fn put_op() -> Request {
    Request::RequestPut(PutRequest { key: "x".into(), ..Default::default() })
}

fn delete_op() -> Request {
    Request::RequestDeleteRange(DeleteRangeRequest { key: "x".into(), ..Default::default() })
}

/// A page of a member: its status code and its body.
pub(crate) async fn page(cluster: &Cluster, index: usize, path: &str) -> (u16, String) {
    let authority = cluster.endpoint(index).trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&authority).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("a page", SOON, stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.trim().to_owned())
}

/// Waits until a member sees as many alarms.
async fn alarms(wire: &mut Wire, count: usize) -> Vec<AlarmMember> {
    let look = async || {
        let alarms = wire.alarm(AlarmAction::Get, 0).await;
        (alarms.len() == count).then_some(alarms)
    };
    eventually("the alarm", SOON, look).await
}

/// Writes to a follower fill the store; the follower raises its alarm, by which all refuse; after
/// deleting, compacting and disarming all take writes again, without a restart.
#[tokio::test]
async fn a_full_store_is_emptied_without_a_restart() {
    let cluster = Cluster::start_flagged(3, Timing::Default, &[QUOTA]).await;
    let follower = cluster.follower().await;
    let mut wire = Wire::to(&cluster, follower).await;
    let full = wire.fill().await;
    assert_eq!(full, 4, "three values fit");
    let raised = alarms(&mut wire, 1).await;
    assert_eq!(raised[0].member_id, wire.member_id().await);

    for index in 0..3 {
        let mut wire = Wire::to(&cluster, index).await;
        alarms(&mut wire, 1).await;
        let refused = wire.put("small", 0).await.unwrap_err();
        assert_eq!(said(&refused), (Code::ResourceExhausted, SPACE_EXCEEDED));
        let status = wire.status().await;
        assert_eq!(status.db_size_quota, 100_000);
        let text = format!("memberID:{} alarm:NOSPACE ", raised[0].member_id);
        assert_eq!(status.errors, [text]);
    }

    let deleted = wire.delete_all().await;
    wire.compact(deleted).await;
    assert!(wire.put("small", 0).await.is_err(), "the alarm is still raised");
    assert_eq!(wire.alarm(AlarmAction::Deactivate, raised[0].member_id).await, raised);
    for index in 0..3 {
        let mut wire = Wire::to(&cluster, index).await;
        eventually("writes to work", SOON, async || wire.put("again", 100).await.ok()).await;
        assert_eq!(wire.status().await.errors, Vec::<String>::new());
    }
}

/// Too little space is noticed before anything else that is wrong with a request.
#[tokio::test]
async fn case_19_space_is_looked_at_before_a_request_is_checked() {
    let cluster = Cluster::start_flagged(1, Timing::Alone, &["--quota-backend-bytes=20500"]).await;
    let mut wire = Wire::to(&cluster, 0).await;

    let refused = wire.put("", 0).await.unwrap_err();
    assert_eq!(said(&refused), (Code::ResourceExhausted, SPACE_EXCEEDED));
    let bad = RequestOp { request: None };
    let txn = TxnRequest { success: vec![bad], ..Default::default() };
    let refused = wire.kv.txn(txn).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "what costs nothing has room");
    let refused = wire.lease.lease_grant(LeaseGrantRequest { ttl: i64::MAX, id: 0 }).await;
    assert_eq!(said(&refused.unwrap_err()), (Code::ResourceExhausted, SPACE_EXCEEDED));
    wire.txn(vec![delete_op()], vec![]).await.unwrap();
    alarms(&mut wire, 1).await;
    wire.txn(vec![delete_op()], vec![]).await.unwrap();
}

/// What is refused for lack of space has no effect, and what has room is not refused afterwards.
#[tokio::test]
async fn case_31_a_refused_write_is_not_applied() {
    let cluster = Cluster::start_flagged(1, Timing::Alone, &[QUOTA]).await;
    let mut wire = Wire::to(&cluster, 0).await;

    let revision = wire.fill().await;

    let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() };
    let read = wire.kv.range(all).await.unwrap().into_inner();
    assert_eq!((read.count, read.header.unwrap().revision), (3, revision));
}

/// Under the alarm nothing new is stored, whatever branch it stands in; everything else goes on.
#[tokio::test]
async fn case_32_the_alarm_lets_through_what_stores_nothing() {
    let cluster = Cluster::start(1).await;
    let mut wire = Wire::to(&cluster, 0).await;
    wire.put("x", 1).await.unwrap();
    let grant = LeaseGrantRequest { ttl: 60, id: 7 };
    wire.lease.lease_grant(grant).await.unwrap();
    wire.alarm(AlarmAction::Activate, 1).await;

    for (success, failure) in [(vec![put_op()], vec![]), (vec![], vec![put_op()])] {
        let refused = wire.txn(success, failure).await.unwrap_err();
        assert_eq!(said(&refused), (Code::ResourceExhausted, SPACE_EXCEEDED));
    }
    let refused = wire.put("y", 1).await.unwrap_err();
    assert_eq!(said(&refused), (Code::ResourceExhausted, SPACE_EXCEEDED));
    let refused = wire.lease.lease_grant(LeaseGrantRequest { ttl: 60, id: 8 }).await;
    assert_eq!(said(&refused.unwrap_err()), (Code::ResourceExhausted, SPACE_EXCEEDED));

    wire.lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.unwrap();
    wire.txn(vec![delete_op()], vec![]).await.unwrap();
    let deleted = wire.delete_all().await;
    wire.compact(deleted).await;
    let range = RangeRequest { key: "x".into(), ..Default::default() };
    assert_eq!(wire.kv.range(range).await.unwrap().into_inner().count, 0);
}

/// An alarm is raised once however often, survives a restart with its member's name, and clearing
/// one that is not raised gives nothing back.
#[tokio::test]
async fn case_33_alarms_survive_a_restart() {
    let mut cluster = Cluster::start(1).await;
    let mut wire = Wire::to(&cluster, 0).await;
    let id = wire.member_id().await;
    let raised = vec![AlarmMember { member_id: id, alarm: AlarmType::Nospace.into() }];
    assert_eq!(wire.alarm(AlarmAction::Deactivate, id).await, []);
    assert_eq!(wire.alarm(AlarmAction::Activate, id).await, raised);
    assert_eq!(wire.alarm(AlarmAction::Activate, id).await, raised);

    cluster.kill_all().await;
    cluster.member(0).restart().await;

    let mut wire = Wire::to(&cluster, 0).await;
    assert_eq!(wire.alarm(AlarmAction::Get, 0).await, raised);
    assert!(wire.put("k", 1).await.is_err());
    assert_eq!(wire.alarm(AlarmAction::Deactivate, id).await, raised);
    wire.put("k", 1).await.unwrap();
}

/// The alarm makes a member unwell, but not unready; who does not mind may say so.
#[tokio::test]
async fn case_40_health_names_the_alarm() {
    let cluster = Cluster::start(1).await;
    let mut wire = Wire::to(&cluster, 0).await;
    wire.alarm(AlarmAction::Activate, 1).await;

    let (code, body) = page(&cluster, 0, "/health").await;
    assert_eq!((code, &*body), (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#));
    assert_eq!(page(&cluster, 0, "/health?exclude=NOSPACE").await.0, 200);
    assert_eq!(page(&cluster, 0, "/readyz").await.0, 200);
}

/// A negative quota is none, and sizes are told under etcd's names.
#[tokio::test]
async fn a_negative_quota_is_none() {
    let flag = "--quota-backend-bytes=-1";
    let cluster = Cluster::start_flagged(1, Timing::Alone, &[flag]).await;
    let mut wire = Wire::to(&cluster, 0).await;
    wire.put("k", VALUE_BYTES).await.unwrap();

    let status = wire.status().await;
    assert_eq!(status.db_size_quota, -1);
    let metrics = async || {
        let (_, text) = page(&cluster, 0, "/metrics").await;
        let value = |name: &str| -> i64 {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("{name} in:\n{text}"))[name.len() + 1..].parse().unwrap()
        };
        let quota = value("etcd_server_quota_backend_bytes");
        let free = value("quorate_storage_free_bytes");
        // Figures of the disk are a second old at most.
        (quota == -1 && free > 0).then(|| {
            assert_eq!(value("etcd_mvcc_db_total_size_in_bytes"), status.db_size);
            assert_eq!(value("etcd_mvcc_db_total_size_in_use_in_bytes"), status.db_size_in_use);
        })
    };
    eventually("the figures", SOON, metrics).await;
}

/// A small file system of its own, gone with this value.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    pub(crate) async fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(dir.path());
        match mount.output().await {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(_) | Err(_) => None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a member that is being killed may still have files open.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Without a quota the disk is the limit: a member refuses while there is still room for what it
/// needs itself, and takes writes again when there is more.
#[tokio::test]
async fn the_disk_is_the_limit() {
    let Some(disk) = SmallDisk::mount(768 << 20).await else {
        eprintln!("SKIPPED the_disk_is_the_limit: this process may not mount a file system");
        return;
    };
    let flag = format!("--data-dir={}", disk.path().join("data").display());
    let mut cluster = Cluster::start_flagged(1, Timing::Alone, &[&flag]).await;
    let mut wire = Wire::to(&cluster, 0).await;
    let status = wire.status().await;
    assert!(status.db_size_quota > status.db_size, "{status:?}");
    assert!(status.db_size_quota < 768 << 20, "{status:?}");

    // Something else takes the room, all but what lies above the reserve.
    let ballast = disk.path().join("ballast");
    let fill = async |mib: i64| {
        let mut fallocate = Command::new("fallocate");
        fallocate.args(["-l", &format!("{mib}MiB")]).arg(&ballast);
        finish(fallocate).await.ok();
    };
    fill((status.db_size_quota - status.db_size) / (1 << 20) - 24).await;
    eventually("the member to see it", SOON, async || {
        let status = wire.status().await;
        (status.db_size_quota - status.db_size < 32 << 20).then_some(())
    })
    .await;
    let mut refused = None;
    for n in 0..64 {
        if let Err(status) = wire.put(&format!("k{n}"), 1 << 20).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.expect("there is room without end");
    assert_eq!(said(&refused), (Code::ResourceExhausted, SPACE_EXCEEDED));
    let raised = alarms(&mut wire, 1).await;

    let deleted = wire.delete_all().await;
    wire.compact(deleted).await;
    std::fs::remove_file(&ballast).unwrap();
    let id = raised[0].member_id;
    eventually("writes to work", SOON, async || {
        wire.alarm(AlarmAction::Deactivate, id).await;
        wire.put("k", 100).await.ok()
    })
    .await;
    cluster.kill_all().await;
}

/// etcd's own command line lists and clears alarms.
#[tokio::test]
async fn etcdctl_lists_and_disarms_alarms() {
    let Some(etcdctl) = program("etcdctl").await else { return };
    let cluster = Cluster::start_flagged(3, Timing::Default, &[QUOTA]).await;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(&etcdctl);
        command.args(["--endpoints", &cluster.endpoints()]).args(arguments);
        finish(command).await
    };
    let mut wire = Wire::to(&cluster, 0).await;
    wire.fill().await;
    let raised = alarms(&mut wire, 1).await;
    let line = format!("memberID:{} alarm:NOSPACE", raised[0].member_id);
    // Go puts one blank or two between fields, so that nobody relies on it.
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");

    assert_eq!(words(run(&["alarm", "list"]).await.ok()), line);
    let refused = run(&["put", "k", "v"]).await;
    assert!(refused.stderr.contains(SPACE_EXCEEDED), "{refused:?}");
    let deleted = wire.delete_all().await;
    wire.compact(deleted).await;
    assert_eq!(words(run(&["alarm", "disarm"]).await.ok()), line);
    assert_eq!(run(&["alarm", "list"]).await.ok(), "");
    assert_eq!(run(&["put", "k", "v"]).await.ok(), "OK\n");
}
