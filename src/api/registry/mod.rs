//! `quorate.registry.v1.Registry`: instances of services, registered and found.
//!
//! Requests are checked in [`convert`], and answered by [`Registrar`] where they write and by
//! [`Views`] where they read. Streams have no task and no queue: the connection asks them for the
//! next answer when there is room for it, and only then they take the next request.
//!
//! Absent: identities (authentication is off), and every rule about what is registered.

mod asked;
mod calls;
pub mod convert;
mod keep_alive;
mod list;
mod pages;
mod resolve;
mod session;
mod shown;
mod watch;
mod writes;

use std::{net::SocketAddr, sync::Arc};

use futures_util::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    api::status,
    node::Handle,
    proto::registry::{
        ClearOverrideRequest, ClearOverrideResponse, DeregisterRequest, DeregisterResponse,
        KeepAliveRequest, KeepAliveResponse, ListServicesRequest, ListServicesResponse,
        RegisterRequest, RegisterResponse, ResolveRequest, ResolveResponse, SessionRequest,
        SessionResponse, SetOverrideRequest, SetOverrideResponse, WatchRequest, WatchResponse,
        registry_server,
    },
    registry::{Registrar, Views},
};

pub use self::calls::Registry;

pub(super) use self::asked::scope;

/// The service.
#[derive(Clone, Debug)]
pub struct RegistryService {
    node: Handle,
    registrar: Registrar,
    views: Arc<Views>,
}

impl RegistryService {
    /// The service of this member, which answers readers from these views.
    #[must_use]
    pub fn new(node: Handle, views: Arc<Views>) -> Self {
        Self { registrar: Registrar::new(node.clone()), node, views }
    }
}

#[tonic::async_trait]
impl registry_server::Registry for RegistryService {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let owner = owner(request.remote_addr());
        writes::register(self, request.into_inner(), &owner).await.map_err(status::of_registry)
    }

    type KeepAliveStream = BoxStream<'static, Result<KeepAliveResponse, Status>>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        let answers = keep_alive::answers(self.node.clone(), request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }

    type SessionStream = BoxStream<'static, Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let owner = owner(request.remote_addr());
        let answers = session::answers(self.clone(), request.into_inner(), owner);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        writes::deregister(self, request.into_inner()).await.map_err(status::of_registry)
    }

    async fn set_override(
        &self,
        request: Request<SetOverrideRequest>,
    ) -> Result<Response<SetOverrideResponse>, Status> {
        writes::set_override(self, request.into_inner()).await.map_err(status::of_registry)
    }

    async fn clear_override(
        &self,
        request: Request<ClearOverrideRequest>,
    ) -> Result<Response<ClearOverrideResponse>, Status> {
        writes::clear_override(self, request.into_inner()).await.map_err(status::of_registry)
    }

    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesResponse>, Status> {
        let listed = list::list_services(&self.node, &self.views, request.into_inner()).await;
        listed.map(Response::new).map_err(status::of_registry)
    }

    async fn resolve(
        &self,
        _: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        unreachable!("it is answered before the call comes here")
    }

    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answers = watch::watch(&self.views, request.get_ref()).await;
        Ok(Response::new(Box::pin(answers.map_err(status::of_registry)?)))
    }
}

/// The client's address, without the port: that is another one for each connection.
fn owner(remote: Option<SocketAddr>) -> String {
    remote.map(|remote| remote.ip().to_canonical().to_string()).unwrap_or_default()
}
