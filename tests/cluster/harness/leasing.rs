//! Leases as they are on the wire: requests in, answers with their headers out, and nothing in between.

use std::time::Duration;

use quorate::proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    lease_client::LeaseClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{streams::channel, within};

/// How long an answer may take on a busy machine, changes of the leader included.
const ANSWER: Duration = Duration::from_secs(60);
/// Requests that wait for their connection.
const REQUESTS_MAX: usize = 1_024;

/// A client of one member's leases.
#[derive(Clone)]
pub(crate) struct Leasing {
    client: LeaseClient<Channel>,
}

impl Leasing {
    pub(crate) fn at(url: &str) -> Self {
        Self { client: LeaseClient::new(channel(url)) }
    }

    pub(crate) async fn grant(&mut self, id: i64, ttl: i64) -> Result<LeaseGrantResponse, Status> {
        let call = self.client.lease_grant(LeaseGrantRequest { ttl, id });
        Ok(within("a grant", ANSWER, call).await?.into_inner())
    }

    /// Ends a lease; the revision after it.
    pub(crate) async fn revoke(&mut self, id: i64) -> Result<i64, Status> {
        let call = self.client.lease_revoke(LeaseRevokeRequest { id });
        let answer = within("a revocation", ANSWER, call).await?.into_inner();
        Ok(answer.header.expect("every answer has a header").revision)
    }

    /// What is left of a lease, with its keys in order.
    pub(crate) async fn time_to_live(
        &mut self,
        id: i64,
    ) -> Result<LeaseTimeToLiveResponse, Status> {
        let call = self.client.lease_time_to_live(LeaseTimeToLiveRequest { id, keys: true });
        let mut answer = within("a time to live", ANSWER, call).await?.into_inner();
        answer.keys.sort();
        Ok(answer)
    }

    /// The keys of a lease, in order.
    pub(crate) async fn keys(&mut self, id: i64) -> Vec<String> {
        let answer = self.time_to_live(id).await.unwrap();
        answer.keys.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }

    /// All leases, in the order in which they are told.
    pub(crate) async fn list(&mut self) -> Vec<i64> {
        let call = self.client.lease_leases(LeaseLeasesRequest {});
        let answer = within("a list of leases", ANSWER, call).await.unwrap().into_inner();
        answer.leases.iter().map(|lease| lease.id).collect()
    }

    /// Renews a lease once; the time to live that is answered, zero when it is gone.
    pub(crate) async fn renew(&mut self, id: i64) -> Result<i64, Status> {
        let mut stream = self.keep_alive().await?;
        stream.ask(id).await;
        Ok(stream.answer().await?.ttl)
    }

    pub(crate) async fn keep_alive(&mut self) -> Result<KeepAlive, Status> {
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let call = self.client.lease_keep_alive(ReceiverStream::new(waiting));
        let answers = within("a stream of renewals", ANSWER, call).await?.into_inner();
        Ok(KeepAlive { requests: Some(requests), answers })
    }
}

/// An open stream of renewals. Dropping it resets it.
pub(crate) struct KeepAlive {
    requests: Option<mpsc::Sender<LeaseKeepAliveRequest>>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

impl KeepAlive {
    /// Asks for a renewal; when the stream is gone so is the request.
    pub(crate) async fn ask(&self, id: i64) {
        let requests = self.requests.as_ref().expect("requests are still open");
        let _ = within("room", ANSWER, requests.send(LeaseKeepAliveRequest { id })).await;
    }

    /// Ends the client's side of the stream.
    pub(crate) fn close_requests(&mut self) {
        self.requests = None;
    }

    /// The next answer, or how the stream ended.
    pub(crate) async fn answer(&mut self) -> Result<LeaseKeepAliveResponse, Status> {
        let answer = within("an answer to a renewal", ANSWER, self.answers.message()).await?;
        answer.ok_or_else(|| Status::ok("the stream ended without a word"))
    }

    /// The next answer, if it comes so soon.
    pub(crate) async fn answer_within(
        &mut self,
        limit: Duration,
    ) -> Option<Result<LeaseKeepAliveResponse, Status>> {
        let answer = tokio::time::timeout(limit, self.answers.message()).await.ok()?;
        let ended = || Status::ok("the stream ended without a word");
        Some(answer.and_then(|answer| answer.ok_or_else(ended)))
    }
}
