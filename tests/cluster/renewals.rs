//! Streams of renewals as they are on the wire, through every member and across leaders.

use std::time::Duration;

use etcd_client::LeaseGrantOptions;
use futures_util::future::join_all;
use quorate::proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, lease_client::LeaseClient,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::{Cluster, eventually, streams::channel, within};

/// How long things may take on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Requests of a stream that wait for their connection.
const REQUESTS_MAX: usize = 4_096;

/// An open stream.
struct Renewals {
    /// None when the client has closed its side.
    requests: Option<mpsc::Sender<LeaseKeepAliveRequest>>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

impl Renewals {
    async fn open(cluster: &Cluster, index: usize) -> Self {
        let (requests, sent) = mpsc::channel(REQUESTS_MAX);
        let mut client = LeaseClient::new(channel(&cluster.endpoint(index)));
        let answers = client.lease_keep_alive(ReceiverStream::new(sent));
        let answers = within("a stream", SOON, answers).await.unwrap().into_inner();
        Self { requests: Some(requests), answers }
    }

    async fn ask(&self, ids: impl IntoIterator<Item = i64>) {
        let requests = self.requests.as_ref().expect("the side is open");
        for id in ids {
            requests.send(LeaseKeepAliveRequest { id }).await.unwrap();
        }
    }

    /// The next answer, or how the stream ended.
    async fn next(&mut self) -> Result<LeaseKeepAliveResponse, Status> {
        let answer = within("an answer", SOON, self.answers.message()).await?;
        answer.ok_or_else(|| Status::ok(""))
    }

    /// The next answers: which leases, and for how long they were renewed.
    async fn answers(&mut self, count: usize) -> Vec<(i64, i64)> {
        let mut answers = Vec::new();
        for _ in 0..count {
            let answer = self.next().await.unwrap();
            answers.push((answer.id, answer.ttl));
        }
        answers
    }
}

/// Grants leases with these ids.
async fn grant(cluster: &Cluster, index: usize, ids: impl IntoIterator<Item = i64>, ttl: i64) {
    let client = cluster.client(index).await;
    let grants = ids.into_iter().map(|id| {
        let mut client = client.clone();
        let options = LeaseGrantOptions::new().with_id(id);
        async move { client.lease_grant(ttl, Some(options)).await.unwrap() }
    });
    join_all(grants).await;
}

/// On one stream a lease that is not there, one that is, and none are answered in turn; the stream
/// goes on, and ends well when its client asks for no more and has all its answers.
#[tokio::test]
async fn case_56_each_request_is_answered_in_order() {
    let cluster = Cluster::start(3).await;
    grant(&cluster, 0, [5, -6], 60).await;
    let many: Vec<i64> = [5, 7, 0, -6, 5].repeat(500);
    let expected: Vec<(i64, i64)> = [(5, 60), (7, 0), (0, 0), (-6, 60), (5, 60)].repeat(500);

    for index in 0..cluster.len() {
        let mut stream = Renewals::open(&cluster, index).await;
        stream.ask([7, 5, 0]).await;
        assert_eq!(stream.answers(3).await, [(7, 0), (5, 60), (0, 0)], "at {index}");
        stream.ask(many.iter().copied()).await;
        assert_eq!(stream.answers(many.len()).await, expected, "at {index}");
        stream.ask([5, -6]).await;
        stream.requests = None;
        assert_eq!(stream.answers(2).await, [(5, 60), (-6, 60)], "at {index}");
        assert_eq!(stream.next().await.unwrap_err().code(), tonic::Code::Ok, "at {index}");
    }
}

/// The revision in an answer is not above the one at which the lease ends.
#[tokio::test]
async fn case_62_an_answer_is_not_from_after_the_end() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    grant(&cluster, follower, [5], 60).await;
    let mut client = cluster.client(follower).await;
    let leased = etcd_client::PutOptions::new().with_lease(5);
    client.put("k", "v", Some(leased)).await.unwrap();
    let mut stream = Renewals::open(&cluster, follower).await;

