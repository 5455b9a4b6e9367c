//! `etcdserverpb.Cluster`: the members of the cluster.

use tonic::{Request, Response, Status};

use crate::{
    api::{convert, header, status},
    node::Handle,
    proto::etcdserverpb::{
        MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, ResponseHeader, cluster_server::Cluster,
    },
    state::meta,
    types::MemberId,
};

/// The service.
#[derive(Clone, Debug)]
pub struct ClusterService {
    node: Handle,
}

impl ClusterService {
    /// The service of this member.
    #[must_use]
    pub fn new(node: Handle) -> Self {
        Self { node }
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(header::without_revision(&self.node))
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    /// Linearizable, or what this member knows, which needs no quorum.
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            if self.node.is_learner() {
                return Err(status::not_supported_for_learner());
            }
            self.node.read_barrier().await.map_err(status::of_node)?;
        }
        let view = self.node.view().map_err(status::of_node)?;
        let members = meta::members(&*view).map_err(status::of_fault)?;
        let members = convert::cluster::members(members);
        Ok(Response::new(MemberListResponse { header: self.header(), members }))
    }

    async fn member_add(
        &self,
        request: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        let MemberAddRequest { peer_ur_ls, is_learner } = request.into_inner();
        let peer_urls = convert::cluster::peer_urls(&peer_ur_ls).map_err(status::of_invalid)?;
        let added = self.node.add_member(&peer_urls, is_learner).await;
        let (member, members) = added.map_err(status::of_membership)?;
        Ok(Response::new(MemberAddResponse {
            header: self.header(),
            member: Some(convert::cluster::member(member)),
            members: convert::cluster::members(members),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        let removed = self.node.remove_member(MemberId(request.into_inner().id)).await;
        let members = convert::cluster::members(removed.map_err(status::of_membership)?);
        Ok(Response::new(MemberRemoveResponse { header: self.header(), members }))
    }

    async fn member_update(
        &self,
        request: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        let MemberUpdateRequest { id, peer_ur_ls } = request.into_inner();
        let peer_urls = convert::cluster::peer_urls(&peer_ur_ls).map_err(status::of_invalid)?;
        let updated = self.node.update_member(MemberId(id), &peer_urls).await;
        let members = convert::cluster::members(updated.map_err(status::of_membership)?);
        Ok(Response::new(MemberUpdateResponse { header: self.header(), members }))
    }

    async fn member_promote(
        &self,
        request: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        let promoted = self.node.promote_member(MemberId(request.into_inner().id)).await;
        let members = convert::cluster::members(promoted.map_err(status::of_membership)?);
        Ok(Response::new(MemberPromoteResponse { header: self.header(), members }))
    }
}
