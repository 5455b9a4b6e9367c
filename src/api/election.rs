//! `v3electionpb.Election`: leaders of the clients' own.

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tonic::{Request, Response, Status};

use crate::{
    api::{
        convert::{self, recipes},
        header::header,
        status,
    },
    node::Handle,
    proto::v3electionpb::{
        CampaignRequest, CampaignResponse, LeaderRequest, LeaderResponse, ProclaimRequest,
        ProclaimResponse, ResignRequest, ResignResponse, election_server::Election,
    },
    recipes::{Elections, OwnLease, Shown},
    types::{Identity, LeaseId},
};

/// The service.
#[derive(Clone, Debug)]
pub struct ElectionService {
    node: Handle,
    elections: Elections,
}

impl ElectionService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle) -> Self {
        Self { elections: Elections::new(node.clone(), OwnLease::default()), node }
    }
}

#[tonic::async_trait]
impl Election for ElectionService {
    /// Waits as long as the client does: there is no other bound on how long somebody leads.
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let CampaignRequest { name, lease, value } = request.into_inner();
        let campaign =
            self.elections.campaign(Identity::anonymous(), name.clone(), LeaseId(lease), value);
        let elected = campaign.await.map_err(status::of_recipe)?;
        Ok(Response::new(CampaignResponse {
            header: Some(header(&self.node, elected.revision)),
            leader: Some(recipes::leader_key(name, elected.leadership)),
        }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let ProclaimRequest { leader, value } = request.into_inner();
        let leadership = recipes::leadership(leader).map_err(status::of_misuse)?;
        let proclaim = self.elections.proclaim(Identity::anonymous(), leadership, value);
        let revision = proclaim.await.map_err(status::of_recipe)?;
        Ok(Response::new(ProclaimResponse { header: Some(header(&self.node, revision)) }))
    }

    async fn leader(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<LeaderResponse>, Status> {
        let looking = self.elections.leader(Identity::anonymous(), request.into_inner().name);
        let shown = looking.await.map_err(status::of_recipe)?;
        Ok(Response::new(shown_as(&self.node, shown)))
    }

    type ObserveStream = BoxStream<'static, Result<LeaderResponse, Status>>;

    /// There is no task and no queue behind the stream: it looks on when the connection asks for
    /// the next answer.
    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let observer = self.elections.observe(Identity::anonymous(), request.into_inner().name);
        let node = self.node.clone();
        let shown = stream::unfold(Some(observer), move |observer| {
            let node = node.clone();
            async move {
                let mut observer = observer?;
                match observer.next().await {
                    Ok(shown) => Some((Ok(shown_as(&node, shown)), Some(observer))),
                    // As in etcd it ends without an error, but for the end of the member.
                    Err(error) => status::of_stop(&error).map(|status| (Err(status), None)),
                }
            }
        });
        Ok(Response::new(shown.boxed()))
    }

    async fn resign(
        &self,
        request: Request<ResignRequest>,
    ) -> Result<Response<ResignResponse>, Status> {
        let leader = request.into_inner().leader;
        let leadership = recipes::leadership(leader).map_err(status::of_misuse)?;
        let resign = self.elections.resign(Identity::anonymous(), leadership);
        let revision = resign.await.map_err(status::of_recipe)?;
        Ok(Response::new(ResignResponse { header: Some(header(&self.node, revision)) }))
    }
}

fn shown_as(node: &Handle, shown: Shown) -> LeaderResponse {
    LeaderResponse {
        header: Some(header(node, shown.revision)),
        kv: Some(convert::kv::key_value(shown.leader)),
    }
}