    let (ended, mut alive) = watch::channel(None);
    let revoke = tokio::spawn(async move {
        let revoked = client.lease_revoke(5).await.unwrap();
        ended.send_replace(Some(revoked.header().unwrap().revision()));
        // What is written afterwards moves the revision on.
        for _ in 0..100 {
            client.put("other", "v", None).await.unwrap();
        }
    });
    let mut last_alive = 0;
    loop {
        stream.ask([5]).await;
        let answer = stream.next().await.unwrap();
        if answer.ttl == 0 {
            break;
        }
        last_alive = answer.header.unwrap().revision;
    }
    revoke.await.unwrap();
    let revoked = alive.wait_for(Option::is_some).await.unwrap().unwrap();
    assert!(last_alive <= revoked, "renewed at {last_alive}, revoked at {revoked}");
}

/// Leases that are renewed through the followers outlive the leader: every request on every stream
/// is answered, no lease is ever told to be gone, and each has the time that the last answer
/// promised it.
#[tokio::test]
async fn renewals_through_followers_outlive_the_leader() {
    const STREAMS: i64 = 10;
    const LEASES_PER_STREAM: i64 = 100;
    const TTL: i64 = 10;
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let followers = [(leader + 1) % 3, (leader + 2) % 3];
    grant(&cluster, followers[0], 1..=STREAMS * LEASES_PER_STREAM, TTL).await;

    let (over, _) = watch::channel(false);
    let (rounds, mut done) = watch::channel(0);
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let follower = followers[usize::try_from(number % 2).unwrap()];
        let mut stream = Renewals::open(&cluster, follower).await;
        let (over, rounds) = (over.subscribe(), rounds.clone());
        let first = 1 + number * LEASES_PER_STREAM;
        streams.push(tokio::spawn(async move {
            let ids: Vec<i64> = (first..first + LEASES_PER_STREAM).collect();
            let expected: Vec<(i64, i64)> = ids.iter().map(|id| (*id, TTL)).collect();
            let mut asked = Instant::now();
            while !*over.borrow() {
                asked = Instant::now();
                stream.ask(ids.iter().copied()).await;
                assert_eq!(stream.answers(ids.len()).await, expected);
                rounds.send_modify(|rounds| *rounds += 1);
            }
            (ids, asked)
        }));
    }

    within("renewals", SOON, done.wait_for(|rounds| *rounds >= 50)).await.unwrap();
    cluster.member(leader).kill();
    let killed = *rounds.borrow();
    let each_again = killed + 20 * usize::try_from(STREAMS).unwrap();
    within("more renewals", SOON, done.wait_for(|rounds| *rounds >= each_again)).await.unwrap();
    over.send_replace(true);

    let client = cluster.client(followers[1]).await;
    for stream in streams {
        let (ids, asked) = within("a stream", SOON, stream).await.unwrap();
        let left = join_all(ids.iter().map(|id| {
            let mut client = client.clone();
            async move { client.lease_time_to_live(*id, None).await.unwrap().ttl() }
        }));
        for (id, left) in ids.iter().zip(left.await) {
            let passed = i64::try_from(asked.elapsed().as_secs()).unwrap();
            // Both are cut to whole seconds.
            assert!(
                left >= TTL - passed - 2,
                "lease {id} has {left} s {passed} s after its renewal"
            );
        }
    }
}

/// A leader that slept through its replacement acknowledges no renewal from what it knew: a lease
/// that was revoked meanwhile is gone, and one that lives is renewed by whoever leads now.
#[tokio::test]
async fn a_leader_of_the_past_acknowledges_nothing() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let other = (old + 1) % 3;
    grant(&cluster, old, [5, 6], 600).await;
    let mut stream = Renewals::open(&cluster, old).await;
    stream.ask([5, 6]).await;
    assert_eq!(stream.answers(2).await, [(5, 600), (6, 600)]);

    cluster.member(old).pause().await;
    stream.ask([5, 6]).await;
    let mut client = cluster.client(other).await;
    eventually("another leader", SOON, async || match client.lease_revoke(5).await {
        Ok(_) => Some(()),
        // An attempt before this one had no answer, and took effect.
        Err(error) => error.to_string().contains("lease not found").then_some(()),
    })
    .await;
    cluster.member(old).resume().await;

    assert_eq!(stream.answers(2).await, [(5, 0), (6, 600)]);
}
