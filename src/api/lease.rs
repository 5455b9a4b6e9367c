//! `etcdserverpb.Lease`: leases, kept alive by their owners.
//!
//! Renewals come on streams, and are answered by [`keep_alive`] with bytes, which also calls the most
//! frequent of the other methods without the library.

pub mod keep_alive;

use futures_util::stream::Empty;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    api::{convert, header::header, status},
    node::Handle,
    proto::etcdserverpb::{
        LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
        LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse,
        LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, lease_server::Lease,
    },
    state::{self, Answer, Command, RevokeCause},
    types::{Identity, LeaseId, limits::LEASE_COST},
};

/// The service.
#[derive(Clone, Debug)]
pub struct LeaseService {
    node: Handle,
}

impl LeaseService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle) -> Self {
        Self { node }
    }

    async fn propose(&self, command: Command) -> Result<Answer, Status> {
        self.node.propose(Identity::anonymous(), command).await.map_err(status::of_request)
    }
}

#[tonic::async_trait]
impl Lease for LeaseService {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        self.node.ensure_room(LEASE_COST).map_err(status::of_refused)?;
        let minimum = self.node.lease_minimum_ttl();
        let new_id = || self.node.new_lease_id();
        let command = convert::lease::grant(request.into_inner(), minimum, new_id)
            .map_err(status::of_invalid)?;

        let Answer { revision, response } = self.propose(command).await?;
        let state::Response::LeaseGrant(id, ttl) = response else {
            unreachable!("a grant got the answer of another command");
        };
        Ok(Response::new(LeaseGrantResponse {
            header: Some(header(&self.node, revision)),
            id: id.0,
            ttl: ttl.0,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let id = LeaseId(request.into_inner().id);
        let answer = self.propose(Command::LeaseRevoke { id, cause: RevokeCause::Client }).await?;
        Ok(Response::new(LeaseRevokeResponse { header: Some(header(&self.node, answer.revision)) }))
    }

    type LeaseKeepAliveStream = Empty<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        _: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        unreachable!("renewals are answered before the call comes here")
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let id = LeaseId(id);
        let left = self.node.time_left(id).await.map_err(status::of_node)?;
        let keys = if keys && left.is_some() {
            // The time came from the leader; the keys are read here, and not from the past.
            self.node.read_barrier().await.map_err(status::of_node)?;
            let view = self.node.view().map_err(status::of_node)?;
            state::lease::attached_keys(&*view, id).map_err(status::of_fault)?
        } else {
            Vec::new()
        };
        let header = header(&self.node, self.node.revision());
        Ok(Response::new(convert::lease::time_to_live(header, id, left, keys)))
    }

    /// The leases as this member knows them, which may be behind; the leader tells those first that
    /// have the least time left.
    async fn lease_leases(
        &self,
        _request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let leases = self.node.leases();
        let header = header(&self.node, self.node.revision());
        Ok(Response::new(convert::lease::leases(header, leases)))
    }
}
