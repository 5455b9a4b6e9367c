//! Who leads: what a renewal costs depends on whom it is sent to.

use std::time::Duration;

use clap::ValueEnum;
use tokio::time::{Instant, sleep};
use tonic::{Status, transport::Channel};

use crate::{
    cli::{Client, Error},
    proto::etcdserverpb::{StatusRequest, StatusResponse, maintenance_client::MaintenanceClient},
};

/// The pause before the members are asked again, which an election may take.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// Which members a load is sent to.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Through {
    /// Those of all endpoints in turn
    Any,
    /// The leader
    Leader,
    /// One that follows
    Follower,
}

/// The members behind the endpoints.
pub(super) struct Members {
    /// Place of the leader's endpoint.
    pub(super) leader: usize,
    /// How often there were elections, and a few: what counts is by how much it grows.
    pub(super) term: u64,
    urls: Vec<String>,
}

impl Members {
    /// Asks every endpoint, until one of them says that it leads.
    pub(super) async fn ask(client: &Client) -> Result<Self, Error> {
        let deadline = Instant::now() + client.timeout();
        loop {
            if let Some(found) = Self::ask_once(client, deadline).await? {
                return Ok(found);
            }
            if Instant::now() + ROUND_PAUSE >= deadline {
                return Err(Error::failed("none of the endpoints leads"));
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    async fn ask_once(client: &Client, deadline: Instant) -> Result<Option<Self>, Error> {
        let (mut leader, mut term) = (None, 0);
        for (index, endpoint) in client.endpoints().iter().enumerate() {
            let told = endpoint.call(status, deadline).await?;
            let own = told.header.as_ref().map(|header| header.member_id);
            if own == Some(told.leader) {
                leader = Some(index);
            }
            term = term.max(told.raft_term);
        }
        let urls = client.endpoints().iter().map(|endpoint| endpoint.text.clone()).collect();
        Ok(leader.map(|leader| Self { leader, term, urls }))
    }

    /// The client for these members alone.
    pub(super) fn through(&self, through: Through, client: &Client) -> Result<Client, Error> {
        let place = match through {
            Through::Any => return Ok(client.clone()),
            Through::Leader => Some(self.leader),
            Through::Follower => (0..self.urls.len()).find(|place| *place != self.leader),
        };
        let url = place.and_then(|place| self.urls.get(place));
        let url = url.ok_or_else(|| Error::failed("none of the endpoints follows"))?;
        client.with_endpoints(std::slice::from_ref(url))
    }

    /// Elections since then.
    pub(super) async fn leader_changes(&self, client: &Client) -> Result<u64, Error> {
        Ok(Self::ask(client).await?.term.saturating_sub(self.term))
    }
}

async fn status(channel: Channel) -> Result<StatusResponse, Status> {
    MaintenanceClient::new(channel).status(StatusRequest {}).await.map(tonic::Response::into_inner)
}
