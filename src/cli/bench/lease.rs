//! Leases: granted one after the other, or one for each client and renewed over a stream.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{LoadArgs, load::Operation, measure, over, pace::Ticket, report::Report};
use crate::{
    cli::{Client, Error},
    proto::etcdserverpb::{
        LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, lease_client::LeaseClient,
    },
};

pub(super) async fn run(
    load: &LoadArgs,
    keep_alive: bool,
    ttl: i64,
    client: &Client,
) -> Result<Report, Error> {
    let clients = load.clients(100);
    let channels = load.channels(clients, client).await?;
    let grants =
        over(clients, &channels, |channel| Grant { leases: LeaseClient::new(channel), ttl });
    if !keep_alive {
        return measure("lease grant", load, channels.len(), client, grants).await;
    }
    let mut renewals = Vec::with_capacity(clients);
    for grant in grants {
        renewals.push(grant.into_renewal().await?);
    }
    measure("lease keep-alive", load, channels.len(), client, renewals).await
}

/// Grants a lease, which is left to run out.
struct Grant {
    leases: LeaseClient<Channel>,
    ttl: i64,
}

impl Grant {
    /// Grants one lease, and opens a stream for it.
    async fn into_renewal(mut self) -> Result<KeepAlive, Error> {
        let request = LeaseGrantRequest { ttl: self.ttl, id: 0 };
        let id = self.leases.lease_grant(request).await?.into_inner().id;
        let (requests, receiver) = mpsc::channel(1);
        // Some servers answer the call only once the first request is there.
        let sent = requests.try_send(LeaseKeepAliveRequest { id });
        sent.expect("a new channel has room for one request");
        let mut responses =
            self.leases.lease_keep_alive(ReceiverStream::new(receiver)).await?.into_inner();
        responses.message().await?;
        Ok(KeepAlive { id, requests, responses })
    }
}

impl Operation for Grant {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        let request = LeaseGrantRequest { ttl: self.ttl, id: 0 };
        self.leases.lease_grant(request).await.map(drop)
    }
}

/// Renews a lease on the stream that belongs to it.
struct KeepAlive {
    id: i64,
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    responses: Streaming<LeaseKeepAliveResponse>,
}

impl Operation for KeepAlive {
    async fn perform(&mut self, _: &Ticket) -> Result<(), Status> {
        let ended = || Status::unavailable("keep-alive stream ended");
        self.requests.send(LeaseKeepAliveRequest { id: self.id }).await.map_err(|_| ended())?;
        match self.responses.message().await? {
            Some(answer) if answer.ttl > 0 => Ok(()),
            Some(_) => Err(Status::not_found("lease has run out")),
            None => Err(ended()),
        }
    }
}
