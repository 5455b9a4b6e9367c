//! Members without a vote, as they run: what they serve, how they are given a vote, and observers.

use etcd_client::WatchOptions;
use prost::Message;
use quorate::proto::etcdserverpb::{
    AlarmRequest, HashKvRequest, LeaseGrantRequest, MemberListRequest, PutRequest, RangeRequest,
    StatusRequest, TxnRequest,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::{Asked, SOON, Said, Servers, answer, healthy, ids, said, settled};
use crate::harness::{Change, Cluster, Member, Port, Watching, connect, eventually, within};

/// A member that joined as a learner, and runs.
struct Learner {
    id: u64,
    member: Member,
}

impl Learner {
    /// Adds a learner, starts it, and waits until it holds what the cluster does.
    async fn join(cluster: &Cluster, flags: &[&str]) -> Self {
        let leader = settled(cluster).await;
        let asked = Asked::at(cluster, leader);
        if Servers::len(cluster) > 1 {
            healthy(&asked).await;
        }
        cluster.client(leader).await.put("joined", "v", None).await.unwrap();
        let (client, peer) = (Port::free(), Port::free());
        let added = asked.add(&[&peer.url()], true).await.unwrap();
        let id = added.member.unwrap().id;
        let name = |it: &str| if it.is_empty() { "learner".to_owned() } else { it.to_owned() };
        let initial: Vec<String> = added
            .members
            .iter()
            .map(|it| format!("{}={}", name(&it.name), it.peer_ur_ls[0]))
            .collect();
        let dir = cluster.path("");
        let mut member = Member::new(&dir, "learner", client, peer, &initial.join(","));
        member.flags(["--initial-cluster-state=existing"]);
        member.flags(flags.iter().copied());
        member.spawn();
        let learner = Self { id, member };
        eventually("the learner to have what the others have", SOON, async || {
            learner.call("/etcdserverpb.KV/Range", serializable("joined")).await.ok()
        })
        .await;
        learner
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(self.member.client_url()).unwrap().connect_lazy()
    }

    /// Makes a call and forgets what it is answered with.
    async fn call(&self, path: &str, message: impl Message + 'static) -> Result<(), Said> {
        let mut grpc = Grpc::new(self.channel().await);
        grpc.ready().await.map_err(|error| said(Code::Unavailable, &error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<_, ()>::default();
        let request = Request::new(message);
        let path = path.parse().unwrap();
        let call = grpc.server_streaming(request, path, codec);
        let mut answers = answer(within("an answer", SOON, call).await)?;
        match answers.message().await {
            Ok(_) => Ok(()),
            Err(status) => Err((status.code(), status.message().to_owned())),
        }
    }

    /// The code of a page.
    async fn page(&self, path: &str) -> u16 {
        let mut stream = TcpStream::connect(self.member.authority()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut page = String::new();
        within("a page", SOON, stream.read_to_string(&mut page)).await.unwrap();
        page.split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn health(&self) -> Result<HealthCheckResponse, Said> {
        let mut health = HealthClient::new(self.channel().await);
        answer(health.check(HealthCheckRequest::default()).await)
    }
}

fn serializable(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), serializable: true, ..RangeRequest::default() }
}

fn linearizable(key: &str) -> RangeRequest {
    RangeRequest { serializable: false, ..serializable(key) }
}

fn not_supported() -> Result<(), Said> {
    Err(said(Code::FailedPrecondition, "etcdserver: rpc not supported for learner"))
}

/// What a learner refuses whatever its settings are.
async fn refuses_what_needs_a_vote(learner: &Learner) {
    let put = PutRequest { key: "k".into(), ..PutRequest::default() };
    let lease = LeaseGrantRequest { ttl: 10, id: 0 };
    for (path, answered) in [
        ("Range", learner.call("/etcdserverpb.KV/Range", linearizable("joined")).await),
        ("Put", learner.call("/etcdserverpb.KV/Put", put).await),
        ("Txn", learner.call("/etcdserverpb.KV/Txn", TxnRequest::default()).await),
        ("LeaseGrant", learner.call("/etcdserverpb.Lease/LeaseGrant", lease).await),
        (
            "MemberList",
            learner
                .call("/etcdserverpb.Cluster/MemberList", MemberListRequest { linearizable: true })
                .await,
        ),
        (
            "HashKV",
            learner.call("/etcdserverpb.Maintenance/HashKV", HashKvRequest { revision: 0 }).await,
        ),
        ("Alarm", learner.call("/etcdserverpb.Maintenance/Alarm", AlarmRequest::default()).await),
    ] {
        assert_eq!(answered, not_supported(), "{path}");
    }
}

/// A learner answers for itself and reads that may be old. For everything else it sends its clients
/// away, and its probes tell that it is alive and not ready.
#[tokio::test]
async fn case_28_a_learner_serves_little() {
    let cluster = Cluster::start(1).await;
    let learner = Learner::join(&cluster, &[]).await;

    let status = Asked::at_url(&learner.member.client_url()).status().await.unwrap();
    assert!(status.is_learner);
    learner.call("/etcdserverpb.Maintenance/Status", StatusRequest {}).await.unwrap();
    learner.call("/etcdserverpb.KV/Range", serializable("joined")).await.unwrap();
    refuses_what_needs_a_vote(&learner).await;
    let known = MemberListRequest { linearizable: false };
    for (path, answered) in [
        ("RangeStream", learner.call("/etcdserverpb.KV/RangeStream", serializable("k")).await),
        ("MemberList", learner.call("/etcdserverpb.Cluster/MemberList", known).await),
        ("Watch", learner.call("/etcdserverpb.Watch/Watch", ()).await),
        ("Check", learner.call("/grpc.health.v1.Health/Check", ()).await),
        ("health Watch", learner.call("/grpc.health.v1.Health/Watch", ()).await),
    ] {
        assert_eq!(answered, not_supported(), "{path}");
    }
    assert_eq!(learner.page("/livez").await, 200);
    assert_eq!(learner.page("/readyz").await, 503);
}

/// A follower has the leader promote a learner that is in sync; it serves everything then.
#[tokio::test]
async fn case_27_a_learner_is_promoted_through_a_follower() {
    let cluster = Cluster::start(3).await;
    let leader = settled(&cluster).await;
    let learner = Learner::join(&cluster, &[]).await;
    let follower = Asked::at(&cluster, (leader + 1) % 3);

    let promoted = eventually("the learner to be in sync", SOON, async || {
        let promoted = follower.promote(learner.id).await;
        if let Err(refused) = &promoted {
            assert_eq!(*refused, super::not_in_sync());
        }
        promoted.ok()
    })
    .await;

    assert!(!super::find(&promoted.members, learner.id).is_learner);
    eventually("the member to know", SOON, async || {
        learner.call("/etcdserverpb.KV/Range", linearizable("joined")).await.ok()
    })
    .await;
    assert_eq!(learner.health().await.unwrap().status, 1);
    assert_eq!(learner.page("/readyz").await, 200);
    let again = follower.promote(learner.id).await.unwrap_err();
    let voter = "etcdserver: can only promote a learner member";
    assert_eq!(again, said(Code::FailedPrecondition, voter));
    // Now it can be handed the leadership.
    Asked::at(&cluster, leader).move_leader(learner.id).await.unwrap();
    assert!(ids(&cluster).await.iter().all(|id| *id != learner.id));
}

/// An observer serves what its own state can answer.
#[tokio::test]
async fn an_observer_serves_reads() {
    let cluster = Cluster::start(1).await;
    let observer = Learner::join(&cluster, &["--learner-serves-reads"]).await;

    refuses_what_needs_a_vote(&observer).await;
    observer.call("/etcdserverpb.KV/Range", serializable("joined")).await.unwrap();
    observer.call("/etcdserverpb.KV/RangeStream", serializable("joined")).await.unwrap();
    let streamed = observer.call("/etcdserverpb.KV/RangeStream", linearizable("joined")).await;
    assert_eq!(streamed, not_supported());
    let asked = Asked::at_url(&observer.member.client_url());
    let members = asked.list(false).await.unwrap().members;
    assert!(super::find(&members, observer.id).is_learner);
    assert_eq!(observer.health().await.unwrap().status, 1);
    assert_eq!(observer.page("/livez").await, 200);
    eventually("the observer to be ready", SOON, async || {
        (observer.page("/readyz").await == 200).then_some(())
    })
    .await;
}

/// How many keys are written while observers are watched.
const KEYS: usize = 2_000;

/// A watch on an observer shows everything once and in order: what was before, what comes, and what
/// came while the observer was away.
#[tokio::test]
async fn an_observer_shows_watchers_everything() {
    let cluster = Cluster::start(1).await;
    let mut observer = Learner::join(&cluster, &["--learner-serves-reads"]).await;
    let write = async |keys: std::ops::Range<usize>| {
        let mut client = cluster.client(0).await;
        for key in keys {
            client.put(format!("w/{key}"), key.to_string(), None).await.unwrap();
        }
    };
    let watch = async |revision: i64| {
        let mut client = connect(&[observer.member.client_url()]).await;
        let options = WatchOptions::new().with_prefix().with_start_revision(revision);
        Watching::open(&mut client, "w/", options).await
    };
    write(0..KEYS / 4).await;
    let mut watching = watch(1).await;
    let mut shown: Vec<Change> = Vec::new();
    let take = async |watching: &mut Watching, shown: &mut Vec<Change>, until: usize| {
        while shown.len() < until {
            shown.push(watching.next().await);
        }
    };
    let ((), ()) =
        tokio::join!(write(KEYS / 4..KEYS / 2), take(&mut watching, &mut shown, KEYS / 2));
    drop(watching);
    observer.member.kill();
    observer.member.ended().await;
    write(KEYS / 2..KEYS * 3 / 4).await;

    observer.member.spawn();
    observer.member.answers_status().await;
    let from = shown.last().unwrap().revision + 1;
    let mut client = connect(&[observer.member.client_url()]).await;
    let options = WatchOptions::new().with_prefix().with_start_revision(from);
    let mut watching = Watching::open(&mut client, "w/", options).await;
    let ((), ()) = tokio::join!(write(KEYS * 3 / 4..KEYS), take(&mut watching, &mut shown, KEYS));

    for (number, change) in shown.iter().enumerate() {
        assert_eq!((change.what, change.value.clone()), ("PUT", number.to_string()));
    }
    assert!(shown.is_sorted_by(|one, next| one.revision < next.revision));
}
