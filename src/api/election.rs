//! `v3electionpb.Election`: leaders of the clients' own. Not there yet.

use futures_util::stream::Empty;
use tonic::{Request, Response, Status};

use crate::{
    api::status,
    proto::v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
        ProclaimResponse, ResignRequest, ResignResponse, election_server::Election,
    },
};

/// The service.
#[derive(Clone, Copy, Debug)]
pub struct ElectionService;

#[tonic::async_trait]
impl Election for ElectionService {
    async fn campaign(
        &self,
        _: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        Err(status::unimplemented("v3electionpb.Election/Campaign"))
    }

    async fn proclaim(
        &self,
        _: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        Err(status::unimplemented("v3electionpb.Election/Proclaim"))
    }

    async fn leader(&self, _: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        Err(status::unimplemented("v3electionpb.Election/Leader"))
    }

    type ObserveStream = Empty<Result<LeaderResponse, Status>>;

    async fn observe(
        &self,
        _: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        Err(status::unimplemented("v3electionpb.Election/Observe"))
    }

    async fn resign(&self, _: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        Err(status::unimplemented("v3electionpb.Election/Resign"))
    }
}
