//! `etcdserverpb.Cluster`: the members of the cluster.
//!
//! Members can be listed, not changed yet.

use tonic::{Request, Response, Status};

use crate::{
    api::{convert, header, status},
    node::Handle,
    proto::etcdserverpb::{
        MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
        MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
        MemberUpdateRequest, MemberUpdateResponse, cluster_server::Cluster,
    },
    state::meta,
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
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        if request.into_inner().linearizable {
            self.node.read_barrier().await.map_err(status::of_node)?;
        }
        let view = self.node.view().map_err(status::of_node)?;
        let members = meta::members(&*view).map_err(status::of_fault)?;
        Ok(Response::new(MemberListResponse {
            header: Some(header::without_revision(&self.node)),
            members: convert::cluster::members(members),
        }))
    }

    async fn member_add(
        &self,
        _: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        Err(status::unimplemented("etcdserverpb.Cluster/MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(status::unimplemented("etcdserverpb.Cluster/MemberRemove"))
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(status::unimplemented("etcdserverpb.Cluster/MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(status::unimplemented("etcdserverpb.Cluster/MemberPromote"))
    }
}
